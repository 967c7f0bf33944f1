"""Data of a recipe: the rows of a source in an order of the recipe's own, and their classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tlcore.training.data import (
    Array,
    ArraySource,
    Batch,
    GeneratorSource,
    IteratorSource,
    Source,
    is_array_like,
    make_source,
)

Labels: TypeAlias = NDArray[np.int64]


def source_of(owner: str, data: Any, batch_size: int | None) -> Source:
    """The source for what a recipe takes as data.

    Raises ValueError, or TypeError for what cannot be a source.
    """
    if isinstance(data, (tuple, list)):
        if not 2 <= len(data) <= 3:
            raise ValueError(
                f"{owner}: data must be (x, y), (x, y, sample_weight) or a source of batches, got "
                f"{len(data)} parts."
            )
        return make_source(*data, batch_size=batch_size)
    if is_array_like(data):
        raise ValueError(f"{owner}: data must be (x, y) or a source of batches, got an array.")
    return make_source(data)


class Picked(Source):
    """Rows of `source` in an order of our own: the order and the draws of its owner stay as they
    are. `order` gives the row numbers of a pass; None: as they come."""

    def __init__(
        self, source: ArraySource | IteratorSource, order: Callable[[int], Array] | None = None
    ) -> None:
        self._source = source
        self._order = order
        self._rows: Array = np.arange(source.rows)
        self.reads_ahead = source.reads_ahead  # type: ignore[misc]

    @property
    def num_batches(self) -> int:
        return math.ceil(self._source.rows / self._source.batch_size)

    def picture_shape(self) -> tuple[int, ...]:
        return self._source.picture_shape()

    def batch(self, i: int) -> Batch:
        if i == 0 and self._order is not None:
            self._rows = self._order(self._source.rows)
        size = self._source.batch_size
        return self._source.pick(self._rows[i * size : (i + 1) * size])


def can_pick(source: Source) -> bool:
    """Whether a picture is the same whenever and in whatever order it is asked for."""
    return isinstance(source, ArraySource) or (
        isinstance(source, IteratorSource) and source.iterator.pure
    )


def one_pass(owner: str, source: Source) -> Source:
    """A pass over `source`, as it comes in arrays and files where that is possible.

    ValueError for a Python generator, which may have no end.
    """
    if isinstance(source, GeneratorSource):
        raise ValueError(
            f"{owner}: data must be something with an end that can be begun again, such as "
            "arrays, a generator of flow_from_directory or a Sequence; got a Python generator."
        )
    if isinstance(source, (ArraySource, IteratorSource)) and can_pick(source):
        return Picked(source)
    return source


def class_numbers(owner: str, y: Array) -> tuple[Labels, int | None]:
    """The class of each row, and the number of columns of one-hot targets.

    Raises ValueError unless each row has exactly one class.
    """
    if y.ndim == 2 and y.shape[1] > 1:
        ones = y == 1
        if not ((ones.sum(axis=1) == 1) & ((y == 0).sum(axis=1) == y.shape[1] - 1)).all():
            raise ValueError(
                f"{owner}: a row of the targets must hold a single 1 and zeros: each picture has "
                "one class."
            )
        return ones.argmax(axis=1).astype(np.int64), y.shape[1]
    flat = y[:, 0] if y.ndim == 2 else y
    if flat.ndim != 1 or flat.dtype.kind not in "fiub":
        raise ValueError(
            f"{owner}: targets must be class numbers (n,) or one-hot (n, classes), got an array "
            f"{y.shape} of {y.dtype}."
        )
    whole = np.isfinite(flat) & (np.floor(flat) == flat) if flat.dtype.kind == "f" else flat == flat
    if not whole.all() or flat.min() < 0:
        raise ValueError(f"{owner}: targets of shape {y.shape} must hold class numbers, from 0 on.")
    return flat.astype(np.int64), None
