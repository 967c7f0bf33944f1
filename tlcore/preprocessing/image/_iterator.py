"""Which picture comes when: Keras's order, from a random generator of the iterator's own.

`Iterator` keeps the books and draws; `PictureIterator` adds what a batch is made of. Keras draws
from NumPy's global generator; here every iterator has one of its own, seeded at the same moments
with the same numbers, so that the order is Keras's and the user's generator is left alone.
"""

from __future__ import annotations

import operator
import os
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.preprocessing.image._arithmetic import Rule, standardization_key
from tlcore.preprocessing.image._draws import Draw, Indices, Transform, Views
from tlcore.preprocessing.image._job import PicturesJob
from tlcore.preprocessing.image._pictures import array_to_img, write_picture
from tlcore.preprocessing.image._reading import ReadAhead, Reading
from tlcore.training._checks import note_idle_workers, whole
from tlcore.utils.locks import new_rlock
from tlcore.utils.notes import note

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from tlcore.preprocessing.image._generator import ImageDataGenerator


class Iterator:
    """Base of the picture iterators: endless with `next()`, a sequence of batches with `[i]`.

    A subclass says in `_get_batches_of_transformed_samples(index_array)` what a batch is.

    Args:
        n: number of samples. batch_size: samples a batch; the last batch of a pass may be smaller.
        shuffle: a new order for every pass.
        seed: `seed + total_batches_seen` seeds the draws of every batch. None: the draws go on
            from a copy of NumPy's global state as it is at the first draw.
        workers, use_multiprocessing, max_queue_size: as Keras's PyDataset takes them, to no effect:
            pictures are always decoded ahead, in threads.

    Source: `keras.src.legacy.preprocessing.image.Iterator`.
    """

    white_list_formats = ("png", "jpg", "jpeg", "bmp", "ppm", "tif", "tiff")

    class_indices: dict[str, int] | None = None

    def __init__(
        self,
        n: int,
        batch_size: int,
        shuffle: bool,
        seed: int | None,
        *,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
    ) -> None:
        note_idle_workers(workers, use_multiprocessing)
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size
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
        return _indices_of(weakref.ref(self))

    def _next_indices(self) -> Indices:
        self._seed_batch()
        order = self.index_array
        if self.batch_index == 0 or order is None:
            order = self._set_index_array()
        first = (self.batch_index * self.batch_size) % self.n if self.n else 0
        last = first + self.batch_size
        self.batch_index = self.batch_index + 1 if self.n > last else 0
        self.total_batches_seen += 1
        return order[first:last]

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
            make = self._maker(self._take(i))
        return make()

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        with self.lock:
            try:
                indices = next(self.index_generator)
            except BaseException:  # a generator ends with what is raised in it
                self.index_generator = _indices_of(weakref.ref(self))
                raise
            make = self._maker(indices)
        return make()

    def _maker(self, indices: Indices) -> Callable[[], Any]:
        """What makes the batch of these samples; all that must happen under the lock is done."""
        return partial(self._get_batches_of_transformed_samples, indices)

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


def _indices_of(ref: weakref.ref[Iterator]) -> Generator[Indices, None, None]:
    """Batch after batch. It does not hold the iterator, which goes at once with what it keeps."""
    iterator = ref()
    if iterator is not None:
        iterator.reset()
    while iterator is not None:
        indices = iterator._next_indices()
        iterator = None
        yield indices
        iterator = ref()


class PictureIterator(Iterator):
    """An iterator over pictures, with what training needs to read them ahead and keep features.

    A batch is `x`, `(x, y)` or `(x, y, sample_weight)`. Subclasses say how a picture is read
    (`_held_pixels`) and what the targets are.
    """

    # Keras's file names hold a random number below this.
    _hash_limit: int

    image_data_generator: ImageDataGenerator | None
    image_shape: tuple[int, ...]
    dtype: DTypeLike
    save_to_dir: str | os.PathLike[str] | None
    save_prefix: str
    save_format: str
    subset: str | None

    def __init__(
        self, n: int, batch_size: int, shuffle: bool, seed: int | None, **queue: Any
    ) -> None:
        super().__init__(n, batch_size, shuffle, seed, **queue)
        self._ahead = ReadAhead()
        generator = self.image_data_generator
        self._views: Views | None = None
        if generator is not None and generator.augment_views is not None:
            self._views = Views(generator.augment_views)
        if generator is not None and generator._is_random and not self.augments:
            note(
                "pictures of subset='validation' are not transformed at random (Keras transforms "
                "them too): ImageDataGenerator(augment_validation=True) does as Keras does",
                key="validation is not augmented",
            )

    def draw_batch(self, i: int) -> Draw:
        """The books and draws of `[i]`, no reading. ValueError if there is no such batch."""
        with self.lock:
            return self._draw(self._take(i))

    def batch_indices(self, i: int) -> Indices:
        """Sample indices of batch `i`, int, shape (n,): as `draw_batch`, which tells more."""
        return self.draw_batch(i).indices

    def skip(self, passes: int) -> None:
        """Make the draws of so many passes, as `fit` makes them, and read no picture.

        Training that resumes in another process with a new iterator of the same `seed` gets the
        batches of the uninterrupted one after `skip(initial_epoch)`, where an epoch is a pass
        (no `steps_per_epoch`, or that of `len()`). Keras begins with the first order again.

        ValueError if `passes` is no whole number of at least 0.
        """
        for _ in range(whole(type(self).__name__, "passes", passes, 0)):
            for i in range(len(self)):
                self.draw_batch(i)
            self.on_epoch_end()

    def load(self, indices: ArrayLike | Draw) -> NDArray[Any]:
        """Pictures (n, height, width, channels) in the iterator's dtype, standardised.

        Sample indices give them as they are, what `draw_batch` returned transforms them as well.
        Raises OSError or ValueError that names the first picture that cannot be read.
        """
        return Reading(PicturesJob(self, self._drawn(indices)), self._ahead).result()

    def prefetch(self, indices: ArrayLike | Draw, keep: bool = True) -> Reading:
        """`load(indices)` begun in the background; `.result()` waits for it.

        Any number of batches may be asked for: they are read in that order, and only so far ahead
        of the results taken as a fixed amount of memory allows. `keep` says that the pictures
        will be wanted again, and may be kept decoded.
        """
        return self._ahead.enter(PicturesJob(self, self._drawn(indices), keep=keep))

    def bytes_rule(self) -> Rule | None:
        """How `prefetch_bytes` gives the pictures of `prefetch`; None where it cannot.

        A byte b means (b / divide) * scale + offset in float32, the rule being these three.
        """
        return None

    def prefetch_bytes(self, indices: ArrayLike | Draw, keep: bool = True) -> Reading:
        """As `prefetch`, but pictures are uint8, not yet standardised. Only with a `bytes_rule`."""
        return self._ahead.enter(PicturesJob(self, self._drawn(indices), raw=True, keep=keep))

    def targets(self, indices: ArrayLike | Draw) -> Any:
        """What the batch of these samples holds as `y`; None if it holds none."""
        raise NotImplementedError

    def sample_weights(self, indices: ArrayLike | Draw) -> NDArray[Any] | None:
        """Weights of these samples, or None."""
        return None

    def keys(self, indices: ArrayLike | Draw) -> list[Hashable] | None:
        """A key for each picture that changes whenever its pixels may; None if not `pure`."""
        raise NotImplementedError

    def content_keys(self, indices: ArrayLike | Draw) -> list[bytes] | None:
        """A key for each picture that tells for good what its pixels are; None where nobody can.

        Raises OSError or ValueError for a file that cannot be read.
        """
        return None

    @property
    def pure(self) -> bool:
        """Whether pixels depend on the index alone, so that what is computed from them can be kept.

        False for random transformations, for a preprocessing function that is not tlcore's own,
        and with `save_to_dir`, which asks for every batch to be read.
        """
        return not self.augments and self._is_plain

    @property
    def augments(self) -> bool:
        """Whether pictures are transformed at random."""
        generator = self.image_data_generator
        return generator is not None and generator._augments(self.subset)

    @property
    def keepable(self) -> bool:
        """Whether what is computed from pictures can be kept under `keys` and is found again.

        So it is where they are `pure`, where flips are all that is random (two or four versions
        of each picture), and where `augment_views` limits how many there are, unless a subclass
        transforms them in its own way.
        """
        if not self._is_plain or not self.augments:
            return self._is_plain
        generator = self.image_data_generator
        own = generator is not None and generator._transforms_overridden
        return self._only_flips or (self._views is not None and not own)

    @property
    def _only_flips(self) -> bool:
        """Whether pictures are flipped and no more, if anything."""
        generator = self.image_data_generator
        return generator is None or not self.augments or generator._only_flips

    @property
    def what_comes_again(self) -> str:
        """In words, what `keys` tells apart."""
        if self._views is not None:
            return f"picture and view (augment_views={self._views.count})"
        return "picture and flip" if self.augments else "picture"

    @property
    def _is_known(self) -> bool:
        """Whether `content_keys` can tell: a class of somebody else may change pictures."""
        return self.keepable and type(self).__module__.startswith("tlcore.")

    @property
    def _is_plain(self) -> bool:
        return (
            self.save_to_dir is None and standardization_key(self.image_data_generator) is not None
        )

    def arithmetic_key(self) -> tuple[Hashable, ...]:
        """What of a key tells how pixels become numbers, transforms apart."""
        generator = self.image_data_generator
        key: tuple[Hashable, ...] = (
            np.dtype(self.dtype).str,
            standardization_key(generator),
        )
        if generator is not None and not self._only_flips:
            key += (generator.interpolation_order, generator.fill_mode, float(generator.cval))
        return key

    def _held_pixels(self, j: int, keep: bool) -> NDArray[Any]:
        """Sample `j` as it is stored, (height, width, channels); any thread may ask for it.

        keep: it will be wanted again.
        """
        raise NotImplementedError

    def _remark(self, draw: Draw) -> None:
        """Say what is unusual about pictures that have been read, and was not said before."""

    @property
    def _arithmetic_dtype(self) -> DTypeLike:
        """What Keras computes in."""
        return "float32"

    def _drawn(self, indices: ArrayLike | Draw) -> Draw:
        return indices if isinstance(indices, Draw) else Draw(self._checked(indices))

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

    def _draw(self, indices: Indices) -> Draw:
        """Make the draws that Keras makes for a batch, also those that come to nothing."""
        transforms: tuple[Transform, ...] | None = None
        generator = self.image_data_generator
        if generator is not None:
            drawn = generator._draw_transforms(self._rng, self.image_shape, len(indices))
            if self.augments and self._views is not None:
                transforms = tuple(map(self._views.take, indices.tolist(), drawn))
            elif self.augments:
                transforms = tuple(drawn)
        names: tuple[str, ...] = ()
        if self.save_to_dir is not None:
            names = tuple(
                f"{self.save_prefix}_{j}_{self._rng.randint(self._hash_limit)}.{self.save_format}"
                for j in indices
            )
        return Draw(indices, transforms, names)

    def _save(self, draw: Draw, batch: NDArray[Any]) -> None:
        """Write the pictures of a batch, where that is asked for."""
        if self.save_to_dir is None or not draw.names:
            return
        if not os.path.isdir(self.save_to_dir):
            raise FileNotFoundError(f"save_to_dir {os.fspath(self.save_to_dir)!r} is not a folder.")
        for x, name in zip(batch, draw.names, strict=True):
            path = os.path.join(os.fspath(self.save_to_dir), name)
            write_picture(path, array_to_img(x, scale=True), self.save_format)

    def _maker(self, indices: Indices) -> Callable[[], Any]:
        makes = type(self)._get_batches_of_transformed_samples
        if makes is not PictureIterator._get_batches_of_transformed_samples:
            return super()._maker(indices)
        return partial(self._made, self._draw(indices))

    def _get_batches_of_transformed_samples(self, index_array: Indices) -> Any:
        with self.lock:
            draw = self._draw(index_array)
        return self._made(draw)

    def _made(self, draw: Draw) -> Any:
        return self._batch(draw, self.load(draw))

    def _batch(self, draw: Draw, x: NDArray[Any]) -> Any:
        return self._with_targets(draw, x, self.targets(draw))

    def _with_targets(self, draw: Draw, x: NDArray[Any], y: Any) -> Any:
        if y is None:
            return x
        weights = self.sample_weights(draw)
        return (x, y) if weights is None else (x, y, weights)
