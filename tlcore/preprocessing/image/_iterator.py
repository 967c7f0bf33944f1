"""Which picture comes when: Keras's order, from a random generator of the iterator's own.

`Iterator` keeps the books and draws; `PictureIterator` adds what a batch is made of. Keras draws
from NumPy's global generator; here every iterator has one of its own, seeded at the same moments
with the same numbers, so that the order is Keras's and the user's generator is left alone.
"""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.preprocessing.image._arithmetic import Rule, is_pure
from tlcore.preprocessing.image._pictures import array_to_img, write_picture
from tlcore.preprocessing.image._reading import Job, ReadAhead, Reading
from tlcore.training._checks import whole
from tlcore.utils.locks import new_rlock

if TYPE_CHECKING:
    from collections.abc import Generator, Hashable

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from tlcore.preprocessing.image._generator import ImageDataGenerator

Indices = np.ndarray[Any, np.dtype[np.intp]]


class Iterator:
    """Base of the picture iterators: endless with `next()`, a sequence of batches with `[i]`.

    A subclass says in `_get_batches_of_transformed_samples(index_array)` what a batch is.

    Args:
        n: number of samples. batch_size: samples a batch; the last batch of a pass may be smaller.
        shuffle: a new order for every pass.
        seed: `seed + total_batches_seen` seeds the draws of every batch. None: the draws go on
            from a copy of NumPy's global state as it is at the first draw.

    Source: `keras.src.legacy.preprocessing.image.Iterator`.
    """

    white_list_formats = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")

    class_indices: dict[str, int] | None = None

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None) -> None:
        try:
            batch_size = operator.index(batch_size)
        except TypeError:
            raise ValueError(f"batch_size must be an integer, not {batch_size!r}.") from None
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}.")
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.batch_index = 0
        self.total_batches_seen = 0
        self.lock = new_rlock()
        self.index_array: Indices | None = None
        self.index_generator = self._flow_index()
        self._random: np.random.RandomState | None = None

    @property
    def _rng(self) -> np.random.RandomState:
        if self._random is None:
            self._random = np.random.RandomState()
            if self.seed is None:
                self._random.set_state(np.random.get_state())
        return self._random

    def _seed_batch(self) -> None:
        if self.seed is not None:
            self._rng.seed(self.seed + self.total_batches_seen)

    def _set_index_array(self) -> Indices:
        order = self._rng.permutation(self.n) if self.shuffle else np.arange(self.n)
        self.index_array = order.astype(np.intp, copy=False)
        return self.index_array

    def _flow_index(self) -> Generator[Indices, None, None]:
        self.reset()
        while True:
            self._seed_batch()
            order = self.index_array
            if self.batch_index == 0 or order is None:
                order = self._set_index_array()
            first = (self.batch_index * self.batch_size) % self.n if self.n else 0
            last = first + self.batch_size
            self.batch_index = self.batch_index + 1 if self.n > last else 0
            self.total_batches_seen += 1
            yield order[first:last]

    def _take(self, i: int) -> Indices:
        index = operator.index(i)
        if index < 0:
            index += len(self)
        if not 0 <= index < len(self):
            raise ValueError(f"Batch {i} was asked for, but there are {len(self)} batches.")
        self._seed_batch()
        self.total_batches_seen += 1
        order = self._set_index_array() if self.index_array is None else self.index_array
        return order[self.batch_size * index : self.batch_size * (index + 1)]

    def __len__(self) -> int:
        return (self.n + self.batch_size - 1) // self.batch_size

    def __getitem__(self, i: int) -> Any:
        with self.lock:
            indices = self._take(i)
        return self._get_batches_of_transformed_samples(indices)

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        with self.lock:
            indices = next(self.index_generator)
        return self._get_batches_of_transformed_samples(indices)

    def next(self) -> Any:
        """The next batch; the passes follow each other without end."""
        return self.__next__()

    def reset(self) -> None:
        """Let `next()` begin a new pass."""
        self.batch_index = 0

    def on_epoch_end(self) -> None:
        """Draw the order of the next pass over `[i]`."""
        with self.lock:
            self._set_index_array()

    def _get_batches_of_transformed_samples(self, index_array: Indices) -> Any:
        raise NotImplementedError(
            f"{type(self).__name__} must define _get_batches_of_transformed_samples(index_array)."
        )


class PictureIterator(Iterator):
    """An iterator over pictures, with what training needs to read them ahead and keep features.

    A batch is `x`, `(x, y)` or `(x, y, sample_weight)`. Subclasses say how pictures are read
    (`_job`) and what the targets are.
    """

    # Keras's file names hold a random number below this.
    _hash_limit: int

    image_data_generator: ImageDataGenerator | None
    dtype: DTypeLike
    save_to_dir: str | os.PathLike[str] | None
    save_prefix: str
    save_format: str

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None) -> None:
        super().__init__(n, batch_size, shuffle, seed)
        self._ahead = ReadAhead()
        self._unsaved: dict[bytes, list[str]] = {}

    def batch_indices(self, i: int) -> Indices:
        """Sample indices of batch `i`, int, shape (n,): the books and draws of `[i]`, no reading.

        ValueError if there is no such batch.
        """
        with self.lock:
            indices = self._take(i)
            names = self._draw(indices)
            if names:
                self._unsaved[indices.tobytes()] = names
                while len(self._unsaved) > 256:
                    del self._unsaved[next(iter(self._unsaved))]
        return indices

    def skip(self, passes: int) -> None:
        """Make the draws of so many passes, as `fit` makes them, and read no picture.

        Training that resumes in another process with a new iterator of the same `seed` gets the
        batches of the uninterrupted one after `skip(initial_epoch)`, where an epoch is a pass
        (no `steps_per_epoch`, or that of `len()`). Keras begins with the first order again.

        ValueError if `passes` is no whole number of at least 0.
        """
        for _ in range(whole(type(self).__name__, "passes", passes, 0)):
            for i in range(len(self)):
                self.batch_indices(i)
            self.on_epoch_end()

    def load(self, indices: ArrayLike) -> NDArray[Any]:
        """Pictures (n, height, width, channels) in the iterator's dtype, standardised.

        Raises OSError or ValueError that names the first picture that cannot be read.
        """
        return Reading(self._job(self._checked(indices)), self._ahead).result()

    def prefetch(self, indices: ArrayLike) -> Reading:
        """`load(indices)` begun in the background; `.result()` waits for it.

        Any number of batches may be asked for: they are read in that order, and only so far ahead
        of the results taken as a fixed amount of memory allows.
        """
        return self._ahead.enter(self._job(self._checked(indices)))

    def bytes_rule(self) -> Rule | None:
        """How `prefetch_bytes` gives the pictures of `prefetch`; None where it cannot.

        A byte b means (b / divide) * scale + offset in float32, the rule being these three.
        """
        return None

    def prefetch_bytes(self, indices: ArrayLike) -> Reading:
        """As `prefetch`, but pictures are uint8, not yet standardised. Only with a `bytes_rule`."""
        return self._ahead.enter(self._bytes_job(self._checked(indices)))

    def _bytes_job(self, indices: Indices) -> Job:
        raise NotImplementedError

    def targets(self, indices: ArrayLike) -> Any:
        """What the batch of these samples holds as `y`; None if it holds none."""
        raise NotImplementedError

    def sample_weights(self, indices: ArrayLike) -> NDArray[Any] | None:
        """Weights of these samples, or None."""
        return None

    def keys(self, indices: ArrayLike) -> list[Hashable] | None:
        """A key for each picture that changes whenever its pixels may; None if not `pure`."""
        raise NotImplementedError

    def content_keys(self, indices: ArrayLike) -> list[bytes] | None:
        """A key for each picture that tells for good what its pixels are; None where nobody can.

        Raises OSError or ValueError for a file that cannot be read.
        """
        return None

    @property
    def pure(self) -> bool:
        """Whether pixels depend on the index alone, so that what is computed from them can be kept.

        False for a preprocessing function that is not tlcore's own, and with `save_to_dir`, which
        asks for every batch to be read.
        """
        return self.save_to_dir is None and is_pure(self.image_data_generator)

    def _job(self, indices: Indices) -> Job:
        raise NotImplementedError

    def _checked(self, indices: ArrayLike) -> Indices:
        checked = np.asarray(indices)
        if checked.ndim != 1 or (checked.size and checked.dtype.kind not in "iu"):
            raise ValueError(
                f"indices must be one-dimensional integers, not {checked.dtype} of shape "
                f"{checked.shape}."
            )
        if checked.size and not 0 <= checked.min() <= checked.max() < self.n:
            raise ValueError(f"indices must lie between 0 and {self.n - 1}.")
        return checked.astype(np.intp, copy=False)

    def _draw(self, indices: Indices) -> list[str]:
        """Make the draws Keras makes for a batch; the file names if pictures are to be saved."""
        if self.image_data_generator is not None:
            # Two a picture, for flips that are off: the next permutation comes after them.
            self._rng.random_sample(2 * len(indices))
        if self.save_to_dir is None:
            return []
        return [
            f"{self.save_prefix}_{j}_{self._rng.randint(self._hash_limit)}.{self.save_format}"
            for j in indices
        ]

    def _save(self, indices: Indices, batch: NDArray[Any]) -> None:
        """Write the pictures of a batch whose names have been drawn, once."""
        if self.save_to_dir is None:
            return
        with self.lock:
            names = self._unsaved.pop(indices.tobytes(), [])
        if not names:
            return
        if not os.path.isdir(self.save_to_dir):
            raise FileNotFoundError(f"save_to_dir {os.fspath(self.save_to_dir)!r} is not a folder.")
        for x, name in zip(batch, names, strict=True):
            path = os.path.join(os.fspath(self.save_to_dir), name)
            write_picture(path, array_to_img(x, scale=True), self.save_format)

    def _get_batches_of_transformed_samples(self, index_array: Indices) -> Any:
        with self.lock:
            names = self._draw(index_array)
            if names:
                self._unsaved[index_array.tobytes()] = names
        return self._batch(index_array, self.load(index_array))

    def _batch(self, indices: Indices, x: NDArray[Any]) -> Any:
        y = self.targets(indices)
        if y is None:
            return x
        weights = self.sample_weights(indices)
        return (x, y) if weights is None else (x, y, weights)
