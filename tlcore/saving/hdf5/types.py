"""What a value is (datatype messages, IV.A.2.d) and how many there are (dataspaces, IV.A.2.b)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tlcore.saving.hdf5.source import Cursor, Damage

_MAX_RANK = 32
_CLASSES = (
    "integer",
    "float",
    "time",
    "text",
    "bit field",
    "opaque",
    "compound",
    "reference",
    "enumeration",
    "sequence",
    "array",
    "complex",
)
# (bit offset, precision, place and size of exponent, of mantissa, bias) by bytes.
_IEEE = {
    2: (0, 16, 10, 5, 0, 10, 15),
    4: (0, 32, 23, 8, 0, 23, 127),
    8: (0, 64, 52, 11, 0, 52, 1023),
}


@dataclass(frozen=True)
class Type:
    """How one value is stored, and its NumPy type if tlcore has a use for it."""

    kind: Literal["number", "text", "long text", "other"]
    size: int
    name: str
    dtype: np.dtype[Any] | None = None


def parsed_type(data: bytes) -> Type:
    """A datatype message."""
    cursor = Cursor(data)
    first, *bits = cursor.numbers("BBBB")
    size = cursor.number(4)
    version, number = first >> 4, first & 15
    if not 1 <= version <= 5 or number >= len(_CLASSES) or not size:
        raise Damage("a type is not what it should be")
    name = _CLASSES[number]
    order = ">" if bits[0] & 1 else "<"
    if number == 0 and size in (1, 2, 4, 8):
        offset, precision = cursor.numbers("HH")
        if (offset, precision) == (0, 8 * size):
            dtype = np.dtype(f"{order}{'i' if bits[0] & 8 else 'u'}{size}")
            return Type("number", size, dtype.name, dtype)
    elif number == 1 and size in _IEEE and not bits[0] & 0x40:
        if cursor.numbers("HHBBBBI") == _IEEE[size] and bits[1] == 8 * size - 1:
            dtype = np.dtype(f"{order}f{size}")
            return Type("number", size, dtype.name, dtype)
    elif number == 3 and size <= 1 << 20:
        return Type("text", size, "text", np.dtype(f"S{size}"))
    elif number == 9 and bits[0] & 15 == 1 and size == 16:
        return Type("long text", size, "text")
    return Type("other", size, name)


def parsed_space(data: bytes) -> tuple[int, ...] | None:
    """A dataspace message: the shape, None if there are no values at all."""
    cursor = Cursor(data)
    version, rank, _ = cursor.numbers("BBB")
    if version == 1:
        cursor.take(5)
    elif version != 2:
        raise Damage("a shape is not what it should be")
    elif cursor.number(1) == 2:
        return None
    if rank > _MAX_RANK:
        raise Damage(f"a shape has {rank} dimensions")
    shape = cursor.numbers(f"{rank}Q")
    if math.prod(shape) >= 1 << 62 or any(n >= 1 << 62 for n in shape):
        raise Damage("a shape is too large for any file")
    return shape
