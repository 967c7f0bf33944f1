"""tlcore.models: Sequential, Functional, sharing of weights, summaries."""

from __future__ import annotations

import json

import numpy as np
import pytest
from golden import make_structure

from tlcore import Input, Model, Sequential, _core, applications, layers, models
from tlcore.layers import Dense, Dropout, Flatten, GlobalAveragePooling2D
from tlcore.utils import naming

STORED = json.loads(make_structure.STORED.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def base():
    return applications.MobileNetV2((32, 32, 3), 0.35, include_top=False, weights=None)


def small():
    return Sequential([Input((6,)), Dense(4, activation="relu"), Dense(3, activation="softmax")])


def by_hand(x, weights):
    """What `small` computes."""
    hidden = np.maximum(x @ weights[0] + weights[1], 0)
    scores = np.exp(hidden @ weights[2] + weights[3])
    return scores / scores.sum(-1, keepdims=True)


# --- Sequential --------------------------------------------------------------------------------


def test_a_model_computes():
    model = small()
    x = np.random.RandomState(0).rand(5, 6)
    scores = model(x)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, by_hand(x, model.get_weights()), rtol=1e-5)
    assert np.array_equal(model(x, training=True), scores)
    assert np.array_equal(model.network.run(x.astype(np.float32)), scores)


def test_layers_shapes_and_wiring():
    model = small()
    assert model.built
    assert [type(layer) for layer in model.layers] == [Dense, Dense]
    assert (model.input_shape, model.output_shape) == ((None, 6), (None, 3))
    assert model.layers[1].input_shape == (None, 4)
    first, second = (layer.name for layer in model.layers)
    assert model.inbound == {first: [model.input_layer.name], second: [first]}
    assert model.get_layer(second) is model.get_layer(index=1) is model.get_layer(index=-1)
    assert model.count_params() == 7 * 4 + 5 * 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sequential([Input((4, 4, 3)), Flatten(), Dense(2)]),
        lambda: Sequential([layers.InputLayer((4, 4, 3)), Flatten(), Dense(2)]),
        lambda: Sequential([Flatten(input_shape=(4, 4, 3)), Dense(2)]),
        lambda: Sequential([Flatten(batch_input_shape=(None, 4, 4, 3)), Dense(2)]),
        lambda: Sequential([Sequential([Input((4, 4, 3)), Flatten()]), Dense(2)]),
    ],
)
def test_ways_to_say_the_input_shape(make):
    model = make()
    assert model.built and model.input_shape == (None, 4, 4, 3) and len(model.layers) == 2


def test_building_is_put_off_until_a_shape_is_known():
    model = Sequential([Dense(4), Dropout(0.5), Dense(2)])
    assert not model.built and model.weights == [] and model.input_layer is None
    with pytest.raises(AttributeError, match="no input shape yet"):
        _ = model.input_shape
    with pytest.raises(ValueError, match="its input shape is unknown"):
        _ = model.network
    with pytest.raises(ValueError, match="its input shape is unknown"):
        model.build()
    with pytest.raises(ValueError, match="is not built"):
        model.count_params()
    model.build((None, 6))
    assert len(model.weights) == 4
    model.build((7, 6))  # the same shape; the batch does not matter
    with pytest.raises(ValueError, match=r"takes inputs of shape \(None, 6\)"):
        model.build((None, 7))
    model.add(Dense(5))
    assert model.output_shape == (None, 5) and len(model.weights) == 6

    for x in (np.zeros(9), 3.0):
        with pytest.raises(ValueError, match="input_shape must be"):
            Sequential([Dense(4)])(x)
    called = Sequential([Dense(4)])
    assert called(np.zeros((2, 9))).shape == (2, 4)
    assert called.input_shape == (None, 9)


@pytest.mark.parametrize("shape", [(None,), 5, (None, None, 3), (None, 4, 4), ("a", 3)])
def test_a_shape_that_no_model_can_have(shape):
    with pytest.raises(ValueError, match="input_shape must"):
        Sequential([Dense(4)]).build(shape)


def test_add_and_pop():
    model = Sequential(name="grown")
    for verb in (model.build, lambda: model(np.zeros((1, 3))), lambda: model.network):
        with pytest.raises(ValueError, match="'grown' has no layers"):
            verb()
    with pytest.raises(IndexError, match="no layer to pop"):
        model.pop()
    model.add(Input((6,)))
    assert not model.built and model.layers == []
    model.add(Dense(4))
    kernel = model.get_weights()[0]
    model.add(Dense(2))
    assert np.array_equal(model.get_weights()[0], kernel), "adding keeps what is there"
    last = model.layers[-1]
    assert model.pop() is last
    assert model.output_shape == (None, 4)
    model.add(last)
    assert model.output_shape == (None, 2)
    model.pop()
    model.pop()
    assert not model.built
    model.add(Dense(1))
    assert model.output_shape == (None, 1)


def test_what_cannot_be_added():
    model = Sequential([Input((6,)), Dense(4, name="a")], name="m")
    for layer, message in (
        (3, r"takes layers of tlcore.layers and models, got 3 \(a int\)"),
        (Dense(4, name="a"), "already; names must differ"),
        (model.layers[0], "already; names must differ"),
        (model, "already; names must differ"),
        (Input((6,)), r"takes inputs of shape \(None, 6\) already"),
        (GlobalAveragePooling2D(), "needs an input of"),
    ):
        with pytest.raises(ValueError, match=message):
            model.add(layer)
        assert [layer.name for layer in model.layers] == ["a"] and model.output_shape == (None, 4)
        assert model(np.zeros((1, 6))).shape == (1, 4)
    with pytest.raises(ValueError, match="an Input must come first"):
        Sequential([Dense(4), Input((6,))])


def test_a_layer_cannot_change_its_weights_shape():
    shared = Dense(4, name="shared")
    Sequential([Input((6,)), shared])
    with pytest.raises(ValueError, match=r"'shared' was built for inputs of shape \(None, 6\)"):
        Sequential([Input((7,)), shared])
    again = Sequential([Input((6,)), shared])
    shared.set_weights([np.ones((6, 4)), np.zeros(4)])
    assert again(np.ones((1, 6))).tolist() == [[6, 6, 6, 6]]


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 7)), r"takes arrays of shape \(None, 6\), got \(2, 7\)"),
        (np.zeros(6), r"got \(6,\)"),
        (3.0, r"got \(\)"),
        (np.zeros((1, 6), complex), "takes arrays of numbers, got dtype complex128"),
        ([["a"] * 6], "takes arrays of numbers"),
    ],
)
def test_wrong_inputs(x, message):
    with pytest.raises(ValueError, match=message):
        small()(x)


def test_input_types():
    model = small()
    x = np.arange(12).reshape(2, 6)
    expected = model(x.astype(np.float32))
    for dtype in (np.uint8, np.int64, np.float16, np.float64):
        assert np.array_equal(model(x.astype(dtype)), expected)
    assert np.array_equal(model(x.tolist()), expected)
    assert model(np.zeros((0, 6))).shape == (0, 3)


def test_training_true_is_refused_where_it_makes_a_difference():
    model = Sequential([Input((6,)), Dropout(0.5)])
    with pytest.raises(ValueError, match="training=True"):
        model(np.zeros((1, 6)), training=True)
    norm = Sequential([Input((6,)), layers.BatchNormalization()])
    with pytest.raises(ValueError, match="training=True"):
        norm(np.zeros((1, 6)), training=True)
    norm.trainable = False
    assert norm(np.zeros((1, 6)), training=True).shape == (1, 6)


def test_get_layer_errors():
    model = Sequential([Input((6,)), Dense(4, name="a")])
    for arguments, message in (
        ({"name": "b"}, "has no layer 'b'; it has 'a'"),
        ({"index": 1}, "has 1 layers, there is none at index 1"),
        ({}, "either name or index"),
        ({"name": "a", "index": 0}, "either name or index"),
    ):
        with pytest.raises(ValueError, match=message):
            model.get_layer(**arguments)


def test_the_same_seed_gives_the_same_weights():
    from tlcore.utils import set_random_seed

    made = []
    for seed in (37, 37, 38):
        set_random_seed(seed)
        made.append(small().get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(made[0], made[1], strict=True))
    assert not np.array_equal(made[0][0], made[2][0])
    assert not np.array_equal(made[0][0][:4, :3], made[0][2]), "layers draw different numbers"


# --- weights of models in models ---------------------------------------------------------------


def test_a_model_in_a_model_shares_its_weights(base):
    model = Sequential([base, GlobalAveragePooling2D(), Dense(3)])
    assert model.weights[:260] == base.weights
    assert len(base.parameters) == 260 and model.parameters is None
    x = np.random.RandomState(0).rand(2, 32, 32, 3).astype(np.float32)
    pooled = base(x).mean((1, 2))
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(model(x), pooled @ kernel + bias, rtol=1e-4, atol=1e-5)
    base.get_layer("Conv_1_bn").set_weights([np.zeros(1280)] * 2 + [np.ones(1280)] * 2)
    assert np.array_equal(model(x), np.broadcast_to(bias, (2, 3)))
    base.get_layer("Conv_1_bn").set_weights(
        [np.ones(1280), np.zeros(1280), np.zeros(1280), np.ones(1280)]
    )


def test_get_and_set_weights_of_a_model():
    inner = Sequential([Input((6,)), Dense(4)])
    model = Sequential([inner, Dense(2)])
    weights = [w + 1 for w in model.get_weights()]
    model.set_weights(weights)
    assert np.array_equal(inner.get_weights()[1], np.ones(4))
    before = model.get_weights()
    with pytest.raises(ValueError, match="has 4 weights, but set_weights was given 0"):
        model.set_weights([])
    with pytest.raises(ValueError, match="weight 'dense"):
        model.set_weights([before[0] + 1, *before[1:3], np.zeros(9)])
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


def test_trainable(base):
    model = Sequential([base, GlobalAveragePooling2D(), Dense(3)])
    assert model.parameter_flags().count(True) == 260 - 104 + 2
    base.trainable = False
    assert model.trainable and not base.get_layer("Conv1").trainable
    assert model.parameter_flags() == [False] * 260 + [True, True]
    assert [w.name for w in model.trainable_weights] == ["kernel", "bias"]
    assert len(model.non_trainable_weights) == 260
    assert base.trainable_weights == []
    base.get_layer("Conv_1").trainable = True  # Keras 3: counts in the model around the base
    assert model.parameter_flags().count(True) == 3 and base.trainable_weights == []
    model.trainable = False
    assert model.parameter_flags() == [False] * 262 and model.trainable_weights == []
    model.trainable = True
    assert base.trainable and base.get_layer("bn_Conv1").trainable
    assert not base.get_layer("bn_Conv1").weights[2].trainable


def test_names_may_repeat_in_different_models():
    inner = Sequential([Input((6,)), Dense(4, name="dense", activation="relu")])
    model = Sequential([inner, Dense(2, name="dense")])
    assert [node["name"] for node in model.graph.nodes][1:] == [
        "dense",
        "dense/activation",
        "dense_1",
    ]
    turned = Sequential([Input((6,)), Dense(6, name="dense"), inner])
    assert [node["name"] for node in turned.graph.nodes][1:3] == ["dense", "dense_1"]
    x = np.random.RandomState(0).rand(2, 6)
    kernel, bias = turned.layers[0].get_weights()
    np.testing.assert_allclose(turned(x), inner(x @ kernel + bias), rtol=1e-4)


def test_a_layer_may_stand_in_a_model_and_in_the_one_around_it():
    inner = Sequential([Input((4,)), Dense(4)])
    model = Sequential([inner, inner.layers[0]])
    x = np.random.RandomState(0).rand(2, 4)
    np.testing.assert_allclose(model(x), inner(inner(x)), rtol=1e-4)
    assert len(model.weights) == 2 and model.count_params() == 20
    assert len(model.parameter_flags()) == 4


def test_a_model_is_saved_as_a_whole():
    with pytest.raises(ValueError, match=r"use model.save\(path\)"):
        small().get_config()


def test_an_inner_model_may_change():
    inner = Sequential([Input((6,)), Dense(4), Dense(4)])
    model = Sequential([inner, Dense(2)])
    old = model.network
    assert model.network is old
    inner.pop()
    assert model.network is not old and len(model.weights) == 4
    x = np.random.RandomState(0).rand(2, 6)
    kernel, bias = model.layers[1].get_weights()
    np.testing.assert_allclose(model(x), inner(x) @ kernel + bias, rtol=1e-5)


def test_an_inner_model_of_unknown_shape_is_built():
    inner = Sequential([Dense(4), Dense(5)])
    model = Sequential([Input((6,)), Dense(3), inner])
    assert inner.input_shape == (None, 3) and model.output_shape == (None, 5)


def test_single_layers_of_another_model_share_its_weights():
    top = applications.MobileNetV2((32, 32, 3), 0.35, weights=None, classes=5)
    model = Sequential([Input((1280,)), top.layers[-1]])
    x = np.random.RandomState(0).rand(2, 1280).astype(np.float32)
    last = len(top.graph.nodes) - 1
    assert np.array_equal(model(x), top.network.run(x, last - 2, last))
    top.layers[-1].set_weights([np.zeros((1280, 5)), np.zeros(5)])
    assert np.array_equal(model(x), np.full((2, 5), 0.2, np.float32))


def test_input_range():
    model = Sequential([Input((6,)), Dense(4)])
    assert model.input_range is None
    model.input_range = (-1, 1)
    assert model.input_range == (-1.0, 1.0)
    assert Sequential([model, Dense(2)]).input_range == (-1.0, 1.0)
    assert Sequential().input_range is None


def test_names_count_from_one_model_to_the_next():
    naming.reset_uids()
    assert small().name == "sequential" and small().name == "sequential_1"


# --- Functional --------------------------------------------------------------------------------


def diamond():
    """conv -> (relu, itself) -> add -> pool, given out of order."""
    parts = [
        layers.Add(name="sum"),
        layers.GlobalAveragePooling2D(name="pool"),
        layers.ReLU(name="relu"),
        layers.Conv2D(2, 3, padding="same", name="conv"),
        layers.InputLayer((4, 4, 3), name="in"),
    ]
    inbound = {"conv": ["in"], "relu": ["conv"], "sum": ["conv", "relu"], "pool": ["sum"]}
    return parts, inbound


def test_a_model_from_layers():
    parts, inbound = diamond()
    model = Model.from_layers("diamond", parts, inbound, ["in"], ["pool"])
    assert isinstance(model, models.Functional) and model.name == "diamond"
    assert [layer.name for layer in model.layers] == ["in", "conv", "relu", "sum", "pool"]
    assert model.inbound == {"in": [], **inbound}
    assert model.get_layer("sum").input_shape == [(None, 4, 4, 2)] * 2
    assert len(model.parameters) == 2
    x = np.random.RandomState(0).randn(2, 4, 4, 3)
    conv = model.network.run(x.astype(np.float32), 0, 1)
    np.testing.assert_allclose(model(x), (conv + np.maximum(conv, 0)).mean((1, 2)), rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, i: i.update(relu=["pool"]), "form a ring"),
        (lambda p, i: i.update(relu=["nobody"]), "no layer 'nobody'"),
        (lambda p, i: i.update(relu=[]), "'relu' is fed by nothing"),
        (lambda p, i: i.update({"in": ["relu"]}), "'in' is an input but is fed"),
        (lambda p, i: p.append(layers.ReLU(name="relu")), "two layers of one name"),
        (lambda p, i: (p.append(layers.ReLU(name="x")), i.update(x=["conv"])), "'x' does not lead"),
        (lambda p, i: p.append(layers.InputLayer((4,), name="y")), "'y' does not lead"),
        (lambda p, i: i.update(sum=["relu"]), "takes two inputs, got 1"),
    ],
)
def test_wiring_that_is_no_model(change, message):
    parts, inbound = diamond()
    change(parts, inbound)
    with pytest.raises(ValueError, match=message):
        Model.from_layers("diamond", parts, inbound, ["in"], ["pool"])


def test_a_model_has_one_input_and_one_output():
    parts, inbound = diamond()
    with pytest.raises(ValueError, match="one input and one output, got 1 and 2"):
        Model.from_layers("diamond", parts, inbound, ["in"], ["pool", "sum"])


def test_a_model_inside_a_functional_model(base):
    parts = [
        layers.InputLayer((32, 32, 3), name="in"),
        base,
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dense(2, name="head"),
    ]
    inbound = {base.name: ["in"], "pool": [base.name], "head": ["pool"]}
    model = Model.from_layers("outer", parts, inbound, ["in"], ["head"])
    x = np.random.RandomState(0).rand(1, 32, 32, 3)
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(model(x), base(x).mean((1, 2)) @ kernel + bias, rtol=1e-4, atol=1e-5)
    assert len(model.parameter_flags()) == 262


# --- summary -----------------------------------------------------------------------------------


def test_summaries_are_those_of_keras(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    naming.reset_uids()
    ours = make_structure.summaries(Sequential, layers, applications.MobileNetV2)
    for name, lines in STORED["summaries"].items():
        assert ours[name] == lines, name


def test_the_last_line_of_a_summary_tells_the_memory(capsys):
    model = small()
    model.summary()
    last = capsys.readouterr().out.rstrip().splitlines()[-1]
    memory = model.network.memory()
    assert last.startswith(" Peak memory: ")
    assert f"{_core.get_num_threads()} threads x " in last
    assert memory["parameters"] >= 4 * model.count_params()


def test_summary_arguments():
    model = small()
    with pytest.raises(ValueError, match="line_length 10 is too short"):
        model.summary(line_length=10)
    with pytest.raises(ValueError, match="positions must hold 3 numbers"):
        model.summary(positions=[0.5, 1.0])


# --- files -------------------------------------------------------------------------------------


def test_overwrite_false_keeps_a_file(tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(b"mine")
    for verb in (small().save, small().save_weights):
        with pytest.raises(FileExistsError, match="overwrite is False"):
            verb(path, overwrite=False)
    assert path.read_bytes() == b"mine"
