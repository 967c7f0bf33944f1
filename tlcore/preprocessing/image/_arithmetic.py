"""What happens to pixels after decoding, and what can be said about the result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from tlcore.preprocessing.image._generator import ImageDataGenerator

# x / divide * scale + offset. The offset -0.0 is the one number whose addition changes nothing.
Rule = tuple[float, float, float]


def own_preprocessing(function: Callable[..., Any] | None) -> str | None:
    """The name of tlcore's own preprocessing that `function` is, or None."""
    # A module that is not imported yet cannot be where the function came from.
    module = sys.modules.get("tlcore.applications.mobilenet_v2")
    if function is not None and function is getattr(module, "preprocess_input", None):
        return "mobilenet_v2"
    return None


def standardizes_by_user(generator: ImageDataGenerator) -> bool:
    """Whether code of the user's takes part in `standardize`."""
    function = generator.preprocessing_function
    return generator._overridden or bool(function and own_preprocessing(function) is None)


def rescales_in_float32(generator: ImageDataGenerator) -> bool:
    """NumPy multiplies float32 by its own float64 scalars in float64, by Python's in float32."""
    rescale = generator.rescale
    return rescale is None or type(rescale) in (bool, int, float)


def _standardizes_simply(generator: ImageDataGenerator) -> bool:
    """Whether it is by `rescale` and a preprocessing function of tlcore's own alone."""
    return not (
        standardizes_by_user(generator)
        or generator.samplewise_center
        or generator.samplewise_std_normalization
        or generator.featurewise_center
        or generator.featurewise_std_normalization
        or generator.zca_whitening
    )


def standardization_key(generator: ImageDataGenerator | None) -> tuple[Hashable, ...] | None:
    """All that decides what `standardize` makes of a picture.

    None where a user's code does, and with whitening, whose matrix is too large to look at for
    every batch.
    """
    if generator is None:
        return ()
    if standardizes_by_user(generator) or generator.zca_whitening:
        return None
    featurewise = (
        np.asarray(generator.mean if generator.featurewise_center else None),
        np.asarray(generator.std if generator.featurewise_std_normalization else None),
    )
    return (
        own_preprocessing(generator.preprocessing_function),
        float(generator.rescale or 1.0),
        type(generator.rescale).__name__,
        bool(generator.samplewise_center),
        bool(generator.samplewise_std_normalization),
        *((a.dtype.str, a.shape, repr(a.tolist())) for a in featurewise),
    )


def pixel_rule(generator: ImageDataGenerator | None) -> Rule | None:
    """What `standardize` makes of a byte as a rule that C can run, or None if it is not one."""
    if generator is None:
        return 1.0, 1.0, -0.0
    if not _standardizes_simply(generator) or not rescales_in_float32(generator):
        return None
    rescale = generator.rescale
    if not generator.preprocessing_function:
        return 1.0, float(rescale or 1.0), -0.0
    return None if rescale else (127.5, 1.0, -1.0)


def value_range(
    generator: ImageDataGenerator | None, eight_bit: bool
) -> tuple[float, float] | None:
    """The lowest and highest value a picture can have after `standardize`, None if unknown."""
    if not eight_bit:
        return None
    low, high = 0.0, 255.0
    if generator is None:
        return low, high
    # Splines of a higher order overshoot.
    if (
        not _standardizes_simply(generator)
        or generator._transforms_overridden
        or (generator._is_random and generator.interpolation_order > 1)
    ):
        return None
    if not generator._only_flips and generator.fill_mode in ("constant", "grid-constant"):
        low, high = min(low, generator.cval), max(high, generator.cval)
    if generator.preprocessing_function:
        low, high = low / 127.5 - 1.0, high / 127.5 - 1.0
    if generator.rescale:
        factor = float(generator.rescale)
        low, high = min(low * factor, high * factor), max(low * factor, high * factor)
    return low, high


def reader(
    generator: ImageDataGenerator | None,
    target_size: tuple[int, int],
    color_mode: str,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
    exif: bool = False,
) -> dict[str, Any] | None:
    """How one more picture is to be read and standardised like the others, without transforms.

    None if that cannot be said in data.
    """
    if generator is not None and not _standardizes_simply(generator):
        return None
    function = None if generator is None else generator.preprocessing_function
    # Readers from before `exif` do not have it, and are equal to those that do without.
    return {
        "target_size": target_size,
        "color_mode": color_mode,
        "interpolation": interpolation,
        "keep_aspect_ratio": keep_aspect_ratio,
        "rescale": float(generator.rescale) if generator and generator.rescale else None,
        "preprocessing": own_preprocessing(function),
        **({"exif": True} if exif else {}),
    }
