"""One picture: file -> Pillow image -> array, and back.

Pillow's decoding, conversion and resizing are the definition of every pixel value. What is added
here is that each failure is one sentence that names the file.
"""

from __future__ import annotations

import io
import os
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias, TypeVar

import numpy as np

from tlcore.preprocessing.image import _decoding, _headers
from tlcore.preprocessing.image._decoding import FORMATS, Refused, cost, max_bytes, opened
from tlcore.saving._files import put

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray
    from PIL import Image
    from PIL.ImageFile import ImageFile

PicturePath: TypeAlias = "str | bytes | os.PathLike[str]"
Stamp: TypeAlias = tuple[int, int]  # size in bytes, time of change in ns
Pixels = TypeVar("Pixels")

_CHANNELS = {"L": 1, "RGB": 3, "RGBA": 4}  # by Pillow's modes of 8 bits
COLOR_MODES = {"grayscale": 1, "rgb": 3, "rgba": 4}
# Pillow's names for what makes a picture of EXIF orientation 2, 3, ... upright.
_UPRIGHT = (
    "FLIP_LEFT_RIGHT",
    "ROTATE_180",
    "FLIP_TOP_BOTTOM",
    "TRANSPOSE",
    "ROTATE_270",
    "TRANSVERSE",
    "ROTATE_90",
)
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


def check_color_mode(color_mode: str) -> str:
    if color_mode not in COLOR_MODES:
        raise ValueError(f"color_mode must be 'grayscale', 'rgb' or 'rgba', not {color_mode!r}.")
    return color_mode


def check_target_size(target_size: Sequence[int]) -> tuple[int, int]:
    try:
        height, width = target_size
        if int(height) == height > 0 and int(width) == width > 0:
            return int(height), int(width)
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"target_size must be two positive integers (height, width), not {target_size!r}."
    )


def check_interpolation(interpolation: str) -> str:
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation must be one of {', '.join(INTERPOLATIONS)}, not {interpolation!r}."
        )
    return interpolation


def check_data_format(data_format: str | None) -> str:
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(
            f"data_format must be 'channels_last' or 'channels_first', not {data_format!r}."
        )
    return data_format or "channels_last"


class Found(NamedTuple):
    """What a file turned out to hold, before any of it is changed.

    Attributes:
        format: one of FORMATS in capitals. mode: Pillow's. orientation: EXIF's, 1 to 8.
        transparent: whether it has an alpha channel or a transparent colour.
    """

    format: str
    mode: str
    orientation: int
    transparent: bool


def load_img(
    path: PicturePath | io.BytesIO,
    color_mode: str = "rgb",
    target_size: Sequence[int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
    *,
    exif: bool = False,
) -> Image.Image:
    """Reads a picture file into a Pillow image, as `keras.utils.load_img` does.

    `target_size` is (height, width). With `keep_aspect_ratio` the centre of the picture is cut to
    that aspect ratio first. 16- and 32-bit greyscale stay as they are with
    `color_mode="grayscale"`, elsewhere values above 255 become 255. CMYK is converted without its
    colour profile, and transparency is left out unless `color_mode="rgba"`. Of several pictures in
    a file (GIF, WebP, TIFF, MPO) the first is read.

    The EXIF orientation of JPEG, PNG and WebP files is left alone unless `exif`, which turns the
    picture upright before it is cut and resized; Pillow always applies that of TIFF files.

    BMP, GIF, JPEG (MPO), PNG, PPM, TIFF and WebP files are read, whatever they are called. A
    picture is refused that has more than `PIL.Image.MAX_IMAGE_PIXELS` pixels (89 million), a side
    above 65,535, or would take more than ten bytes for each of those pixels and 64 MiB (917 MiB);
    pictures that threads decode at the same time share that memory. None turns these limits off.

    Raises FileNotFoundError, PermissionError, PIL.UnidentifiedImageError (none of these formats),
    OSError (truncated or damaged) or ValueError (beyond a limit, or a bad argument), naming the
    file.
    """
    check_color_mode(color_mode)
    check_interpolation(interpolation)
    size = None if target_size is None else check_target_size(target_size)

    def finish(img: Image.Image, name: str) -> Image.Image:
        return _resized(img, name, size, interpolation, keep_aspect_ratio)

    return _read(path, color_mode, exif, finish)[0]


def read_pixels(
    path: PicturePath,
    color_mode: str,
    target_size: tuple[int, int],
    interpolation: str,
    keep_aspect_ratio: bool,
    *,
    exif: bool,
) -> tuple[NDArray[Any], Found, Stamp]:
    """The pixels of `load_img` (height, width, channels), what the file holds, and its stamp.

    What `interpolation="nearest"` picks is picked in C, from where Pillow would pick it.
    """

    def finish(img: Image.Image, name: str) -> NDArray[Any]:
        if interpolation == "nearest" and img.mode in _CHANNELS:
            return _nearest(img, target_size, keep_aspect_ratio)
        return image_pixels(_resized(img, name, target_size, interpolation, keep_aspect_ratio))

    return _read(path, color_mode, exif, finish)


def _read(
    path: PicturePath | io.BytesIO,
    color_mode: str,
    exif: bool,
    finish: Callable[[Image.Image, str], Pixels],
) -> tuple[Pixels, Found, Stamp]:
    """What `finish` makes of a decoded picture and its name, what its file holds, and its stamp."""
    name, content, stamp = _read_bytes(path)
    with _named(name):
        source = opened(content)
    del content  # Pillow lets go of it once an uncompressed picture is decoded
    with _decoding.room.taken(cost(source)):
        with _named(name):
            source.load()  # decoding may be put off, and only here can a failure name the file
            found = _found(source)
            img = _convert(source, color_mode)
        del source
        if exif and found.orientation > 1:
            img = _turned(img, found.orientation)
        return finish(img, name), found, stamp


def _turned(img: Image.Image, orientation: int) -> Image.Image:
    from PIL import Image

    return img.transpose(Image.Transpose[_UPRIGHT[orientation - 2]])


def _resized(
    img: Image.Image,
    name: str,
    size: tuple[int, int] | None,
    interpolation: str,
    keep_aspect_ratio: bool,
) -> Image.Image:
    from PIL import Image

    if size is None or img.size == (size[1], size[0]):
        return img
    resample = Image.Resampling[interpolation.upper()]
    box = _centre_box(img.size, size) if keep_aspect_ratio else None
    try:
        return img.resize((size[1], size[0]), resample, box=box)
    except ValueError as error:  # older releases of Pillow do so for 16-bit pictures
        raise ValueError(
            f"Picture {name} has Pillow's mode {img.mode!r}, which this release of Pillow does "
            f"not resize with interpolation={interpolation!r} ({_one_line(error)})."
        ) from error


def _nearest(img: Image.Image, size: tuple[int, int], keep_aspect_ratio: bool) -> NDArray[np.uint8]:
    from tlcore import _core

    pixels = image_pixels(img)
    height, width, channels = pixels.shape
    box = _centre_box((width, height), size) if keep_aspect_ratio else (0, 0, width, height)
    picked = np.empty((*size, channels), np.uint8)
    rows = _nearest_places(height, size[0], box[1], box[3])
    cols = _nearest_places(width, size[1], box[0], box[2])
    _core.pixels_pick(picked, pixels, rows, cols)
    return picked


@lru_cache(maxsize=1024)
def _nearest_places(length: int, size: int, low: int, high: int) -> NDArray[np.int64]:
    """Which of `length` places Pillow picks for `size` of them between low and high."""
    from PIL import Image

    if (size, low, high) == (length, 0, length):
        return np.arange(length, dtype=np.int64)
    ruler = Image.fromarray(np.arange(length, dtype=np.int32)[np.newaxis])
    picked = ruler.resize((size, 1), Image.Resampling.NEAREST, box=(low, 0, high, 1))
    places: NDArray[np.int64] = np.array(picked, dtype=np.int64)[0]
    return places


class _named:
    """A context that says which file it was, in one sentence, whatever went wrong with its bytes.

    A class: every picture goes through two, and generators cost more.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, MemoryError):
            _raise_named(self._name, error)


def _raise_named(name: str, error: Exception) -> NoReturn:
    from PIL import UnidentifiedImageError

    if isinstance(error, Refused):
        raise ValueError(
            f"Picture {name} {error} (raise PIL.Image.MAX_IMAGE_PIXELS if you trust it)."
        ) from None
    if isinstance(error, UnidentifiedImageError):
        raise UnidentifiedImageError(
            f"File {name} is not a picture in one of the formats {', '.join(FORMATS)} ({error})."
        ) from error
    # Pillow's readers raise whatever damaged bytes lead them to.
    raise OSError(f"Picture {name} is truncated or damaged ({_one_line(error)}).") from error


def _read_bytes(path: PicturePath | io.BytesIO) -> tuple[str, bytes, Stamp]:
    """The name for messages, the whole file, and its stamp."""
    if isinstance(path, io.BytesIO):
        return "<in memory>", path.getvalue(), (0, 0)
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"path must be a path or io.BytesIO, not {type(path).__name__}.")
    name = repr(os.fsdecode(path))
    from tlcore import _core

    limit = max_bytes()
    try:
        content, *stamp = _core.read_file(path, sys.maxsize if limit is None else limit)
    except OSError as error:
        raise unreadable(name, error) from error
    if content is None:
        raise ValueError(
            f"Picture {name} is a file of {stamp[0]} bytes, and at most {limit} are read (raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it)."
        )
    return name, content, (stamp[0], stamp[1])


def status_of(path: str) -> os.stat_result:
    """`os.stat` of a picture file. Raises OSError that names it as a picture."""
    try:
        return os.stat(path)
    except OSError as error:
        raise unreadable(repr(path), error) from error


def unreadable(name: str, error: OSError) -> OSError:
    """The exception that says why the picture file `name` cannot be read."""
    if isinstance(error, FileNotFoundError):
        if error.filename is not None and os.path.islink(error.filename):
            return FileNotFoundError(f"Picture {name} is a symbolic link to a file that is gone.")
        return FileNotFoundError(f"Picture {name} does not exist.")
    if isinstance(error, PermissionError):
        return PermissionError(f"No permission to read picture {name}.")
    return OSError(f"Picture {name} cannot be read ({error.strerror}).")


def _found(img: ImageFile) -> Found:
    tags = img.info.get("exif")
    return Found(
        img.format or "",
        img.mode,
        # Pillow has turned a TIFF already.
        _headers.orientation(tags) if isinstance(tags, bytes) and img.format != "TIFF" else 1,
        img.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in img.info,
    )


def _convert(img: Image.Image, color_mode: str) -> Image.Image:
    if color_mode != "rgba" and isinstance(img.info.get("transparency"), bytes):
        del img.info["transparency"]  # Pillow would, with a warning
    if color_mode == "grayscale":
        return img if img.mode in ("L", "I;16", "I") else img.convert("L")
    mode = color_mode.upper()
    return img if img.mode == mode else img.convert(mode)


def _centre_box(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int, int, int]:
    """The largest box of the target's aspect ratio in the middle, in Keras's integer arithmetic."""
    width, height = size
    crop_height = min(height, (width * target[0]) // target[1])
    crop_width = min(width, (height * target[1]) // target[0])
    left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return left, top, left + crop_width, top + crop_height


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def img_to_array(
    img: Image.Image | ArrayLike, data_format: str | None = None, dtype: DTypeLike | None = None
) -> NDArray[Any]:
    """A Pillow image as an array (height, width, channels), float32 unless `dtype` says otherwise.

    Values are those of the image (0..255 for 8-bit pictures). ValueError if it is not 2D or 3D.
    """
    data_format = check_data_format(data_format)
    x = np.asarray(img, dtype="float32" if dtype is None else dtype)
    if x.ndim not in (2, 3):
        raise ValueError(f"img must have 2 or 3 dimensions, but its shape is {x.shape}.")
    if x.ndim == 2:
        x = x[:, :, np.newaxis]
    return x.transpose(2, 0, 1) if data_format == "channels_first" else x


def image_pixels(img: Image.Image) -> NDArray[Any]:
    """The pixels (height, width, channels) in the image's own type.

    Those of 8 bits are a view of Pillow's memory, four bytes a pixel where it has colours, if this
    release of Pillow shows it (11.2 does) and it is one piece.
    """
    from tlcore import _core

    channels = _CHANNELS.get(img.mode)
    if channels is not None and hasattr(img, "__arrow_c_array__"):
        try:
            return _core.arrow_pixels(*img.__arrow_c_array__(), img.height, img.width, channels)
        except (ValueError, MemoryError):  # pieces of a large picture
            pass
    pixels = np.asarray(img)
    return pixels.reshape(img.height, img.width, -1)


def array_to_img(
    x: ArrayLike,
    data_format: str | None = None,
    scale: bool = True,
    dtype: DTypeLike | None = None,
) -> Image.Image:
    """An array (height, width, 1, 3 or 4 channels) as a Pillow image.

    `scale` stretches the values to 0..255; otherwise they are cut to integers as they are.
    One channel with values above 255 gives a 32-bit image. ValueError for any other shape.
    """
    from PIL import Image

    data_format = check_data_format(data_format)
    a = np.asarray(x, dtype="float32" if dtype is None else dtype)
    if a.ndim != 3:
        raise ValueError(f"x must be one picture with 3 dimensions, but its shape is {a.shape}.")
    if data_format == "channels_first":
        a = a.transpose(1, 2, 0)
    channels = a.shape[2]
    if channels not in (1, 3, 4):
        raise ValueError(f"x must have 1, 3 or 4 channels, but its shape is {a.shape}.")
    if scale:
        a = a - np.min(a)
        highest = np.max(a)
        if highest != 0:
            a /= highest
        a *= 255
    if channels > 1:
        return Image.fromarray(np.ascontiguousarray(a.astype("uint8")))
    depth = "int32" if np.max(a) > 255 else "uint8"
    return Image.fromarray(np.ascontiguousarray(a[:, :, 0].astype(depth)))


def save_img(
    path: PicturePath | IO[bytes],
    x: ArrayLike,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Writes an array as a picture file; the format is `file_format` or the path's extension.

    `kwargs` go to `PIL.Image.Image.save`. A path appears only when the whole file is written.
    RGBA is written to JPEG as RGB, with a warning. ValueError for an unknown format.
    """
    if file_format is None and isinstance(path, (str, bytes, os.PathLike)):
        file_format = os.path.splitext(os.fsdecode(path))[1][1:]
    file_format = (file_format or "").lower()
    img = array_to_img(x, data_format=data_format, scale=scale)
    if img.mode == "RGBA" and file_format in ("jpg", "jpeg"):
        warnings.warn(
            "The JPEG format does not support RGBA images, converting to RGB.", stacklevel=2
        )
        img = img.convert("RGB")
    if isinstance(path, (str, bytes, os.PathLike)):
        write_picture(os.fsdecode(path), img, file_format, **kwargs)
    else:
        img.save(path, format=pillow_format(file_format), **kwargs)


def pillow_format(name: str) -> str:
    """Pillow's name of the format that is called `name` ("jpg" is "JPEG")."""
    from PIL import Image

    known = Image.registered_extensions()
    found = known.get(f".{name.lower()}", name.upper())
    if found not in Image.SAVE:
        raise ValueError(
            f"file_format must be a picture format that Pillow writes, such as png or jpg, "
            f"not {name!r}."
        )
    return found


def write_picture(path: str, img: Image.Image, file_format: str, **kwargs: Any) -> None:
    """Encodes in memory and renames into place, so that no reader ever sees half a file."""
    data = io.BytesIO()
    try:
        img.save(data, format=pillow_format(file_format), **kwargs)
    except OSError as error:
        raise OSError(f"Picture {path!r} cannot be written ({_one_line(error)}).") from error
    write_file(path, data.getvalue())


def write_file(path: str, data: bytes) -> None:
    """Whole or not at all; hundreds of pictures in a row do not wait for the disk one by one."""
    try:
        put(Path(path), [data], durable=False)
    except OSError as error:
        kind = type(error) if isinstance(error, (FileNotFoundError, PermissionError)) else OSError
        raise kind(f"File {path!r} cannot be written ({error.strerror}).") from error
