"""Laps of one whole program, from the start of its process. Import before anything heavy."""

from __future__ import annotations

import json
import resource
import time
from typing import Any

BEGUN = time.perf_counter()
_laps: dict[str, float] = {}
_last = BEGUN


def lap(name: str) -> None:
    """The time since the last lap went into `name`."""
    global _last
    now = time.perf_counter()
    _laps[name] = now - _last
    _last = now


def report(**facts: Any) -> None:
    """The last line of output: all laps and what else there is to say."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"laps": _laps, "total": time.perf_counter() - BEGUN, "mib": peak, **facts}))
