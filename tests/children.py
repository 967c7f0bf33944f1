"""Environments of processes that tests start."""

from __future__ import annotations

import os
import sys


def uncounted() -> dict[str, str]:
    """For a child that may not write, or has another interpreter inside: without coverage.py."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**own, "PYTHONPATH": os.pathsep.join(sys.path)}
