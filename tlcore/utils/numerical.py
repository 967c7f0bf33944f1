"""Labels as vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def to_categorical(x: ArrayLike, num_classes: int | None = None) -> NDArray[Any]:
    """One row of zeros with a single one for each class number.

    Args:
        x: class numbers from 0 to num_classes - 1, of any shape; a last axis of 1 is dropped.
        num_classes: length of the new last axis; None means max(x) + 1.

    Returns:
        float64 array of shape (*x.shape, num_classes).

    Raises:
        ValueError: `x` is empty and num_classes is None, or holds a number outside the range.

    Source: `keras.utils.to_categorical`, which lets -1 stand for the last class.
    """
    labels = np.array(x, dtype=np.int64)
    shape = labels.shape
    if len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    labels = labels.reshape(-1)
    if num_classes is None:
        if labels.size == 0:
            raise ValueError("to_categorical needs num_classes when x is empty.")
        num_classes = int(labels.max()) + 1
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(
            f"x must hold class numbers from 0 to {num_classes - 1}, "
            f"got {labels.min()} to {labels.max()}."
        )
    rows = np.zeros((labels.size, num_classes))
    rows[np.arange(labels.size), labels] = 1
    return rows.reshape(*shape, num_classes)
