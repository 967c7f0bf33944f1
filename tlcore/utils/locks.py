"""Locks that a forked child finds open, whoever held them in its parent.

Real `threading` locks, so that no Ctrl-C can fall between taking one and the `with` that gives it
back.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any

_made: weakref.WeakSet[Any] = weakref.WeakSet()


def new_lock() -> threading.Lock:
    """An open lock."""
    lock = threading.Lock()
    _made.add(lock)
    return lock


def new_rlock() -> Any:
    """An open lock that its holder may take again (a `threading.RLock`)."""
    lock = threading.RLock()
    _made.add(lock)
    return lock


def _open_all() -> None:
    for lock in list(_made):
        lock._at_fork_reinit()  # what the standard library does with its own


os.register_at_fork(after_in_child=_open_all)

# Held while layers get weights and graphs and networks are made: layers may stand in several
# models, so one lock serves all. Never held while pictures are computed or user code runs.
building = new_rlock()
