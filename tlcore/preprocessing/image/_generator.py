"""ImageDataGenerator: what is done to pictures, and the two ways to let them flow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tlcore.preprocessing.image._arrays import NumpyArrayIterator
from tlcore.preprocessing.image._dataframe import DataFrameIterator, supported_class_mode
from tlcore.preprocessing.image._directory import DirectoryIterator

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike


class ImageDataGenerator:
    """Makes iterators over pictures that are standardised as asked.

    Args:
        rescale: factor for every pixel, after `preprocessing_function`; None or 0 for none.
        preprocessing_function: called with one picture, float32 (height, width, channels) with
            values 0..255, in the thread that asks for the batch; returns one of the same shape.
        data_format: "channels_last" or None.
        validation_split: share of the pictures of each class, from 0 to 1, that
            `subset="validation"` takes from the front; `subset="training"` takes the rest.
        dtype: of the batches, float32 if None. Arithmetic is float32 for pictures from files.

    The other arguments, for augmentation and for standardisation by mean and deviation, must be
    left at their defaults in this version.

    Raises NotImplementedError naming those that are not, ValueError for a bad value.
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
        width_shift_range: float | Sequence[int] = 0.0,
        height_shift_range: float | Sequence[int] = 0.0,
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
    ) -> None:
        _refuse_unavailable(
            featurewise_center=(featurewise_center, False),
            samplewise_center=(samplewise_center, False),
            featurewise_std_normalization=(featurewise_std_normalization, False),
            samplewise_std_normalization=(samplewise_std_normalization, False),
            zca_whitening=(zca_whitening, False),
            zca_epsilon=(zca_epsilon, 1e-6),
            rotation_range=(rotation_range, 0),
            width_shift_range=(width_shift_range, 0.0),
            height_shift_range=(height_shift_range, 0.0),
            brightness_range=(brightness_range, None),
            shear_range=(shear_range, 0.0),
            zoom_range=(zoom_range, 0.0),
            channel_shift_range=(channel_shift_range, 0.0),
            fill_mode=(fill_mode, "nearest"),
            cval=(cval, 0.0),
            horizontal_flip=(horizontal_flip, False),
            vertical_flip=(vertical_flip, False),
            interpolation_order=(interpolation_order, 1),
        )
        if data_format not in (None, "channels_last"):
            raise ValueError(f"data_format must be 'channels_last', not {data_format!r}.")
        if preprocessing_function is not None and not callable(preprocessing_function):
            raise TypeError(
                f"preprocessing_function must be callable, not {preprocessing_function!r}."
            )
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(
                f"validation_split must be strictly between 0 and 1, not {validation_split!r}."
            )
        self.rescale = rescale
        self.preprocessing_function = preprocessing_function
        self.data_format = "channels_last"
        self.dtype: DTypeLike = "float32" if dtype is None else dtype
        self.row_axis, self.col_axis, self.channel_axis = 1, 2, 3
        self._validation_split = validation_split

    @property
    def _overridden(self) -> bool:
        """Whether a subclass, or a function set on this generator, standardises in its own way."""
        mine = getattr(self.standardize, "__func__", None)
        return mine is not ImageDataGenerator.standardize

    def standardize(self, x: Any) -> Any:
        """`preprocessing_function`, then `rescale`, on one picture or a batch; may change `x`."""
        if self.preprocessing_function:
            x = self.preprocessing_function(x)
        if self.rescale:
            x *= self.rescale
        return x

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


def _refuse_unavailable(**given: tuple[Any, Any]) -> None:
    """One error for every argument (value, default) that is not at its default."""
    names = [name for name, (value, default) in given.items() if not _is_default(value, default)]
    if names:
        raise NotImplementedError(
            f"ImageDataGenerator: augmentation and standardisation are not available yet in this "
            f"version of tlcore, so {', '.join(names)} must be left at the default."
        )


def _is_default(value: Any, default: Any) -> bool:
    if value is None:
        return not default
    # Only scalars can equal a default; a list or an array may not be compared.
    return isinstance(value, (bool, int, float, str)) and bool(value == default)
