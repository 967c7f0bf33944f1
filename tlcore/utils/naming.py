"""Names for layers and models whose maker gave none, counted as Keras counts them."""

from __future__ import annotations

import re
from collections import defaultdict

from tlcore.utils.locks import new_lock

_uids: defaultdict[str, int] = defaultdict(int)
_lock = new_lock()


def to_snake_case(class_name: str) -> str:
    """Keras's base name of a class: GlobalAveragePooling2D -> global_average_pooling2d."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def unique_name(base: str) -> str:
    """`base` for the first caller in this process, then `base_1`, `base_2`, ..."""
    with _lock:
        count = _uids[base]
        _uids[base] += 1
    return f"{base}_{count}" if count else base


def reset_uids() -> None:
    """Start counting again, as Keras's `backend.clear_session()` does."""
    _uids.clear()
