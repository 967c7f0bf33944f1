"""Pictures from files: what iterators over folders and tables have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.preprocessing.image._arithmetic import pixel_rule, reader, value_range
from tlcore.preprocessing.image._iterator import PictureIterator
from tlcore.preprocessing.image._pictures import (
    COLOR_MODES,
    check_color_mode,
    check_interpolation,
    check_target_size,
    image_pixels,
    load_img,
    unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from tlcore.preprocessing.image._arithmetic import Rule
    from tlcore.preprocessing.image._draws import Draw
    from tlcore.preprocessing.image._generator import ImageDataGenerator


class FilesIterator(PictureIterator):
    """Batches of pictures from files.

    A subclass lists the files and their labels, then calls `_list(...)`; `class_mode` says what
    `y` is made of. Source: `keras.src.legacy.preprocessing.image.BatchFromFilesMixin`.
    """

    _hash_limit = 10_000_000
    allowed_class_modes: frozenset[str | None]

    class_mode: str | None
    classes: NDArray[np.int32]
    num_classes: int
    filenames: list[str]
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
    ) -> None:
        """Check and store how pictures are read, and which part of them."""
        if data_format not in (None, "channels_last"):
            raise ValueError(f"data_format must be 'channels_last', not {data_format!r}.")
        if class_mode not in self.allowed_class_modes:
            allowed = ", ".join(sorted(repr(mode) for mode in self.allowed_class_modes))
            raise ValueError(f"class_mode must be one of {allowed}, not {class_mode!r}.")
        self.image_data_generator = image_data_generator
        self.target_size = check_target_size(target_size)
        self.color_mode = check_color_mode(color_mode)
        self.interpolation = check_interpolation(interpolation)
        self.keep_aspect_ratio = keep_aspect_ratio
        self.image_shape = (*self.target_size, COLOR_MODES[color_mode])
        self.data_format = "channels_last"
        self.class_mode = class_mode
        self.dtype = "float32" if dtype is None else dtype
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        self.subset = subset
        self.split = _split(subset, image_data_generator)

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

        Keys: target_size, color_mode, interpolation, keep_aspect_ratio, rescale, preprocessing.
        """
        return reader(
            self.image_data_generator,
            self.target_size,
            self.color_mode,
            self.interpolation,
            self.keep_aspect_ratio,
        )

    def targets(self, indices: ArrayLike | Draw) -> Any:
        """The batch's `y` (see `class_mode`), or None."""
        if self.class_mode is None:
            return None
        if self.class_mode == "input":
            return self.load(indices)
        numbers = self.classes[self._drawn(indices).indices]
        if self.class_mode == "categorical":
            one_hot = np.zeros((len(numbers), self.num_classes), dtype=self.dtype)
            one_hot[np.arange(len(numbers)), numbers] = 1
            return one_hot
        return numbers.astype(self.dtype)

    def keys(self, indices: ArrayLike | Draw) -> list[Hashable] | None:
        """(path, size, mtime in ns, parameters, transform) of each picture; None if not `keepable`.

        OSError if a picture has gone.
        """
        if not self.keepable:
            return None
        parameters = (
            self.target_size,
            self.color_mode,
            self.interpolation,
            self.keep_aspect_ratio,
            *self._key_of_arithmetic(),
        )
        draw = self._drawn(indices)
        found: list[Hashable] = []
        for j, transform in zip(draw.indices, draw.transform_keys(), strict=True):
            path = os.path.abspath(self._filepaths[j])
            try:
                status = os.stat(path)
            except OSError as error:
                raise unreadable(repr(path), error) from error
            found.append((path, status.st_size, status.st_mtime_ns, parameters, transform))
        return found

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
        return (x, x.copy()) if self.class_mode == "input" else super()._batch(draw, x)

    def _pixels(self, j: int) -> NDArray[Any]:
        with load_img(
            self._filepaths[j],
            color_mode=self.color_mode,
            target_size=self.target_size,
            interpolation=self.interpolation,
            keep_aspect_ratio=self.keep_aspect_ratio,
        ) as img:
            return image_pixels(img)


def _split(subset: str | None, generator: ImageDataGenerator | None) -> tuple[float, float] | None:
    """The share of each class that the subset takes, as (from, to)."""
    if subset is None:
        return None
    if subset not in ("training", "validation") or generator is None:
        raise ValueError(f"subset must be 'training', 'validation' or None, not {subset!r}.")
    share = generator._validation_split
    return (0.0, share) if subset == "validation" else (share, 1.0)
