"""What features depend on besides the picture: the frozen layers, and what computes them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import tlcore
from tlcore import _core
from tlcore.utils.config import cpu_model

if TYPE_CHECKING:
    from tlcore.layers import Variable

PRECISION = "float32"
# What may change oneDNN's choices, besides the instruction set.
_SETTINGS = ("DEFAULT_FPMATH_MODE", "CPU_ISA_HINTS")


def fingerprint(nodes: Sequence[_core.Node], cut: int, variables: Sequence[Variable]) -> bytes:
    """SHA-256 over the graph up to node `cut`, its weights, and what decides on the last bits.

    `variables` are those of all nodes, in order. Names count for nothing: equal layers with equal
    weights have equal features. The CPU and the builds count, because another order of additions
    gives other last bits.
    """
    until = nodes[: cut + 1]
    digest = hashlib.sha256()
    for node in until:
        shapes = [spec["shape"] for spec in node["parameters"]]
        facts = (node["op"], node["inputs"], node["output_shape"], node["inference"], shapes)
        digest.update(f"{facts!r} {sorted(node['attributes'].items())!r}\n".encode())
    digest.update(f"{PRECISION} {_arithmetic()}\n".encode())
    count = sum(len(node["parameters"]) for node in until)
    for value in _core.get_tensors([(one.parameters, one.index) for one in variables[:count]]):
        digest.update(np.ascontiguousarray(value, "<f4").reshape(-1).data)
    return digest.digest()


def _arithmetic() -> str:
    core = _core.config()
    used = [core["onednn"], core["onednn_isa"], core["used_isa"], core["kernels"]]
    names = [f"{prefix}_{name}" for prefix in ("ONEDNN", "DNNL") for name in _SETTINGS]
    settings = [os.environ.get(name) for name in names]
    return f"{tlcore.__version__} {_build()} {used} {settings} {cpu_model()}"


@lru_cache(maxsize=1)
def _build() -> str:
    """A version may have many builds while it is being worked on."""
    return hashlib.sha256(Path(_core.__file__).read_bytes()).hexdigest()
