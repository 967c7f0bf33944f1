"""Bad arguments, odd arrays, failing memory and failing libraries, at every door of tlcore._core.

What an error says is tested for each argument; that nothing crashes or changes, for every
argument of every entry point with every hostile value, see tests/core_calls.py.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import itertools
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core_calls import BIG_ENDIAN, CALLS, CUT, FLAGS, NODES, World, add_node

from tlcore import _core

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def world() -> World:
    return World()


class PlantedError(Exception):
    """Raised by an object's own method; must arrive as it is."""


class Hostile:
    """Raises wherever Python asks it for something."""

    def refuse(self, *_: Any) -> Any:
        raise PlantedError

    __index__ = __float__ = __bool__ = __iter__ = __len__ = __getitem__ = __array__ = refuse


def message(call: Callable[[], Any], kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return str(caught.value)


# --- what an error says ---------------------------------------------------------------------

TEXT, NONE, FLOAT, HUGE = "three", None, 1.5, 2**70
INTEGER_ARGUMENTS = {
    "Graph.extend": "input",
    "mobilenet_v2": "classes",
    "Parameters.get": "index",
    "Parameters.set index, value": "index",
    "Parameters.glorot_uniform": "seed",
    "get_tensors block, index": "index",
    "set_tensors block, index, value": "index",
    "Network.run": "start",
    "Network.lowered": "stop",
    "Network.memory": "stop",
    "Trainer": "seed",
    "Trainer.set_state": "iterations",
    "logistic_regression": "outputs",
    "transform_picture": "order",
    "set_num_threads": "n",
    "fail_allocation": "n",
}


def call_with(world: World, name: str, **changed: Any) -> Any:
    call, arguments = CALLS[name]
    return call(world, **{**arguments(world), **changed})


@pytest.mark.parametrize(("name", "argument"), INTEGER_ARGUMENTS.items())
def test_integers_name_their_argument(world: World, name: str, argument: str) -> None:
    for value in (TEXT, NONE, FLOAT, [1], np.float32(1)):
        said = message(lambda v=value: call_with(world, name, **{argument: v}), TypeError)
        assert said == f"{argument} must be an integer, not {said.split()[-1]}"
    for value in (HUGE, -HUGE, 10**5000):
        said = message(lambda v=value: call_with(world, name, **{argument: v}), ValueError)
        assert said.startswith(f"{argument} must be an integer from ")
        assert said.endswith(str(value)[:40] if abs(value) == HUGE else "thousands of digits")
    with pytest.raises(PlantedError):
        call_with(world, name, **{argument: Hostile()})


@pytest.mark.parametrize("name", ["Parameters.glorot_uniform", "Trainer"])
def test_a_seed_does_not_wrap(world: World, name: str) -> None:
    for seed in (-1, 2**63, 2**64 + 1):
        said = message(lambda s=seed: call_with(world, name, seed=s), ValueError)
        assert said == f"seed must be an integer from 0 to {2**63 - 1}, not {seed}"


def test_iterations_end_where_the_streams_of_dropout_end(world: World) -> None:
    call_with(world, "Trainer.set_state", iterations=1)
    _, slots = world.trainer.get_state()
    trainer = world.new_trainer()
    trainer.set_state(2**52 - 1, slots)
    assert trainer.iterations == 2**52 - 1
    loss, _ = trainer.train_batch(world.x, world.y, learning_rate=0.0)
    assert np.isfinite(loss) and trainer.iterations == 2**52
    for many in (2**52, 2**63 - 1):
        said = message(lambda m=many: trainer.set_state(m, slots), ValueError)
        assert said == f"iterations must be an integer from 0 to {2**52 - 1}, not {many}"
    assert trainer.iterations == 2**52


@pytest.mark.parametrize(
    ("name", "argument", "kind"),
    [
        ("Graph", "input_shape", "integers"),
        ("Graph.add", "inputs", "integers"),
        ("Parameters", "specs", "tuples (name, shape)"),
        ("Parameters.set", "values", "tuples"),
        ("get_tensors", "tensors", "tuples"),
        ("set_tensors", "values", "tuples"),
        ("Network", "parameters", "Parameters"),
        ("Network.cut", "trainable", "booleans"),
        ("Trainer", "trainable", "booleans"),
        ("Trainer.set_state", "slots", "arrays"),
    ],
)
def test_sequences_name_their_argument(world: World, name: str, argument: str, kind: str) -> None:
    for value in (7, None, 1.5):
        said = message(lambda v=value: call_with(world, name, **{argument: v}), TypeError)
        assert said == f"{argument} must be a sequence of {kind}, not {type(value).__name__}"
    with pytest.raises(PlantedError):
        call_with(world, name, **{argument: Hostile()})


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("mobilenet_v2", "alpha"),
        ("Trainer adam", "beta_1"),
        ("Trainer adam", "beta_2"),
        ("Trainer adam", "epsilon"),
        ("Trainer adam", "ema_momentum"),
        ("Trainer.train_batch", "learning_rate"),
        ("Trainer.train_batch", "momentum"),
        ("logistic_regression", "l2"),
        ("logistic_regression", "tolerance"),
        ("pixels_to_float", "divide"),
        ("pixels_to_float", "scale"),
        ("pixels_to_float", "offset"),
        ("transform_picture", "cval"),
        ("transform_picture", "channel_shift"),
        ("transform_picture", "brightness"),
        ("transform_picture", "divide"),
        ("transform_picture", "scale"),
        ("transform_picture", "offset"),
        ("transform_picture", "rescale"),
    ],
)
def test_numbers_name_their_argument(world: World, name: str, argument: str) -> None:
    for value in (TEXT, [1.0], b"1"):
        said = message(lambda v=value: call_with(world, name, **{argument: v}), TypeError)
        assert said == f"{argument} must be a number, not {type(value).__name__}"
    said = message(lambda: call_with(world, name, **{argument: 10**400}), ValueError)
    assert said == f"{argument} must fit a float, not be an integer beyond it"
    with pytest.raises(PlantedError):
        call_with(world, name, **{argument: Hostile()})


REFUSED: list[tuple[Callable[[World], Any], type[Exception], str]] = [
    # shapes
    (lambda w: _core.Graph(()), ValueError, "input_shape must hold 1 to 4 integers, not 0"),
    (lambda w: _core.Graph((1,) * 5), ValueError, "input_shape must hold 1 to 4 integers, not 5"),
    (lambda w: _core.Graph((4, "4")), TypeError, "input_shape[1] must be an integer, not str"),
    (
        lambda w: _core.Graph((4, -4, 3)),
        ValueError,
        f"input_shape[1] must be an integer from 0 to {2**63 - 1}, not -4",
    ),
    (lambda w: _core.Graph((2**40,) * 3), MemoryError, "does not fit memory"),
    (lambda w: _core.Graph((4,), "x" * 128), ValueError, "name must be shorter than 128 bytes"),
    # Graph.add
    (
        lambda w: w.new_graph().add("lstm", "a", [0]),
        ValueError,
        '"lstm" is not one that',
    ),
    (
        lambda w: w.new_graph().add("add", "ä" * 64, [0]),
        ValueError,
        'name must be shorter than 128 bytes, but "',
    ),
    (lambda w: w.new_graph().add("add", "a", [0] * 9), ValueError, "at most 8 nodes, not 9"),
    (lambda w: w.new_graph().add("add", "a", [0, 0, 0]), ValueError, "takes 2 inputs, not 3"),
    (lambda w: w.new_graph().add("concatenate", "a", [0]), ValueError, "2 to 8 inputs, not 1"),
    (
        lambda w: w.new_graph().add("concatenate", "a", [0, 1]),
        ValueError,
        "inputs that differ in the last axis alone, but is given (4, 4, 3) and (48,)",
    ),
    (lambda w: w.new_graph().add("add", "a", [0, -1]), ValueError, "inputs[1] must be an integer"),
    (lambda w: w.new_graph().add("flatten", "f", [2]), ValueError, "input 2 of a graph of 2"),
    (lambda w: w.new_graph().add("flatten", "f", []), ValueError, "takes 1 input, not 0"),
    (lambda w: w.new_graph().add("add", "a"), TypeError, "exactly 3 arguments (2 given)"),
    (lambda w: w.new_graph().add("a\0b", "a", [0]), ValueError, "embedded null"),
    (lambda w: w.new_graph().add("add", "\ud800", [0]), UnicodeEncodeError, "surrogates"),
    (
        lambda w: w.new_graph().add("flatten", "f", [0], units=3),
        TypeError,
        'flatten "f" has no attribute units',
    ),
    (
        lambda w: w.new_graph().add("dense", "d", [0], **{"units\0": 3}),
        ValueError,
        "the name of an attribute must not hold a null character",
    ),
    (
        lambda w: w.new_graph().add("dense", "d", [0], **{"\ud800": 3}),
        UnicodeEncodeError,
        "surrogates",
    ),
    (lambda w: add_node("conv2d", {"kernel_size": 3}), TypeError, "kernel_size must be a sequence"),
    (
        lambda w: add_node("conv2d", {"strides": (1, 1, 1)}),
        ValueError,
        "strides must hold 2 integers, not 3",
    ),
    (
        lambda w: add_node("conv2d", {"filters": -1}),
        ValueError,
        "filters must be an integer from 0",
    ),
    (
        lambda w: add_node("conv2d", {"padding": "full"}),
        ValueError,
        'padding must be "same" or "valid", not "full"',
    ),
    (lambda w: add_node("conv2d", {"padding": 1}), TypeError, "padding must be a string, not int"),
    (lambda w: add_node("conv2d", {"padding": "same\0"}), ValueError, "must not hold a null"),
    (lambda w: add_node("depthwise_conv2d", {"filters": 2}), TypeError, "has no attribute filters"),
    (
        lambda w: add_node("batch_normalization", {"epsilon": "small"}),
        TypeError,
        "epsilon must be a number, not str",
    ),
    (lambda w: add_node("batch_normalization", {"renorm": True}), TypeError, "has no attribute"),
    (
        lambda w: add_node("batch_normalization", {"momentum": 1.5}),
        ValueError,
        "needs momentum from 0 to 1, not 1.5",
    ),
    (
        lambda w: add_node("batch_normalization", {"momentum": np.nan}),
        ValueError,
        "needs momentum from 0 to 1, not nan",
    ),
    (
        lambda w: add_node("max_pooling2d", {"pool_size": (1, 2), "strides": (1, 0)}),
        ValueError,
        "pool_size and strides from 1 to 65536, not 2 and 0",
    ),
    (
        lambda w: add_node("average_pooling2d", {"pool_size": (9, 9), "strides": (1, 1)}),
        ValueError,
        "has a pool_size of (9, 9), larger than its input",
    ),
    (lambda w: add_node("max_pooling2d", {"pool_size": 2}), TypeError, "pool_size must be a seq"),
    (lambda w: add_node("max_pooling2d", {"keepdims": True}), TypeError, "no attribute keepdims"),
    (lambda w: add_node("spatial_dropout2d", {"rate": -0.5}), ValueError, "rate of at least 0"),
    (
        lambda w: w.new_graph().add("spatial_dropout2d", "s", [1], rate=0.5),
        ValueError,
        "needs an input of (height, width, channels), but is given (48,)",
    ),
    (lambda w: add_node("relu", {"max_value": []}), TypeError, "max_value must be a number"),
    (lambda w: add_node("relu", {"max_value": np.nan}), ValueError, "max_value above 0, not nan"),
    (lambda w: add_node("relu", {"slope": 0.1}), TypeError, "has no attribute slope"),
    (
        lambda w: add_node("activation", {"function": "swish"}),
        ValueError,
        ", sigmoid, softmax, tanh, elu, selu, softplus, softsign, silu, gelu, hard_sigmoid, "
        'hard_silu, leaky_relu, exponential, mish, log_softmax, not "swish"',
    ),
    (lambda w: add_node("activation", {"function": None}), TypeError, "function must be a string"),
    (lambda w: add_node("activation", {"alpha": 1}), TypeError, "has no attribute alpha"),
    (
        lambda w: add_node("zero_padding2d", {"padding": 1}),
        TypeError,
        "padding must be a sequence of two pairs of integers, not int",
    ),
    (
        lambda w: add_node("zero_padding2d", {"padding": ((1, 1),)}),
        ValueError,
        "padding must be ((top, bottom), (left, right)), not 1 items",
    ),
    (
        lambda w: add_node("zero_padding2d", {"padding": ((1, 1), (1,))}),
        ValueError,
        "padding must hold 2 integers, not 1",
    ),
    (lambda w: add_node("zero_padding2d", {"size": 1}), TypeError, "has no attribute size"),
    (lambda w: add_node("global_max_pooling2d", {"size": 1}), TypeError, "has no attribute size"),
    (lambda w: add_node("dense", {"units": FLOAT}), TypeError, "units must be an integer"),
    (lambda w: add_node("dense", {"bias": True}), TypeError, "has no attribute bias"),
    (lambda w: add_node("dropout", {"rate": 1.0}), ValueError, "rate of at least 0 and below 1"),
    (lambda w: add_node("dropout", {"seed": 1}), TypeError, "has no attribute seed"),
    # Graph.extend
    (lambda w: w.graph.extend(w.graph, 0), ValueError, "other must be another graph, not this one"),
    (lambda w: w.graph.extend(w.network, 0), TypeError, "must be tlcore._core.Graph, not"),
    (lambda w: w.graph.extend(w.other, -1), ValueError, "input must be an integer from 0"),
    (lambda w: w.graph.extend(w.other, 99), ValueError, "input 99 is not a node"),
    # mobilenet_v2
    (lambda w: _core.mobilenet_v2(pooling="min"), ValueError, 'None, "avg" or "max", not "min"'),
    (
        lambda w: _core.mobilenet_v2(classifier_activation="glu"),
        ValueError,
        "classifier_activation must be None or one of linear, relu, relu6, sigmoid, softmax, tanh",
    ),
    (lambda w: _core.mobilenet_v2(classes=0), ValueError, "classes must be an integer from 1"),
    # Parameters
    (lambda w: _core.Parameters([3]), TypeError, "specs must hold tuples of (name, shape)"),
    (lambda w: _core.Parameters([("w",)]), TypeError, "specs must hold tuples of (name, shape)"),
    (lambda w: _core.Parameters([("w", 3)]), TypeError, "w must be a sequence of integers"),
    (lambda w: _core.Parameters([("w", (2**62, 2**62))]), MemoryError, "does not fit memory"),
    (
        lambda w: _core.Parameters([]).get(0),
        IndexError,
        "index must be that of one of 0 tensors, not 0",
    ),
    (
        lambda w: w.parameters.get(-1),
        IndexError,
        "index must be that of one of 8 tensors, not -1",
    ),
    (lambda w: w.parameters.glorot_uniform(8, 1), IndexError, "one of 8 tensors, not 8"),
    (lambda w: w.parameters.set([[7, w.value]]), TypeError, "tuples of (index, array)"),
    (lambda w: w.parameters.set([(7,)]), TypeError, "tuples of (index, array)"),
    (lambda w: w.parameters.set([(8, w.value)]), IndexError, "one of 8 tensors, not 8"),
    (
        lambda w: w.parameters.set([(7, w.value[:2])]),
        ValueError,
        "the value of tensor 7 must have the shape (3,), not (2,)",
    ),
    (
        lambda w: w.parameters.set([(7, 1.0)]),
        ValueError,
        "the value of tensor 7 must have the shape (3,), not ()",
    ),
    (
        lambda w: w.parameters.set([(7, ["1", "2", "3"])]),
        TypeError,
        "the value of tensor 7 must hold numbers, not dtype('<U1')",
    ),
    (
        lambda w: w.parameters.set([(7, [1j, 2, 3])]),
        TypeError,
        "the value of tensor 7 must hold real numbers, not complex ones",
    ),
    (
        lambda w: w.parameters.set([(7, [2**70, 2, 3])]),
        TypeError,
        "must hold numbers, not",
    ),
    # get_tensors, set_tensors
    (lambda w: _core.get_tensors([3]), TypeError, "tuples of (Parameters, index)"),
    (lambda w: _core.get_tensors([(w.graph, 0)]), TypeError, "tuples of (Parameters, index)"),
    (lambda w: _core.get_tensors([(w.parameters, 8)]), IndexError, "one of 8 tensors, not 8"),
    (lambda w: _core.set_tensors([3]), TypeError, "tuples of (Parameters, index, array)"),
    (lambda w: _core.set_tensors([(w.parameters, 7)]), TypeError, "(Parameters, index, array)"),
    # Network
    (
        lambda w: _core.Network(w.graph, [w.graph]),
        TypeError,
        "must hold Parameters, not",
    ),
    (
        lambda w: _core.Network(w.graph, [w.parameters, None]),
        TypeError,
        "parameters must hold Parameters, not NoneType",
    ),
    (lambda w: _core.Network(w.graph, []), ValueError, "no tensor for the kernel"),
    (
        lambda w: w.network.run(w.pictures, 3, 2),
        ValueError,
        "start must not lie behind stop, but is 3 and 2",
    ),
    (lambda w: w.network.run(w.pictures, 8), ValueError, "start must be an integer from 0 to 7"),
    (lambda w: w.network.lowered(stop=-2), ValueError, "stop must be an integer from -1 to 7"),
    (lambda w: w.network.memory(wrong=1), TypeError, "wrong"),
    (
        lambda w: w.network.run(w.pictures[0]),
        ValueError,
        "x must have the shape (None, 4, 4, 3), not (4, 4, 3)",
    ),
    (
        lambda w: w.network.run(np.float32(1)),
        ValueError,
        "x must have the shape (None, 4, 4, 3), not ()",
    ),
    (lambda w: w.network.run([[1], [2, 3]]), ValueError, "inhomogeneous"),
    (
        lambda w: w.network.cut(FLAGS[1:]),
        ValueError,
        "trainable must hold 8 booleans, one a tensor, not 7",
    ),
    # Trainer
    (lambda w: w.new_trainer(loss="mse"), ValueError, 'sparse_categorical_crossentropy, not "mse"'),
    (lambda w: w.new_trainer(start=99), ValueError, "start must be a node of the network"),
    (lambda w: w.new_trainer(start=-1), ValueError, "start must be an integer from 0"),
    (lambda w: w.new_trainer(network=w.graph), TypeError, "must be tlcore._core.Network"),
    (lambda w: w.new_trainer(trainable=[True]), ValueError, "trainable must hold 8 booleans"),
    (lambda w: w.new_trainer(optimizer={}), ValueError, '"adam" or "sgd", not ""'),
    (lambda w: w.new_trainer(optimizer={"name": 3}), TypeError, "optimizer name must be a string"),
    (
        lambda w: w.new_trainer(optimizer={"name": "sgd", "beta_1": 0.9}),
        ValueError,
        'optimizer "sgd" has no setting "beta_1"',
    ),
    (
        lambda w: w.new_trainer(optimizer={"name": "adam", "momentum": 0.9}),
        ValueError,
        'optimizer "adam" has no setting "momentum"',
    ),
    (
        lambda w: w.new_trainer(optimizer={"name": "sgd", "momentum": "high"}),
        TypeError,
        "momentum must be a number, not str",
    ),
    (
        lambda w: w.new_trainer(optimizer={"name": "sgd", "gradient_accumulation_steps": -1}),
        ValueError,
        "gradient_accumulation_steps must be an integer from 0",
    ),
    (
        lambda w: w.new_trainer(optimizer={"name": "adam", "ema_overwrite_frequency": 1.5}),
        TypeError,
        "ema_overwrite_frequency must be an integer, not float",
    ),
    (
        lambda w: w.new_trainer(multipliers=7),
        TypeError,
        "multipliers must be a sequence of numbers, not int",
    ),
    (
        lambda w: w.new_trainer(multipliers=[1.0] * 7),
        ValueError,
        "multipliers must hold 8 numbers, one a parameter, not 7",
    ),
    (
        lambda w: w.new_trainer(multipliers=["1"] * 8),
        TypeError,
        "multipliers[0] must be a number, not str",
    ),
    (
        lambda w: w.new_trainer(multipliers=[1.0] * 7 + [-0.5]),
        ValueError,
        "multipliers[7] must be a finite number of at least 0, not -0.5",
    ),
    (
        lambda w: w.new_trainer(multipliers=[float("nan")] * 8),
        ValueError,
        "multipliers[0] must be a finite number of at least 0, not nan",
    ),
    (
        lambda w: w.new_trainer(optimizer={"name": "sgd", 3: 0.9}),
        TypeError,
        "the name of an optimizer's setting must be a string, not int",
    ),
    (
        lambda w: w.trainer.train_batch(w.x, w.y[:4]),
        ValueError,
        "y must have as many rows as x, 5, not 4",
    ),
    (
        lambda w: w.trainer.train_batch(w.x, w.y.reshape(5, 1, 1)),
        ValueError,
        "y must have the shape (None, 1), not (5, 1, 1)",
    ),
    (lambda w: w.trainer.train_batch(w.x, "labels"), TypeError, "y must hold numbers, not"),
    (
        lambda w: w.trainer.train_batch(w.x, w.y, np.float32(1)),
        ValueError,
        "sample_weight must have the shape (None,), not ()",
    ),
    (
        lambda w: w.trainer.train_batch(w.x, w.y, w.weights[:4]),
        ValueError,
        "sample_weight must have as many rows as x, 5, not 4",
    ),
    (lambda w: w.trainer.train_batch(w.x[:0], w.y[:0]), ValueError, "x holds no row"),
    (lambda w: w.trainer.evaluate_batch(w.x.T, w.y), ValueError, "(None, 2), not (2, 5)"),
    (lambda w: w.trainer.evaluate_batch(w.x), TypeError, "'y'"),
    (
        lambda w: w.trainer.set_state(1, []),
        ValueError,
        "slots must hold 4 arrays, not 0",
    ),
    (
        lambda w: w.trainer.set_state(1, [np.zeros((3, 2))] * 4),
        ValueError,
        "slot 0 must have the shape (2, 3), not (3, 2)",
    ),
    (
        lambda w: w.trainer.set_state(1, [np.zeros((2, 3), complex)] * 4),
        TypeError,
        "slot 0 must hold real numbers",
    ),
    (
        lambda w: w.trainer.train_batch(w.x, w.y, momentum=0.5),
        ValueError,
        "momentum must be from 0 to 1, of an SGD, not 0.5",
    ),
    (
        lambda w: w.new_trainer(optimizer={"name": "sgd"}).train_batch(w.x, w.y, momentum=0.5),
        ValueError,
        "momentum=0.5 needs a model that was compiled with a momentum above 0",
    ),
    # functions
    (
        lambda w: _core.pixels_to_float(w.floats.astype(float), w.pixels, 1, 1, 0),
        ValueError,
        "dst must be a writable C-contiguous array of float32",
    ),
    (
        lambda w: _core.pixels_to_float(w.floats.astype(BIG_ENDIAN), w.pixels, 1, 1, 0),
        ValueError,
        "dst must be a writable C-contiguous array of float32",
    ),
    (
        lambda w: _core.pixels_to_float(w.floats, w.pixels[::2], 1, 1, 0),
        ValueError,
        "src must be",
    ),
    (
        lambda w: _core.pixels_to_float(w.floats[:5], w.pixels, 1, 1, 0),
        ValueError,
        "dst must hold as many numbers as src, 6, not 5",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo, matrix=[1, 0, 0, 0, 1]),
        ValueError,
        "matrix must hold 6 numbers, not 5",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo, matrix=5),
        TypeError,
        "matrix must be a sequence of numbers, not int",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo, matrix=[1, 0, 0, 0, 1, None]),
        TypeError,
        "matrix must be a number, not NoneType",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo, matrix=[1, 0, 0, 0, 1, np.nan]),
        ValueError,
        "matrix must hold finite numbers of at most 1e200, not nan",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo, brightness=np.inf),
        ValueError,
        "brightness must be a finite number of at most 1e30",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo, order=2),
        ValueError,
        "order must be an integer from 0 to 1, not 2",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo, fill_mode="mirrored"),
        ValueError,
        "'grid-mirror', 'grid-constant' or 'grid-wrap', not 'mirrored'",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo.astype("int16")),
        TypeError,
        "src must hold uint8, float32 or float64, not dtype('int16')",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo[0]),
        ValueError,
        "src must have 3 dimensions (height, width, channels), not 2",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo[::-1]),
        ValueError,
        "or uint8 with at most 4 channels whose pixels lie at equal distances",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.changed.astype(BIG_ENDIAN)),
        ValueError,
        "src must be C-contiguous",
    ),
    (
        lambda w: _core.transform_picture(w.changed[:, ::2], w.photo[:, :4].copy()),
        ValueError,
        "dst must be C-contiguous",
    ),
    (
        lambda w: _core.transform_picture(w.changed[:4], w.photo),
        ValueError,
        "dst must have the shape of src",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.changed),
        ValueError,
        "dst and src must not share memory",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo, mean=[1, 2]),
        ValueError,
        "mean must have the shape (3,), not (2,)",
    ),
    (
        lambda w: _core.transform_picture(w.changed, w.photo, divisor=np.ones(4)),
        ValueError,
        "divisor must have the shape (3,), not (4,)",
    ),
    (
        lambda w: _core.transform_picture(w.photo.astype(float), w.photo),
        ValueError,
        "float64 for one of float64, or uint8 for a src of uint8 that is only flipped",
    ),
    (
        lambda w: _core.transform_picture(w.photo.copy(), w.photo, scale=2),
        ValueError,
        "dst must hold float32",
    ),
    (
        lambda w: _core.transform_picture(
            w.photo.astype(float), w.photo.astype(float), brightness=1
        ),
        ValueError,
        "a src of float64 can be moved and flipped, no more",
    ),
    (
        lambda w: _core.transform_picture(
            w.changed[..., :2].copy(), w.photo[..., :2].copy(), brightness=1
        ),
        ValueError,
        "brightness needs a picture of 1, 3 or 4 channels, not 2",
    ),
    (
        lambda w: _core.logistic_regression(w.x[0], w.y.astype(int), 3, 1),
        ValueError,
        "features must have 2 axes, (rows, width), not 1",
    ),
    (
        lambda w: _core.logistic_regression(w.x, w.y, 3, 1),
        TypeError,
        "labels must hold integers, not dtype('float32')",
    ),
    (
        lambda w: _core.logistic_regression(w.x, [0, 1], 3, 1),
        ValueError,
        "labels must have the shape (5,), one a row",
    ),
    (
        lambda w: _core.logistic_regression(w.x, [0, 1, 2, 3, 0], 3, 1),
        ValueError,
        "labels must be from 0 to 2, but label 3 is 3",
    ),
    (
        lambda w: _core.logistic_regression(w.x, [0, 1, 2, 1, 0], 3, 1, start=np.zeros((2, 3))),
        ValueError,
        "start must have the shape (3, 3): weights, then the bias",
    ),
    (
        lambda w: _core.logistic_regression(w.x, [0, 1, 2, 1, 0], 3, -1),
        ValueError,
        "l2 must be a number of at least 0, not -1",
    ),
    (lambda w: _core.pixels_to_float([], w.pixels, 1, 1, 0), TypeError, "must be numpy.ndarray"),
    (lambda w: _core.set_num_threads(0), ValueError, "n must be an integer from 1"),
    (lambda w: _core.set_num_threads(100000), ValueError, "n must be from 1 to 256 threads"),
    (lambda w: _core.fail_allocation(), TypeError, "exactly one argument"),
]


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED, ids=[text for *_, text in REFUSED])
def test_a_refusal_says_what_came_and_what_is_allowed(
    world: World, call: Callable[[World], Any], kind: type[Exception], text: str
) -> None:
    before = world.state()
    assert text in message(lambda: call(world), kind)
    assert world.state() == before


def test_a_sentence_that_was_cut_inside_a_character_is_still_a_sentence() -> None:
    graph = _core.Graph((4, 4, 3))
    name = "ä" * 63
    graph.add("flatten", name, [0])
    with pytest.raises(ValueError, match="is used twice"):
        graph.add("flatten", name, [0])
    with pytest.raises(ValueError, match="not one that tlcore has"):
        graph.add("ö" * 5000, "x", [0])


# --- every value at every door --------------------------------------------------------------

HOSTILE: list[Callable[[World], Any]] = [
    *(lambda w, v=v: v for v in (None, True, -1, 0, 2**31, 2**62, 2**63, -(2**63), HUGE)),
    *(lambda w, v=v: v for v in (10**5000, 1.5, float("nan"), float("inf"), 1e308, 1j)),
    *(lambda w, v=v: v for v in ("", "text", "a\0b", "\ud800", b"bytes", bytearray(3))),
    *(lambda w, v=v: v for v in ((), [], {}, [None], [[]], ((),), [-1], [HUGE], {"a": 1})),
    lambda w: object(),
    lambda w: Hostile(),
    lambda w: [Hostile()],
    lambda w: [(Hostile(), Hostile())],
    lambda w: [(w.parameters, Hostile(), Hostile())],
    lambda w: iter(()),
    lambda w: (Hostile() for _ in range(3)),
    lambda w: w.graph,
    lambda w: w.network,
    lambda w: type(w.graph),
    lambda w: np.float32(3),
    lambda w: np.array(3),
    lambda w: np.zeros((0, 4, 4, 3)),
    lambda w: np.zeros((2, 0)),
    lambda w: np.full((5, 4, 4, 3), np.nan),
    lambda w: np.zeros(3, complex),
    lambda w: np.array(["a", "b"]),
    lambda w: np.array([None, 1, Hostile()], object),
    lambda w: np.zeros(3, [("a", "f4"), ("b", "U3")]),
    lambda w: np.zeros(3, "M8[s]"),
    lambda w: np.zeros(3, np.float16),
    lambda w: np.zeros(3, np.longdouble),
    lambda w: np.zeros(3, BIG_ENDIAN),
    lambda w: np.zeros((1,) * 30),
    lambda w: np.broadcast_to(np.float32(1), (1 << 40, 4, 4, 3)),
    lambda w: np.broadcast_to(np.float32(1), (1 << 40, 2)),
    lambda w: np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (3,), (0,)),
    lambda w: memoryview(b"abc"),
]
# What these change outlives the call, and 256 threads are too many for a test.
LASTING = {"set_num_threads", "fail_allocation"}


@pytest.mark.parametrize("name", sorted(set(CALLS) - LASTING))
def test_no_value_of_any_argument_crashes_or_half_changes(name: str) -> None:
    world = World()
    call, arguments = CALLS[name]
    for argument in arguments(world):
        for make in HOSTILE:
            before = world.state()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy's, of casts
                try:
                    call(world, **{**arguments(world), argument: make(world)})
                except (TypeError, ValueError, IndexError, MemoryError, PlantedError) as error:
                    assert world.state() == before, f"{argument}: {error}"
    call(world, **arguments(World()))


@pytest.mark.parametrize("op", sorted(NODES))
def test_no_value_of_any_attribute_crashes(world: World, op: str) -> None:
    for attribute in NODES[op]:
        for make in HOSTILE:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy's, of arrays as numbers
                try:
                    graph = add_node(op, {**NODES[op], attribute: make(world)})
                except (TypeError, ValueError, MemoryError, PlantedError):
                    continue
            assert len(graph.nodes) == 2


@pytest.mark.parametrize("name", sorted(CALLS))
def test_wrong_names_and_counts_of_arguments_are_type_errors(world: World, name: str) -> None:
    owner, _, method = name.partition(".")
    holder = {
        "Graph": world.graph,
        "Parameters": world.parameters,
        "Network": world.network,
        "Trainer": world.trainer,
    }
    function = getattr(holder.get(owner), method.split(" ")[0]) if method else None
    if not method:
        function = getattr(_core, name.split(" ")[0], None)
    if not callable(function):
        return  # a property, or len()
    with pytest.raises(TypeError):
        function(*range(12))
    with pytest.raises(TypeError):
        function(wrong_name=1)


@pytest.mark.parametrize("op", sorted(NODES))
def test_attributes_come_out_as_they_went_in(op: str) -> None:
    node = add_node(op, NODES[op]).nodes[1]
    assert node["op"] == op and node["attributes"] == NODES[op]
    assert add_node("relu", {"max_value": None}).nodes[1]["attributes"] == {"max_value": None}


# --- objects that change things while they are read -----------------------------------------


class Does:
    """Runs an action when it is asked for its value, then gives it."""

    def __init__(self, action: Callable[[], Any], value: Any) -> None:
        self.action, self.value = action, value

    def give(self, *_: Any, **__: Any) -> Any:
        self.action()
        return self.value

    __index__ = __float__ = __bool__ = __array__ = give

    def __iter__(self) -> Iterator[Any]:
        self.action()
        return iter(self.value)


def reshape_in_place(array: np.ndarray, shape: tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer NumPy advises against it
        array.shape = shape


def test_rows_are_those_that_were_checked(world: World) -> None:
    """y turns x into one row of ten numbers or ten rows while it is converted itself."""
    for rows, shape in ((5, (10,)), (5, (1, 10)), (5, (10, 1))):
        x = world.x.copy()
        y = Does(lambda x=x, shape=shape: reshape_in_place(x, shape), world.y)
        expected = world.trainer.evaluate_batch(world.x, world.y)
        loss, outputs = world.trainer.evaluate_batch(x, y)
        assert outputs.shape == (rows, 3)
        assert loss == expected[0] and np.array_equal(outputs, expected[1])


def test_a_value_may_reshape_another_before_both_are_written(world: World) -> None:
    first = np.arange(3, dtype=np.float32)
    second = Does(lambda: reshape_in_place(first, (1, 3)), np.ones(3, np.float32))
    world.parameters.set([(7, first), (7, second)])
    assert np.array_equal(world.parameters.get(7), np.ones(3))


def test_an_optimizer_may_change_while_it_is_read(world: World) -> None:
    settings: dict[str, Any] = {"name": "sgd"}
    settings["momentum"] = Does(settings.clear, 0.5)
    settings["nesterov"] = Does(settings.clear, True)
    trainer = world.new_trainer(optimizer=settings)
    assert len(trainer.get_state()[1]) == 2  # momentum kept: one slot for each tensor


def test_lists_may_be_emptied_while_they_are_read(world: World) -> None:
    flags: list[Any] = list(FLAGS)
    flags[0] = Does(flags.clear, False)
    assert world.network.cut(flags) == CUT

    specs: list[Any] = [("a", (2,)), ("b", (3,))]
    specs[0] = ("a", Does(specs.clear, (2,)))
    assert len(_core.Parameters(specs)) == 2

    shape: list[Any] = [4, 4, 3]
    shape[0] = Does(shape.clear, 4)
    assert _core.Graph(shape).nodes[0]["output_shape"] == (4, 4, 3)

    values: list[Any] = [(7, [4, 5, 6]), (7, [7, 8, 9])]
    values[0] = (7, Does(values.clear, np.zeros(3)))
    world.parameters.set(values)
    assert world.parameters.get(7).tolist() == [7, 8, 9]

    iterations, slots = world.trainer.get_state()
    moving: list[Any] = list(slots)
    moving[0] = Does(moving.clear, slots[0])
    world.trainer.set_state(iterations, moving)


def test_a_graph_may_grow_while_a_node_is_added_to_it() -> None:
    graph = _core.Graph((4, 4, 3))

    def grow() -> None:
        for i in range(40):
            graph.add("flatten", f"other {len(graph)} {i}", [0])

    assert graph.add("dense", "last", Does(grow, [0]), units=Does(grow, 2)) == 81
    assert len(graph) == 82 and graph.nodes[81]["name"] == "last"


def test_a_graph_may_grow_while_its_nodes_are_listed() -> None:
    """Before Python 3.12 the collector runs in the midst of the call, and runs anything."""
    graph = _core.Graph((4, 4, 3))
    for i in range(15):
        graph.add("conv2d", f"conv {i}", [0], filters=2, kernel_size=(1, 1))
    busy = []

    def grow(phase: str, _: Any) -> None:
        if not busy and phase == "stop":
            busy.append(True)
            for i in range(100):
                graph.add("flatten", f"flat {len(graph)} {i}", [0])
            busy.clear()

    thresholds = gc.get_threshold()
    gc.callbacks.append(grow)
    try:
        gc.set_threshold(1)
        nodes = graph.nodes
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(grow)
    assert [node["name"] for node in nodes[1:16]] == [f"conv {i}" for i in range(15)]


def test_a_graph_may_grow_while_a_network_is_made_of_it(world: World) -> None:
    graph = copy_of(world.graph)
    network = _core.Network(graph, Does(lambda: graph.extend(world.other, 0), [world.parameters]))
    assert network.memory()["parameters"] == world.parameters.nbytes


def copy_of(graph: _core.Graph) -> _core.Graph:
    first, *rest = graph.nodes
    made = _core.Graph(first["output_shape"], first["name"])
    for node in rest:
        made.add(node["op"], node["name"], node["inputs"], **node["attributes"])
    return made


def test_nothing_of_the_core_is_copied_or_pickled(world: World) -> None:
    for item in (world.graph, world.parameters, world.network, world.trainer):
        with pytest.raises(TypeError):
            copy.copy(item)
        with pytest.raises(TypeError):
            pickle.dumps(item)


def test_refusals_leave_nothing_behind(world: World) -> None:
    def refuse_all() -> int:
        for _ in range(50):
            for call, kind, _ in REFUSED:
                with contextlib.suppress(kind):
                    call(world)
        gc.collect()
        return sys.getallocatedblocks()

    refuse_all()
    counts = [refuse_all() for _ in range(4)]
    assert min(b - a for a, b in itertools.pairwise(counts)) < 25, counts


def test_what_a_flag_raises_arrives(world: World) -> None:
    with pytest.raises(PlantedError):
        world.network.cut([Hostile()] * len(FLAGS))


# --- odd arrays -----------------------------------------------------------------------------


class Subclass(np.ndarray):
    pass


ODD_ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda a: a.astype(np.float64),
    "big-endian": lambda a: a.astype(BIG_ENDIAN),
    "Fortran order": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "a subclass": lambda a: a.view(Subclass),
    "masked": lambda a: np.ma.masked_array(a),
    "a list": lambda a: a.tolist(),
    "a buffer": lambda a: memoryview(np.ascontiguousarray(a)),
}


@pytest.mark.parametrize("kind", ODD_ARRAYS)
def test_arrays_of_other_kinds_give_the_same_values(world: World, kind: str) -> None:
    def odd(array: np.ndarray) -> Any:
        changed = ODD_ARRAYS[kind](array)
        return changed.reshape(array.shape) if kind == "unaligned" else changed

    scores = world.network.run(world.pictures)
    again = world.network.run(odd(world.pictures))
    assert type(again) is np.ndarray and np.array_equal(again, scores)
    loss, _ = world.trainer.evaluate_batch(world.x, world.y, world.weights)
    given = (odd(world.x), odd(world.y), odd(world.weights))
    assert world.trainer.evaluate_batch(*given)[0] == loss
    kernel = world.parameters.get(6)
    world.parameters.set([(6, odd(kernel * 2))])
    assert np.array_equal(world.parameters.get(6), kernel * 2)
    world.parameters.set([(6, kernel)])


def test_whole_numbers_and_booleans_are_numbers(world: World) -> None:
    bits = world.pictures > 0
    expected = world.network.run(bits.astype(np.float32))
    for kind in (bool, np.uint8, np.int64, np.float16):
        assert np.array_equal(world.network.run(bits.astype(kind)), expected)


def test_no_rows_give_no_rows(world: World) -> None:
    assert world.network.run(world.pictures[:0]).shape == (0, 3)


# --- failing memory and libraries -----------------------------------------------------------


def run_child(
    *arguments: str | Path, preload: Path | None = None, **environment: str
) -> tuple[int, str]:
    paths = [str(TESTS), str(Path(_core.__file__).parents[1])]
    variables = {**os.environ, **environment, "PYTHONPATH": os.pathsep.join(paths)}
    for name in [name for name in variables if name.startswith("COVERAGE_")]:
        del variables[name]  # a tracer allocates, too
    if preload is not None:
        variables["LD_PRELOAD"] = f"{os.environ.get('LD_PRELOAD', '')} {preload}".strip()
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=variables,
        cwd=TESTS,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_failing_allocation_of_the_core_is_a_memory_error(world: World) -> None:
    for name in ("Graph", "mobilenet_v2", "Parameters", "Network", "Network.lowered", "Trainer"):
        _core.fail_allocation(0)
        try:
            with pytest.raises(MemoryError, match="memory"):
                call_with(world, name)
        finally:
            _core.fail_allocation(-1)
        call_with(world, name)


def test_every_failing_allocation_of_python_is_a_memory_error_and_no_leak() -> None:
    pytest.importorskip("_testcapi", reason="this Python was installed without its test modules")
    code, said = run_child(TESTS / "nomemory.py")
    assert code == 0, said[-4000:]
    assert ", 0 misbehave" in said


# Stands in front of a library's function: the call that REFUSE names fails.
REFUSING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

int armed = 0;

static int
refused(const char *name)
{
    const char *chosen = getenv("REFUSE");
    return armed && chosen != NULL && strcmp(chosen, name) == 0;
}

#define REFUSABLE(name, answer, parameters, arguments)                                         \
    int name parameters                                                                        \
    {                                                                                          \
        int(*real) parameters = (int(*) parameters)dlsym(RTLD_NEXT, #name);                    \
        return refused(#name) ? answer : real arguments;                                       \
    }

typedef void *(*start)(void *);
REFUSABLE(pthread_create, EAGAIN, (pthread_t *t, const pthread_attr_t *a, start s, void *x),
          (t, a, s, x))
REFUSABLE(pthread_mutex_init, ENOMEM, (pthread_mutex_t *m, const pthread_mutexattr_t *a), (m, a))
REFUSABLE(pthread_rwlock_init, ENOMEM, (pthread_rwlock_t *m, const pthread_rwlockattr_t *a),
          (m, a))

/* oneDNN is loaded for the extension alone: RTLD_NEXT does not reach it. */
#define REFUSABLE_DNNL(name, answer, parameters, arguments)                                    \
    int name parameters                                                                        \
    {                                                                                          \
        static int(*real) parameters;                                                          \
        if (real == NULL) {                                                                    \
            void *library = dlopen("libdnnl-tlcore.so.3", RTLD_NOLOAD | RTLD_NOW);             \
            real = (int(*) parameters)dlsym(library, #name);                                   \
        }                                                                                      \
        return refused(#name) ? answer : real arguments;                                       \
    }
REFUSABLE_DNNL(dnnl_engine_create, 3, (void **e, int kind, size_t i), (e, kind, i))
REFUSABLE_DNNL(dnnl_primitive_create, 3, (void **p, const void *d), (p, d))
"""

PROGRAMS = {
    # REFUSE -> (what is tried, the exception, what it says)
    "pthread_create": (
        "_core.set_num_threads(3); arm(); world.network.run(world.pictures)",
        OSError,
        "refused",
    ),
    "pthread_mutex_init": ("arm(); world.new_trainer()", OSError, "the system refused a lock"),
    "pthread_rwlock_init": (
        "arm(); _core.Parameters([('w', (3,))])",
        OSError,
        "the system refused a lock",
    ),
    "dnnl_primitive_create": (
        "n = _core.Network(world.graph, [world.parameters]); arm(); n.run(world.pictures)",
        _core.BackendError,
        "dnnl_primitive_create failed with status 3 (unimplemented)",
    ),
}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build the library that refuses")
    folder = tmp_path_factory.mktemp("refusing")
    source, library = folder / "refusing.c", folder / "refusing.so"
    source.write_text(REFUSING, encoding="utf-8")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60
    )
    return library


@pytest.mark.parametrize("function", PROGRAMS)
def test_a_refusal_of_the_system_or_of_onednn_is_an_exception(
    refusing: Path, function: str
) -> None:
    action, kind, text = PROGRAMS[function]
    program = (
        "import ctypes\n"
        "from core_calls import World\n"
        "from tlcore import _core\n"
        "world = World()\n"
        "armed = ctypes.c_int.in_dll(ctypes.CDLL(None), 'armed')\n"
        "def arm(): armed.value = 1\n"
        "try:\n"
        f"    {action}\n"
        "except Exception as error:\n"
        "    armed.value = 0\n"
        "    print(type(error).__name__, error)\n"
        "assert world.network.run(world.pictures).shape == (5, 3)\n"
        "world.new_trainer().train_batch(world.x, world.y)\n"
    )
    code, said = run_child("-c", program, preload=refusing, REFUSE=function)
    assert code == 0, said
    assert said.startswith(kind.__name__) and text in said


def test_the_module_cannot_be_imported_where_onednn_refuses(refusing: Path) -> None:
    program = (
        "import ctypes\n"
        "ctypes.c_int.in_dll(ctypes.CDLL(None), 'armed').value = 1\n"
        "try:\n"
        "    from tlcore import _core\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    code, said = run_child("-c", program, preload=refusing, REFUSE="dnnl_engine_create")
    assert code == 0, said
    assert said.startswith("BackendError dnnl_engine_create failed with status 3")
