"""Direct comparisons with TensorFlow, Keras 3, tf-keras and LiteRT: `make parity` runs them.

Elsewhere the real libraries are not installed, and this folder is left out.
"""

from __future__ import annotations

import importlib.util
import os

PEERS = ("tensorflow", "keras", "tf_keras", "ai_edge_litert")

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

collect_ignore_glob = [] if all(importlib.util.find_spec(peer) for peer in PEERS) else ["test_*.py"]
