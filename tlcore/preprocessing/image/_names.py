"""Names of picture files, as programs written for keras-preprocessing look for them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tlcore.preprocessing.image._listing import walk

EXTENSIONS = ("jpg", "jpeg", "bmp", "png", "ppm", "tif", "tiff")


def validate_filename(
    filename: str | os.PathLike[str], white_list_formats: str | Sequence[str]
) -> bool:
    """Whether a name ends in one of `white_list_formats`, in whatever case, and is a file's.

    Source: keras_preprocessing/image/utils.py.
    """
    name = os.fspath(filename)
    ends = (white_list_formats,) if isinstance(white_list_formats, str) else white_list_formats
    return name.lower().endswith(tuple(ends)) and os.path.isfile(name)


def list_pictures(
    directory: str | os.PathLike[str], ext: str | Sequence[str] = EXTENSIONS
) -> list[str]:
    """Paths of the files in a folder and all folders in it whose extension is one of `ext`.

    In the order of `os.walk`; [] for a folder that is not there.
    Source: keras_preprocessing/image/utils.py.
    """
    ends = tuple(f".{one}" for one in ((ext,) if isinstance(ext, str) else ext))
    return [
        os.path.join(folder, name)
        for folder, _, names in walk(os.fspath(directory))
        for name in names
        if name.lower().endswith(ends)
    ]
