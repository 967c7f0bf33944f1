"""Checks of what users hand to fit, evaluate and predict, each with a sentence if it fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlcore.losses import Loss
from tlcore.training._checks import whole
from tlcore.training.data import (
    Array,
    ArraySource,
    Batch,
    IteratorSource,
    PictureIterator,
    Source,
    as_array,
    is_array_like,
    make_source,
)
from tlcore.utils.notes import note


def check_pictures(x: Any, shape: tuple[int, ...]) -> Array:
    """`x` as the network takes it: (n, *shape), uint8 or finite float32, contiguous.

    Raises ValueError with a sentence that names what was given and what is allowed.
    """
    pictures = as_pictures(x, shape)
    check_finite(pictures)
    return pictures


def as_pictures(x: Any, shape: tuple[int, ...]) -> Array:
    """The same, but the values are not looked at."""
    pictures = np.asarray(x)
    if pictures.dtype.kind not in "fiub":
        raise ValueError(f"x must hold numbers, got an array of {pictures.dtype}.")
    check_shape(pictures.shape, shape)
    if pictures.dtype != np.uint8:
        pictures = pictures.astype(np.float32, copy=False)
    return np.ascontiguousarray(pictures)


def check_finite(pictures: Array) -> None:
    """Raise a ValueError that names the first picture with NaN or infinity."""
    if pictures.dtype == np.uint8:
        return
    # The sum is quicker than a look at each number, and finite only if all are, or nearly so.
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = not np.isfinite(pictures.sum())
    if suspect and not np.isfinite(pictures).all():
        row = int(np.argmin(np.isfinite(pictures).reshape(len(pictures), -1).all(axis=1)))
        raise ValueError(
            f"x holds NaN or infinity (in image {row} of its batch); every pixel must be a "
            "finite number."
        )


def check_shape(given: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless an array of shape `given` holds pictures of `shape`."""
    if given[1:] != shape:
        takes = f"(None, {', '.join(map(str, shape))})"
        hint = "; add the axis of the batch with x[np.newaxis]" if given == shape else ""
        raise ValueError(f"x has shape {given}, but the model takes {takes}{hint}.")


def check_picture_shape(source: IteratorSource, shape: tuple[int, ...]) -> None:
    given = source.picture_shape()
    if given != shape:
        hint = ""
        if len(shape) == 3 and given[2:] == shape[2:]:
            hint = f"; pass target_size={shape[:2]} to flow_from_directory"
        raise ValueError(
            f"The generator makes pictures of shape {given}, but the model takes {shape}{hint}."
        )


def note_value_range(iterator: PictureIterator, expected: tuple[float, float] | None) -> None:
    given = iterator.value_range
    if given is None or expected is None:
        return
    if tuple(map(float, given)) != tuple(map(float, expected)):
        note(
            f"the generator gives pixels from {given[0]:g} to {given[1]:g}, but the model's "
            f"weights were trained on {expected[0]:g} to {expected[1]:g}; "
            "ImageDataGenerator(preprocessing_function=mobilenet_v2.preprocess_input) without "
            "rescale gives that.",
            key=("value range", tuple(given), tuple(expected)),
        )


def one_batch(x: Any, y: Any, sample_weight: Any) -> Batch:
    images = as_array("x", x)
    if images.ndim == 0 or len(images) == 0:
        raise ValueError("x holds no images.")
    return Batch(images, y, sample_weight)


def prepare_targets(
    loss: Loss, outputs: int, batch: Batch, class_weight: Mapping[int, float] | None
) -> tuple[Array, NDArray[np.float32] | None]:
    """The targets and weights of a batch as the core takes them."""
    if batch.y is None:
        raise ValueError(
            "y is missing: pass it beside x, or let the generator give (x, y) (class_mode other "
            "than None)."
        )
    y = as_array("y", batch.y)
    targets = loss.prepare(y, outputs)
    if len(targets) != batch.size:
        raise ValueError(f"A batch has {batch.size} images but {len(targets)} targets.")
    return targets, sample_weights(y, batch.sample_weight, class_weight)


def sample_weights(
    y: Array, sample_weight: Any, class_weight: Mapping[int, float] | None
) -> NDArray[np.float32] | None:
    """One weight an image, or None if all weigh the same.

    A class that `class_weight` does not name weighs 1. Source:
    keras/src/trainers/data_adapters/data_adapter_utils.py, class_weight_to_sample_weights.
    """
    if class_weight is not None:
        if sample_weight is not None:
            raise ValueError("class_weight and sample_weight cannot be given at the same time.")
        classes = y
        if classes.ndim > 1:
            classes = classes.argmax(axis=-1) if classes.shape[-1] != 1 else classes[..., 0]
        classes = np.round(classes).astype(np.int32)
        return np.array([class_weight.get(int(c), 1.0) for c in classes], dtype=np.float32)
    if sample_weight is None:
        return None
    weights = as_array("sample_weight", sample_weight)
    if weights.ndim == 2 and weights.shape[1] == 1:
        weights = weights[:, 0]
    if weights.shape != (len(y),):
        raise ValueError(
            f"sample_weight has shape {weights.shape}, but it must hold one number for each of "
            f"the {len(y)} images."
        )
    if weights.dtype.kind not in "fiub" or not np.isfinite(weights).all():
        raise ValueError("sample_weight must hold finite numbers.")
    return weights.astype(np.float32)


def check_class_weight(class_weight: Any, outputs: int) -> dict[int, float] | None:
    """`class_weight` with plain ints and floats; ValueError names a key or value that is wrong."""
    if class_weight is None:
        return None
    if not isinstance(class_weight, Mapping):
        raise ValueError(
            f"class_weight must be a dict of class numbers to weights, got {class_weight!r}."
        )
    classes = max(outputs, 2)
    checked = {}
    for key, value in class_weight.items():
        if isinstance(key, str) or int(key) != key or not 0 <= key < classes:
            raise ValueError(
                f"class_weight has the key {key!r}, but its keys are the class numbers 0 to "
                f"{classes - 1}."
            )
        if not math.isfinite(value):
            raise ValueError(f"class_weight gives class {key} the weight {value!r}.")
        checked[int(key)] = float(value)
    return checked


def split(
    x: Any, y: Any, sample_weight: Any, fraction: float
) -> tuple[tuple[Any, Any, Any], tuple[Any, Any, Any]]:
    """The first part of the arrays to train on, and the last `fraction` to validate on.

    Source: keras/src/trainers/data_adapters/array_slicing.py, train_validation_split.
    """
    if not is_array_like(x):
        raise ValueError(
            f"validation_split works for arrays only, got a {type(x).__name__}; give "
            "validation_data, or validation_split to ImageDataGenerator."
        )
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"validation_split must lie between 0 and 1, got {fraction!r}.")
    arrays = [
        None if value is None else as_array(name, value)
        for name, value in (("x", x), ("y", y), ("sample_weight", sample_weight))
    ]
    total = len(as_array("x", x))
    at = math.floor(total * (1.0 - fraction))
    if at in (0, total):
        raise ValueError(
            f"validation_split={fraction} of {total} images leaves none to "
            f"{'train' if at == 0 else 'validate'} on."
        )
    first = [None if array is None else array[:at] for array in arrays]
    last = [None if array is None else array[at:] for array in arrays]
    return (first[0], first[1], first[2]), (last[0], last[1], last[2])


def validation_source(data: Any, batch_size: int | None) -> Source:
    if isinstance(data, (tuple, list)):
        if not 2 <= len(data) <= 3:
            raise ValueError(
                f"validation_data must be (x, y) or (x, y, sample_weight), got {len(data)} parts."
            )
        return make_source(*data, batch_size=batch_size)
    if is_array_like(data):
        raise ValueError("validation_data must be (x, y), got an array.")
    return make_source(data)


def note_ignored_batch_size(source: Source, batch_size: int | None) -> None:
    if batch_size is not None and not isinstance(source, ArraySource):
        note(f"batch_size={batch_size} has no effect: the generator makes the batches.")


def check_steps(name: str, value: object) -> int | None:
    """None for a whole pass, as Keras takes 0 (of a small folder: n // batch_size)."""
    if value is None:
        return None
    steps = whole("fit, evaluate and predict", name, value, 0)
    if steps == 0:
        note(f"{name}=0 stands for one whole pass over the data, as in Keras.")
    return steps or None


def planned_steps(source: Source, steps: int | None) -> int | None:
    batches = source.num_batches
    if batches is None or steps is None:
        return steps or batches
    return min(steps, batches)


def steps_of_one_pass(source: Source, steps: int | None, name: str) -> int | None:
    """`steps`, but not more than one pass: no picture counts twice in a score."""
    batches = source.num_batches
    if batches is not None and steps is not None and steps > batches:
        note(
            f"{name}={steps} is more than one pass of {batches} batches; it stops after one pass, "
            "so that no picture counts twice.",
            key=("one pass", name),
        )
    return planned_steps(source, steps)


def is_due(epoch: int, validation_freq: int | Sequence[int]) -> bool:
    if isinstance(validation_freq, int) and validation_freq > 0:
        return (epoch + 1) % validation_freq == 0
    if isinstance(validation_freq, (list, tuple)):
        return epoch + 1 in validation_freq
    raise ValueError(
        "validation_freq must be a whole number of at least 1 or a list of epochs, got "
        f"{validation_freq!r}."
    )
