"""A picture's bytes, which may be an enemy's, into a Pillow image.

Pillow decodes; what is added is that it decodes raster formats alone, the first picture of a file,
and only what a limit of memory and time allows. The limit follows `PIL.Image.MAX_IMAGE_PIXELS`:
Pillow warns above it and refuses at twice its value, here a picture above it is refused.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tlcore.preprocessing.image import _headers

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# What people train on. Not among them: formats that run other programs (EPS starts Ghostscript),
# those that hold other files (ICO, ICNS, PDF, PSD), DIB, which four zero bytes can open, and AVIF
# and JPEG 2000, whose decoders take twenty bytes a pixel and more.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WebP")

# Of a JPEG: more would be a picture of one line, whose rows cost more than their pixels.
MAX_SIDE = 65_535
# Bytes that a pixel takes, twice four and some; of WebP, whose decoder keeps canvases.
_PIXEL, _WEBP_PIXEL = 9, 20
# What reading a picture may take: 917 MiB for Pillow's default, or 10 * 89,478,485 + 64 MiB.
_BYTES_A_PIXEL, _BYTES_BESIDE = 10, 1 << 26
# Walks over the largest allowed picture: a progressive one has about ten.
_SCANS = 12
# Of an uncompressed TIFF file, each decoded by a call of its own.
_PIECES = 1 << 18
# Pixels that a byte may stand for, of which no encoder makes more of a blank picture (WebP's
# lossless one does); for PNG and TIFF with one bit a pixel. Beyond that a file is cut short or a
# bomb. The share of the limit that any file may have is 4 million pixels for Pillow's default.
_PIXELS_A_BYTE = {"BMP": 128, "GIF": 1400, "JPEG": 512, "PNG": 8256, "PPM": 8, "TIFF": 32768}
_PIXELS_A_BYTE |= {"WEBP": 1024}
_FREE_SHARE = 3 / 64
# Of tags, beyond the size of the file that they lie in.
_TAG_BYTES = 1 << 26
_BITS_PER_SAMPLE, _TILE_WIDTH, _TILE_LENGTH = 258, 322, 323


class Refused(ValueError):
    """A picture that would take too much; the message says what and how the limit is raised."""


@lru_cache(maxsize=1)
def _pillow() -> ModuleType:
    """PIL.Image, for functions that are called several times a picture."""
    from PIL import Image

    return Image


def max_pixels() -> int | None:
    """Pixels that a picture may have; None for any number."""
    limit: int | None = _pillow().MAX_IMAGE_PIXELS
    return limit


def max_bytes() -> int | None:
    """Bytes that reading one picture may take, its file included; None for any number."""
    pixels = max_pixels()
    return None if pixels is None else _BYTES_A_PIXEL * pixels + _BYTES_BESIDE


def opened(content: bytes) -> ImageFile:
    """The first picture in a file, its header read and found to be within the limits.

    Raises Refused, PIL.UnidentifiedImageError (none of FORMATS), or whatever Pillow raises.
    """
    from PIL import Image, UnidentifiedImageError

    kind = _format_of(content[:16])
    if kind is None:
        raise UnidentifiedImageError("it begins like none of them")
    limit = max_pixels()
    scans = 1 if limit is None else _check_header(kind, content)
    try:
        img: ImageFile = _readers()[kind](io.BytesIO(content))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # A damaged GIF, in which Pillow finds another first frame than gif_size does.
        raise Refused(f"has more than the {limit} pixels that are read") from error
    except (SyntaxError, IndexError, TypeError, struct.error) as error:
        raise UnidentifiedImageError("its header is broken") from error
    if limit is not None:
        _check(_decoded_size(img), _pixel_bytes(img), len(content), scans)
        if len(img.tile) > _PIECES:
            raise Refused(f"is cut into {len(img.tile)} pieces, and at most {_PIECES} are read")
        width, height = img.size
        possible = int(limit * _FREE_SHARE) + len(content) * _pixels_a_byte(img, content)
        if width * height > possible:
            raise Refused(
                f"has {width} x {height} pixels in {len(content)} bytes, and at most {possible} "
                "are read from so few"
            )
    return img


def cost(img: ImageFile) -> int:
    """Bytes that decoding and converting `img` takes, at most."""
    width, height = _decoded_size(img)
    return width * height * _pixel_bytes(img)


def _format_of(start: bytes) -> str | None:
    if start.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if start.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if start.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    if start.startswith(b"BM"):
        return "BMP"
    if start[:1] == b"P" and start[1:2] in (b"1", b"2", b"3", b"4", b"5", b"6"):
        return "PPM"
    return None


@lru_cache(maxsize=1)
def _readers() -> dict[str, Any]:
    """Pillow's classes for the formats.

    Not its `open`, which warns and lets other formats in, nor its factory for JPEG, which walks
    through the further pictures of an MPO file: the first is an ordinary JPEG.
    """
    from PIL import (
        BmpImagePlugin,
        GifImagePlugin,
        JpegImagePlugin,
        PngImagePlugin,
        PpmImagePlugin,
        TiffImagePlugin,
        WebPImagePlugin,
    )

    return {
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "PPM": PpmImagePlugin.PpmImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "WebP": WebPImagePlugin.WebPImageFile,
    }


def _check_header(kind: str, content: bytes) -> int:
    """Refuse what costs Pillow something while it only opens a file; the scans of a JPEG, else 1.

    Newer releases of Pillow refuse a part of it by themselves.
    """
    size = None
    scans, tags = 1, b""
    if kind == "GIF":
        size = _headers.gif_size(content)
    elif kind == "WebP":
        size = _headers.webp_size(content)
    elif kind == "JPEG":
        scans, tags = _headers.jpeg_facts(content)
    elif kind == "TIFF":
        tags = content
    if size is not None:
        _check(size, _WEBP_PIXEL if kind == "WebP" else _PIXEL, len(content))
    said = _headers.tag_bytes(tags)
    if said > len(content) + _TAG_BYTES:
        raise Refused(f"has tags of {said} bytes in a file of {len(content)} bytes")
    return scans


def _check(size: tuple[int, int], pixel_bytes: int, file_bytes: int, scans: int = 1) -> None:
    limit = max_pixels()
    if limit is None:
        return
    width, height = size
    pixels = width * height
    if pixels > limit or max(size) > MAX_SIDE:
        raise Refused(
            f"has {width} x {height} pixels, and at most {limit} with sides of at most {MAX_SIDE} "
            "are read"
        )
    needed, allowed = pixels * pixel_bytes + file_bytes, max_bytes()
    if allowed is not None and needed > allowed:
        raise Refused(
            f"has {width} x {height} pixels, which take {needed} bytes to decode, and at most "
            f"{allowed} are taken ({_BYTES_A_PIXEL} for each of {limit} pixels and 64 MiB)"
        )
    if pixels * scans > _SCANS * limit:
        raise Refused(
            f"has {scans} scans of {width} x {height} pixels, and at most "
            f"{_SCANS * limit // pixels} are read"
        )


def _decoded_size(img: ImageFile) -> tuple[int, int]:
    """The picture's size, or that of a tile, which is decoded whole, where that is larger."""
    width, height = img.size
    if img.format == "TIFF":
        tags = img.tag_v2  # type: ignore[attr-defined]
        tile = [tags.get(tag) for tag in (_TILE_WIDTH, _TILE_LENGTH)]
        if all(isinstance(side, int) for side in tile):
            return max(width, tile[0]), max(height, tile[1])
    return width, height


def _pixel_bytes(img: ImageFile) -> int:
    """Bytes a pixel at the worst moment: the decoder's own and Pillow's, or a picture and its copy.

    Measured with Pillow 13: 8.3 for a picture and its conversion, 16.2 for WebP before what its
    lossless decoder adds, two bytes a coefficient for JPEGs of several scans.
    """
    if img.format == "WEBP":
        return _WEBP_PIXEL
    if img.format == "JPEG":
        return max(_PIXEL, 4 + 2 * len(img.getbands()))
    if img.format == "TIFF":
        return max(_PIXEL, 5 + _tiff_bits(img) // 8)
    return _PIXEL


def _pixels_a_byte(img: ImageFile, content: bytes) -> int:
    most = _PIXELS_A_BYTE[img.format or ""]
    if img.format == "PNG":
        return most // max(1, _headers.png_bits(content))
    return most // max(1, _tiff_bits(img)) if img.format == "TIFF" else most


def _tiff_bits(img: ImageFile) -> int:
    bits = img.tag_v2.get(_BITS_PER_SAMPLE, 1)  # type: ignore[attr-defined]
    return sum(bits) if isinstance(bits, tuple) else int(bits)


# Pictures so small that more threads than anybody has could decode them at once do not wait.
_CROWD = 512
_UNCOUNTED = nullcontext()


class _Place:
    """What one picture takes."""

    def __init__(self, size: int) -> None:
        self.size = size


class _Room:
    """What pictures take that are being decoded together; one alone may always be decoded."""

    def __init__(self) -> None:
        # Weak: a place that an interrupt kept from being given back is given back by itself.
        self._places: weakref.WeakSet[_Place] = weakref.WeakSet()
        self._changed = threading.Condition()

    def taken(self, size: int) -> AbstractContextManager[None]:
        """A context in which `size` more bytes are counted; they wait until there is room."""
        limit = max_bytes()
        if limit is None or size * _CROWD <= limit:
            return _UNCOUNTED
        return self._counted(size, limit)

    @contextmanager
    def _counted(self, size: int, limit: int) -> Iterator[None]:
        place = _Place(size)
        with self._changed:
            while self._places and self._total() + size > limit:
                self._changed.wait(1.0)
            self._places.add(place)
        try:
            yield
        finally:
            with self._changed:
                self._places.discard(place)
                self._changed.notify_all()

    def _total(self) -> int:
        return sum(place.size for place in self._places)


room = _Room()


def _renew_room() -> None:
    """A forked child has none of the threads that its parent's room was given to."""
    global room
    room = _Room()


os.register_at_fork(after_in_child=_renew_room)
