"""From a decoded picture to the one that a network sees: one call of C where that is possible."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tlcore import _core
from tlcore.preprocessing.image._arithmetic import rescales_in_float32, standardizes_by_user
from tlcore.preprocessing.image._transformations import affine_matrices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

    from tlcore.preprocessing.image._generator import ImageDataGenerator

# Arguments of `_core.transform_picture`.
Changes: TypeAlias = dict[str, Any]


class Transformer:
    """What a generator does to each picture of a batch: transforms it, then standardises it.

    It holds what the generator says when it is made, which takes microseconds: make one for every
    batch, since a program may call the generator's `fit` or set its attributes in between. It may
    then be used by any number of threads at once.

    Attributes:
        identity: nothing random is on: every transform leaves a picture as it is.
        flips_only: no transform does more than flip, so that bytes can stay bytes.
        runs_in_c: `apply` is one call of C without the GIL. Otherwise it runs Python code that may
            be the user's, neither thread-safe nor free of randomness: to be called from the
            thread that asks for the batch.

    Args:
        generator: None for pictures as they are.
        arithmetic_dtype: what Keras computes in: float32 for files, the iterator's dtype for
            arrays. In C only float32.
    """

    def __init__(
        self, generator: ImageDataGenerator | None, arithmetic_dtype: DTypeLike = "float32"
    ) -> None:
        self._generator = generator
        self._dtype = np.dtype(arithmetic_dtype)
        self._moving: dict[str, Any] = {}
        standardize: dict[str, Any] | None = {}
        transforms_in_c = True
        self.identity = self.flips_only = generator is None
        if generator is not None:
            self.identity = not generator._is_random
            self.flips_only = generator._only_flips
            self._moving = generator._moving
            standardize = standardizing(generator)
            transforms_in_c = (
                generator.data_format == "channels_last"
                and not generator._transforms_overridden
                and generator.interpolation_order <= 1
            )
        self._standardize = standardize or {}
        self.runs_in_c = (
            standardize is not None
            and (transforms_in_c or self.identity)
            and self._dtype == np.float32
        )

    def prepare(
        self, transforms: Sequence[Mapping[str, Any]], height: int, width: int
    ) -> list[Changes] | list[None]:
        """For `apply`, what C is told for each transform of pictures of this size."""
        if not self.runs_in_c:
            return [None] * len(transforms)
        return changes_of(transforms, height, width, self._moving)

    def apply(
        self,
        dst: NDArray[Any],
        src: NDArray[Any],
        transform: Mapping[str, Any] | None = None,
        changes: Changes | None = None,
    ) -> None:
        """`dst` = `src` (height, width, channels), transformed and standardised.

        Args:
            dst: same shape, contiguous, not overlapping `src`. If it is uint8, `src` must be too,
                and is flipped and no more: only with `flips_only`.
            src: uint8, also with gaps between its pixels as `image_pixels` shows them, or float32;
                other types are converted first.
            transform: what `get_random_transform` returned; None to standardise alone.
            changes: what `prepare` made of it; made here if it is left out.
        """
        if dst.dtype == np.uint8:
            _core.transform_picture(dst, src, **flipping(transform or {}))
            return
        if not self.runs_in_c:
            x = src.astype(self._dtype)
            generator = self._generator
            if generator is not None:
                if transform is not None:
                    x = generator.apply_transform(x, transform)
                x = generator.standardize(x)
            dst[...] = x
            return
        arguments = self._standardize
        if transform is not None:
            if changes is None:
                (changes,) = self.prepare([transform], *src.shape[:2])
            arguments = {**(changes or {}), **arguments}
        if src.dtype not in (np.uint8, np.float32):
            src = src.astype(np.float32)
        out = dst if dst.dtype == np.float32 else np.empty(dst.shape, np.float32)
        _core.transform_picture(out, src, **arguments)
        if out is not dst:
            dst[...] = out


def flipping(transform: Mapping[str, Any]) -> Changes:
    """The arguments of `_core.transform_picture` for the flips of a transform."""
    flips: Changes = {}
    if transform.get("flip_horizontal", False):
        flips["flip_cols"] = True
    if transform.get("flip_vertical", False):
        flips["flip_rows"] = True
    return flips


def changes_of(
    transforms: Sequence[Mapping[str, Any]], height: int, width: int, moving: Mapping[str, Any]
) -> list[Changes]:
    """The arguments for each transform; `moving` holds order, fill_mode and cval."""
    found = []
    matrices = affine_matrices(transforms, height, width)
    for transform, matrix in zip(transforms, matrices, strict=True):
        arguments = flipping(transform)
        if matrix is not None:
            arguments.update(moving, matrix=matrix)
        if transform.get("channel_shift_intensity") is not None:
            arguments["channel_shift"] = transform["channel_shift_intensity"]
        if transform.get("brightness") is not None:
            arguments["brightness"] = transform["brightness"]
        found.append(arguments)
    return found


def standardizing(generator: ImageDataGenerator) -> dict[str, Any] | None:
    """The arguments that do what `generator.standardize` does; None if they cannot.

    Warns where the generator would need a `fit` first, as `standardize` does.
    """
    arguments: dict[str, Any] = {}
    function, rescale = generator.preprocessing_function, generator.rescale
    if (
        standardizes_by_user(generator)
        or generator.zca_whitening
        or not rescales_in_float32(generator)
    ):
        return None
    if function:
        arguments.update(divide=127.5, offset=-1.0)
    if rescale:
        arguments["rescale" if function else "scale"] = float(rescale)
    if generator.samplewise_center:
        arguments["samplewise_center"] = True
    if generator.samplewise_std_normalization:
        arguments["samplewise_std"] = True
    if generator.featurewise_center:
        if generator.mean is None:
            warn_unfitted("featurewise_center")
        elif not _is_fitted(generator.mean):
            return None
        else:
            arguments["mean"] = generator.mean.ravel()
    if generator.featurewise_std_normalization:
        if generator.std is None:
            warn_unfitted("featurewise_std_normalization")
        elif not _is_fitted(generator.std):
            return None
        else:
            arguments["divisor"] = generator.std.ravel() + 1e-6
    return arguments


def _is_fitted(value: Any) -> bool:
    """Whether it is what `fit` makes: float32, one number a channel."""
    return (
        isinstance(value, np.ndarray)
        and value.dtype == np.float32
        and value.shape == (1, 1, value.size)
    )


def warn_unfitted(argument: str) -> None:
    warnings.warn(
        f"{argument} has no effect before ImageDataGenerator.fit(pictures) is called",
        stacklevel=3,
    )
