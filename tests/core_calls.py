"""Every function and method of tlcore._core with arguments that it takes.

Shared by the tests of bad arguments and of failing memory: an entry point that is added to the
core gets a line in CALLS, and is then tested by both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from core_networks import random_parameters

from tlcore import _core

BIG_ENDIAN = np.dtype(np.float32).newbyteorder(">" if sys.byteorder == "little" else "<")


def small_graph() -> _core.Graph:
    graph = _core.Graph((4, 4, 3), "pictures")
    graph.add("conv2d", "conv", [0], filters=2, kernel_size=(3, 3), padding="same")
    graph.add("batch_normalization", "norm", [1])
    graph.add("relu", "relu", [2], max_value=6.0)
    graph.add("global_average_pooling2d", "pool", [3])
    graph.add("dropout", "drop", [4], rate=0.25)
    graph.add("dense", "scores", [5], units=3)
    graph.add("activation", "softmax", [6], function="softmax")
    return graph


def changing_graph() -> _core.Graph:
    """Of layers for pictures: node 1 changes them at random."""
    graph = _core.Graph((4, 4, 3))
    graph.add("random_flip", "flip", [0], horizontal=True)
    graph.add("rescaling", "scale", [1], scale=[2.0], offset=[1.0])
    graph.add("resizing", "large", [2], size=(8, 7), interpolation="bilinear")
    graph.add("center_crop", "crop", [3], size=(6, 6))
    return graph


FLAGS = [False] * 6 + [True, True]
CUT = 4  # the pooled values, in front of the dropout


class World:
    """One of each object, and arrays that fit them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.graph = small_graph()
        self.other = _core.Graph((4, 4, 3), "other")
        self.other.add("flatten", "flat", [0])
        self.parameters = random_parameters(self.graph)
        self.network = _core.Network(self.graph, [self.parameters])
        self.pictures = rng.uniform(-1, 1, (5, 4, 4, 3)).astype(np.float32)
        self.x = self.network.run(self.pictures, 0, CUT)
        self.y = np.array([0, 1, 2, 1, 0], np.float32)
        self.weights = np.array([1, 0, 2, 1, 0.5], np.float32)
        self.trainer = self.new_trainer()
        self.trainer.train_batch(self.x, self.y)
        self.changing = _core.Network(changing_graph(), [])
        self.drawn = self.changing.draw(1, 2, 3, 5)
        self.value = np.zeros(3, np.float32)
        self.pixels = np.arange(6, dtype=np.uint8)
        self.floats = np.zeros(6, np.float32)
        self.photo = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        self.changed = np.zeros((5, 7, 3), np.float32)

    def new_trainer(self, **changed: Any) -> _core.Trainer:
        arguments: dict[str, Any] = {
            "network": self.network,
            "start": CUT,
            "trainable": FLAGS,
            "loss": "sparse_categorical_crossentropy",
            "from_logits": False,
            "optimizer": {"name": "adam"},
            "seed": 7,
        }
        return _core.Trainer(**{**arguments, **changed})

    def new_graph(self) -> _core.Graph:
        graph = _core.Graph((4, 4, 3))
        graph.add("flatten", "flatten", [0])
        return graph

    def state(self) -> list[bytes]:
        """All that a failed call must leave as it was."""
        iterations, slots = self.trainer.get_state()
        arrays = [self.parameters.get(i) for i in range(len(self.parameters))]
        facts = (len(self.graph), len(self.other), self.parameters.version, iterations)
        return [repr(facts).encode(), *(array.tobytes() for array in [*arrays, *slots])]


Call = Callable[..., Any]

# Name -> (the call, given a World and arguments by name; those arguments, given a World).
CALLS: dict[str, tuple[Call, Callable[[World], dict[str, Any]]]] = {
    "Graph": (
        lambda w, **a: _core.Graph(**a),
        lambda w: {"input_shape": (4, 4, 3), "name": "in"},
    ),
    "Graph.add": (
        lambda w, op, name, inputs: w.new_graph().add(op, name, inputs),
        lambda w: {"op": "add", "name": "new", "inputs": [1, 1]},
    ),
    "Graph.extend": (
        lambda w, **a: w.new_graph().extend(**a),
        lambda w: {"other": w.other, "input": 0},
    ),
    "Graph.nodes": (lambda w: w.graph.nodes, lambda w: {}),
    "len(Graph)": (lambda w: len(w.graph), lambda w: {}),
    "mobilenet_v2": (
        lambda w, **a: _core.mobilenet_v2(**a),
        lambda w: {
            "input_shape": (32, 32, 3),
            "alpha": 0.35,
            "include_top": True,
            "pooling": "avg",
            "classes": 4,
            "classifier_activation": "softmax",
        },
    ),
    "Parameters": (
        lambda w, **a: _core.Parameters(**a),
        lambda w: {"specs": [("kernel", (2, 3)), ("bias", (3,))]},
    ),
    "Parameters.get": (lambda w, index: w.parameters.get(index), lambda w: {"index": 7}),
    "Parameters.set": (
        lambda w, values: w.parameters.set(values),
        lambda w: {"values": [(7, w.value), (7, [1, 2, 3])]},
    ),
    "Parameters.set index, value": (
        lambda w, index, value: w.parameters.set([(index, value)]),
        lambda w: {"index": 7, "value": w.value},
    ),
    "Parameters.glorot_uniform": (
        lambda w, **a: w.parameters.glorot_uniform(**a),
        lambda w: {"index": 6, "seed": 2**63 - 1},
    ),
    "Parameters.version": (lambda w: w.parameters.version, lambda w: {}),
    "Parameters.nbytes": (lambda w: w.parameters.nbytes, lambda w: {}),
    "len(Parameters)": (lambda w: len(w.parameters), lambda w: {}),
    "get_tensors": (
        lambda w, tensors: _core.get_tensors(tensors),
        lambda w: {"tensors": [(w.parameters, 7), (w.parameters, 0)]},
    ),
    "get_tensors block, index": (
        lambda w, block, index: _core.get_tensors([(block, index)]),
        lambda w: {"block": w.parameters, "index": 1},
    ),
    "set_tensors": (
        lambda w, values: _core.set_tensors(values),
        lambda w: {"values": [(w.parameters, 7, w.value), (w.parameters, 7, [1, 2, 3])]},
    ),
    "set_tensors block, index, value": (
        lambda w, block, index, value: _core.set_tensors([(block, index, value)]),
        lambda w: {"block": w.parameters, "index": 7, "value": w.value},
    ),
    "Network": (
        lambda w, **a: _core.Network(**a),
        lambda w: {"graph": w.graph, "parameters": [w.parameters]},
    ),
    "Network.run": (
        lambda w, **a: w.network.run(**a),
        lambda w: {"x": w.pictures, "start": 0, "stop": -1},
    ),
    "Network.cut": (lambda w, trainable: w.network.cut(trainable), lambda w: {"trainable": FLAGS}),
    "Network.lowered": (
        lambda w, **a: w.network.lowered(**a),
        lambda w: {"start": 0, "stop": -1},
    ),
    "Network.memory": (lambda w, **a: w.network.memory(**a), lambda w: {"start": 0, "stop": 6}),
    "Network.lowered of pictures": (
        lambda w, **a: w.changing.lowered(**a),
        lambda w: {"start": 0, "stop": -1},
    ),
    "Network.draw": (
        lambda w, **a: w.changing.draw(**a),
        lambda w: {"node": 1, "seed": 2**63 - 1, "batch": 4, "rows": 5},
    ),
    "Network.change": (
        lambda w, **a: w.changing.change(**a),
        lambda w: {"x": w.pictures, "node": 1, "numbers": w.drawn},
    ),
    "Network.prefix_runs": (lambda w: w.network.prefix_runs, lambda w: {}),
    "Trainer": (
        lambda w, **a: w.new_trainer(**a),
        lambda w: {
            "network": w.network,
            "start": CUT,
            "trainable": FLAGS,
            "loss": "sparse_categorical_crossentropy",
            "from_logits": False,
            "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True},
            "seed": 2**63 - 1,
            "multipliers": [1.0, 0.5, 0.0, 2.0, 1.0, 1.0, 0.25, 1.0],
        },
    ),
    "Trainer adam": (
        lambda w, **a: w.new_trainer(optimizer={"name": "adam", **a}),
        lambda w: {
            "beta_1": 0.9,
            "beta_2": 0.999,
            "epsilon": 1e-7,
            "gradient_accumulation_steps": 2,
            "use_ema": True,
            "ema_momentum": 0.5,
            "ema_overwrite_frequency": 3,
        },
    ),
    "Trainer.train_batch": (
        lambda w, **a: w.new_trainer(optimizer={"name": "sgd", "momentum": 0.5}).train_batch(**a),
        lambda w: {
            "x": w.x,
            "y": w.y,
            "sample_weight": w.weights,
            "learning_rate": 0.0,
            "momentum": 0.25,
        },
    ),
    "Trainer.evaluate_batch": (
        lambda w, **a: w.trainer.evaluate_batch(**a),
        lambda w: {"x": w.x, "y": w.y, "sample_weight": w.weights},
    ),
    "Trainer.apply_averages": (lambda w: w.new_trainer().apply_averages(), lambda w: {}),
    "Trainer.iterations": (lambda w: w.trainer.iterations, lambda w: {}),
    "Trainer.get_state": (lambda w: w.trainer.get_state(), lambda w: {}),
    "Trainer.set_state": (
        lambda w, **a: w.trainer.set_state(**a),
        lambda w: dict(zip(("iterations", "slots"), w.trainer.get_state(), strict=True)),
    ),
    "logistic_regression": (
        lambda w, **a: _core.logistic_regression(**a),
        lambda w: {
            "features": w.x,
            "labels": w.y.astype(int),
            "outputs": 3,
            "l2": 0.1,
            "sample_weight": w.weights,
            "start": np.zeros((w.x.shape[1] + 1, 3)),
            "tolerance": 1e-6,
            "max_iterations": 100,
        },
    ),
    "pixels_to_float": (
        lambda w, **a: _core.pixels_to_float(**a),
        lambda w: {"dst": w.floats, "src": w.pixels, "divide": 2.0, "scale": 3.0, "offset": 1.0},
    ),
    "transform_picture": (
        lambda w, dst, src, **a: _core.transform_picture(dst, src, **a),
        lambda w: {
            "dst": w.changed,
            "src": w.photo,
            "matrix": (0.9, 0.1, 1.5, -0.2, 1.1, 0.5),
            "order": 1,
            "fill_mode": "reflect",
            "cval": 3.0,
            "channel_shift": 9.0,
            "flip_rows": True,
            "flip_cols": False,
            "brightness": 1.25,
            "stretch": False,
            "divide": 127.5,
            "scale": 2.0,
            "offset": -1.0,
            "rescale": 0.5,
            "samplewise_center": True,
            "samplewise_std": True,
            "mean": np.ones(3, np.float32),
            "divisor": np.full(3, 2, np.float32),
            "shared": True,
        },
    ),
    "set_num_threads": (
        lambda w, n: _core.set_num_threads(n),
        lambda w: {"n": _core.get_num_threads()},
    ),
    "get_num_threads": (lambda w: _core.get_num_threads(), lambda w: {}),
    "config": (lambda w: _core.config(), lambda w: {}),
    "fail_allocation": (lambda w, n: _core.fail_allocation(n), lambda w: {"n": -1}),
}

# One node of each kind with all its attributes, behind node 0 of shape (4, 4, 3).
NODES: dict[str, dict[str, Any]] = {
    "conv2d": {
        "filters": 2,
        "kernel_size": (2, 1),
        "strides": (1, 2),
        "padding": "valid",
        "use_bias": False,
    },
    "depthwise_conv2d": {
        "kernel_size": (3, 3),
        "strides": (2, 2),
        "padding": "same",
        "use_bias": True,
    },
    "batch_normalization": {"epsilon": 0.5, "momentum": 0.25},
    "relu": {"max_value": 1.5},
    "activation": {"function": "sigmoid"},
    "zero_padding2d": {"padding": ((1, 2), (3, 4))},
    "global_average_pooling2d": {"keepdims": True},
    "global_max_pooling2d": {"keepdims": False},
    "flatten": {},
    "dense": {"units": 5, "use_bias": False},
    "dropout": {"rate": 0.5},
    "spatial_dropout2d": {"rate": 0.5},
    "max_pooling2d": {"pool_size": (2, 1), "strides": (1, 2), "padding": "same"},
    "average_pooling2d": {"pool_size": (2, 2), "strides": (2, 2), "padding": "valid"},
    "rescaling": {"scale": (2.0, 0.5, -1.0), "offset": (0.0, 1.0, 2.0)},
    "resizing": {
        "size": (5, 7),
        "interpolation": "lanczos3",
        "antialias": True,
        "crop_to_aspect_ratio": False,
        "pad_to_aspect_ratio": True,
        "fill_value": 0.5,
    },
    "center_crop": {"size": (3, 5)},
    "random_flip": {"horizontal": True, "vertical": True, "seed": 3},
    "random_rotation": {
        "factor": (-0.25, 0.5),
        "fill_mode": "wrap",
        "interpolation": "nearest",
        "fill_value": 0.5,
        "seed": None,
    },
    "random_zoom": {
        "factor": (-0.25, 0.5),
        "width_factor": None,
        "fill_mode": "reflect",
        "interpolation": "bilinear",
        "fill_value": 0.0,
        "seed": 2**63 - 1,
    },
    "random_translation": {
        "factor": (-0.25, 0.5),
        "width_factor": (-0.5, 0.25),
        "fill_mode": "constant",
        "interpolation": "bilinear",
        "fill_value": 0.5,
        "seed": 1,
    },
    "random_contrast": {"factor": (0.25, 0.5), "value_range": (0.0, 1.0), "seed": 1},
    "random_brightness": {"factor": (-0.25, 0.5), "value_range": (-1.0, 1.0), "seed": 1},
    "random_crop": {"size": (2, 3), "seed": 1},
}


def add_node(op: str, attributes: dict[str, Any]) -> _core.Graph:
    graph = _core.Graph((4, 4, 3))
    graph.add(op, "node", [0], **attributes)
    return graph
