"""ImageDataGenerator: what is done to pictures, and the two ways to let them flow."""

from __future__ import annotations

import math
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.preprocessing.image._arrays import NumpyArrayIterator
from tlcore.preprocessing.image._dataframe import DataFrameIterator, supported_class_mode
from tlcore.preprocessing.image._directory import DirectoryIterator
from tlcore.preprocessing.image._drawing import draw_transform, draw_transforms, fit_generator
from tlcore.preprocessing.image._generator_arguments import (
    check_brightness,
    check_number,
    check_shift,
    low_and_high,
)
from tlcore.preprocessing.image._transformations import (
    apply_affine_transform,
    apply_channel_shift,
    brightened,
    changed,
    check_channels,
    check_fill_mode,
    check_order,
    flip_axis,
)
from tlcore.preprocessing.image._transforming import changes_of, warn_unfitted
from tlcore.training._checks import whole

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

    from tlcore.preprocessing.image._draws import Transform


# Where `get_random_transform` draws from while an iterator of this thread asks for it.
_drawing = threading.local()


class ImageDataGenerator:
    """Makes iterators over pictures that are randomly transformed and standardised as asked.

    A picture goes through: rotation, shift, shear and zoom in one step; channel shift; flips;
    brightness; `preprocessing_function`; `rescale`; samplewise, then featurewise centring and
    division; whitening. float32 pictures are computed in C, with SciPy's and Pillow's numbers.

    Args:
        featurewise_center: subtract the mean of each channel that `fit` found.
        samplewise_center: subtract the picture's own mean.
        featurewise_std_normalization: divide by the deviations that `fit` found, + 1e-6; also sets
            `featurewise_center`.
        samplewise_std_normalization: divide by the picture's own deviation, + 1e-6; also sets
            `samplewise_center`.
        zca_whitening: multiply by the matrix that `fit` found; also sets `featurewise_center`
            and turns `featurewise_std_normalization` off.
        zca_epsilon: added to the singular values that whitening divides by.
        rotation_range: rotate by up to so many degrees either way.
        width_shift_range, height_shift_range: float: up to this share of the width or height
            either way if below 1, otherwise pixels; int n: a whole number of pixels below n;
            list: one of its values, either way. As in Keras 3, what is drawn from
            `height_shift_range` moves pictures from side to side, and the other up or down.
        brightness_range: (low, high), the factor of brightness, through 8 bits.
        shear_range: shear by up to so many degrees either way.
        zoom_range: (low, high), or a number z for (1 - z, 1 + z); one factor for each
            direction, above 1 for smaller.
        channel_shift_range: add one number up to this either way, within the picture's range.
        fill_mode, cval: what lies beyond the edges, see `apply_affine_transform`.
        horizontal_flip, vertical_flip: flip every second picture, at random.
        rescale: factor for every pixel, after `preprocessing_function`; None or 0 for none.
        preprocessing_function: called with one picture, float32 (height, width, channels) with
            values 0..255, in the thread that asks for the batch; returns one of the same shape.
        data_format: "channels_last" (None) or "channels_first", which the methods of this class
            take and the iterators do not.
        validation_split: share of the pictures of each class, from 0 to 1, that
            `subset="validation"` takes from the front; `subset="training"` takes the rest.
        interpolation_order: 0 (nearest pixel) to 5; above 1 needs SciPy (`tlcore[scipy]`).
        dtype: of the batches, float32 if None. Arithmetic is float32 for pictures from files.
        augment_validation: transform the pictures of `subset="validation"` as well, as Keras does.
        augment_views: fix so many views of each picture: the first transforms that are drawn for
            it, which then come again in turn. What a model computes from a view can be kept.

    Attributes: the arguments by their names, `zoom_range` as [low, high]; `mean`, `std` (both
    float32, (1, 1, channels)) and `zca_whitening_matrix`, None before `fit`.

    Raises ValueError or TypeError that names a bad argument; warns, as Keras does, where one
    argument overrides another.
    Source: `keras.src.legacy.preprocessing.image.ImageDataGenerator`.
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: float | Sequence[float] = 0.0,
        height_shift_range: float | Sequence[float] = 0.0,
        brightness_range: Sequence[float] | None = None,
        shear_range: float = 0.0,
        zoom_range: float | Sequence[float] = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[Any], Any] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: DTypeLike | None = None,
        *,
        augment_validation: bool = False,
        augment_views: int | None = None,
    ) -> None:
        if data_format not in (None, "channels_last", "channels_first"):
            raise ValueError(
                f"data_format must be 'channels_last' or 'channels_first', not {data_format!r}."
            )
        if preprocessing_function is not None and not callable(preprocessing_function):
            raise TypeError(
                f"preprocessing_function must be callable, not {preprocessing_function!r}."
            )
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(
                f"validation_split must be strictly between 0 and 1, not {validation_split!r}."
            )
        for name, value in (
            ("zca_epsilon", zca_epsilon),
            ("rotation_range", rotation_range),
            ("shear_range", shear_range),
            ("channel_shift_range", channel_shift_range),
            ("cval", cval),
        ):
            check_number(name, value)
        self.featurewise_center = featurewise_center
        self.samplewise_center = samplewise_center
        self.featurewise_std_normalization = featurewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.zca_whitening = zca_whitening
        self.zca_epsilon = zca_epsilon
        self.rotation_range = rotation_range
        self.width_shift_range = check_shift("width_shift_range", width_shift_range)
        self.height_shift_range = check_shift("height_shift_range", height_shift_range)
        self.brightness_range = check_brightness(brightness_range)
        self.shear_range = shear_range
        self.zoom_range = low_and_high(zoom_range)
        self.channel_shift_range = channel_shift_range
        self.fill_mode = check_fill_mode(fill_mode)
        self.cval = cval
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.rescale = rescale
        self.preprocessing_function = preprocessing_function
        self.data_format = data_format or "channels_last"
        self.interpolation_order = check_order("interpolation_order", interpolation_order)
        self.dtype: DTypeLike = "float32" if dtype is None else dtype
        self.row_axis, self.col_axis, self.channel_axis = (
            (2, 3, 1) if self.data_format == "channels_first" else (1, 2, 3)
        )
        self._validation_split = validation_split
        self.augment_validation = augment_validation
        self.augment_views: int | None = None
        if augment_views is not None:
            self.augment_views = whole("ImageDataGenerator", "augment_views", augment_views, 1)
        self.mean: NDArray[Any] | None = None
        self.std: NDArray[Any] | None = None
        self.zca_whitening_matrix: NDArray[Any] | None = None
        # Given values are compared, not those that an earlier line has set: as Keras warns.
        if zca_whitening:
            self._imply("zca_whitening", "featurewise_center", featurewise_center, True)
            self._imply(
                "zca_whitening",
                "featurewise_std_normalization",
                featurewise_std_normalization,
                False,
            )
        if featurewise_std_normalization:
            self._imply(
                "featurewise_std_normalization", "featurewise_center", featurewise_center, True
            )
        if samplewise_std_normalization:
            self._imply(
                "samplewise_std_normalization", "samplewise_center", samplewise_center, True
            )

    def _imply(self, argument: str, name: str, given: bool, implied: bool) -> None:
        if bool(given) != implied:
            setattr(self, name, implied)
            warnings.warn(
                f"{argument} turns {name} {'on' if implied else 'off'}, which was not asked for",
                stacklevel=3,
            )

    def _has_own(self, *methods: str) -> bool:
        return any(
            getattr(getattr(self, name), "__func__", None) is not getattr(ImageDataGenerator, name)
            for name in methods
        )

    @property
    def _overridden(self) -> bool:
        """Whether a subclass, or a function set on this generator, standardises in its own way."""
        return self._has_own("standardize")

    @property
    def _transforms_overridden(self) -> bool:
        """The same for transforms."""
        return self._has_own("get_random_transform", "apply_transform")

    @property
    def _only_flips(self) -> bool:
        """Whether no transform does more than flip."""
        return not (
            self._transforms_overridden
            or self.rotation_range
            or np.any(self.width_shift_range)
            or np.any(self.height_shift_range)
            or self.shear_range
            or tuple(self.zoom_range) != (1, 1)
            or self.channel_shift_range
            or self.brightness_range is not None
        )

    @property
    def _is_random(self) -> bool:
        """Whether a transform may change a picture."""
        return bool(not self._only_flips or self.horizontal_flip or self.vertical_flip)

    def _augments(self, subset: str | None) -> bool:
        """Whether pictures of this subset are transformed."""
        return self._is_random and (self.augment_validation or subset != "validation")

    @property
    def _moving(self) -> dict[str, Any]:
        """The arguments of `_core.transform_picture` that go with a matrix."""
        return {
            "order": self.interpolation_order,
            "fill_mode": self.fill_mode,
            "cval": float(self.cval),
        }

    def standardize(self, x: Any) -> Any:
        """One picture or a batch, standardised: changed in place where its type allows.

        `preprocessing_function`, `rescale`, samplewise, featurewise, whitening, as far as they are
        on. Warns where `fit` was needed and has not been called.
        """
        if self.preprocessing_function:
            x = self.preprocessing_function(x)
        if self.rescale:
            x *= self.rescale
        if self.samplewise_center:
            x -= np.mean(x, keepdims=True)
        if self.samplewise_std_normalization:
            x /= np.std(x, keepdims=True) + 1e-6
        if self.featurewise_center:
            if self.mean is None:
                warn_unfitted("featurewise_center")
            else:
                x -= self.mean
        if self.featurewise_std_normalization:
            if self.std is None:
                warn_unfitted("featurewise_std_normalization")
            else:
                x /= self.std + 1e-6
        if self.zca_whitening:
            if self.zca_whitening_matrix is None:
                warn_unfitted("zca_whitening")
            else:
                flat = x.reshape(-1, math.prod(x.shape[-3:]))
                x = np.reshape(flat @ self.zca_whitening_matrix, x.shape)
        return x

    def get_random_transform(
        self, img_shape: Sequence[int], seed: int | None = None
    ) -> dict[str, Any]:
        """A random transform for a picture of this shape, as `apply_transform` takes it.

        Draws from NumPy's global generator; with a `seed` from one of its own, which gives what
        Keras gets by seeding the global one.

        Returns theta (degrees), tx, ty (pixels), shear (degrees), zx, zy, flip_horizontal,
        flip_vertical, channel_shift_intensity and brightness (both None if off).
        """
        rng: Any = getattr(_drawing, "rng", None) or np.random
        if seed is not None:
            rng = np.random.RandomState(seed)
        return self._draw_transform(rng, img_shape)

    def _drawn_by_user(
        self, rng: np.random.RandomState, img_shape: Sequence[int]
    ) -> dict[str, Any]:
        """What an own `get_random_transform` draws; where it calls this class's, that is `rng`."""
        _drawing.rng = rng
        try:
            return self.get_random_transform(img_shape)
        finally:
            _drawing.rng = None

    def _draw_transform(self, rng: Any, img_shape: Sequence[int]) -> dict[str, Any]:
        """`get_random_transform` from a RandomState, or from the module `numpy.random`."""
        return draw_transform(self, rng, img_shape)

    def _draw_transforms(
        self, rng: np.random.RandomState, img_shape: Sequence[int], count: int
    ) -> list[Transform]:
        """The transforms of a batch, drawn from `rng` as Keras draws them from its generator."""
        if not self._is_random:
            rng.random_sample(2 * count)  # for the flips that are off
            return []
        if self._has_own("get_random_transform"):
            return [self._drawn_by_user(rng, img_shape) for _ in range(count)]
        return list(draw_transforms(self, rng, img_shape, count))

    def apply_transform(self, x: Any, transform_parameters: Mapping[str, Any]) -> Any:
        """One picture (3 dimensions) transformed as `get_random_transform` says; same shape.

        What is not in `transform_parameters` is off. Returns `x` itself if nothing is on. float32
        pictures stay so; others become what NumPy makes of them.
        """
        x = np.asarray(x)
        row, col, channel = self.row_axis - 1, self.col_axis - 1, self.channel_axis - 1
        get = transform_parameters.get
        intensity, brightness = get("channel_shift_intensity"), get("brightness")
        if x.dtype == np.float32 and x.ndim == 3 and x.size and self.interpolation_order <= 1:
            if brightness is not None:
                check_channels(x, channel)
            size = x.shape[row], x.shape[col]
            (arguments,) = changes_of([transform_parameters], *size, self._moving)
            return changed(x, channel, **arguments) if arguments else x
        x = apply_affine_transform(
            x,
            get("theta", 0),
            get("tx", 0),
            get("ty", 0),
            get("shear", 0),
            get("zx", 1),
            get("zy", 1),
            row_axis=row,
            col_axis=col,
            channel_axis=channel,
            fill_mode=self.fill_mode,
            cval=self.cval,
            order=self.interpolation_order,
        )
        if intensity is not None:
            x = apply_channel_shift(x, intensity, channel)
        if get("flip_horizontal", False):
            x = flip_axis(x, col)
        if get("flip_vertical", False):
            x = flip_axis(x, row)
        if brightness is not None:
            x = brightened(x, brightness, False, channel)
        return x

    def random_transform(self, x: Any, seed: int | None = None) -> Any:
        """One picture (3 dimensions), randomly transformed. See `get_random_transform`."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Find what featurewise standardisation and whitening need from sample pictures.

        Sets `mean` and `std`, one number a channel, and `zca_whitening_matrix` (a float32 square
        whose side is height * width * channels), as far as they are on.

        Args:
            x: pictures, 4 dimensions, converted to `dtype`; `rescale` is applied first.
            augment: take `rounds` random transforms of every picture instead of the pictures.
            seed: of these. NumPy's global generator is used without one, and not touched with one.

        Raises ValueError for another number of dimensions or no pictures. Warns if there are not
        1, 3 or 4 channels.
        """
        fit_generator(self, x, augment, rounds, seed)

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        ignore_class_split: bool = False,
        subset: str | None = None,
    ) -> NumpyArrayIterator:
        """Batches from arrays: `x` (n, height, width, channels), or (`x`, further arrays).

        `subset` takes the front ("validation") or the rest ("training") of the arrays and
        raises ValueError if the two parts do not hold the same classes, unless
        `ignore_class_split`. `save_to_dir` is an existing folder that every batch is written to.
        """
        return NumpyArrayIterator(
            x,
            y,
            self,
            batch_size=batch_size,
            shuffle=shuffle,
            sample_weight=sample_weight,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            subset=subset,
            ignore_class_split=ignore_class_split,
            dtype=self.dtype,
        )

    def flow_from_directory(
        self,
        directory: str | os.PathLike[str],
        target_size: Sequence[int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
        *,
        exif: bool = False,
        on_error: str = "raise",
    ) -> DirectoryIterator:
        """Batches from a folder that holds one folder of pictures for each class.

        See `DirectoryIterator` for the arguments, the labels and what is raised.
        """
        return DirectoryIterator(
            directory,
            self,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            follow_links=follow_links,
            subset=subset,
            interpolation=interpolation,
            keep_aspect_ratio=keep_aspect_ratio,
            dtype=self.dtype,
            exif=exif,
            on_error=on_error,
        )

    def flow_from_dataframe(
        self,
        dataframe: Any,
        directory: str | os.PathLike[str] | None = None,
        x_col: Any = "filename",
        y_col: Any = "class",
        weight_col: Any = None,
        target_size: Sequence[int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        validate_filenames: bool = True,
        *,
        keep_aspect_ratio: bool = False,
        exif: bool = False,
        on_error: str = "raise",
        **kwargs: Any,
    ) -> DataFrameIterator:
        """Batches of the pictures that a table names: a DataFrame or a mapping of columns.

        See `DataFrameIterator` for the arguments, the targets and what is raised. `kwargs` may hold
        has_ext, sort and drop_duplicates, which Keras deprecated and which have no effect; so is
        `class_mode="other"`, which means "raw". TypeError for any other.
        """
        class_mode = supported_class_mode(class_mode, kwargs)
        return DataFrameIterator(
            dataframe,
            directory,
            self,
            x_col=x_col,
            y_col=y_col,
            weight_col=weight_col,
            target_size=target_size,
            color_mode=color_mode,
            classes=classes,
            class_mode=class_mode,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            data_format=self.data_format,
            save_to_dir=save_to_dir,
            save_prefix=save_prefix,
            save_format=save_format,
            subset=subset,
            interpolation=interpolation,
            keep_aspect_ratio=keep_aspect_ratio,
            dtype=self.dtype,
            validate_filenames=validate_filenames,
            exif=exif,
            on_error=on_error,
        )
