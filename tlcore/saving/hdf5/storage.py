"""The values of a data set: how they are laid out (IV.A.2.i), and through which filters."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlcore.saving.hdf5.objects import (
    EXTERNAL,
    FILL,
    FILTERS,
    LAYOUT,
    OLD_FILL,
    SPACE,
    TYPE,
    Object,
)
from tlcore.saving.hdf5.source import UNDEFINED, Cursor, Damage, Source
from tlcore.saving.hdf5.structures import new_tree, old_tree
from tlcore.saving.hdf5.types import Type, parsed_space, parsed_type

_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3
_NAMES = {4: "szip", 5: "nbit", 6: "scale-offset", 32000: "lzf"}
_BEST = 1_100  # deflate ends at about 1,030 to 1
_MAX_CHUNKS = 100_000
_SMALL = 1 << 16  # bytes that may be claimed without being stored


class Outside(Damage):
    """The values lie in another file, or in other data sets."""


@dataclass(frozen=True)
class _Chunk:
    place: tuple[int, ...]  # of its first value
    address: int
    size: int  # as stored
    skipped: int  # a bit for each filter that was left out


class Values:
    """The values of one data set, not yet read.

    Raises:
        Outside: they are not in this file.
        Damage: no type, shape or layout that is known.
    """

    def __init__(self, owner: Object) -> None:
        self._source: Source = owner.tree.source
        kind, space, layout = (owner.message(key) for key in (TYPE, SPACE, LAYOUT))
        if kind is None or space is None or layout is None:
            raise Damage("it has no type, shape or layout")
        self.type: Type = parsed_type(kind)
        self.shape: tuple[int, ...] | None = parsed_space(space)
        self._fill = _fill(owner)
        self._filters = _filters(owner.message(FILTERS))
        self._chunks_of: tuple[int, ...] | None = None
        self._compact: bytes | None = None
        self._address, self._size = UNDEFINED, 0
        if owner.message(EXTERNAL) is not None:
            raise Outside("external storage")
        self._read_layout(Cursor(layout))

    def _read_layout(self, cursor: Cursor) -> None:
        self._version = cursor.version(3, 4, 5)
        kind = cursor.number(1)
        if kind == 0:
            self._compact = cursor.take(cursor.number(2))
        elif kind == 1:
            self._address, self._size = cursor.numbers("QQ")
        elif kind == 3:
            raise Outside("a virtual data set")
        elif kind != 2:
            raise Damage("its layout is not what it should be")
        elif self._version == 3:
            rank = cursor.number(1)
            self._index, self._address = 0, cursor.number(8)
            self._set_chunks(cursor.numbers(f"{rank}I"))
        else:
            flags, rank, width = cursor.numbers("BBB")
            self._set_chunks(tuple(cursor.number(width) for _ in range(rank)))
            self._index = cursor.number(1)
            self._single: tuple[int, int] | None = None
            if self._index == 1 and flags & 2:
                self._single = cursor.number(8), cursor.number(4)
            elif self._index > 2:
                cursor.take({3: 1, 4: 5, 5: 6}.get(self._index, 0))
            self._address = cursor.number(8)

    def _set_chunks(self, sizes: tuple[int, ...]) -> None:
        *chunks, item = sizes or (0,)
        if item != self.type.size or self.shape is None or len(chunks) != len(self.shape):
            raise Damage("its chunks do not fit its shape")
        if not all(chunks) or not chunks:
            raise Damage("its chunks have no size")
        self._chunks_of = tuple(chunks)

    # --- sizes ----------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many values it claims to have."""
        return 0 if self.shape is None else math.prod(self.shape)

    @cached_property
    def stored(self) -> int:
        """How many bytes of values the file holds for it."""
        if self._compact is not None:
            return len(self._compact)
        if self._chunks_of is None:
            return 0 if self._address == UNDEFINED else self._size
        return sum(chunk.size for chunk in self._chunks)

    @property
    def plausible(self) -> bool:
        """Whether what is stored can be so many values, however well compressed."""
        best = _BEST if any(number == _DEFLATE for number, _ in self._filters) else 1
        return self.count * self.type.size <= max(_SMALL, self.stored * best)

    # --- reading --------------------------------------------------------------------------------

    def read(self) -> NDArray[Any]:
        """All values; only for numbers of a `plausible` count.

        Raises:
            Damage: they are not there, or not what the filters need.
        """
        assert self.type.dtype is not None
        assert self.shape is not None
        assert self.plausible
        size = self.count * self.type.size
        if self._compact is not None:
            if len(self._compact) < size:
                raise Damage("it holds too few values")
            flat = np.frombuffer(self._compact, self.type.dtype, self.count)
            return flat.reshape(self.shape)
        array: NDArray[Any] = np.empty(self.shape, self.type.dtype)
        if self._chunks_of is not None:
            self._fill_in(array)
            self._read_chunks(array, self._chunks_of)
        elif self._address == UNDEFINED:
            self._fill_in(array)
        elif self._size < size:
            raise Damage("it holds too few values")
        elif size:
            self._source.fill(self._address, array.reshape(-1))
        return array

    def _fill_in(self, array: NDArray[Any]) -> None:
        """What stands where nothing was ever written."""
        if not self._fill:
            array[...] = 0
        elif len(self._fill) == array.itemsize:
            array[...] = np.frombuffer(self._fill, array.dtype)[0]
        else:
            raise Damage("its fill value is not what it should be")

    def _read_chunks(self, array: NDArray[Any], sizes: tuple[int, ...]) -> None:
        length = math.prod(sizes) * array.itemsize
        seen: set[tuple[int, ...]] = set()
        for chunk in self._chunks:
            inside = all(
                place < end and place % size == 0
                for place, end, size in zip(chunk.place, array.shape, sizes, strict=True)
            )
            if not inside or chunk.place in seen:
                raise Damage("its chunks do not fit its shape")
            seen.add(chunk.place)
            data = self._decoded(self._source.stored(chunk.address, chunk.size), chunk, length)
            values = np.frombuffer(data, array.dtype).reshape(sizes)
            corner = zip(chunk.place, sizes, strict=True)
            part = array[tuple(slice(at, at + size) for at, size in corner)]
            part[...] = values[tuple(slice(n) for n in part.shape)]

    def _decoded(self, data: bytes, chunk: _Chunk, length: int) -> bytes:
        """A chunk with its filters undone, which must give `length` bytes."""
        if length > max(_SMALL, len(data) * _BEST):
            raise Damage("its chunks hold too little for their size")
        for i, (number, options) in reversed(list(enumerate(self._filters))):
            if chunk.skipped >> i & 1:
                continue
            if number == _DEFLATE:
                data = _inflated(data, length + 4)
            elif number == _SHUFFLE:
                data = _unshuffled(data, options[0] if options else self.type.size)
            elif number == _FLETCHER:
                data = _fletched(data)
            else:
                name = _NAMES.get(number, "an unknown filter")
                raise Damage(f"it is stored with {name}, and tlcore reads deflate (gzip)")
        if len(data) != length:
            raise Damage("its chunks are not what they should be")
        return data

    # --- indexes --------------------------------------------------------------------------------

    @cached_property
    def _chunks(self) -> list[_Chunk]:
        if self._address == UNDEFINED or not self.count:
            return []
        assert self._chunks_of is not None
        full = math.prod(self._chunks_of) * self.type.size
        if full >= 1 << 32:
            raise Damage("its chunks are too large")
        readers = {0: self._old, 1: self._alone, 2: self._implicit, 3: self._fixed, 5: self._new}
        if self._index not in readers:
            raise Damage("it can grow (an extensible array of chunks), which is not read")
        found = list(itertools.islice(readers[self._index](full), _MAX_CHUNKS + 1))
        if len(found) > _MAX_CHUNKS:
            raise Damage(f"it has more than {_MAX_CHUNKS} chunks")
        return [chunk for chunk in found if chunk.address != UNDEFINED]

    def _old(self, full: int) -> Iterator[_Chunk]:
        """A version 1 B-tree."""
        assert self.shape is not None
        rank = len(self.shape)
        for key, address in old_tree(self._source, self._address, 1, 8 + 8 * (rank + 1)):
            size, skipped, *place = Cursor(key).numbers(f"II{rank + 1}Q")
            yield _Chunk(tuple(place[:-1]), address, size, skipped)

    def _alone(self, full: int) -> Iterator[_Chunk]:
        """A single chunk."""
        assert self.shape is not None
        size, skipped = self._single or (full, 0)
        yield _Chunk((0,) * len(self.shape), self._address, size, skipped)

    def _places(self) -> Iterator[tuple[int, ...]]:
        """Where chunks begin, in the order in which arrays of them are kept."""
        assert self.shape is not None
        assert self._chunks_of is not None
        return itertools.product(
            *(range(0, end, size) for end, size in zip(self.shape, self._chunks_of, strict=True))
        )

    def _implicit(self, full: int) -> Iterator[_Chunk]:
        """One behind the other."""
        for i, place in enumerate(self._places()):
            address = self._address + i * full
            if address + full > self._source.size:
                raise Damage("its chunks end behind the file")
            yield _Chunk(place, address, full, 0)

    def _fixed(self, full: int) -> Iterator[_Chunk]:
        """A fixed array (VII.C)."""
        head = self._source.summed(self._address, 28, b"FAHD")
        head.version(0)
        filtered, width, page_bits, count, block_at = head.numbers("BBBQQ")
        if filtered > 1 or not (12 < width <= 20 if filtered else width == 8) or page_bits > 32:
            raise Damage("its chunk index is not what it should be")
        if block_at == UNDEFINED:
            return
        paged = count > 1 << page_bits
        pages = -(-count >> page_bits) if paged else 1
        start = 14 + (-(-pages // 8) if paged else count * width) + 4
        self._source.summed(block_at, start, b"FADB")
        places = self._places()
        for page in range(pages):
            here = min(count - (page << page_bits), 1 << page_bits) if paged else count
            at = block_at + start + page * ((width << page_bits) + 4) if paged else block_at + 14
            entries = self._source.cursor(at, here * width)
            for place in itertools.islice(places, here):
                address = entries.number(8)
                size = entries.number(width - 12) if filtered else full
                yield _Chunk(place, address, size, entries.number(4) if filtered else 0)

    def _new(self, full: int) -> Iterator[_Chunk]:
        """A version 2 B-tree."""
        assert self.shape is not None
        assert self._chunks_of is not None
        rank = len(self.shape)
        for kind, record in new_tree(self._source, self._address, (10, 11)):
            address, size, skipped = record.number(8), full, 0
            if kind == 11:
                size, skipped = record.number(record.left - 4 - 8 * rank), record.number(4)
            scaled = record.numbers(f"{rank}Q")
            place = tuple(n * size for n, size in zip(scaled, self._chunks_of, strict=True))
            yield _Chunk(place, address, size, skipped)


# --- filters --------------------------------------------------------------------------------------


def _filters(data: bytes | None) -> list[tuple[int, tuple[int, ...]]]:
    """(number, options) of each filter, in the order of writing (IV.A.2.l)."""
    if data is None:
        return []
    cursor = Cursor(data)
    version, count = cursor.version(1, 2), cursor.number(1)
    if version == 1:
        cursor.take(6)
    found = []
    for _ in range(count):
        number = cursor.number(2)
        named = version == 1 or number >= 256
        length = cursor.number(2) if named else 0
        _, options = cursor.numbers("HH")
        cursor.take(-(-length // 8) * 8 if version == 1 else length)
        found.append((number, cursor.numbers(f"{options}I")))
        if version == 1 and options % 2:
            cursor.take(4)
    return found


def _fill(owner: Object) -> bytes:
    """The value of what was never written, empty for zero (IV.A.2.f)."""
    data = owner.message(FILL)
    if data is None:
        old = owner.message(OLD_FILL)
        return b"" if old is None else _sized(Cursor(old))
    cursor = Cursor(data)
    version = cursor.version(1, 2, 3)
    if version == 3:
        return _sized(cursor) if cursor.number(1) & 0x20 else b""
    cursor.take(2)
    defined = cursor.number(1)
    return _sized(cursor) if version == 1 or defined else b""


def _sized(cursor: Cursor) -> bytes:
    return cursor.take(cursor.number(4))


def _inflated(data: bytes, limit: int) -> bytes:
    """`data` decompressed, up to `limit` bytes."""
    engine = zlib.decompressobj()
    try:
        found = engine.decompress(data, limit)
    except zlib.error as err:
        raise Damage("its compressed values are damaged") from err
    if not engine.eof:
        raise Damage("its compressed values are damaged")
    return found


def _unshuffled(data: bytes, item: int) -> bytes:
    """First bytes of all values, then all second ones, ...: put together again."""
    count = len(data) // item if item else 0
    if item <= 1 or not count:
        return data
    whole = np.frombuffer(data, np.uint8, count * item)
    return whole.reshape(item, count).T.tobytes() + data[count * item :]


def _fletched(data: bytes) -> bytes:
    """`data` without its Fletcher checksum, which must be right."""
    data, found = data[:-4], data[-4:]
    words = np.frombuffer(data + bytes(len(data) % 2), ">u2").astype(np.uint64)
    weights = np.arange(len(words), 0, -1, dtype=np.uint64) % 65535
    first, second = int(words.sum()), int((words * weights % 65535).sum())
    low, high = int.from_bytes(found[:2], "little"), int.from_bytes(found[2:], "little")
    if len(found) < 4 or (first - low) % 65535 or (second - high) % 65535:
        raise Damage("its values have a wrong checksum")
    return data
