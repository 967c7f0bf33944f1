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
        self._slabs = Slabs()
        with _lock:
            _stores[:] = [one for one in _stores if one() is not None] + [weakref.ref(self)]

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, path: str, stamp: Hashable) -> NDArray[Any] | None:
        """The pixels kept under this very stamp, not writeable, or None."""
        with _lock:
            entry = self._entries.get(path)
            return entry[1] if entry is not None and entry[0] == stamp else None

    def drop(self, path: str) -> None:
        """Keep this picture no longer."""
        with _lock:
            self._drop(path)

    def keep(self, path: str, stamp: Hashable, pixels: NDArray[Any]) -> None:
        """Keep a copy, if there is room."""
        size = pixels.nbytes + _ENTRY_BYTES
        with _lock:
            self._drop(path)
            if self._budget is None:
                self._budget = store_budget()
            if _taken() + size > self._budget:
                return
            try:
                copy = self._slabs.take(pixels.nbytes)
            except MemoryError:
                return
            self.nbytes += size
        copy = copy.view(pixels.dtype).reshape(pixels.shape)
        _pack(copy, pixels)
        with _lock:
            self._drop(path)  # another thread has kept it meanwhile
            self._entries[path] = (stamp, copy)

    def _drop(self, path: str) -> None:
        entry = self._entries.pop(path, None)
        if entry is not None:
            self.nbytes -= entry[1].nbytes + _ENTRY_BYTES


class Slabs:
    """Memory for pictures in large pieces, which the operating system gives as huge pages.

    Pages of the ordinary size would cost a picture half of what decoding it costs. A piece goes
    when the last picture in it has gone. Calls must not overlap; DecodedPictures' lock sees to it.
    """

    # NumPy asks for huge pages from 4 MiB on.
    SIZE = 8 << 20

    def __init__(self) -> None:
        self._free = np.empty(0, np.uint8)

    def take(self, size: int) -> NDArray[np.uint8]:
        """So many bytes, 64-byte aligned within their piece."""
        if size > self.SIZE // 4:
            return np.empty(size, np.uint8)
        whole = -(-size // 64) * 64
        if len(self._free) < whole:
            self._free = np.empty(self.SIZE, np.uint8)
        taken, self._free = self._free[:size], self._free[whole:]
        return taken


def _taken() -> int:
    """Bytes in all stores."""
    return sum(store.nbytes for store in (one() for one in _stores) if store is not None)


def _pack(copy: NDArray[Any], pixels: NDArray[Any]) -> None:
    """Without gaps between the pixels."""
    if pixels.dtype == np.uint8:
        _core.pixels_pack(copy, pixels)
    else:
        copy[:] = pixels
    copy.flags.writeable = False
