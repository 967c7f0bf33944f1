"""Features that outlast the process: what stands behind those that are kept in memory.

`FeaturesOnDisk` finds the store for the weights of the moment, asks batches for the keys of their
pictures, and makes of every trouble with the disk one note: results never depend on it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tlcore.training.segments import NoRoomError, Store, prepare
from tlcore.utils.locks import new_lock
from tlcore.utils.notes import note

if TYPE_CHECKING:
    from tlcore.training.data import Batch

FloatArray: TypeAlias = NDArray[np.float32]
KeepFeatures: TypeAlias = "bool | str | os.PathLike[str] | None"

FOLDER, SIZE = "TLCORE_CACHE", "TLCORE_CACHE_SIZE"
DEFAULT_SIZE = 2 << 30
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", 1)}


class FeaturesOnDisk:
    """Rows of features by what their pictures are, for whatever weights `identify` tells of.

    Args:
        folder: where all stores lie. most: bytes that they may take together.
        shape: of one picture's features.
        identify: the fingerprint of the weights as they are now; asked once for each stamp.
    """

    def __init__(
        self, folder: Path, most: int, shape: tuple[int, ...], identify: Callable[[], bytes]
    ) -> None:
        self.folder = folder
        self._most = most
        self._shape = shape
        self._identify = identify
        self._current: Callable[[], Hashable] = lambda: None
        self._stamp: Hashable = None
        self._store: Store | None = None
        self._writes = True
        self._lock = new_lock()
        self.found = 0  # pictures whose features there were when the last call began

    def begin(self, current: Callable[[], Hashable]) -> None:
        """Start a call of fit, evaluate or predict; `current` gives the stamp as it is now."""
        self._writes = True
        self._current = current
        store = self._at(current())
        if store is not None:
            store.begin()
        self.found = 0 if store is None else len(store)

    def restamp(self, old: Hashable, new: Hashable) -> None:
        """The same features hold under `new`: what changed was nothing that they depend on."""
        with self._lock:
            if self._stamp == old:
                self._stamp = new

    def missing(self, stamp: Hashable, batch: Batch, rows: Sequence[int]) -> list[int]:
        """Those of `rows` that must be computed."""
        keys, store = _keys(batch, rows), self._at(stamp)
        if keys is None or store is None:
            return list(rows)
        return [rows[i] for i in store.missing(keys)]

    def take(
        self, stamp: Hashable, batch: Batch, rows: Sequence[int], dst: FloatArray
    ) -> list[int]:
        """Copy what is found of `rows` into those rows of `dst`; the rows that were found."""
        keys, store = _keys(batch, rows), self._at(stamp)
        return [] if keys is None or store is None else store.take(keys, rows, dst)

    def add(self, stamp: Hashable, batch: Batch, rows: Sequence[int], features: FloatArray) -> None:
        """Append the features of these rows, unless their pictures have changed meanwhile."""
        keys, store = _keys(batch, rows), self._at(stamp)
        if keys is None or store is None or not self._writes:
            return
        try:
            again = batch.content_keys(rows) or []
        except (OSError, ValueError):  # the file has gone
            return
        same = [i for i, key in enumerate(again) if key == keys[i]]
        try:
            store.add([keys[i] for i in same], features[same])
        except OSError as err:
            self._stop(err.strerror or str(err))
        except NoRoomError:
            self._stop(
                f"its limit of {self._most} bytes is reached by what is in use, and {SIZE} "
                "raises it"
            )

    def _stop(self, reason: str) -> None:
        self._writes = False
        note(
            f"no more features are kept in the folder {str(self.folder)!r} ({reason}); the results "
            "are the same.",
            key=("features on disk", self.folder, reason),
        )

    def _at(self, stamp: Hashable) -> Store | None:
        """The store of this very stamp; None where its weights have been set meanwhile."""
        with self._lock:
            if self._store is None or stamp != self._stamp:
                fingerprint = self._identify()
                if self._current() != stamp:
                    return None
                self._store = Store(self.folder, fingerprint, self._shape, self._most)
                self._store.begin()
                self._stamp = stamp
            return self._store


def _keys(batch: Batch, rows: Sequence[int]) -> list[bytes] | None:
    """What the pictures of these rows are, or were when the batch was first asked for them."""
    lacking = [row for row in rows if row not in batch.contents]
    if lacking:
        keys = batch.content_keys(lacking)
        if keys is None:
            return None
        batch.contents = {**batch.contents, **dict(zip(lacking, keys, strict=True))}
    return [batch.contents[row] for row in rows]


def folder_of(keep_features: KeepFeatures) -> Path | None:
    """The folder that the argument names, made and tried; None if it names none.

    Raises TypeError for what it cannot be, OSError for a folder that cannot be used.
    """
    if keep_features is None or isinstance(keep_features, (bool, np.bool_)):
        return None
    text = os.fspath(keep_features) if isinstance(keep_features, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text:
        raise TypeError(
            f"keep_features must be None, True, False or the path of a folder, got "
            f"{keep_features!r}."
        )
    folder = _absolute(text)
    try:
        prepare(folder)
    except OSError as err:
        reason = err.strerror or str(err)
        raise OSError(
            err.errno,
            f"keep_features: features cannot be kept in this folder: {reason}",
            str(folder),
        ) from err
    return folder


def folder_of_environment() -> Path | None:
    """The folder that TLCORE_CACHE names, made and tried; None, and a note, where that fails."""
    folder = named_folder()
    if folder is None:
        return None
    try:
        prepare(folder)
    except OSError as err:
        note(
            f"{FOLDER} names the folder {str(folder)!r}, in which nothing can be kept "
            f"({err.strerror or err}); it is left out."
        )
        return None
    return folder


def named_folder() -> Path | None:
    """The folder that TLCORE_CACHE names, made or not; None if it is not set."""
    named = os.environ.get(FOLDER)
    return _absolute(named) if named else None


def most_bytes() -> int:
    """What TLCORE_CACHE_SIZE says: bytes, or 500MB, 2GB, 1.5GiB; 2 GiB if it is not set."""
    text = os.environ.get(SIZE)
    if not text:
        return DEFAULT_SIZE
    found = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?) ?([kmgt]i?|)b?", text.strip().lower())
    if found is None:
        note(
            f"{SIZE} must be a number of bytes, or one such as 500MB or 2GiB, got {text!r}; 2GiB "
            "it is."
        )
        return DEFAULT_SIZE
    return int(float(found[1]) * _UNITS[found[2]])


def _absolute(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))
