"""One picture file: whether it can be read, what is odd about it, and by what it is recognised.

Runs in the crew of threads that decodes pictures, within the same limits of memory.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlcore.preprocessing.image import _decoding, _headers, _pictures
from tlcore.preprocessing.image._unreadable import is_shortage

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from PIL.ImageFile import ImageFile

# The names that each format goes by.
_SUFFIXES = {
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
_BITS_PER_SAMPLE = 258

HASH_BITS = 192
# Both sides of the grey picture that is hashed, and how far its values must reach: noise on a blank
# picture has a hash like any other.
_HASHED_SIDE = 64
_CONTRAST = 8
# Rows of a picture that are copied at a time.
_BAND = 1 << 22


class Look(NamedTuple):
    """What to look for: limits, whether to hash, and the shape of pictures for features."""

    min_size: int
    max_aspect_ratio: float
    hashes: bool
    features: tuple[int, int, int] | None


@dataclass
class Facts:
    """What is known of a picture file.

    `content` and `pixels` are digests of its bytes and of its decoded pixels, `hashes` the bits
    (2, 192) of the picture and its mirror image, `picture` uint8 in the shape that was asked for.
    None: it could not be had. `findings` are (kind, detail).
    """

    findings: list[tuple[str, str]] = field(default_factory=list)
    content: bytes | None = None
    pixels: bytes | None = None
    hashes: NDArray[np.bool_] | None = None
    picture: NDArray[np.uint8] | None = None


def examine(path: str, look: Look) -> Facts:
    """Read and decode the file; whatever is wrong with it is a finding.

    Raises what is the machine's fault: MemoryError, and OSError for too many open files.
    """
    facts = Facts()
    name, content = repr(path), None
    try:
        name, content, _ = _pictures._read_bytes(path)
        facts.content = hashlib.sha256(content).digest() if content else None
        with _pictures._named(name):
            source = _decoding.opened(content)
        with _decoding.room.taken(_decoding.cost(source)), _pictures._named(name):
            source.load()
            _look_at(source, path, content, look, facts)
    except (OSError, ValueError) as error:
        if is_shortage(error):
            raise
        facts.findings = [_failure(path, name, content, error)]
    return facts


def _failure(path: str, name: str, content: bytes | None, error: Exception) -> tuple[str, str]:
    """The finding about a file that cannot be read (`content` is None) or decoded."""
    if content is None and os.path.islink(path) and not os.path.exists(path):
        return "broken link", f"it leads to {os.readlink(path)!r}, which does not exist"
    if content == b"":
        return "empty file", "it has no bytes"
    detail = str(error).replace(f" {name}", "")
    reason = str(error.__cause__ or "").lower()
    if content and ("truncat" in reason or _lacks_end(content)):
        return "truncated", detail
    return "unreadable", detail


def _lacks_end(content: bytes) -> bool:
    """Whether a JPEG or PNG file lacks what ends it, although its decoder may not mind."""
    if content.startswith(b"\xff\xd8\xff"):
        return not _headers.jpeg_has_end(content)
    return content.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" not in content


def _look_at(img: ImageFile, path: str, content: bytes, look: Look, facts: Facts) -> None:
    """Everything about a picture that could be decoded."""
    found, kind = facts.findings, img.format or ""
    if _lacks_end(content):
        found.append(("truncated", "what ends the file is missing, though all pixels were decoded"))
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _SUFFIXES[kind]:
        found.append(("wrong extension", f"a {kind} file called {suffix}"))
    if _has_more(img, content):
        found.append(("animated", f"a {kind} file of several pictures"))
    turned = _pictures._found(img).orientation
    if turned != 1:
        found.append(("EXIF rotation", f"orientation {turned}"))
    _look_at_colours(img, content, found)
    width, height = img.size
    if min(img.size) < look.min_size:
        found.append(("tiny", f"{width} x {height} pixels"))
    if max(img.size) > look.max_aspect_ratio * min(img.size):
        found.append(("extreme shape", f"{width} x {height} pixels"))

    facts.pixels = _pixel_digest(img)
    if look.hashes:
        facts.hashes = perceptual_hashes(img)
    if look.features is not None:
        height, width, channels = look.features
        mode = "rgb" if channels == 3 else "grayscale"
        small = _eight_bit(img, mode).resize((width, height), _resampling().BILINEAR)
        facts.picture = np.asarray(small).reshape(look.features)


def _look_at_colours(img: ImageFile, content: bytes, found: list[tuple[str, str]]) -> None:
    if img.mode == "CMYK":
        found.append(("CMYK", "it is converted to RGB without its colour profile: colours are off"))
    if img.mode.startswith(("I", "F")):
        what = f"Pillow's mode {img.mode}"
        found.append(("16-bit", f"{what}: 'rgb' cuts its values to 0..255, 'grayscale' does not"))
    elif _bits(img, content) == 16:
        found.append(("16-bit", "the upper 8 bits of each value are read"))
    if _is_transparent(img):
        found.append(("transparency", "'rgb' drops it: what it hides is seen"))


def _has_more(img: ImageFile, content: bytes) -> bool:
    if img.format != "GIF":
        return bool(getattr(img, "is_animated", False))
    try:
        # Another reader: a look at the second picture must not disturb the first.
        return bool(_decoding.opened(content).is_animated)  # type: ignore[attr-defined]
    except Exception:  # damage behind the first picture
        return False


def _bits(img: ImageFile, content: bytes) -> int:
    """Bits of a value, where they can be 16 though Pillow gives 8."""
    if img.format == "PNG":
        return content[24]
    if img.format == "TIFF":
        bits = img.tag_v2.get(_BITS_PER_SAMPLE, 1)  # type: ignore[attr-defined]
        return max(bits) if isinstance(bits, tuple) else int(bits)
    return 8


def _is_transparent(img: Image.Image) -> bool:
    """Whether any pixel is not opaque."""
    if img.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        lowest = img.getchannel("A").getextrema()[0]
    elif "transparency" not in img.info:
        return False
    elif img.mode in ("1", "L", "P", "RGB"):
        lowest = img.convert("RGBA").getchannel("A").getextrema()[0]
    else:
        return True  # a grey of 16 bits that counts as transparent
    return isinstance(lowest, (int, float)) and lowest < 255


def _pixel_digest(img: Image.Image) -> bytes:
    """Equal for pictures that are equal pixel by pixel, in whatever format they are stored."""
    if img.mode == "P":  # the same picture may have its palette in another order
        img = img.convert("RGBA" if "transparency" in img.info else "RGB")
    width, height = img.size
    digest = hashlib.sha256(f"{img.mode} {width} {height} ".encode())
    rows = max(1, _BAND // (4 * width))
    for top in range(0, height, rows):
        digest.update(img.crop((0, top, width, min(height, top + rows))).tobytes())
    return digest.digest()


def perceptual_hashes(img: Image.Image) -> NDArray[np.bool_] | None:
    """ImageHash's phash, dhash and dhash_vertical of `img` and of its mirror image: bool (2, 192).

    None for a picture without contrast. ImportError without the library.
    """
    import imagehash
    from PIL import Image

    side = (_HASHED_SIDE, _HASHED_SIDE)
    small = _eight_bit(img, "grayscale").resize(side, _resampling().LANCZOS)
    lowest, highest = small.getextrema()
    if highest - lowest < _CONTRAST:  # type: ignore[operator]
        return None
    mirrored = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    functions = (imagehash.phash, imagehash.dhash, imagehash.dhash_vertical)
    return np.array(
        [
            np.concatenate([function(picture).hash.ravel() for function in functions])
            for picture in (small, mirrored)
        ]
    )


def _eight_bit(img: Image.Image, color_mode: str) -> Image.Image:
    """`img` in 8 bits a channel; what has more is small then, and spread over 0..255 to be seen."""
    if not img.mode.startswith(("I", "F")):
        img = img.convert("RGB") if img.mode == "LAB" else img  # which has no way to grey
        return _pictures._convert(img, color_mode)
    from PIL import Image

    wide = img.convert("I") if img.mode.startswith("I;") else img
    side = (min(img.width, 256), min(img.height, 256))
    values = np.asarray(wide.resize(side, _resampling().BOX))
    values = np.nan_to_num(values, nan=0, posinf=0, neginf=0).astype(np.float64)
    lowest, highest = float(values.min()), float(values.max())
    share = (values - lowest) / (highest - lowest) if highest > lowest else values * 0
    grey = Image.fromarray((255 * share).astype(np.uint8))
    return _pictures._convert(grey, color_mode)


def _resampling() -> Any:
    from PIL import Image

    return Image.Resampling
