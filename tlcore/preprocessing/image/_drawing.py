"""Random transforms as Keras draws them, and what `fit` finds out about pictures."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from tlcore.preprocessing.image._generator import ImageDataGenerator


def draw_transform(
    generator: ImageDataGenerator, rng: Any, img_shape: Sequence[int]
) -> dict[str, Any]:
    """`get_random_transform` from a RandomState, or from the module `numpy.random`."""
    theta: Any = 0
    if generator.rotation_range:
        theta = rng.uniform(-generator.rotation_range, generator.rotation_range)
    tx = _draw_shift(rng, generator.height_shift_range, img_shape[generator.row_axis - 1])
    ty = _draw_shift(rng, generator.width_shift_range, img_shape[generator.col_axis - 1])
    shear: Any = 0
    if generator.shear_range:
        shear = rng.uniform(-generator.shear_range, generator.shear_range)
    zx: Any = 1
    zy: Any = 1
    low, high = generator.zoom_range
    if not (low == 1 and high == 1):
        zx, zy = rng.uniform(low, high, 2)
    # Both are drawn always: what is drawn next must not depend on what is on.
    flip_horizontal = (rng.random_sample() < 0.5) * generator.horizontal_flip
    flip_vertical = (rng.random_sample() < 0.5) * generator.vertical_flip
    intensity = brightness = None
    if generator.channel_shift_range != 0:
        intensity = rng.uniform(-generator.channel_shift_range, generator.channel_shift_range)
    if generator.brightness_range is not None:
        brightness = rng.uniform(generator.brightness_range[0], generator.brightness_range[1])
    return {
        "theta": theta,
        "tx": tx,
        "ty": ty,
        "shear": shear,
        "zx": zx,
        "zy": zy,
        "flip_horizontal": flip_horizontal,
        "flip_vertical": flip_vertical,
        "channel_shift_intensity": intensity,
        "brightness": brightness,
    }


def draw_transforms(
    generator: ImageDataGenerator, rng: np.random.RandomState, img_shape: Sequence[int], count: int
) -> list[dict[str, Any]]:
    """The next `count` transforms from `rng`."""
    shifts = generator.height_shift_range, generator.width_shift_range
    source: Any = rng
    if all(isinstance(limit, float) or not limit for limit in shifts):
        source = _Numbers(rng.random_sample(_numbers_a_picture(generator) * count))
    return [draw_transform(generator, source, img_shape) for _ in range(count)]


def _numbers_a_picture(generator: ImageDataGenerator) -> int:
    """How many numbers `draw_transform` takes where shifts are fractions."""
    return (
        bool(generator.rotation_range)
        + bool(generator.height_shift_range)
        + bool(generator.width_shift_range)
        + bool(generator.shear_range)
        + 2 * (tuple(generator.zoom_range) != (1, 1))
        + 2
        + (generator.channel_shift_range != 0)
        + (generator.brightness_range is not None)
    )


class _Numbers:
    """What a RandomState draws, from numbers that it has drawn all at once: ten times as fast."""

    def __init__(self, numbers: NDArray[np.float64]) -> None:
        left: Iterator[float] = iter(numbers.tolist())
        self._next: Callable[[], float] = left.__next__

    def random_sample(self) -> float:
        return self._next()

    def uniform(self, low: float, high: float, size: int | None = None) -> Any:
        if size is None:
            return low + (high - low) * self._next()
        return [low + (high - low) * self._next() for _ in range(size)]

    def choice(self, a: float) -> float:
        raise ValueError(f"{a} is no number of choices")


def _draw_shift(rng: Any, limit: Any, size: int) -> Any:
    """Pixels to shift by along an axis of this size."""
    if not limit:
        return 0
    try:
        # ValueError for a float, after which nothing has been drawn.
        shift = rng.choice(limit)
        shift *= rng.choice([-1, 1])
    except ValueError:
        shift = rng.uniform(-limit, limit)
    if (limit if isinstance(limit, float) else np.max(limit)) < 1:
        shift *= size
    return shift


def fit_generator(
    generator: ImageDataGenerator, x: Any, augment: bool, rounds: int, seed: int | None
) -> None:
    """See `ImageDataGenerator.fit`."""
    x = np.array(x, dtype=generator.dtype)
    if x.ndim != 4:
        raise ValueError(f"fit: x must have 4 dimensions, but its shape is {x.shape}.")
    if len(x) == 0:
        raise ValueError("fit: x holds no picture.")
    if x.shape[generator.channel_axis] not in (1, 3, 4):
        warnings.warn(
            f"fit: x should have 1, 3 or 4 channels on axis {generator.channel_axis} "
            f"({generator.data_format}), but its shape is {x.shape}",
            stacklevel=3,
        )
    if generator.rescale:
        x *= generator.rescale
    if augment:
        x = _augmented(generator, x, rounds, seed)
    axes = (0, generator.row_axis, generator.col_axis)
    shape = [1, 1, 1]
    shape[generator.channel_axis - 1] = x.shape[generator.channel_axis]
    if generator.featurewise_center:
        generator.mean = np.reshape(np.mean(x, axis=axes), shape)
        x -= generator.mean
    if generator.featurewise_std_normalization:
        generator.std = np.reshape(np.std(x, axis=axes), shape)
        x /= generator.std + 1e-6
    if generator.zca_whitening:
        flat = np.reshape(x, (len(x), -1))
        u, s, _ = np.linalg.svd(flat.T, full_matrices=False)
        s_inv = np.sqrt(len(x)) / (s + generator.zca_epsilon)
        generator.zca_whitening_matrix = (u * s_inv).dot(u.T)


def _augmented(
    generator: ImageDataGenerator, x: NDArray[Any], rounds: int, seed: int | None
) -> NDArray[Any]:
    rng = np.random if seed is None else np.random.RandomState(seed)
    own = generator._has_own("random_transform", "get_random_transform")
    if own and seed is not None:
        np.random.seed(seed)  # the only generator that code of the user's own can draw from
    augmented = np.zeros((rounds * len(x), *x.shape[1:]), dtype=generator.dtype)
    for i in range(len(augmented)):
        picture = x[i % len(x)]
        if own:
            augmented[i] = generator.random_transform(picture)
        else:
            drawn = generator._draw_transform(rng, picture.shape)
            augmented[i] = generator.apply_transform(picture, drawn)
    return augmented
