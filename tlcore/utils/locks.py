"""Locks that a forked child finds open, whoever held them in its parent.

Real `threading` locks, so that no Ctrl-C can fall between taking one and the `with` that gives it
back.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

# No WeakSet: the interpreter swallows a Ctrl-C that falls into its callbacks.
_made: list[weakref.ref[Any]] = []
_sweep_at = 64
_making: Any = threading.RLock()  # a signal's handler may make locks, too


def new_lock() -> threading.Lock:
    """An open lock."""
    lock = threading.Lock()
    _remember(lock)
    return lock


def new_rlock() -> Any:
    """An open lock that its holder may take again (a `threading.RLock`)."""
    lock = threading.RLock()
    _remember(lock)
    return lock


def _remember(lock: Any) -> None:
    global _made, _sweep_at
    with _making:
        _made.append(weakref.ref(lock))
        if len(_made) > _sweep_at:
            _made = [one for one in _made if one() is not None]
            _sweep_at = 2 * len(_made) + 64


def _open_all() -> None:
    for lock in (_making, *(one() for one in _made)):
        if lock is not None:
            lock._at_fork_reinit()  # what the standard library does with its own


os.register_at_fork(after_in_child=_open_all)

# Held while layers get weights and graphs and networks are made: layers may stand in several
# models, so one lock serves all. Never held while pictures are computed or user code runs.
building = new_rlock()
