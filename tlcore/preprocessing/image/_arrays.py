"""Pictures from NumPy arrays."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.preprocessing.image._arithmetic import reader, value_range
from tlcore.preprocessing.image._content import with_draws
from tlcore.preprocessing.image._iterator import PictureIterator
from tlcore.utils.digests import picture_keys
from tlcore.utils.notes import note

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from tlcore.preprocessing.image._draws import Draw
    from tlcore.preprocessing.image._generator import ImageDataGenerator


class NumpyArrayIterator(PictureIterator):
    """Batches of pictures from `x` (n, height, width, channels) with `y` and weights as given.

    `x` may be (pictures, array) or (pictures, [arrays]); the batch's `x` is then a list. `x` is
    held in `dtype`, without a copy if it has that type already. `queue` may hold what `Iterator`
    takes beside. See `ImageDataGenerator.flow`.

    Raises ValueError for lengths that differ, pictures that are not 4-dimensional, or a split
    whose parts hold different classes. Source: `keras.src.legacy.preprocessing.image`.
    """

    _hash_limit = 10_000

    def __init__(
        self,
        x: Any,
        y: Any,
        image_data_generator: ImageDataGenerator,
        batch_size: int = 32,
        shuffle: bool = False,
        sample_weight: Any = None,
        seed: int | None = None,
        data_format: str | None = None,
        save_to_dir: str | os.PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        ignore_class_split: bool = False,
        dtype: DTypeLike | None = None,
        **queue: Any,
    ) -> None:
        if data_format not in (None, "channels_last"):
            raise ValueError(f"data_format must be 'channels_last', not {data_format!r}.")
        self.dtype = "float32" if dtype is None else dtype
        further: list[NDArray[Any]] = []
        if isinstance(x, (tuple, list)):
            if len(x) != 2:
                raise ValueError(
                    f"x must be an array or (pictures, further arrays), not {len(x)} things."
                )
            x, rest = x
            further = [np.asarray(a) for a in (rest if isinstance(rest, list) else [rest])]
        x = np.asarray(x)
        # The beginnings are Keras's: programs look for them.
        for begins, name, value in (
            *(("All of the arrays in `x`", "a further array of x", a) for a in further),
            ("`x` (images tensor) and `y` (labels)", "y", y),
            ("`x` (images tensor) and `sample_weight`", "sample_weight", sample_weight),
        ):
            if value is not None and len(value) != len(x):
                raise ValueError(
                    f"{begins} should have the same length: x holds {len(x)} pictures, but {name} "
                    f"has {len(value)} entries."
                )
        y = None if y is None else np.asarray(y)
        weights = None if sample_weight is None else np.asarray(sample_weight)
        if subset is not None:
            part = _part(y, len(x), subset, image_data_generator, ignore_class_split)
            x, further = x[part], [a[part] for a in further]
            y = None if y is None else y[part]
            if weights is not None:
                weights = weights[part]
                if part.start:
                    note(
                        "flow(subset='training') gives every picture its own sample_weight "
                        "(Keras gives these pictures the first weights of the whole array)"
                    )
            if len(x) == 0:
                raise ValueError(
                    f"subset {subset!r} holds no picture: validation_split is "
                    f"{image_data_generator._validation_split}."
                )
        self._eight_bit = x.dtype == np.uint8
        self.x = np.asarray(x, dtype=self.dtype)
        if self.x.ndim != 4:
            raise ValueError(
                f"x must have 4 dimensions (n, height, width, channels), but its shape is "
                f"{self.x.shape}."
            )
        if self.x.shape[3] not in (1, 3, 4):
            warnings.warn(
                f"x should have 1, 3 or 4 channels on its last axis, but its shape is "
                f"{self.x.shape}",
                stacklevel=3,
            )
        self.x_misc = further
        self.y = y
        self.sample_weight = weights
        self.image_data_generator = image_data_generator
        self.data_format = "channels_last"
        self.save_to_dir = save_to_dir
        self.save_prefix = save_prefix
        self.save_format = save_format
        self.image_shape = self.x.shape[1:]
        self.subset = subset
        super().__init__(len(self.x), batch_size, shuffle, seed, **queue)

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Lowest and highest value a pixel can have; None unless `x` was given as uint8."""
        return value_range(self.image_data_generator, self._eight_bit)

    @property
    def reader(self) -> dict[str, Any] | None:
        """How a file is to be read to be like these pictures; None unless `x` was uint8."""
        color_mode = {1: "grayscale", 3: "rgb", 4: "rgba"}.get(self.x.shape[3])
        if not self._eight_bit or color_mode is None:
            return None
        height, width = self.x.shape[1:3]
        return reader(self.image_data_generator, (height, width), color_mode)

    def targets(self, indices: ArrayLike | Draw) -> NDArray[Any] | None:
        """`y` of these samples, or None."""
        return None if self.y is None else self.y[self._drawn(indices).indices]

    def sample_weights(self, indices: ArrayLike | Draw) -> NDArray[Any] | None:
        """Weights of these samples, or None."""
        weights = self.sample_weight
        return None if weights is None else weights[self._drawn(indices).indices]

    def keys(self, indices: ArrayLike | Draw) -> list[Hashable] | None:
        """None: `x` may be changed in place at any time, so no key outlives a call."""
        return None

    def _held_pixels(self, j: int, keep: bool) -> NDArray[Any]:
        pixels: NDArray[Any] = self.x[j]
        return pixels

    def content_keys(self, indices: ArrayLike | Draw) -> list[bytes] | None:
        if not self._is_known:
            return None
        draw = self._drawn(indices)
        keys = picture_keys(self.x[draw.indices], repr(self.arithmetic_key()))
        return None if keys is None else with_draws(keys, draw)

    @property
    def _arithmetic_dtype(self) -> DTypeLike:
        return self.dtype

    def _batch(self, draw: Draw, x: Any) -> Any:
        if self.x_misc:
            x = [x, *(a[draw.indices] for a in self.x_misc)]
        return super()._batch(draw, x)


def _part(
    y: NDArray[Any] | None,
    n: int,
    subset: str,
    generator: ImageDataGenerator,
    ignore_class_split: bool,
) -> slice:
    """The part of the arrays that the subset takes."""
    if subset not in ("training", "validation"):
        raise ValueError(f"subset must be 'training', 'validation' or None, not {subset!r}.")
    split = int(n * generator._validation_split)
    if (
        y is not None
        and not ignore_class_split
        and not np.array_equal(np.unique(y[:split]), np.unique(y[split:]))
    ):
        raise ValueError(
            "Training and validation subsets have different number of classes after the split, or "
            "different classes: shuffle x and y together first, or pass ignore_class_split=True."
        )
    return slice(0, split) if subset == "validation" else slice(split, n)
