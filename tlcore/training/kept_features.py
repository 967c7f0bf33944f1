"""Features that crossed the cut once and need not be computed again.

What is kept is one array a picture, under a key that tells the picture's content. A stamp tells
which weights and which cut the features belong to; another stamp empties the store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tlcore.utils.locks import new_lock
from tlcore.utils.memory import store_budget

FloatArray: TypeAlias = NDArray[np.float32]

# A dictionary entry, its key and the array's header; keys hold a path, which is counted apart.
_ENTRY_BYTES = 400


class ScopedKey(NamedTuple):
    """A key that says what a picture is only as long as `scope`, one call, lasts."""

    scope: object
    key: Hashable


class Flipped(NamedTuple):
    """The key of a picture, and at which of a model's layers it was flipped."""

    key: Hashable
    flips: tuple[bool, ...]


def flipped_key(key: Hashable, flips: Iterable[bool]) -> Hashable:
    """The key of a flipped picture: of the same scope, and the picture's own if it never was."""
    flips = tuple(map(bool, flips))
    if not any(flips):
        return key
    if isinstance(key, ScopedKey):
        return ScopedKey(key.scope, Flipped(key.key, flips))
    return Flipped(key, flips)


class KeptFeatures:
    """Keys to feature arrays, up to `budget` bytes (None: what `store_budget` says).

    Any number of threads may use it at once. Within one generation nothing is pushed out, so that
    walking over more pictures than fit finds the same ones again; a later generation may take the
    room of pictures that it has not asked for.
    """

    def __init__(self, budget: int | None = None) -> None:
        self._budget = budget
        self.nbytes = 0
        self._entries: OrderedDict[Hashable, tuple[FloatArray, int]] = OrderedDict()
        self._generation = 0
        self._prefix: object = None
        self._stamp: Hashable = None
        self._lock = new_lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def budget(self) -> int:
        """Bytes that may be kept."""
        if self._budget is None:
            self._budget = store_budget()
        return self._budget

    def begin(self, prefix: object = None) -> None:
        """Start a generation: one call of fit, evaluate or predict.

        `prefix` describes the layers that make the features; where they are others than before, all
        is dropped. None: the call keeps nothing.
        """
        with self._lock:
            self._generation += 1
            if prefix is not None and prefix != self._prefix:
                self._clear()
                self._prefix = prefix

    def renew(self, stamp: Hashable) -> None:
        """Drop everything unless it was kept under this very stamp."""
        with self._lock:
            if stamp != self._stamp:
                self._clear()
                self._stamp = stamp

    def restamp(self, old: Hashable, new: Hashable) -> None:
        """The same features hold under `new`: what changed was nothing that they depend on."""
        with self._lock:
            if self._stamp == old:
                self._stamp = new

    def take(self, stamp: Hashable, keys: Sequence[Hashable], dst: FloatArray) -> list[int]:
        """Copy what is kept under this very stamp into the rows of `dst`; the rows missing."""
        missing = []
        with self._lock:
            if stamp != self._stamp:  # another thread has renewed meanwhile
                return list(range(len(keys)))
            for row, key in enumerate(keys):
                entry = self._entries.get(key)
                if entry is None:
                    missing.append(row)
                    continue
                dst[row] = entry[0]
                self._entries[key] = (entry[0], self._generation)
                self._entries.move_to_end(key)
        return missing

    def missing(self, keys: Sequence[Hashable]) -> list[int]:
        """The rows that `take` would not find."""
        with self._lock:
            return [row for row, key in enumerate(keys) if key not in self._entries]

    def add(self, stamp: Hashable, keys: Iterable[Hashable], features: FloatArray) -> None:
        """Keep copies of the rows of `features` that fit, if `stamp` still holds."""
        with self._lock:
            if stamp != self._stamp:
                return
            for key, row in zip(keys, features, strict=True):
                size = row.nbytes + _ENTRY_BYTES
                if key in self._entries or not self._make_room(size):
                    continue
                self._entries[key] = (row.copy(), self._generation)
                self.nbytes += size

    def forget(self, scope: object) -> None:
        """Drop what was kept under a `ScopedKey` of this scope."""
        with self._lock:
            for key in [key for key in self._entries if _is_of(key, scope)]:
                self._drop(key)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        self._entries.clear()
        self.nbytes = 0

    def _make_room(self, size: int) -> bool:
        while self.nbytes + size > self.budget and self._entries:
            key, (_, generation) = next(iter(self._entries.items()))
            if generation == self._generation:  # the least recently used one is still in use
                break
            self._drop(key)
        return self.nbytes + size <= self.budget

    def _drop(self, key: Hashable) -> None:
        features, _ = self._entries.pop(key)
        self.nbytes -= features.nbytes + _ENTRY_BYTES


def _is_of(key: Hashable, scope: object) -> bool:
    return isinstance(key, ScopedKey) and key.scope is scope
