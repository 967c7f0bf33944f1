"""What a picture's header says, read before any decoder takes memory or time for it.

Only what Pillow acts upon too early, or does not count, is read here; nothing is decoded.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Literal

# Marker codes that are followed by a length: not stuffing, fill bytes, restarts and starts.
_SEGMENT = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
_SCAN, _END, _EXIF = 0xDA, 0xD9, 0xE1
# Frames whose first scan is their only one if it holds all components: libjpeg reads no other.
_SEQUENTIAL = (0xC0, 0xC1)

# Bytes of one value of a TIFF tag, by its type.
_TIFF_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TIFF_TYPES |= {16: 8, 17: 8, 18: 8}

_ORIENTATION, _SHORT = 0x0112, 3
_ENTRIES = {b"II": struct.Struct("<HHIH2x"), b"MM": struct.Struct(">HHIH2x")}


def jpeg_facts(data: bytes) -> tuple[int, bytes]:
    """Scans of the first picture in the file, and its Exif data as Pillow joins the pieces.

    A decoder walks over the whole picture once a scan: once or, if progressive, about ten times.
    """
    scans, exif, components = 0, [], None
    for code, first, end in _segments(data):
        if code == _END:
            break
        if code in _SEQUENTIAL:
            components = data[first + 7 : first + 8]
        if code == _SCAN:
            scans += 1
            if scans == 1 and components == data[first + 2 : first + 3]:
                break
        if code == _EXIF and scans == 0 and data[first + 2 : first + 8] == b"Exif\0\0":
            exif.append(data[first + 8 : end])
    return scans, b"".join(exif)


def jpeg_has_end(data: bytes) -> bool:
    """Whether the mark that ends a JPEG comes behind its first scan."""
    for code, _, end in _segments(data):
        if code == _SCAN:
            return data.find(bytes((0xFF, _END)), end) >= 0
    return False


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker code, beginning and end of each segment of a JPEG, as far as one asks for them."""
    at = 2
    while found := _SEGMENT.search(data, at):
        code, first = data[found.start() + 1], found.end()
        at = first + int.from_bytes(data[first : first + 2], "big")
        yield code, first, at


def tag_bytes(data: bytes) -> int:
    """How many bytes the tags of a TIFF file's first folder, or of Exif data, say they have."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    large = number(2, 2) == 43
    at = number(8, 8) if large else number(4, 4)
    count, first, entry, word = (
        (number(at, 8), at + 8, 20, 8) if large else (number(at, 2), at + 2, 12, 4)
    )
    count = min(count, max(0, len(data) - first) // entry)
    sizes = (
        number(start + 4, word) * _TIFF_TYPES.get(number(start + 2, 2), 0)
        for start in range(first, first + count * entry, entry)
    )
    return sum(min(size, len(data)) for size in sizes if size > word)


def orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in Exif data; 1, upright, where they tell none that there is."""
    data = exif.removeprefix(b"Exif\0\0")
    entry = _ENTRIES.get(data[:2])
    if entry is None or len(data) < 8:
        return 1
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    at = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[at : at + 2], order)
    entries = data[at + 2 : at + 2 + entry.size * count]
    whole = len(entries) // entry.size * entry.size
    found = [
        value
        for tag, kind, values, value in entry.iter_unpack(entries[:whole])
        if tag == _ORIENTATION and kind == _SHORT and values == 1
    ]
    return found[-1] if found and 1 <= found[-1] <= 8 else 1


def png_bits(data: bytes) -> int:
    """Bits a pixel of a PNG file; 0 if it does not begin with its header."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    return data[24] * channels.get(data[25], 0) if data[12:16] == b"IHDR" and len(data) > 25 else 0


def gif_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of the canvas after the first frame, which may stand out of it."""

    def number(at: int) -> int:
        return int.from_bytes(data[at : at + 2], "little")

    if len(data) < 13:
        return None
    width, height = number(6), number(8)
    at = 13 + ((3 << (data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while at < len(data) and data[at] != 0x3B:
        if data[at] == 0x2C:
            return (
                max(width, number(at + 1) + number(at + 5)),
                max(height, number(at + 3) + number(at + 7)),
            )
        if data[at] != 0x21:
            at += 1
            continue
        at += 2
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return width, height


def webp_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of the canvas, which the decoder makes as soon as a file is opened."""

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little")

    kind = data[12:16]
    if kind == b"VP8X":
        return number(24, 3) + 1, number(27, 3) + 1
    if kind == b"VP8L":
        bits = number(21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return number(26, 2) & 0x3FFF, number(28, 2) & 0x3FFF
    return None
