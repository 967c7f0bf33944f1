"""What is unusual about pictures and changes their pixels: said once for each iterator and kind.

Threads of the crew find it, the thread that takes the pictures says it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from tlcore.utils.notes import note

if TYPE_CHECKING:
    from tlcore.preprocessing.image._pictures import Found

# A kind, and the rest of a sentence that begins with the picture's name.
Remark: TypeAlias = tuple[str, str]

_FORMATS = {
    "bmp": "BMP",
    "gif": "GIF",
    "jfif": "JPEG",
    "jpe": "JPEG",
    "jpeg": "JPEG",
    "jpg": "JPEG",
    "pbm": "PPM",
    "pgm": "PPM",
    "png": "PNG",
    "pnm": "PPM",
    "ppm": "PPM",
    "tif": "TIFF",
    "tiff": "TIFF",
    "webp": "WEBP",
}


def remarks_on(path: str, found: Found, color_mode: str, exif: bool) -> tuple[Remark, ...]:
    """What is to be said of a picture that was read in this way."""
    return _remarks_on(path.rpartition(".")[2].lower(), found, color_mode, exif)


@lru_cache(maxsize=256)
def _remarks_on(extension: str, found: Found, color_mode: str, exif: bool) -> tuple[Remark, ...]:
    remarks: list[Remark] = []
    if _FORMATS.get(extension, found.format) != found.format:
        remarks.append(
            ("format", f"is a {found.format} file and was read as one, its first picture alone")
        )
    if found.orientation != 1 and not exif:
        remarks.append(
            (
                "orientation",
                f"has an EXIF orientation ({found.orientation}), which is left alone as in Keras; "
                "exif=True applies it",
            )
        )
    if found.mode == "F" or (color_mode != "grayscale" and found.mode.startswith("I")):
        keeps = "" if found.mode == "F" else "; color_mode='grayscale' keeps them"
        remarks.append(
            (
                "depth",
                f"has more than 8 bits a pixel (Pillow's mode {found.mode}), and values above 255 "
                f"became 255, as in Keras{keeps}",
            )
        )
    if found.transparent and color_mode != "rgba":
        remarks.append(
            (
                "transparency",
                "has transparency, which is left out as in Keras, so that the colours beneath it "
                "show; color_mode='rgba' keeps it",
            )
        )
    if found.mode == "CMYK":
        remarks.append(
            ("cmyk", "is CMYK and was converted without its colour profile, as in Keras")
        )
    return tuple(remarks)


class Remarks:
    """The remarks on an iterator's pictures that have not been said."""

    def __init__(self) -> None:
        self._found: dict[int, Sequence[Remark]] = {}
        self._said: set[str] = set()

    def add(self, j: int, remarks: Sequence[Remark]) -> None:
        """Any thread may find something."""
        if any(kind not in self._said for kind, _ in remarks):
            self._found[j] = remarks

    def say(self, indices: Iterable[int], paths: Sequence[str]) -> None:
        """Print what was found about these pictures, in their order, and is new."""
        if not self._found:
            return
        fresh: dict[str, list[tuple[int, str]]] = {}
        read = 0
        for j in indices:
            read += 1
            for kind, text in self._found.pop(j, ()):
                if kind not in self._said:
                    fresh.setdefault(kind, []).append((j, text))
        for kind, alike in fresh.items():
            self._said.add(kind)
            j, text = alike[0]
            count = f" (the first of {len(alike)} such among {read})" if len(alike) > 1 else ""
            note(f"picture {paths[j]!r} {text}{count}.", key=object())
