"""Decoded pictures kept in memory, so that a second pass reads no file.

Every iterator over files has a store. All stores of the process share one budget, first come,
first kept: over a cyclic walk, whoever pushes out the oldest finds nothing again.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlcore import _core
from tlcore.utils.locks import new_lock
from tlcore.utils.memory import store_budget

# A dictionary entry, its stamp and the array's header.
_ENTRY_BYTES = 600

# No WeakSet: the interpreter swallows a Ctrl-C that falls into its callbacks.
_stores: list[weakref.ref[DecodedPictures]] = []
_lock = new_lock()


class DecodedPictures:
    """Paths to pixels, each under a stamp that changes when the picture may be another one.

    Any number of threads may use it at once. What it holds goes with it.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self._budget: int | None = None
        self._entries: dict[str, tuple[Hashable, NDArray[Any]]] = {}
        with _lock:
            _stores[:] = [one for one in _stores if one() is not None] + [weakref.ref(self)]

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, path: str) -> bool:
        return path in self._entries

    def get(self, path: str, stamp: Hashable) -> NDArray[Any] | None:
        """The pixels kept under this very stamp, not writeable, or None."""
        entry = self._entries.get(path)
        return entry[1] if entry is not None and entry[0] == stamp else None

    def drop(self, path: str) -> None:
        """Keep this picture no longer."""
        with _lock:
            self._drop(path)

    def keep(self, path: str, stamp: Hashable, pixels: NDArray[Any]) -> None:
        """Keep these, or a copy if they are a view, where there is room for it."""
        if self._budget is None:
            self._budget = store_budget()
        size = pixels.nbytes + _ENTRY_BYTES
        if _taken() + size > self._budget and path not in self._entries:
            return  # before a copy is made in vain
        try:
            kept = _owned(pixels)
        except MemoryError:
            return
        with _lock:
            self._drop(path)
            if _taken() + size <= self._budget:
                self._entries[path] = (stamp, kept)
                self.nbytes += size

    def _drop(self, path: str) -> None:
        entry = self._entries.pop(path, None)
        if entry is not None:
            self.nbytes -= entry[1].nbytes + _ENTRY_BYTES


def _taken() -> int:
    """Bytes in all stores."""
    return sum(store.nbytes for store in (one() for one in _stores) if store is not None)


def _owned(pixels: NDArray[Any]) -> NDArray[Any]:
    """The array itself if its memory is its own, else a copy without gaps; not writeable."""
    if not (pixels.flags.owndata and pixels.flags.c_contiguous):
        copy = np.empty(pixels.shape, pixels.dtype)
        if pixels.dtype == np.uint8:
            _core.pixels_pack(copy, pixels)
        else:
            copy[:] = pixels
        pixels = copy
    pixels.flags.writeable = False
    return pixels
