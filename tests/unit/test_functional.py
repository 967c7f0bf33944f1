"""Models from symbolic tensors: calls of layers, parts of models, layers that are called twice."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import weakref

import h5py
import numpy as np
import pytest

import tlcore
from tlcore import Input, Model, Sequential, _core, applications, layers
from tlcore.layers import (
    Activation,
    Add,
    BatchNormalization,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    ReLU,
)
from tlcore.models import Functional, load_model
from tlcore.optimizers import SGD, Adam

PICTURES = np.random.RandomState(0).uniform(-1, 1, (6, 32, 32, 3)).astype(np.float32)
TARGETS = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]


@pytest.fixture
def base():
    return applications.MobileNetV2((32, 32, 3), 0.35, include_top=False, weights=None)


def randomize(model, seed=0):
    """Weights under which every batch normalization and every bias matters."""
    random = np.random.RandomState(seed)
    for variable in model.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(random.uniform(-0.3, 0.3, variable.shape))


def transfer(base, **how):
    """The model of Keras's guide to transfer learning."""
    x = Input((32, 32, 3))
    y = GlobalAveragePooling2D()(base(x, training=False))
    return Model(x, Dense(3, activation="softmax")(Dropout(0.2)(y)), **how)


def branches():
    x = Input((5,), name="x")
    left = Dense(4, activation="relu", name="left")(x)
    right = Dense(4, name="right")(x)
    return Model(x, Dense(2, name="top")(left + right), name="branches")


# --- tensors -----------------------------------------------------------------------------------


def test_tensors_have_shapes_and_names():
    x = Input((4, 4, 3), name="picture")
    assert (x.shape, x.dtype, x.name) == ((None, 4, 4, 3), "float32", "picture")
    y = Flatten()(x)
    assert (y.shape, y.dtype) == ((None, 48), "float32")
    assert "shape=(None, 48), dtype=float32" in repr(y)
    assert Dense(2)([y]).shape == (None, 2), "a list of one is that one"


def test_a_call_builds_the_layer():
    layer = Dense(3)
    y = layer(Input((5,)))
    assert layer.built and [w.shape for w in layer.weights] == [(5, 3), (3,)]
    assert layer.output is y and layer.input.shape == (None, 5)
    assert (layer.input_shape, layer.output_shape) == ((None, 5), (None, 3))


def test_the_input_layer_is_its_tensor():
    x = Input((5,))
    assert x.output is x and x.input is x
    with pytest.raises(ValueError, match="is an input: it cannot be called"):
        x(Input((5,)))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda x: np.asarray(x), "is no array: it has a shape and no numbers"),
        (lambda x: bool(x), "is neither true nor false"),
        (lambda x: list(x), "cannot be iterated over"),
        (lambda x: x + 1, "unsupported operand"),
        (lambda x: np.ones(5) + x, "not implemented"),
        (lambda x: x * x, "unsupported operand"),
    ],
)
def test_what_a_tensor_is_not(use, message):
    with pytest.raises(TypeError, match=message):
        use(Dense(5)(Input((5,))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: Dense(3)(np.zeros((1, 5))), "is called with symbolic tensors.*got a ndarray"),
        (lambda x: Dense(3)([]), "got a list"),
        (lambda x: Add()([x, np.zeros(5)]), "symbolic tensors and with a ndarray"),
        (lambda x: Add()([x, Input((5,))]), "tensors that come from different inputs"),
        (lambda x: Add()([x]), "takes two inputs, got 1"),
        (lambda x: Dense(3)([x, x]), "input"),
        (lambda x: Add()([x, Dense(3)(x)]), "shape"),
        (lambda x: GlobalAveragePooling2D()(x), "needs an input of"),
        (lambda x: Dropout(0.5)(x, training=True), "training mode in fit only"),
        (lambda x: Dropout(0.5)(x, training="no"), "training must be True or False"),
        (lambda x: Sequential([Dense(3)])(x, training=True), "training mode in fit only"),
        (lambda x: Sequential([Input((4,)), Dense(3)])(x), r"takes inputs of shape \(None, 4\)"),
    ],
)
def test_calls_that_do_not_work(call, message):
    with pytest.raises(ValueError, match=message):
        call(Input((5,)))


# --- models ------------------------------------------------------------------------------------


def test_a_model_computes_what_its_calls_say():
    model = branches()
    assert type(model) is Functional and isinstance(model, Model) and model.built
    x = np.random.RandomState(0).randn(3, 5).astype(np.float32)
    left, right, top = (model.get_layer(name).get_weights() for name in ("left", "right", "top"))
    total = np.maximum(x @ left[0] + left[1], 0) + x @ right[0] + right[1]
    np.testing.assert_allclose(model(x), total @ top[0] + top[1], rtol=1e-5, atol=1e-6)
    assert np.array_equal(model.predict(x, verbose=0), model(x))


def test_layers_stand_in_keras_order():
    model = branches()
    names = [layer.name for layer in model.layers]
    assert names[:3] == ["x", "left", "right"] and names[4] == "top"
    assert isinstance(model.layers[3], Add)
    assert model.inbound["top"] == [names[3]] and model.inbound[names[3]] == ["left", "right"]
    assert [w.path for w in model.weights][:3] == ["left/kernel", "left/bias", "right/kernel"]


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: Model(x, y, name="m"),
        lambda x, y: Model(inputs=x, outputs=y, name="m"),
        lambda x, y: Model([x], [y], "m"),
        lambda x, y: tlcore.keras.Model(inputs=[x], outputs=y, name="m"),
        lambda x, y: tlcore.keras.models.Model(x, outputs=[y], name="m"),
        lambda x, y: Functional(x, y, name="m"),
    ],
)
def test_ways_to_make_a_model(make):
    x = Input((5,))
    y = Dense(3)(x)
    model = make(x, y)
    assert type(model) is Functional and model.name == "m"
    assert model.input is x and model.output is y
    assert model.inputs == [x] and model.outputs == [y]
    assert model.input_shape == (None, 5) and model.output_shape == (None, 3)


def test_what_no_model_can_be_made_of():
    x, other = Input((5,), name="x"), Input((5,), name="other")
    y = Dense(3, name="y")(x)
    for inputs, outputs, message in (
        (None, y, "inputs must be a symbolic tensor.*got None"),
        (x, np.zeros(3), "outputs must be a symbolic tensor"),
        (x, Dense(3), "outputs must be a symbolic tensor"),
        ([x, other], y, "inputs must be one symbolic tensor, got 2"),
        (x, [y, y], "outputs must be one symbolic tensor, got 2"),
        (x, [], "outputs must be one symbolic tensor, got 0"),
        (x, {"a": y}, "outputs must be one symbolic tensor, got 1"),
        (other, y, "depends on the input 'x', which is not the model's input 'other'"),
        (y, x, "depends on the input 'x'"),
        (x, Dense(2, name="y")(y), "two layers named 'y'"),
    ):
        with pytest.raises(ValueError, match=message):
            Model(inputs, outputs)


def test_a_model_without_layers_is_the_identity():
    x = Input((5,))
    model = Model(x, x)
    values = np.random.RandomState(0).rand(2, 5).astype(np.float32)
    assert np.array_equal(model(values), values)
    nothing = Model(x, Activation("linear")(x))
    assert np.array_equal(nothing(values), values)


def test_a_deep_model_needs_no_deep_stack():
    x = y = Input((2,))
    for _ in range(1100):
        y = ReLU()(y)
    assert len(Model(x, y).layers) == 1101


def test_the_same_seed_gives_the_same_weights_as_in_a_sequential():
    made = []
    for functional in (False, True):
        tlcore.utils.set_random_seed(3)
        if functional:
            x = Input((5,))
            made.append(Model(x, Dense(2)(Dense(4)(x))))
        else:
            made.append(Sequential([Input((5,)), Dense(4), Dense(2)]))
    for a, b in zip(made[0].get_weights(), made[1].get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_a_tensor_may_be_added_to_itself():
    x = Input((5,))
    values = np.random.RandomState(0).rand(2, 5).astype(np.float32)
    assert np.array_equal(Model(x, x + x)(values), values + values)


# --- models inside, and parts of models -----------------------------------------------------------


def test_a_model_inside_shares_its_weights(base):
    model = transfer(base)
    assert [layer.name for layer in model.layers][1] == base.name
    assert model.weights[:260] == base.weights
    randomize(base)
    kernel, bias = model.layers[-1].get_weights()
    scores = np.exp(base(PICTURES).mean((1, 2)) @ kernel + bias)
    np.testing.assert_allclose(model(PICTURES), scores / scores.sum(-1, keepdims=True), rtol=1e-4)


def test_a_part_of_a_model(base):
    randomize(base)
    part = Model(inputs=base.input, outputs=base.get_layer("block_12_add").output)
    node = [node["name"] for node in base.graph.nodes].index("block_12_add")
    assert np.array_equal(part(PICTURES), base.network.run(PICTURES, 0, node))
    assert part.get_layer("Conv1") is base.get_layer("Conv1")
    rest = Model(part.output, base.output)
    assert np.array_equal(rest(part(PICTURES)), base(PICTURES))
    assert len(part.weights) + len(rest.weights) == len(base.weights)
    base.get_layer("Conv1").set_weights([np.zeros((3, 3, 3, 16))])
    assert np.array_equal(part(PICTURES), base.network.run(PICTURES, 0, node))
    assert np.array_equal(part(PICTURES[:1]), part(PICTURES[1:2])), "the kernel is zero here too"


def test_layers_go_on_from_a_model(base):
    base.input_range = (-1, 1)
    head = Dense(3, activation="softmax", name="head")
    model = Model(base.input, head(GlobalAveragePooling2D()(base.output)))
    assert model.input is base.input and len(model.layers) == len(base.layers) + 2
    assert model.input_range == (-1.0, 1.0) and transfer(base).input_range == (-1.0, 1.0)
    same = Sequential([base, GlobalAveragePooling2D(), Dense(3, activation="softmax")])
    same.layers[-1].set_weights(head.get_weights())
    assert np.array_equal(model(PICTURES), same(PICTURES))


def test_parts_of_a_sequential():
    model = Sequential([Input((5,)), Dense(4, activation="relu", name="a"), Dense(2, name="b")])
    x = np.random.RandomState(0).randn(3, 5).astype(np.float32)
    part = Model(model.inputs, model.get_layer("a").output)
    assert np.array_equal(part(x), model.network.run(x, 0, 2))
    assert Model(model.layers[-1].input, model.output).input_shape == (None, 4)
    model.add(Dense(7))
    assert model.output.shape == (None, 7)
    x = Input((5,))
    assert Model(x, Sequential([Dense(4), Dense(2)])(x)).output_shape == (None, 2)


def test_what_has_no_tensors_yet():
    unbuilt = Sequential([Dense(4)])
    for which in ("input", "output", "inputs", "outputs"):
        with pytest.raises(ValueError, match="its input shape is unknown"):
            getattr(unbuilt, which)
    for which in ("input", "output"):
        with pytest.raises(AttributeError, match="has no input or output yet"):
            getattr(unbuilt.layers[0], which)


def test_names_may_repeat_in_models_inside():
    x = Input((5,))
    inner = [Sequential([Input((5,)), Dense(5, name="d")], name=name) for name in "ab"]
    model = Model(x, Dense(5, name="d")(inner[1](inner[0](x))))
    values = np.random.RandomState(0).rand(2, 5).astype(np.float32)
    kernel, bias = model.layers[-1].get_weights()
    expected = inner[1](inner[0](values)) @ kernel + bias
    np.testing.assert_allclose(model(values), expected, rtol=1e-5, atol=1e-6)


def test_an_inner_model_may_change():
    inner = Sequential([Input((5,)), Dense(4), Dense(4)])
    x = Input((5,))
    model = Model(x, Dense(2, name="top")(inner(x)))
    inner.pop()
    kernel, bias = model.get_layer("top").get_weights()
    values = np.random.RandomState(0).rand(2, 5).astype(np.float32)
    np.testing.assert_allclose(model(values), inner(values) @ kernel + bias, rtol=1e-5)
    assert model.get_layer("top").output.shape == (None, 2)


def test_models_go_when_nobody_holds_them():
    gc.collect()
    gc.disable()  # reference counts alone must do
    try:
        model = branches()
        part = Model(model.input, model.get_layer("left").output)
        known = [weakref.ref(one) for one in (model, part, *model.layers)]
        del model, part
        assert all(one() is None for one in known)
    finally:
        gc.enable()


# --- layers that are called twice ---------------------------------------------------------------


def twice():
    x = Input((4,))
    shared = Dense(4, name="shared")
    return Model(x, Dense(3, activation="softmax", name="top")(shared(shared(x)) + shared(x)))


def test_a_layer_that_is_called_twice_shares_its_weights():
    model = twice()
    assert [layer.name for layer in model.layers].count("shared") == 1
    assert len(model.weights) == 4 and model.count_params() == 4 * 4 + 4 + 4 * 3 + 3
    kernel, bias = model.get_layer("shared").get_weights()
    x = np.random.RandomState(0).rand(3, 4).astype(np.float32)
    once = x @ kernel + bias
    both = Model(model.input, model.get_layer("top").input)
    np.testing.assert_allclose(both(x), (once @ kernel + bias) + once, rtol=1e-5, atol=1e-6)


def test_a_layer_cannot_have_weights_of_two_shapes():
    x = Input((4,))
    layer = Dense(3, name="shared")
    with pytest.raises(ValueError, match=r"'shared' was built for inputs of shape \(None, 4\)"):
        layer(layer(x))


def test_a_layer_that_is_called_twice_trains_only_when_frozen():
    model = twice()
    x = np.random.RandomState(0).rand(6, 4).astype(np.float32)
    model.compile(Adam(0.01), "categorical_crossentropy")
    with pytest.raises(ValueError, match="'shared/kernel' trains, and its layer is called twice"):
        model.fit(x, TARGETS, verbose=0)
    assert np.isfinite(model.evaluate(x, TARGETS, verbose=0))
    model.get_layer("shared").trainable = False
    model.compile(Adam(0.01), "categorical_crossentropy")
    before = model.get_layer("shared").get_weights()
    model.fit(x, TARGETS, verbose=0)
    assert all(map(np.array_equal, before, model.get_layer("shared").get_weights()))
    again = pickle.loads(pickle.dumps(model))
    assert model.optimizer_state()[0] == again.optimizer_state()[0] == 1
    assert np.array_equal(again(x), model(x))


def test_a_model_that_is_called_twice():
    inner = Sequential([Input((4,)), Dense(4), BatchNormalization()], name="inner")
    x = Input((4,))
    model = Model(x, inner(inner(x, training=False)))
    randomize(model)
    values = np.random.RandomState(0).rand(3, 4).astype(np.float32)
    np.testing.assert_allclose(model(values), inner(inner(values)), rtol=1e-5)
    modes = [node["inference"] for node in model.graph.nodes]
    assert modes == [False, True, True, False, False]
    assert len(model.weights) == 6 and len(model.parameter_flags()) == 12


# --- modes -------------------------------------------------------------------------------------


def test_training_false_reaches_all_that_is_inside(base):
    model = transfer(base)
    modes = {node["name"]: node["inference"] for node in model.graph.nodes}
    assert all(modes[node["name"]] for node in base.graph.nodes[1:])
    assert not modes[model.layers[-2].name], "the dropout behind it still drops"
    assert not any(node["inference"] for node in base.graph.nodes), "the base itself has no mode"
    outer = Model(x := Input((32, 32, 3)), Sequential([model, Dense(2)])(x, training=False))
    assert all(node["inference"] for node in outer.graph.nodes[1:])


def test_training_false_where_names_repeat():
    x = Input((4,))
    inner = Sequential([Input((4,)), BatchNormalization(name="norm")])
    model = Model(x, inner(BatchNormalization(name="norm")(x), training=False))
    modes = {node["name"]: node["inference"] for node in model.graph.nodes[1:]}
    assert modes == {"norm": False, "norm_1": True}


def test_training_true_with_arrays_is_allowed_where_nothing_differs():
    x = Input((4,))
    y = BatchNormalization()(x, training=False)
    y = Sequential([Dropout(0.5)])(y, training=False)
    values = np.ones((2, 4), np.float32)
    assert np.array_equal(Model(x, y)(values, training=True), Model(x, y)(values))
    with pytest.raises(ValueError, match="training=True"):
        Model(x, Dropout(0.5)(y))(values, training=True)


@pytest.mark.parametrize("make", [lambda: Dropout(0.5), lambda: layers.SpatialDropout2D(0.5)])
def test_dropout_in_inference_mode_drops_nothing_in_fit(make):
    x = Input((2, 2, 3))
    y = GlobalAveragePooling2D()(make()(x, training=False))
    model = Model(x, Dense(3, activation="softmax")(y))
    model.compile(SGD(0.0), "categorical_crossentropy")
    values = np.random.RandomState(0).rand(6, 2, 2, 3).astype(np.float32)
    assert model.train_on_batch(values, TARGETS) == model.evaluate(values, TARGETS, verbose=0)


def test_the_program_of_keras_guide_to_transfer_learning(base):
    randomize(base)
    base.trainable = False
    model = transfer(base)
    model.compile(Adam(0.01), "categorical_crossentropy", metrics=["acc"])
    frozen = base.get_weights()
    history = model.fit(PICTURES, TARGETS, batch_size=3, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert all(map(np.array_equal, base.get_weights(), frozen))
    assert model.prefix_runs == len(PICTURES), "each picture passes the frozen part once"


def test_convolutions_train_while_batch_normalization_does_not(base):
    """The second half of the guide: base.trainable = True, and the call says training=False."""
    randomize(base)
    for inference in (True, False):
        x = Input((32, 32, 3))
        y = GlobalAveragePooling2D()(base(x, training=False) if inference else base(x))
        model = Model(x, Dense(3, activation="softmax")(y))
        model.compile(SGD(0.01), "categorical_crossentropy")
        before = {w.path: w.numpy() for w in base.weights}
        model.train_on_batch(PICTURES, TARGETS)
        changed = {w.path for w in base.weights if not np.array_equal(w.numpy(), before[w.path])}
        assert "Conv_1/kernel" in changed and "Conv_1_bn/gamma" in changed
        moved = [path for path in changed if "moving" in path]
        assert not moved if inference else len(moved) == 104


def test_a_head_trains_as_in_a_sequential(base):
    randomize(base)
    base.trainable = False
    losses = []
    for make in (
        lambda head: Sequential([base, GlobalAveragePooling2D(), head]),
        lambda head: Model(base.input, head(GlobalAveragePooling2D()(base.output))),
        lambda head: Model(
            x := Input((32, 32, 3)), head(GlobalAveragePooling2D()(base(x, training=False)))
        ),
    ):
        tlcore.utils.set_random_seed(5)
        model = make(Dense(3, activation="softmax"))
        model.compile(Adam(0.01), "categorical_crossentropy")
        history = model.fit(PICTURES, TARGETS, batch_size=3, epochs=3, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    assert losses[0] == losses[1] == losses[2]


def test_trainable_at_any_depth(base):
    model = transfer(base)
    model.trainable = False
    assert not base.trainable and not base.get_layer("Conv1").trainable
    assert model.trainable_weights == []
    model.trainable = True
    base.trainable = False
    assert [w.name for w in model.trainable_weights] == ["kernel", "bias"]
    for layer in base.layers[-10:]:
        layer.trainable = True
    assert model.parameter_flags().count(True) == len(model.trainable_weights) > 2
    part = Model(base.input, base.get_layer("Conv_1").output)
    assert part.trainable, "a part is frozen by its layers, not by the model that they are of"
    assert not part.get_layer("Conv1").trainable and part.get_layer("Conv_1").trainable
    assert Model(base.input, base.output, trainable=False).trainable_weights == []


# --- files -------------------------------------------------------------------------------------


def in_file(path):
    with h5py.File(path) as file:
        return json.loads(file.attrs["model_config"])["config"]


def nodes_of(path):
    return {layer["name"]: layer["inbound_nodes"] for layer in in_file(path)["layers"]}


def test_modes_are_kept_in_files(tmp_path, base):
    model = transfer(base, name="guide")
    randomize(model)
    model.save(tmp_path / "m.h5")
    source = model.layers[0].name
    call = [[source, 0, 0, {"training": False}]]
    assert nodes_of(tmp_path / "m.h5")[base.name] == [call, call], "see _written_calls"
    again = load_model(tmp_path / "m.h5")
    assert type(again) is Functional and again.name == "guide"
    assert np.array_equal(again(PICTURES), model(PICTURES))
    for one, other in zip(again.graph.nodes, model.graph.nodes, strict=True):
        assert one["inference"] == other["inference"]
    assert [w.path for w in again.weights] == [w.path for w in model.weights]


def test_a_mode_is_written_only_where_it_says_something(tmp_path):
    x = Input((4,), name="x")
    y = Dense(4, name="dense")(x, training=False)
    Model(x, BatchNormalization(name="norm")(y, training=False)).save(tmp_path / "m.h5")
    nodes = nodes_of(tmp_path / "m.h5")
    assert nodes["dense"] == [[["x", 0, 0, {}]]]
    assert nodes["norm"] == [[["dense", 0, 0, {"training": False}]]]


@pytest.mark.parametrize("make", [branches, twice])
def test_wiring_comes_back(tmp_path, make):
    model = make()
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert [call.sources for call in again.calls] == [call.sources for call in model.calls]
    x = np.random.RandomState(0).rand(3, *model.input_shape[1:]).astype(np.float32)
    assert np.array_equal(again(x), model(x))


def test_models_that_are_called_twice_come_back(tmp_path):
    inner = Sequential([Input((4,)), Dense(4, name="d")], name="inner")
    deep = Model(x := Input((4,)), Dense(4, name="d")(inner(x)), name="deep")
    x = Input((4,), name="x")
    y = deep(inner(x)) + inner(deep(x, training=False))
    model = Model(x, inner(y))
    randomize(model)
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    values = np.random.RandomState(0).rand(3, 4).astype(np.float32)
    assert np.array_equal(again(values), model(values))
    modes = [(c.layer.name, c.inference) for c in model.calls]
    assert [(c.layer.name, c.inference) for c in again.calls] == modes
    assert ("deep", True) in modes and ("deep", False) in modes


def test_a_part_of_a_model_is_saved_alone(tmp_path, base):
    randomize(base)
    part = Model(base.get_layer("block_12_add").output, base.output)
    part.save(tmp_path / "m.h5")
    x = np.random.RandomState(0).rand(2, *part.input_shape[1:]).astype(np.float32)
    assert np.array_equal(load_model(tmp_path / "m.h5")(x), part(x))
    part.save_weights(tmp_path / "w.weights.h5")
    before = part(x)
    base.set_weights([np.zeros(w.shape) for w in base.weights])
    part.load_weights(tmp_path / "w.weights.h5")
    assert np.array_equal(part(x), before)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_copies(copied, base):
    base.trainable = False
    model = transfer(base)
    model.compile(Adam(0.01), "categorical_crossentropy")
    model.train_on_batch(PICTURES, TARGETS)
    again = copied(model)
    assert np.array_equal(again(PICTURES), model(PICTURES))
    assert [c.inference for c in again.calls] == [c.inference for c in model.calls]
    assert again.optimizer_state()[0] == 1
    again.set_weights([np.zeros(w.shape) for w in again.weights])
    assert model.get_weights()[0].any()
    assert Model(again.input, again.layers[2].output)(PICTURES).shape == (6, 1280)


# --- summary -----------------------------------------------------------------------------------


def test_summaries_show_the_wiring(capsys):
    model = twice()
    model.summary(line_length=100)
    text = capsys.readouterr().out
    assert "Connected to" in text
    rows = [line for line in text.splitlines() if line.startswith("│")]
    words = " ".join(rows)
    assert "shared[1][0]" in words and "shared[0][0]" in words
    branches().summary(line_length=100)
    assert "left[0][0]" in capsys.readouterr().out
    x = Input((4,))
    Model(x, Dense(2)(Dense(3)(x))).summary()
    assert "Connected to" not in capsys.readouterr().out


# --- the core ----------------------------------------------------------------------------------


def test_a_network_of_picked_tensors():
    graph = _core.Graph((3,))
    graph.add("dense", "d", [0], units=2)
    block = _core.Parameters([("a", (4,)), ("b", (2,)), ("k", (3, 2))])
    kernel = np.arange(6, dtype=np.float32).reshape(3, 2)
    block.set([(2, kernel), (1, [10, 20])])
    network = _core.Network(graph, [block, block], [2, 1])
    x = np.ones((1, 3), np.float32)
    assert network.run(x).tolist() == [[16, 29]]
    block.set([(1, [0, 0])])
    assert network.run(x).tolist() == [[6, 9]], "the same tensors, not copies"
    for parameters, picks, kind, message in (
        ([block], [2], ValueError, "no tensor for the bias"),
        ([block, block], [2, 3], ValueError, "no tensor for the bias"),
        ([block, block], [0, 1], ValueError, "another shape for the kernel"),
        ([block, block, block], [2, 1, 0], ValueError, "more tensors than the graph has"),
        ([block, block], [2], ValueError, "one index for each of 2 parameters, not 1"),
        ([block, block], [2, -1], ValueError, "picks"),
        ([block, block], [2, "1"], TypeError, "picks"),
        ([block, block], 3, TypeError, "picks"),
    ):
        with pytest.raises(kind, match=message):
            _core.Network(graph, parameters, picks)
