"""What a peer is given: a folder (first argument) and a number of threads (second).

The folder has `network.json` and `network.npz`, the base's folded list of steps; `base.h5`, its
weights for Keras, of the width in `alpha.txt`; and `pictures.npy`, 32 pictures from -1 to 1. All
peers go through MANY of them, in one array, so that nobody's lie nearer to the CPU. Needs NumPy
only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(sys.argv[1])
THREADS = int(sys.argv[2])
MANY = 192
_alpha = FOLDER / "alpha.txt"
ALPHA = float(_alpha.read_text(encoding="utf-8")) if _alpha.is_file() else 1.0


def pictures(count: int) -> np.ndarray:
    """(count, 224, 224, 3) float32; again from the first on where there are not so many."""
    known = np.load(FOLDER / "pictures.npy")
    return known[np.arange(count) % len(known)]


def steps() -> list[dict[str, Any]]:
    """The folded list, as tlcore's inference runs it; kernels and biases as arrays."""
    arrays = np.load(FOLDER / "network.npz")
    listed: list[dict[str, Any]] = json.loads((FOLDER / "network.json").read_text(encoding="utf-8"))
    for i, step in enumerate(listed):
        step["kernel"] = arrays.get(f"kernel{i}")
        step["bias"] = arrays.get(f"bias{i}")
    return listed
