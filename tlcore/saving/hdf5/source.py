"""The bytes of a file, and how much a reader may do with them.

A crafted file can make a reader walk in circles, read the same bytes a million times, or take
memory for sizes that it merely claims. So every read is checked against the file's end and paid
from an account in proportion to the file's size; whoever overdraws it reads a damaged file.
"""

from __future__ import annotations

import struct
from io import BytesIO, RawIOBase
from typing import Any, TypeAlias

from numpy.typing import NDArray

UNDEFINED = (1 << 64) - 1  # the address of what is not there

_PAGE = 1 << 14
_MAX_PAGES = 512
_FREE_STEPS = 20_000  # reads of structures that any file may cause
_STEP = 32  # bytes of file for each further one; a file of Keras takes one for 100
_MAX_STEPS = 1_000_000
_MAX_STRUCTURE = 1 << 20  # bytes of one structure
_MAX_STRUCTURES = 32 << 20  # bytes of all
_MAX_SUMMED = 4 << 20  # bytes under checksums, which are slow to compute here


Readable: TypeAlias = "RawIOBase | BytesIO"


class Damage(Exception):
    """What is wrong in the file, in a few words, without its name."""


class Source:
    """An open file, read by address."""

    def __init__(self, file: Readable, size: int) -> None:
        self.size = size
        self._file = file
        self._pages: dict[int, bytes] = {}
        self._steps = min(_FREE_STEPS + size // _STEP, _MAX_STEPS)
        self._structures = min(4 * size + (1 << 20), _MAX_STRUCTURES)
        self._summed = _MAX_SUMMED
        self._values = 2 * size + (1 << 20)

    # --- structures -----------------------------------------------------------------------------

    def read(self, at: int, size: int) -> bytes:
        """`size` bytes of a structure at `at`."""
        self._check(at, size)
        self._steps -= 1
        self._structures -= size
        if self._steps < 0 or self._structures < 0 or size > _MAX_STRUCTURE:
            raise Damage("its structure is too large for the file, or leads in circles")
        page, start = divmod(at, _PAGE)
        if start + size <= _PAGE:
            return self._page(page)[start : start + size]
        return self._raw(at, size)

    def cursor(self, at: int, size: int) -> Cursor:
        """A structure at `at`, to be read field by field."""
        return Cursor(self.read(at, size))

    def signed(self, at: int, size: int, magic: bytes) -> Cursor:
        """A structure that begins with `magic`, the cursor behind it."""
        found = self.read(at, size)
        if not found.startswith(magic):
            raise Damage(f"no {magic.decode()} stands at {at}")
        return Cursor(found, len(magic))

    def summed(self, at: int, size: int, magic: bytes) -> Cursor:
        """The same for a structure that ends in a checksum, which the cursor leaves out."""
        self._summed -= size
        if self._summed < 0:
            raise Damage("its structure is too large")
        found = self.signed(at, size, magic).data
        if len(found) < 4 or lookup3(found[:-4]) != int.from_bytes(found[-4:], "little"):
            raise Damage(f"the structure at {at} has a wrong checksum")
        return Cursor(found[:-4], len(magic))

    # --- values ---------------------------------------------------------------------------------

    def stored(self, at: int, size: int) -> bytes:
        """`size` bytes of values."""
        self._pay(at, size)
        return self._raw(at, size)

    def fill(self, at: int, array: NDArray[Any]) -> None:
        """Values into the whole of a contiguous `array`."""
        self._pay(at, array.nbytes)
        self._file.seek(at)
        view = array.data.cast("B")
        done = 0
        while done < len(view):
            count = self._file.readinto(view[done:])
            if not count:
                raise Damage("the file has become shorter")
            done += count

    # --- helpers --------------------------------------------------------------------------------

    def _check(self, at: int, size: int) -> None:
        if at < 0 or size < 0 or at + size > self.size:
            raise Damage(f"it points to {size} bytes at {at}, and the file has {self.size}")

    def _pay(self, at: int, size: int) -> None:
        self._check(at, size)
        self._steps -= 1
        self._values -= size
        if self._values < 0 or self._steps < 0:
            raise Damage("its data sets take the same bytes again and again")

    def _page(self, page: int) -> bytes:
        found = self._pages.get(page)
        if found is None:
            if len(self._pages) >= _MAX_PAGES:
                self._pages.clear()
            at = page * _PAGE
            found = self._pages[page] = self._raw(at, min(_PAGE, self.size - at))
        return found

    def _raw(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        parts = []
        while size:
            part = self._file.read(size)
            if not part:
                raise Damage("the file has become shorter")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class Cursor:
    """Fields one after the other; Damage where the bytes end too early."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self.at + size
        if size < 0 or end > len(self.data):
            raise Damage("one of its structures ends too early")
        found = self.data[self.at : end]
        self.at = end
        return found

    def number(self, width: int) -> int:
        """The next `width` bytes as an unsigned integer."""
        return int.from_bytes(self.take(width), "little")

    def numbers(self, form: str) -> tuple[int, ...]:
        """The next fields as `struct` describes them, little-endian."""
        form = f"<{form}"
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def version(self, *known: int) -> int:
        """The next byte, which must be one of `known`."""
        found = self.number(1)
        if found not in known:
            raise Damage(f"one of its structures has the version {found}")
        return found


def lookup3(data: bytes) -> int:
    """Bob Jenkins's hash, the checksum of HDF5's structures (https://burtleburtle.net/bob)."""
    mask = 0xFFFFFFFF
    a = b = c = (0xDEADBEEF + len(data)) & mask
    if not data:
        return c
    padded = data + bytes(-len(data) % 12)
    words: tuple[int, ...] = struct.unpack(f"<{len(padded) // 4}I", padded)
    for i in range(0, len(words) - 3, 3):
        a, b, c = a + words[i] & mask, b + words[i + 1] & mask, c + words[i + 2] & mask
        a = (a - c & mask) ^ (c << 4 & mask | c >> 28)
        c = c + b & mask
        b = (b - a & mask) ^ (a << 6 & mask | a >> 26)
        a = a + c & mask
        c = (c - b & mask) ^ (b << 8 & mask | b >> 24)
        b = b + a & mask
        a = (a - c & mask) ^ (c << 16 & mask | c >> 16)
        c = c + b & mask
        b = (b - a & mask) ^ (a << 19 & mask | a >> 13)
        a = a + c & mask
        c = (c - b & mask) ^ (b << 4 & mask | b >> 28)
        b = b + a & mask
    a, b, c = a + words[-3] & mask, b + words[-2] & mask, c + words[-1] & mask
    c = (c ^ b) - (b << 14 & mask | b >> 18) & mask
    a = (a ^ c) - (c << 11 & mask | c >> 21) & mask
    b = (b ^ a) - (a << 25 & mask | a >> 7) & mask
    c = (c ^ b) - (b << 16 & mask | b >> 16) & mask
    a = (a ^ c) - (c << 4 & mask | c >> 28) & mask
    b = (b ^ a) - (a << 14 & mask | a >> 18) & mask
    return (c ^ b) - (b << 24 & mask | b >> 8) & mask
