"""Small pictures of every kind that Pillow writes, for the campaigns and harnesses beside them.

`originals()` is a list of (extension, content); `places(content)` says where a format keeps sizes
and lengths; `repaired(extension, content)` makes a PNG's checksums right again, without which a
reader looks at nothing behind the damage.
"""

from __future__ import annotations

import functools
import io
import os
import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlcore.datasets import _sports


def _noise(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Something between a photo and noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(2, height // 6), max(2, width // 6), channels))
    large = np.repeat(np.repeat(coarse, 7, 0), 7, 1)[:height, :width]
    return (large + rng.integers(0, 24, large.shape)).clip(0, 255).astype(np.uint8)


def _written(img: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    img.copy().save(data, kind, **options)  # a copy: a save leaves its settings behind
    return data.getvalue()


@functools.cache
def originals() -> list[tuple[str, bytes]]:
    """(extension, content) of every kind of picture."""
    rgb = Image.fromarray(_noise(61, 83, 3))
    grey, palette = rgb.convert("L"), rgb.quantize(64)
    rgba = Image.fromarray(_noise(40, 37, 4, 1))
    deep = Image.fromarray(np.arange(33 * 29, dtype=np.uint16).reshape(33, 29) * 60)
    wide = Image.fromarray(np.linspace(0, 1, 31 * 23, dtype=np.float32).reshape(31, 23))
    frames = [Image.fromarray(_noise(30, 34, 3, seed)) for seed in range(3)]
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "a camera", 72.0
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0 said of it"
    found = [
        (".jpg", _written(rgb, "JPEG", quality=80)),
        (".jpg", _written(rgb, "JPEG", progressive=True, optimize=True, subsampling=0)),
        (".jpg", _written(grey, "JPEG", restart_marker_blocks=3)),
        (".jpg", _written(rgb.convert("CMYK"), "JPEG", progressive=True)),
        (".jpg", _written(rgb, "JPEG", exif=exif, icc_profile=b"none" * 40, comment=b"hello")),
        (
            ".jpg",
            _written(frames[0], "MPO", save_all=True, append_images=[f.copy() for f in frames[1:]]),
        ),
        (".png", _written(rgb, "PNG")),
        (".png", _written(rgba, "PNG", exif=exif, dpi=(72, 72))),
        (".png", _written(palette, "PNG", transparency=3)),
        (".png", _written(grey.convert("1"), "PNG")),
        (".png", _written(deep, "PNG")),
        (
            ".png",
            _written(frames[0], "PNG", save_all=True, append_images=[f.copy() for f in frames[1:]]),
        ),
        (".png", _interlaced(16, 19)),
        (".gif", _written(palette, "GIF", interlace=1)),
        (".gif", _written(palette, "GIF", transparency=5, comment=b"hello")),
        (
            ".gif",
            _written(
                frames[0],
                "GIF",
                save_all=True,
                append_images=[f.copy() for f in frames[1:]],
                loop=0,
            ),
        ),
        (".bmp", _written(rgb, "BMP")),
        (".bmp", _written(palette, "BMP")),
        (".bmp", _written(rgba, "BMP")),
        (".bmp", _written(grey.convert("1"), "BMP")),
        (".bmp", _run_length(23, 9)),
        (".webp", _written(rgb, "WEBP", quality=60, exif=exif)),
        (".webp", _written(rgba, "WEBP", lossless=True)),
        (".webp", _written(rgba, "WEBP", quality=50, alpha_quality=50)),
        (
            ".webp",
            _written(
                frames[0], "WEBP", save_all=True, append_images=[f.copy() for f in frames[1:]]
            ),
        ),
        (".ppm", _written(rgb, "PPM")),
        (".pgm", _written(grey, "PPM")),
        (".ppm", b"P3\n# said\n3 2\n255\n" + b"1 2 3 40 50 60 7 8 9\n" * 2),
        (".tif", _written(rgb, "TIFF", tiffinfo={270: "said of it"})),
        (".tif", _written(rgb, "TIFF", compression="tiff_lzw")),
        (".tif", _written(rgb, "TIFF", compression="jpeg")),
        (".tif", _written(rgb, "TIFF", compression="tiff_adobe_deflate", big_tiff=True)),
        (".tif", _written(grey.convert("1"), "TIFF", compression="group4")),
        (".tif", _written(deep, "TIFF", compression="packbits")),
        (".tif", _written(wide, "TIFF")),
        (".tif", _written(rgb.convert("LAB"), "TIFF")),
        (
            ".tif",
            _written(
                frames[0], "TIFF", save_all=True, append_images=[f.copy() for f in frames[1:]]
            ),
        ),
    ]
    if not writes_good_mpo():
        found = [one for one in found if b"MPF\0" not in one[1]]
    textures = _sports._textures(37)
    found += [(".jpg", _sports.draw(sport, 0, 37, textures)) for sport in _sports.SPORTS]
    return found + _photos()


@functools.cache
def writes_good_mpo() -> bool:
    """Releases of Pillow from 10.0 to 10.4 write MPO files that they cannot read themselves."""
    frames = [Image.fromarray(_noise(20, 30, 3, seed)) for seed in range(3)]
    content = _written(frames[0].copy(), "MPO", save_all=True, append_images=frames[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            Image.open(io.BytesIO(content)).load()
        except (OSError, SyntaxError, UserWarning):
            return False
    return True


def _photos() -> list[tuple[str, bytes]]:
    """A few small photos, where the shared data is."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("TLCORE_SHARED_DATA") or beside) / "photos"
    paths = sorted(folder.rglob("*.jpg"), key=lambda path: (path.stat().st_size, path.name))
    return [(".jpg", path.read_bytes()) for path in paths[:6]]


def png(
    width: int, height: int, rows: bytes, depth: int = 8, kind: int = 2, laced: int = 0
) -> bytes:
    """A PNG file whose pixels, filter bytes included, are `rows`, whatever its header says."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, laced)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        for name, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def _interlaced(width: int, height: int) -> bytes:
    rows = b""
    for x, y, dx, dy in (
        *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
        *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
    ):
        count = len(range(x, width, dx))
        rows += b"".join(b"\0" + bytes([x + y] * 3 * count) for _ in range(y, height, dy))
    return png(width, height, rows, laced=1)


def _run_length(width: int, height: int) -> bytes:
    """A BMP file compressed by run lengths, of all its kinds of runs."""
    row = b"\x05\x01\x00\x04\x02\x03\x04\x05\x03\x02\x00\x02\x02\x00\x01\x07\x00\x00"
    data = row * (height - 1) + b"\x17\x03\x00\x01"
    palette = b"".join(bytes((i, 255 - i, i, 0)) for i in range(256))
    start = 54 + len(palette)
    return (
        b"BM"
        + struct.pack("<IHHI", start + len(data), 0, 0, start)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
        + palette
        + data
    )


def places(content: bytes) -> list[int]:
    """Where numbers and marks are, as far as a look at the bytes tells."""
    if content.startswith(b"\xff\xd8"):
        return [found.start() for found in re.finditer(rb"\xff[\x02-\xcf\xd9-\xfe]", content)]
    if content.startswith(b"\x89PNG"):
        names = re.finditer(rb"[a-zA-Z]{4}", content)
        return [0, 8, 16, 20, 24, *(found.start() for found in names)]
    if content.startswith(b"GIF"):
        return [6, 8, 10, *(found.start() for found in re.finditer(rb"[,!][\x00-\xff]", content))]
    if content.startswith(b"RIFF"):
        names = re.finditer(rb"VP8.|ALPH|ANI[MF]|EXIF|ICCP", content)
        return [4, 16, 20, 24, 27, *(found.start() for found in names)]
    if content.startswith((b"II", b"MM")):
        order = "<" if content.startswith(b"II") else ">"
        (first,) = struct.unpack_from(f"{order}I", content, 4)
        return [4, *range(first, min(first + 200, len(content)), 4)]
    return list(range(0, 60, 2))


def repaired(extension: str, content: bytes) -> bytes:
    """The same with the checksums that its chunks should have."""
    if extension != ".png":
        return content
    data, at = bytearray(content), 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + size > len(data):
            break
        data[at + 8 + size : at + 12 + size] = zlib.crc32(data[at + 4 : at + 8 + size]).to_bytes(
            4, "big"
        )
        at += 12 + size
    return bytes(data)


def resized(content: bytes, width: int, height: int) -> bytes:
    """The same with another size in its header, and no other pixels."""
    data = bytearray(content)
    if content.startswith(b"\x89PNG"):
        data[16:24] = struct.pack(">II", width, height)
    elif content.startswith(b"GIF"):
        data[6:10] = struct.pack("<HH", min(width, 65535), min(height, 65535))
    elif content.startswith(b"BM"):
        data[18:26] = struct.pack("<ii", width, height)
    elif content.startswith(b"\xff\xd8"):
        found = re.search(rb"\xff[\xc0-\xc2]", content)
        assert found is not None
        size = struct.pack(">HH", min(height, 65535), min(width, 65535))
        data[found.end() + 3 : found.end() + 7] = size
    elif content[12:16] == b"VP8X":
        data[24:30] = (width - 1).to_bytes(4, "little")[:3] + (height - 1).to_bytes(4, "little")[:3]
    elif content[12:16] == b"VP8L":
        old = int.from_bytes(data[21:25], "little") >> 28 << 28
        new = old | ((height - 1) & 0x3FFF) << 14 | ((width - 1) & 0x3FFF)
        data[21:25] = new.to_bytes(4, "little")
    elif content.startswith(b"P"):
        return re.sub(rb"\d+ \d+\n", b"%d %d\n" % (width, height), content, count=1)
    return bytes(data)
