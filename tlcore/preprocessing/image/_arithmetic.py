"""What happens to pixels after decoding, and what can be said about the result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

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


def is_pure(generator: ImageDataGenerator | None) -> bool:
    """Whether standardising a picture is a function of the picture alone."""
    if generator is None:
        return True
    function = generator.preprocessing_function
    return not generator._overridden and (not function or own_preprocessing(function) is not None)


def pixel_rule(generator: ImageDataGenerator | None) -> Rule | None:
    """The arithmetic of `standardize` as a rule that C can run, or None if it is not one."""
    if generator is None:
        return 1.0, 1.0, -0.0
    if not is_pure(generator):
        return None
    rescale = generator.rescale
    # NumPy multiplies float32 by its own float64 scalars in float64, by Python's in float32.
    if rescale is not None and type(rescale) not in (bool, int, float):
        return None
    if not generator.preprocessing_function:
        return 1.0, float(rescale or 1.0), -0.0
    return None if rescale else (127.5, 1.0, -1.0)


def value_range(
    generator: ImageDataGenerator | None, eight_bit: bool
) -> tuple[float, float] | None:
    """The lowest and highest value a picture can have after `standardize`, None if unknown."""
    if not eight_bit or not is_pure(generator):
        return None
    low, high = 0.0, 255.0
    if generator is not None:
        if generator.preprocessing_function:
            low, high = -1.0, 1.0
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
) -> dict[str, Any] | None:
    """How one more picture is to be read like the others; None if that cannot be said in data."""
    if not is_pure(generator):
        return None
    function = None if generator is None else generator.preprocessing_function
    return {
        "target_size": target_size,
        "color_mode": color_mode,
        "interpolation": interpolation,
        "keep_aspect_ratio": keep_aspect_ratio,
        "rescale": float(generator.rescale) if generator and generator.rescale else None,
        "preprocessing": own_preprocessing(function),
    }


def standardization(generator: ImageDataGenerator | None) -> tuple[tuple[str, Any], ...]:
    """What a pure generator does to a decoded picture, to the last bit, in data."""
    if generator is None:
        return ()
    # The type of `rescale` decides on the precision of the product (see `pixel_rule`).
    rescale = (type(generator.rescale).__name__, repr(generator.rescale))
    return ("scaled by", rescale), (
        "function",
        own_preprocessing(generator.preprocessing_function),
    )


def write_pixels(
    dst: NDArray[Any], src: NDArray[Any], rule: Rule, generator: ImageDataGenerator | None
) -> None:
    """`dst` = `src` by `rule`: in C for bytes to float32, otherwise in NumPy with equal results.

    Bytes to bytes: the rule is for whoever reads them.
    """
    if dst.dtype == np.uint8 and src.dtype == np.uint8:
        dst[...] = src
        return
    if src.dtype == np.uint8 and dst.dtype == np.float32:
        from tlcore import _core

        _core.pixels_to_float(dst, src, *rule)
        return
    x = src.astype("float32")
    dst[...] = x if generator is None else generator.standardize(x)
