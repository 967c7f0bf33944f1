"""Direct comparisons with TensorFlow, Keras 3, tf-keras and LiteRT: `make parity` runs them.

Elsewhere the real libraries are not installed, and this folder is left out, but for the test that
goes without them and says itself what it lacks.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

import tlcore

PEERS = ("tensorflow", "keras", "tf_keras", "ai_edge_litert")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

collect_ignore = (
    []
    if all(importlib.util.find_spec(peer) for peer in PEERS)
    else [
        path.name
        for path in Path(__file__).parent.glob("test_*.py")
        if path.name != "test_coexistence.py"
    ]
)


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """The weights of a test do not depend on which tests ran before it."""
    np.random.seed(0)
    tlcore.utils.set_random_seed(0)
