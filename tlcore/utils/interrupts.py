"""Ctrl-C where the interpreter would lose it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_back() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, which should not take long.

    h5py runs Python code when it lets go of an object (callbacks of weak references). The signal
    of a Ctrl-C that came during a call of the library is first seen there, and what is raised
    there is printed and forgotten. In a thread that receives no signals this does nothing.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            handler(*came[-1])
