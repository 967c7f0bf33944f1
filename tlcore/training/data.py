"""One batch source out of arrays, tlcore's iterators, Keras-like Sequences and Python generators.

A `Source` hands out one `Batch` at a time; a batch knows its targets, its weights and the keys of
its pictures at once, and reads pictures only when asked: those whose features are kept are never
decoded. `Stream` walks a source from pass to pass, one batch ahead where that starts the decoding.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from tlcore.preprocessing.image._draws import Draw
from tlcore.training._checks import whole
from tlcore.training.kept_features import ScopedKey
from tlcore.utils.digests import picture_keys

Array: TypeAlias = NDArray[Any]
Rule: TypeAlias = tuple[float, float, float]  # divide, scale, offset

DEFAULT_BATCH_SIZE = 32


class PictureIterator(Protocol):
    """What tlcore's own iterators offer besides Keras's public attributes."""

    n: int
    batch_size: int
    pure: bool
    augments: bool
    keepable: bool
    what_comes_again: str

    def arithmetic_key(self) -> Hashable: ...

    value_range: tuple[float, float] | None
    reader: Mapping[str, Any]
    class_indices: Mapping[str, int] | None
    image_shape: tuple[int, ...]

    def __len__(self) -> int: ...
    def on_epoch_end(self) -> None: ...
    def draw_batch(self, i: int) -> Draw: ...
    def load(self, indices: Array | Draw) -> Array: ...
    def prefetch(self, indices: Array | Draw, keep: bool = True) -> Any: ...
    def bytes_rule(self) -> Rule | None: ...
    def prefetch_bytes(self, indices: Array | Draw, keep: bool = True) -> Any: ...
    def targets(self, indices: Array | Draw) -> Array | None: ...
    def sample_weights(self, indices: Array | Draw) -> Array | None: ...
    def keys(self, indices: Array | Draw) -> list[Hashable] | None: ...
    def content_keys(self, indices: Array | Draw) -> list[bytes] | None: ...


class Batch:
    """Pictures `x` with what belongs to them, as the user gave it.

    `contents` are keys that `content_keys` has given, by their rows: whoever asks keeps them here.
    """

    contents: Mapping[int, bytes] = MappingProxyType({})

    def __init__(
        self,
        x: Array,
        y: Any = None,
        sample_weight: Any = None,
        keys: Sequence[Hashable] | None = None,
    ) -> None:
        self._x = x
        self._y = y
        self._sample_weight = sample_weight
        self.size = len(x)
        self.keys = keys

    @property
    def y(self) -> Any:
        """The targets, None if there are none."""
        return self._y

    @property
    def sample_weight(self) -> Any:
        """The weights, None if there are none."""
        return self._sample_weight

    @property
    def rule(self) -> Rule | None:
        """What the bytes that `read` gives mean; None if it gives pictures as they are meant."""
        return None

    def begin(self, rows: Sequence[int] | None) -> None:
        """Start reading these rows (None: all) in the background, if that can be."""

    def read(self, rows: Sequence[int] | None) -> Array:
        """The pictures of these rows (None: all)."""
        return self._x if rows is None else self._x[np.asarray(rows, dtype=np.intp)]

    def content_keys(self, rows: Sequence[int]) -> list[bytes] | None:
        """Keys that tell for good what the pictures of these rows are; None where nobody can."""
        return picture_keys(self.read(rows))

    def cancel(self) -> None:
        """Give up what `begin` started."""


class _PictureBatch(Batch):
    """A batch of one of tlcore's iterators: pictures stay in their files until they are read."""

    def __init__(
        self,
        iterator: PictureIterator,
        draw: Draw,
        keys: Sequence[Hashable] | None,
        again: bool,
    ) -> None:
        self._iterator = iterator
        self._again = again
        self._draw = draw
        self._rows: Sequence[int] = ()
        self._future: Any = None
        self._rule = iterator.bytes_rule()
        self.size = len(draw)
        self.keys = keys

    @property
    def y(self) -> Any:
        return self._iterator.targets(self._draw)

    @property
    def sample_weight(self) -> Any:
        return self._iterator.sample_weights(self._draw)

    def begin(self, rows: Sequence[int] | None) -> None:
        self._rows = range(self.size) if rows is None else rows
        if len(self._rows):
            self._future = self._prefetch(self._rows)

    @property
    def rule(self) -> Rule | None:
        return self._rule

    def _prefetch(self, rows: Sequence[int]) -> Any:
        # All of it is the draw itself, which may also tell how the pictures are saved.
        draw = self._draw if len(rows) == self.size else self._draw.pick(rows)
        if self._rule is None:
            return self._iterator.prefetch(draw, keep=self._again)
        return self._iterator.prefetch_bytes(draw, keep=self._again)

    def read(self, rows: Sequence[int] | None) -> Array:
        wanted = range(self.size) if rows is None else rows
        begun = {row: place for place, row in enumerate(self._rows)}
        if self._future is None or any(row not in begun for row in wanted):
            self.cancel()
            pictures: Array = self._prefetch(wanted).result()
            return pictures
        pictures = self._future.result()
        self._future = None
        if len(wanted) == len(begun):
            return pictures
        return pictures[[begun[row] for row in wanted]]

    def content_keys(self, rows: Sequence[int]) -> list[bytes] | None:
        return self._iterator.content_keys(self._draw.pick(rows))

    def cancel(self) -> None:
        if self._future is not None and hasattr(self._future, "cancel"):
            self._future.cancel()
        self._future = None


class Source(ABC):
    """Batches in passes. `num_batches` of a pass is None if nobody can tell.

    `scope` is set by whoever keeps features: None (nothing is kept) means that batches carry no
    keys, `ALWAYS` that a key says for good what a picture is, any other object that it does so
    only within the call that made the object. `changes`: layers change its pictures in front of
    what is kept, so that each comes again.
    """

    ALWAYS: ClassVar[object] = object()
    reads_ahead: ClassVar[bool] = False
    restarts: ClassVar[bool] = True
    scope: object | None = None
    changes: bool = False

    @property
    @abstractmethod
    def num_batches(self) -> int | None: ...

    @property
    def batch_size(self) -> int | None:
        """Pictures of the largest batch; None if nobody can tell."""
        return None

    @abstractmethod
    def batch(self, i: int) -> Batch | None:
        """Batch `i` of this pass; None where a pass of unknown length ends."""

    @abstractmethod
    def picture_shape(self) -> tuple[int, ...]:
        """The shape of one picture."""

    def end_pass(self) -> None:  # noqa: B027 - most sources have nothing to do
        """Called when the last batch of a pass has been handed out."""

    def _keys(self, keys: Sequence[Hashable] | None) -> Sequence[Hashable] | None:
        if self.scope is None or keys is None or self.scope is Source.ALWAYS:
            return None if self.scope is None else keys
        return [ScopedKey(self.scope, key) for key in keys]


class ArraySource(Source):
    """Arrays of n rows each, cut into batches; shuffled anew for each pass if asked.

    The order is drawn from NumPy's global generator, as Keras does outside TensorFlow.
    """

    def __init__(
        self,
        x: Array,
        y: Array | None,
        sample_weight: Array | None,
        batch_size: int,
        shuffle: bool | str,
    ) -> None:
        if len(x) == 0:
            raise ValueError("x holds no images.")
        for name, array in (("y", y), ("sample_weight", sample_weight)):
            if array is not None and (array.ndim == 0 or len(array) != len(x)):
                rows = len(array) if array.ndim else "no"
                raise ValueError(f"x has {len(x)} images but {name} has {rows} rows.")
        if shuffle not in (True, False, "batch"):
            raise ValueError(f"shuffle must be True, False or 'batch', got {shuffle!r}.")
        self._x, self._y, self._sample_weight = x, y, sample_weight
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._order: Array | None = None

    @property
    def num_batches(self) -> int:
        return math.ceil(len(self._x) / self._batch_size)

    @property
    def batch_size(self) -> int:
        return min(self._batch_size, len(self._x))

    def widen(self, rows: int) -> None:
        """Cut larger batches, of about so many rows: for whoever does not look at single ones."""
        self._batch_size *= max(1, rows // self._batch_size)

    @property
    def x(self) -> Array:
        """The whole array, as the user gave it."""
        return self._x

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self._x)

    def picture_shape(self) -> tuple[int, ...]:
        return self._x.shape[1:]

    def pick(self, indices: Array) -> Batch:
        """The batch of these rows, whatever the order of the passes is."""
        return self._batch_of(indices, len(indices))

    def batch(self, i: int) -> Batch:
        if i == 0 and self._shuffle is True:
            self._order = np.random.permutation(len(self._x))
        start = i * self._batch_size
        stop = min(start + self._batch_size, len(self._x))
        if self._shuffle is True and self._order is not None:
            rows: Any = self._order[start:stop]
        elif self._shuffle == "batch":
            rows = np.random.permutation(stop - start) + start
        else:
            rows = slice(start, stop)
        return self._batch_of(rows, stop - start)

    def _batch_of(self, rows: Any, size: int) -> Batch:
        indices = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        return Batch(
            _Rows(self._x, rows, size),  # type: ignore[arg-type]
            None if self._y is None else self._y[rows],
            None if self._sample_weight is None else self._sample_weight[rows],
            self._keys(indices.tolist()),
        )


class _Rows:
    """Some rows of an array, copied out only when they are read."""

    def __init__(self, array: Array, rows: Any, size: int) -> None:
        self._array, self._rows, self._size = array, rows, size

    def __len__(self) -> int:
        return self._size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self._array[self._rows], dtype=dtype)

    def __getitem__(self, places: Array) -> Array:
        rows = self._rows.start + places if isinstance(self._rows, slice) else self._rows[places]
        picked: Array = self._array[rows]
        return picked


class IteratorSource(Source):
    """One of tlcore's own iterators, walked by `draw_batch(0), (1), ...`, then on_epoch_end."""

    reads_ahead = True

    def __init__(self, iterator: PictureIterator) -> None:
        self.iterator = iterator
        if len(iterator) == 0:
            raise ValueError("The generator holds no images.")

    @property
    def num_batches(self) -> int:
        return len(self.iterator)

    @property
    def batch_size(self) -> int:
        return min(self.iterator.batch_size, self.iterator.n)  # asking for a batch would draw one

    def picture_shape(self) -> tuple[int, ...]:
        return tuple(self.iterator.image_shape)

    @property
    def rows(self) -> int:
        """How many pictures there are."""
        return self.iterator.n

    def batch(self, i: int) -> Batch:
        return self._batch_of(self.iterator.draw_batch(i))

    def pick(self, indices: Array) -> Batch:
        """These pictures as they are; neither order nor draws of the iterator change."""
        return self._batch_of(Draw(indices))

    def _batch_of(self, draw: Draw) -> Batch:
        keys: Sequence[Hashable] | None = None
        if self.scope is Source.ALWAYS:
            # A file that has gone is missed when its batch is read, not one batch before.
            with suppress(OSError):
                keys = self.iterator.keys(draw)
        elif self.scope is not None:
            arithmetic = self.iterator.arithmetic_key()
            pairs = zip(draw.indices.tolist(), draw.transform_keys(), strict=True)
            keys = [(*pair, arithmetic) for pair in pairs]
        # Where features are kept, a picture that comes in one way alone is read this once.
        again = keys is None or draw.transforms is not None or self.changes
        return _PictureBatch(self.iterator, draw, self._keys(keys), again)

    def end_pass(self) -> None:
        self.iterator.on_epoch_end()


class SequenceSource(Source):
    """Anything with len() and [i] whose items are batches: Keras's Sequence or PyDataset."""

    def __init__(self, sequence: Any) -> None:
        self._sequence = sequence
        if len(sequence) == 0:
            raise ValueError(f"The {type(sequence).__name__} holds no batches.")

    @property
    def num_batches(self) -> int:
        return len(self._sequence)

    def picture_shape(self) -> tuple[int, ...]:
        return self.batch(0).read(None).shape[1:]

    def batch(self, i: int) -> Batch:
        x, y, sample_weight = unpack(self._sequence[i])
        return Batch(x, y, sample_weight, self._keys([(i, row) for row in range(len(x))]))

    def end_pass(self) -> None:
        on_epoch_end = getattr(self._sequence, "on_epoch_end", None)
        if on_epoch_end is not None:
            on_epoch_end()


class IterableSource(Source):
    """Anything that can be iterated over again and again, such as torch's DataLoader."""

    def __init__(self, iterable: Any) -> None:
        self._iterable = iterable
        self._pass: Iterator[Any] | None = None

    @property
    def num_batches(self) -> int | None:
        try:
            return len(self._iterable)
        except TypeError:
            return None

    def picture_shape(self) -> tuple[int, ...]:
        for item in self._iterable:
            return unpack(item)[0].shape[1:]
        raise ValueError(f"The {type(self._iterable).__name__} holds no batches.")

    def batch(self, i: int) -> Batch | None:
        if i == 0 or self._pass is None:
            self._pass = iter(self._iterable)
        for item in self._pass:
            return Batch(*unpack(item))
        self._pass = None
        return None


class GeneratorSource(Source):
    """A Python generator or iterator: one pass, whose end nobody knows."""

    restarts = False

    def __init__(self, generator: Iterator[Any]) -> None:
        self._generator = generator
        self._first: Batch | None = None

    @property
    def num_batches(self) -> None:
        return None

    def picture_shape(self) -> tuple[int, ...]:
        if self._first is None:
            self._first = self.batch(0)
        if self._first is None:
            raise ValueError("The generator gave no batch.")
        return self._first.read(None).shape[1:]

    def batch(self, i: int) -> Batch | None:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        for item in self._generator:
            return Batch(*unpack(item))
        return None


class Stream:
    """Walks a source, pass after pass. Drawing the last batch of a pass ends that pass."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._i = 0

    def draw(self) -> Batch | None:
        """The next batch; None where a pass of unknown length ends."""
        batch = self.source.batch(self._i)
        self._i += 1
        if batch is None:
            self._i = 0
        elif self._i == self.source.num_batches:
            self._i = 0
            self.source.end_pass()
        return batch

    def draw_across(self) -> Batch | None:
        """The next batch, of the next pass if this one is over; None if there are no more."""
        batch = self.draw()
        if batch is None and self.source.restarts:
            batch = self.draw()
        return batch


def make_source(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    steps: int | None = None,
    shuffle: bool | str = False,
) -> Source:
    """The source for what `fit`, `evaluate` and `predict` take as x, y and sample_weight.

    Raises TypeError for what cannot be a source, ValueError for arguments that do not go together.
    """
    if batch_size is not None:
        batch_size = whole("fit, evaluate and predict", "batch_size", batch_size, 1)
    if is_array_like(x):
        images = as_array("x", x)
        if images.ndim == 0:
            raise TypeError(f"x must be an array or a generator of batches, got {x!r}.")
        if batch_size is None:
            batch_size = math.ceil(len(images) / steps) if steps else DEFAULT_BATCH_SIZE
        targets = None if y is None else as_array("y", y)
        weights = None if sample_weight is None else as_array("sample_weight", sample_weight)
        return ArraySource(images, targets, weights, max(batch_size, 1), shuffle)
    if isinstance(x, (str, bytes, Mapping)) or x is None:
        given = "None" if x is None else f"a {type(x).__name__}"
        raise TypeError(
            "x must be an array, a generator of flow_from_directory, a Sequence or a Python "
            f"generator, got {given}."
        )
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"{name} must be left out when x is a {type(x).__name__}, whose batches hold it."
            )
    if is_picture_iterator(x):
        return IteratorSource(x)
    if hasattr(x, "__len__") and hasattr(x, "__getitem__"):
        return SequenceSource(x)
    if hasattr(x, "__next__"):
        return GeneratorSource(x)
    if hasattr(x, "__iter__"):
        return IterableSource(x)
    hint = "; call it to make the generator" if callable(x) else ""
    raise TypeError(f"x must be an array or give batches, got {type(x).__name__}{hint}.")


def is_picture_iterator(x: Any) -> TypeGuard[PictureIterator]:
    """Whether x is one of tlcore's iterators, with tlcore's own `[i]`."""
    if not (hasattr(x, "draw_batch") and hasattr(x, "load") and hasattr(x, "prefetch")):
        return False
    if getattr(x, "x_misc", None):
        return False
    # A subclass that makes its own batches is walked by [i] like any Sequence.
    return all(
        str(getattr(getattr(type(x), name, None), "__module__", "")).startswith("tlcore.")
        for name in ("__getitem__", "_get_batches_of_transformed_samples")
    )


def is_array_like(x: Any) -> bool:
    """Whether NumPy can take x as one array."""
    return isinstance(x, (np.ndarray, list, tuple)) or hasattr(x, "__array__")


def as_array(name: str, value: Any) -> Array:
    """`value` as an array; a list that holds one array, as for a model with one input, is it."""
    if isinstance(value, (list, tuple)) and len(value) == 1 and hasattr(value[0], "__array__"):
        value = value[0]
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be made one array: {error}.") from None


def unpack(item: Any) -> tuple[Array, Any, Any]:
    """(x, y, sample_weight) of what a Sequence or generator gave; what it left out is None."""
    parts = tuple(item) if isinstance(item, (tuple, list)) else (item,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            f"A batch must be x, (x, y) or (x, y, sample_weight), got a tuple of {len(parts)}."
        )
    x = as_array("x", parts[0])
    if x.ndim == 0:
        raise TypeError(f"A batch must hold arrays, got x={parts[0]!r}.")
    y, sample_weight = (*parts[1:], None, None)[:2]
    return x, y, sample_weight
