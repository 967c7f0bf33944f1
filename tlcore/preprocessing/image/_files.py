"""Pictures from files: what iterators over folders and tables have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.preprocessing.image._arithmetic import pixel_rule, reader, value_range
from tlcore.preprocessing.image._content import file_keys, with_draws
from tlcore.preprocessing.image._decoded import DecodedPictures
from tlcore.preprocessing.image._iterator import PictureIterator
from tlcore.preprocessing.image._pictures import (
    COLOR_MODES,
    Stamp,
    check_color_mode,
    check_interpolation,
    check_target_size,
    read_pixels,
    status_of,
)
from tlcore.preprocessing.image._remarks import Remarks, remarks_on
from tlcore.preprocessing.image._unreadable import unreadable_pictures
from tlcore.utils.notes import note

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from tlcore.preprocessing.image._arithmetic import Rule
    from tlcore.preprocessing.image._draws import Draw, Indices
    from tlcore.preprocessing.image._generator import ImageDataGenerator

# How many pictures that cannot be read are named; `skipped` has them all.
_NAMED = 3


class FilesIterator(PictureIterator):
    """Batches of pictures from files.

    A subclass calls `_set_reading`, lists `filenames` and `_filepaths`, and then leaves to
    `_keep_readable` which of them stay; `class_mode` says what `y` is made of.

    Source: `keras.src.legacy.preprocessing.image.BatchFromFilesMixin`.
    """

    _hash_limit = 10_000_000
    allowed_class_modes: frozenset[str | None]

    class_mode: str | None
    classes: Any
    num_classes: int
    filenames: list[str]
    skipped: list[tuple[str, str]]
    keep_decoded: bool = True
    _filepaths: list[str]

    def _set_reading(
        self,
        image_data_generator: ImageDataGenerator | None,
        *,
        target_size: Sequence[int],
        color_mode: str,
        interpolation: str,
        keep_aspect_ratio: bool,
        class_mode: str | None,
        subset: str | None,
        data_format: str | None,
        dtype: DTypeLike | None,
        save_to_dir: str | os.PathLike[str] | None,
        save_prefix: str,
        save_format: str,
        exif: bool,
        on_error: str,
    ) -> None:
        """Check and store how pictures are read, and which part of them."""
        if data_format not in (None, "channels_last"):
            raise ValueError(f"data_format must be 'channels_last', not {data_format!r}.")
        if class_mode not in self.allowed_class_modes:
            allowed = ", ".join(sorted(repr(mode) for mode in self.allowed_class_modes))
            raise ValueError(f"class_mode must be one of {allowed}, not {class_mode!r}.")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', not {on_error!r}.")
        if not isinstance(exif, bool):
            raise TypeError(f"exif must be True or False, not {exif!r}.")
        self.image_data_generator = image_data_generator
        self.target_size = check_target_size(target_size)
        self.color_mode = check_color_mode(color_mode)
        self.interpolation = check_interpolation(interpolation)
        self.keep_aspect_ratio = keep_aspect_ratio
        self.exif = exif
        self.on_error = on_error
        self.image_shape = (*self.target_size, COLOR_MODES[color_mode])
        self.data_format = "channels_last"
        self.class_mode = class_mode
        self.dtype = "float32" if dtype is None else dtype
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        self.subset = subset
        self.split = _split(subset, image_data_generator)
        self._decoded = DecodedPictures()
        self._remarks = Remarks()

    def _keep_readable(self) -> list[int]:
        """The places of the files that stay in `filenames`: all, or with "skip" the readable ones.

        ValueError if none can be read.
        """
        self.skipped = []
        size = len(self.filenames)
        if self.on_error == "raise":
            return list(range(size))
        reasons = unreadable_pictures(lambda j: self._held_pixels(j, keep=True), size)
        self._remarks.say(range(size), self._filepaths)
        readable = [j for j in range(size) if j not in reasons]
        self.skipped = [(self.filenames[j], reason) for j, reason in reasons.items()]
        said = " ".join(list(reasons.values())[:_NAMED])
        if len(reasons) > _NAMED:
            said += f" {len(reasons) - _NAMED} more are in the iterator's `skipped`."
        if not readable:
            raise ValueError(f"None of the {size} pictures can be read: {said}")
        if reasons:
            note(
                f"on_error='skip' left out {len(reasons)} of {size} pictures: {said}", key=object()
            )
            self.filenames = [self.filenames[j] for j in readable]
            self._filepaths = [self._filepaths[j] for j in readable]
        return readable

    @property
    def filepaths(self) -> list[str]:
        """Paths of the pictures, `directory` joined with `filenames`."""
        return self._filepaths

    @property
    def labels(self) -> Any:
        """Class number of every picture, shape (n,)."""
        return self.classes

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Lowest and highest value a pixel can have, None if unknown."""
        # Greyscale is the one mode that keeps 16- and 32-bit pictures as they are.
        eight_bit = self.color_mode != "grayscale" or all(
            name.lower().endswith(("jpg", "jpeg", "bmp")) for name in self.filenames
        )
        return value_range(self.image_data_generator, eight_bit)

    @property
    def reader(self) -> dict[str, Any] | None:
        """How one more picture is to be read like these; None if a user's own function takes part.

        Keys: target_size, color_mode, interpolation, keep_aspect_ratio, rescale, preprocessing, and
        exif if it is True.
        """
        return reader(
            self.image_data_generator,
            self.target_size,
            self.color_mode,
            self.interpolation,
            self.keep_aspect_ratio,
            self.exif,
        )

    def targets(self, indices: ArrayLike | Draw) -> Any:
        """The batch's `y` (see `class_mode`), or None."""
        if self.class_mode is None:
            return None
        if self.class_mode == "input":
            return self.load(indices)
        rows = self._drawn(indices).indices
        if self.class_mode == "categorical":
            hot = np.zeros((len(rows), self.num_classes), dtype=self.dtype)
            self._mark_classes(hot, rows)
            return hot
        return np.asarray(self.classes)[rows].astype(self.dtype)

    def _mark_classes(self, hot: NDArray[Any], rows: Indices) -> None:
        """Set those of (samples, classes) that the samples belong to."""
        hot[np.arange(len(rows)), self.classes[rows]] = 1

    def keys(self, indices: ArrayLike | Draw) -> list[Hashable] | None:
        """(path, stamp, arithmetic, transform) of each picture; None if not `keepable`.

        OSError if a picture has gone.
        """
        if not self.keepable:
            return None
        arithmetic = self.arithmetic_key()
        draw = self._drawn(indices)
        found: list[Hashable] = []
        for j, transform in zip(draw.indices, draw.transform_keys(), strict=True):
            path = os.path.abspath(self._filepaths[j])
            found.append((path, self._state(*self._stamp(path)), arithmetic, transform))
        return found

    def content_keys(self, indices: ArrayLike | Draw) -> list[bytes] | None:
        if not self._is_known:
            return None
        draw = self._drawn(indices)
        paths = [self._filepaths[j] for j in draw.indices]
        return with_draws(file_keys(paths, (self._reading, self.arithmetic_key())), draw)

    def bytes_rule(self) -> Rule | None:
        # Grey pictures may have 16 bits. A subclass with a `load` of its own is asked for that.
        if (
            self.color_mode == "grayscale"
            or self.save_to_dir is not None
            or np.dtype(self.dtype) != np.float32
            or not self._only_flips
            or type(self).load is not PictureIterator.load
        ):
            return None
        return pixel_rule(self.image_data_generator)

    def _batch(self, draw: Draw, x: NDArray[Any]) -> Any:
        # Not `targets`, which would read the pictures again.
        if self.class_mode == "input":
            return self._with_targets(draw, x, x.copy())
        return super()._batch(draw, x)

    def _read_picture(self, j: int) -> tuple[NDArray[Any], Stamp]:
        """Picture `j` as its file holds it, and which state of the file that was."""
        path = self._filepaths[j]
        pixels, found, stamp = read_pixels(
            path,
            self.color_mode,
            self.target_size,
            self.interpolation,
            self.keep_aspect_ratio,
            exif=self.exif,
        )
        self._remarks.add(j, remarks_on(path, found, self.color_mode, self.exif))
        return pixels, stamp

    def _held_pixels(self, j: int, keep: bool) -> NDArray[Any]:
        keep = keep and self.keep_decoded
        path = self._filepaths[j]
        pixels = None
        if path in self._decoded:
            pixels = self._decoded.get(path, self._state(*self._stamp(path)))
            if not keep:
                self._decoded.drop(path)
        if pixels is None:
            pixels, stamp = self._read_picture(j)
            if keep:
                self._decoded.keep(path, self._state(*stamp), pixels)
        return pixels

    def _stamp(self, path: str) -> Stamp:
        status = status_of(path)
        return status.st_size, status.st_mtime_ns

    def _state(self, size: int, modified: int) -> Hashable:
        """What changes whenever the pixels that are read from a file may."""
        return size, modified, self._reading

    @property
    def _reading(self) -> tuple[Hashable, ...]:
        """All that, beside the file, decides on the decoded pixels."""
        return (
            self.target_size,
            self.color_mode,
            self.interpolation,
            self.keep_aspect_ratio,
            self.exif,
        )

    def _remark(self, draw: Draw) -> None:
        self._remarks.say(draw.indices.tolist(), self._filepaths)


def _split(subset: str | None, generator: ImageDataGenerator | None) -> tuple[float, float] | None:
    """The share of each class that the subset takes, as (from, to)."""
    if subset is None:
        return None
    if subset not in ("training", "validation") or generator is None:
        raise ValueError(f"subset must be 'training', 'validation' or None, not {subset!r}.")
    share = generator._validation_split
    return (0.0, share) if subset == "validation" else (share, 1.0)
