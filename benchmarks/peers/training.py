"""What the peers share that take training steps: the network's weights, one batch, the protocol.

In FOLDER lie `weights.npz` (the base's tensors by Keras's names, such as "Conv1/kernel"),
`head.npz` (kernel (1280, classes) and bias of the dense layer), `pictures.npy` (n, 224, 224, 3),
`cut.npy` (their values in front of block_13_expand, (n, 14, 14, 96)) and `labels.npy` (n,). All
float32 but the labels. The environment's CASE says what trains:

    all           everything, batch norm with the statistics of the batch
    frozen-norm   everything but batch norm, which uses its stored statistics and does not train
    block13       from block_13_expand on, the layers before in inference mode in each step
    kept          the same, with the values in front of block_13_expand given

Plain SGD, categorical cross-entropy. Needs NumPy only.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from protocol import answers
from shared import FOLDER

# So many steps -> the seconds of each and the losses before them.
Run = Callable[[int], tuple[list[float], list[float]]]

CASE = os.environ["CASE"]
RATE = 1e-3
FIRST = "block_13_expand"  # the first layer that trains, in the last two cases
BEFORE = "block_12_add"


class Cannot(Exception):
    """The library says that it does not do this."""


def weights() -> dict[str, np.ndarray]:
    """The base's tensors, in Keras's layout."""
    return dict(np.load(FOLDER / "weights.npz"))


def head() -> tuple[np.ndarray, np.ndarray]:
    """Kernel (1280, classes) and bias (classes,) of the last layer."""
    arrays = np.load(FOLDER / "head.npz")
    return arrays["kernel"], arrays["bias"]


def picture_batch() -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, 224, 224, 3), float32 in [-1, 1], and their labels (n,), int64."""
    return np.load(FOLDER / "pictures.npy"), np.load(FOLDER / "labels.npy")


def batch() -> tuple[np.ndarray, np.ndarray]:
    """The same, or what takes the pictures' place where the values at the cut are given."""
    x, labels = picture_batch()
    return np.load(FOLDER / "cut.npy") if CASE == "kept" else x, labels


def peak_mib() -> float:
    """The most memory that this process has had; getrusage would count what began it as well."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def each(step: Callable[[], float]) -> Run:
    """From a function that takes one step and gives the loss: so many, each timed."""

    def run(count: int) -> tuple[list[float], list[float]]:
        seconds, losses = [], []
        for _ in range(count):
            begun = time.perf_counter()
            losses.append(step())
            seconds.append(time.perf_counter() - begun)
        return seconds, losses

    return run


def serve_steps(
    name: str, run: Run, profile: Callable[[], list[tuple[str, str, float, float]]] | None = None
) -> None:
    """Say who this is and answer until standard input ends.

    A line "<number>" is so many steps, answered by {"seconds": [...], "losses": [...], "mib": the
    most of the whole process so far}. A line "profile" is answered by {"profile": what `profile`
    gives}. What raises `Cannot` is answered by {"cannot": its text}.
    """
    print(json.dumps({"name": name}), file=answers)
    for line in sys.stdin:
        try:
            if line.strip() == "profile":
                if profile is None:
                    raise Cannot(f"{name} does not tell how its time splits")
                facts: dict[str, Any] = {"profile": profile()}
            else:
                seconds, losses = run(int(line))
                facts = {"seconds": seconds, "losses": losses, "mib": peak_mib()}
        except Cannot as error:
            facts = {"cannot": str(error)}
        print(json.dumps(facts), file=answers)
