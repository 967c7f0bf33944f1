"""How a batch of pictures is made: each picture by a thread of the crew, in any order.

What may not run there (a user's own function, which may be neither thread-safe nor free of
randomness) is done by the thread that asks for the result, picture by picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore import _core
from tlcore.preprocessing.image._reading import submit
from tlcore.preprocessing.image._transforming import Transformer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from tlcore.preprocessing.image._draws import Draw
    from tlcore.preprocessing.image._iterator import PictureIterator


class PicturesJob:
    """The pictures of a draw: standardised, in the iterator's dtype, or `raw`, decoded bytes."""

    def __init__(
        self, iterator: PictureIterator, draw: Draw, raw: bool = False, keep: bool = True
    ) -> None:
        self._iterator = iterator
        self._draw = draw
        self._raw = raw
        self._keep = keep
        self._dtype = np.dtype(np.uint8 if raw else iterator.dtype)
        self._shape = (len(draw), *iterator.image_shape)
        self.nbytes = int(np.prod(self._shape)) * (1 if raw else max(4, self._dtype.itemsize))

    def begin(self) -> list[Future[Any]]:
        """Hand the pictures to the crew; whoever is free takes the next one."""
        size = len(self._draw)
        self._transformer = Transformer(
            self._iterator.image_data_generator, self._iterator._arithmetic_dtype
        )
        transforms = None if self._raw else self._draw.transforms
        self._changes = self._transformer.prepare(transforms or (), *self._shape[1:3])
        self._dst = np.empty(self._shape, dtype=self._dtype)
        self._made: list[NDArray[Any] | Exception | None] = [None] * size
        self._stopped = False
        rows = iter(range(size))
        return [submit(self._work, rows) for _ in range(min(size, _core.get_num_threads()))]

    def stop(self) -> None:
        """Read no further picture."""
        self._stopped = True

    def _work(self, rows: Iterator[int]) -> None:
        for row in rows:
            if self._stopped:
                return
            try:
                self._made[row] = self._make(row)
            except Exception as error:
                # Rows are handed out in order: whatever comes before this one is made as well.
                self._made[row] = error
                self._stopped = True

    def _make(self, row: int) -> NDArray[Any] | None:
        """A picture to its place, or returned if more is to come."""
        pixels = self._iterator._held_pixels(int(self._draw.indices[row]), self._keep)
        if self._raw or self._transformer.runs_in_c:
            self._finish(row, pixels)
            return None
        return pixels

    def _finish(self, row: int, pixels: NDArray[Any]) -> None:
        dst, transform = self._dst[row], self._draw.transform(row)
        changes = self._changes[row] if self._changes else None
        if self._raw or self._dtype != np.uint8:
            self._transformer.apply(dst, pixels, transform, changes)
            return
        x = np.empty(dst.shape, np.float32)  # Keras computes in it
        self._transformer.apply(x, pixels, transform, changes)
        dst[...] = x

    def finish(self) -> NDArray[Any]:
        """The batch, once the crew is done. Raises what the first bad picture raised."""
        for row, made in enumerate(self._made):
            if isinstance(made, Exception):
                raise made
            if made is not None:
                self._finish(row, made)
        self._iterator._remark(self._draw)
        self._iterator._save(self._draw, self._dst)
        return self._dst
