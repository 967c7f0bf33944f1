"""Small networks straight from the core, for the tests of memory and threads."""

from __future__ import annotations

import numpy as np

from tlcore import _core


def random_parameters(graph: _core.Graph, seed: int = 0) -> _core.Parameters:
    """Weights of the size that Keras would draw; positive gammas and variances."""
    rng = np.random.default_rng(seed)
    specs = [
        (f"{node['name']}/{spec['name']}", spec["shape"])
        for node in graph.nodes
        for spec in node["parameters"]
    ]
    parameters = _core.Parameters(specs)
    values = []
    for i, (name, shape) in enumerate(specs):
        if name.endswith(("gamma", "moving_variance")):
            values.append((i, rng.uniform(0.5, 1.5, shape)))
        else:
            fan_in = max(1, int(np.prod(shape[:-1])))
            values.append((i, rng.normal(0, (2 / fan_in) ** 0.5, shape)))
    parameters.set(values)
    return parameters


def small_network(seed: int = 0) -> tuple[_core.Network, _core.Parameters]:
    """MobileNetV2 0.35 for 32 x 32 pictures with a head of five classes."""
    graph = _core.mobilenet_v2((32, 32, 3), 0.35, True, classes=5)
    parameters = random_parameters(graph, seed)
    return _core.Network(graph, [parameters]), parameters


def pictures(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 32, 32, 3)).astype(np.float32)
