"""One-line notes to the user: what tlcore does differently from what the program said."""

from __future__ import annotations

import sys

from tlcore.utils.locks import new_lock

_said: set[object] = set()
_lock = new_lock()


def note(text: str, *, key: object = None) -> None:
    """Print `tlcore: {text}` to stderr, once per process for each `key` (default: the text)."""
    key = text if key is None else key
    with _lock:
        if key in _said:
            return
        _said.add(key)
    print(f"tlcore: {text}", file=sys.stderr)


def reset_notes() -> None:
    """Forget what has been said, so that every note is printed again."""
    with _lock:
        _said.clear()
