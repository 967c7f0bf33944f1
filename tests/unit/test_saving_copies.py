"""Models through pickle and copy, and so to other processes; and random models through files."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import worker_tasks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tlcore import _core
from tlcore.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    ReLU,
    ZeroPadding2D,
)
from tlcore.models import Model, Sequential
from tlcore.optimizers import SGD, Adam
from tlcore.saving import load_model, load_weights, save_model, save_weights

EXAMPLES = settings(
    max_examples=int(os.environ.get("TLCORE_FUZZ_EXAMPLES", "20")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
PICTURES = np.random.RandomState(3).uniform(-1, 1, (5, 8, 8, 3)).astype(np.float32)
TARGETS = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]


def trained() -> Sequential:
    """A frozen base and a head that has trained for three steps."""
    base = Sequential([Input((8, 8, 3)), Conv2D(4, 3, name="c"), BatchNormalization()], name="base")
    base.trainable = False
    layers = [base, GlobalAveragePooling2D(), Dense(5, "relu"), Dense(3, "softmax", name="scores")]
    model = Sequential(layers, name="mine")
    model.class_indices = {"a": 0, "b": 1, "c": 2}
    model.input_range = (-1.0, 1.0)
    model.compile(Adam(0.01), "categorical_crossentropy", metrics=["acc"])
    for _ in range(3):
        model.train_on_batch(PICTURES, TARGETS)
    return model


def same_state(one: Model, other: Model) -> None:
    assert type(one) is type(other)
    assert [layer.name for layer in one.layers] == [layer.name for layer in other.layers]
    assert [layer.trainable for layer in one.layers] == [layer.trainable for layer in other.layers]
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert one.class_indices == other.class_indices
    assert one.input_range == other.input_range
    assert one.compile_config() == other.compile_config()
    steps, slots = one.optimizer_state()
    other_steps, other_slots = other.optimizer_state()
    assert steps == other_steps
    assert all(np.array_equal(a, b) for a, b in zip(slots, other_slots, strict=True))


# --- pickle and copy ------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_all_that_a_file_keeps(protocol: int) -> None:
    model = trained()
    again = pickle.loads(pickle.dumps(model, protocol))
    same_state(model, again)
    assert np.array_equal(again(PICTURES), model(PICTURES))


@pytest.mark.parametrize("optimizer", [Adam(0.01), SGD(0.1), SGD(0.1, momentum=0.9)], ids=repr)
def test_training_goes_on_exactly_after_a_copy(optimizer: Any) -> None:
    model = trained()
    model.compile(optimizer, "categorical_crossentropy")
    model.train_on_batch(PICTURES, TARGETS)
    again = copy.deepcopy(model)
    same_state(model, again)
    for _ in range(3):
        assert model.train_on_batch(PICTURES, TARGETS) == again.train_on_batch(PICTURES, TARGETS)
    same_state(model, again)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_has_weights_of_its_own(copied: Any) -> None:
    model = trained()
    before = model.get_weights()
    again = copied(model)
    again.set_weights([np.zeros_like(weight) for weight in before])
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_two_references_to_a_model_stay_one() -> None:
    model = trained()
    first, second = copy.deepcopy([model, model])
    assert first is second
    assert first is not model


def test_a_model_that_went_wrong_is_copied_as_it_is() -> None:
    model = trained()
    model.get_layer("scores").weights[1].assign([np.nan, np.inf, 0])
    again = copy.deepcopy(model)
    assert np.isnan(again.get_weights()[-1][0])
    assert np.isinf(again.get_weights()[-1][1])


def test_a_model_without_a_shape_says_so() -> None:
    with pytest.raises(ValueError, match="'unknown' cannot be saved: its input shape is unknown"):
        pickle.dumps(Sequential([Dense(3)], name="unknown"))


def test_damaged_pickles_say_what_they_are() -> None:
    function, (content,) = trained().__reduce__()
    with pytest.raises(ValueError, match=r"^a pickled model is not a whole HDF5 file"):
        function(content[: len(content) // 2])


# --- other processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_models_are_sent_to_processes_and_back(how: str) -> None:
    model = trained()
    expected = model.predict(PICTURES, verbose=0)
    context = multiprocessing.get_context(how)
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        for found in pool.map(worker_tasks.predict_batch, [model] * 4, [PICTURES] * 4):
            assert np.array_equal(found, expected)
        again, loss = pool.submit(worker_tasks.train_further, model, PICTURES, TARGETS).result()
    assert loss == worker_tasks.train_further(model, PICTURES, TARGETS)[1]
    same_state(model, again)


# --- random models --------------------------------------------------------------------------------

# HDF5 ends a name at a NUL and takes "/" for a path; Keras refuses both.
NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))


@st.composite
def models(draw: st.DrawFn) -> Sequential:
    """A small classifier: convolutions, a nested model now and then, a head; compiled or not."""
    names = draw(st.lists(NAMES, min_size=12, max_size=12, unique=True))
    size = draw(st.sampled_from([(6, 6, 1), (8, 8, 3), (7, 9, 2)]))
    flags = draw(st.lists(st.booleans(), min_size=12, max_size=12))

    def layer(name: str) -> Any:
        kind = draw(st.sampled_from(["conv", "depthwise", "bn", "relu", "dropout", "pad"]))
        units = draw(st.integers(1, 5))
        bias = draw(st.booleans())
        activation = draw(st.sampled_from([None, "relu", "sigmoid", "linear"]))
        made = {
            "conv": lambda: Conv2D(
                units,
                draw(st.integers(1, 3)),
                activation=activation,
                use_bias=bias,
                padding=draw(st.sampled_from(["same", "valid"])),
                name=name,
            ),
            "depthwise": lambda: DepthwiseConv2D(3, padding="same", use_bias=bias, name=name),
            "bn": lambda: BatchNormalization(
                momentum=draw(st.sampled_from([0.9, 0.999])), epsilon=1e-3, name=name
            ),
            "relu": lambda: ReLU(draw(st.sampled_from([None, 6.0])), name=name),
            "dropout": lambda: Dropout(draw(st.sampled_from([0.0, 0.5])), name=name),
            "pad": lambda: ZeroPadding2D(draw(st.integers(0, 2)), name=name),
        }
        return made[kind]()

    inner = [layer(name) for name in names[: draw(st.integers(1, 4))]]
    body: list[Any] = [Input(size), *inner]
    if draw(st.booleans()):
        body = [Sequential(body, name=names[4])]
    pools = [GlobalAveragePooling2D, GlobalMaxPooling2D, Flatten]
    pool = draw(st.sampled_from(pools))
    head = [pool(name=names[5])]
    if draw(st.booleans()):
        head += [Dense(3, name=names[6]), Activation("sigmoid", name=names[7])]
    classes = draw(st.integers(1, 4))
    last = Dense(classes, draw(st.sampled_from(["softmax", "sigmoid"])), name=names[8])
    model = Sequential([*body, *head, last], name=names[9])
    random = np.random.RandomState(draw(st.integers(0, 1000)))
    model.set_weights([random.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    for one, flag in zip([*inner, *model.layers], flags, strict=False):
        one.trainable = flag
    if draw(st.booleans()):
        model.class_indices = {draw(st.text(max_size=8)): 0}
    if draw(st.booleans()):
        optimizers = [SGD(0.5), SGD(0.1, momentum=0.5, nesterov=True), Adam(0.01, beta_1=0.8)]
        losses = ["categorical_crossentropy", "binary_crossentropy"]
        metrics = draw(st.sampled_from([None, ["accuracy"]]))
        model.compile(
            draw(st.sampled_from(optimizers)), draw(st.sampled_from(losses)), metrics=metrics
        )
    return model


def batch_for(model: Model) -> Any:
    shape = (3, *(n or 1 for n in model.input_shape[1:]))
    return np.random.RandomState(1).uniform(-1, 1, shape).astype(np.float32)


def own_flags(model: Model) -> list[bool]:
    return [v.trainable for v in model.weights]


@EXAMPLES
@given(models())
def test_whole_models_come_back(model: Sequential) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_model(model, f"{folder}/m.h5")
        again = load_model(f"{folder}/m.h5")
        assert os.listdir(folder) == ["m.h5"]
    same_state(model, again)
    assert own_flags(model) == own_flags(again)
    assert np.array_equal(again(batch_for(model)), model(batch_for(model)))
    same_state(model, pickle.loads(pickle.dumps(model)))


@EXAMPLES
@given(models(), st.sampled_from(["w.h5", "w.weights.h5"]))
def test_weights_come_back(model: Sequential, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        save_weights(model, path)
        other = copy.deepcopy(model)
        other.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
        load_weights(other, path)
    same_state(model, other)
    assert np.array_equal(other(batch_for(model)), model(batch_for(model)))


def test_the_network_of_a_copy_is_another() -> None:
    model = trained()
    network = copy.deepcopy(model).network
    assert isinstance(network, _core.Network)
    assert network is not model.network
