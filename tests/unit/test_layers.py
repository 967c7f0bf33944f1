"""tlcore.layers alone: arguments, configurations, weights. To add a layer, add it to LAYERS."""

from __future__ import annotations

import json

import numpy as np
import pytest
from golden import make_structure

from tlcore import Sequential, _core, layers
from tlcore.layers import serialization
from tlcore.models import Model

STORED = json.loads(make_structure.STORED.read_text(encoding="utf-8"))
LAYERS = make_structure.some_layers(layers)


def settings(layer):
    """What a layer was told, without what it learned later."""
    hidden = ("_variables", "_input_shapes", "_output_shape", "built")
    return {key: value for key, value in vars(layer).items() if key not in hidden}


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_a_configuration_comes_back(layer):
    config = layer.get_config()
    again = layers.deserialize(type(layer).__name__, json.loads(json.dumps(config)))
    assert type(again) is type(layer)
    assert again.get_config() == config
    assert settings(again) == settings(layer)


@pytest.mark.parametrize("dialect", ["keras", "tf_keras"])
def test_every_dialect_is_read(dialect):
    for layer, (class_name, config) in zip(LAYERS, STORED["configs"][dialect], strict=True):
        assert settings(layers.deserialize(class_name, config)) == settings(layer)


def test_a_number_that_an_old_file_wrote_as_an_array_is_read():
    config = {"max_value": {"type": "ndarray", "value": 6.0}, "threshold": {"value": 0.0}}
    assert layers.deserialize("ReLU", config).max_value == 6.0


def test_real_layers_of_keras_2_are_read(shared_data):
    path = shared_data / "weights" / "raw" / "teachable_machine_export_model.json"
    outer = json.loads(path.read_text(encoding="utf-8"))["modelTopology"]["config"]["layers"]
    base = outer[0]["config"]["layers"][0]["config"]["layers"]
    read = [layers.deserialize(layer["class_name"], layer["config"]) for layer in base]
    assert [layer.name for layer in read[:3]] == ["input_1", "Conv1_pad", "Conv1"]
    assert read[0].output_shape == (None, 224, 224, 3)


@pytest.mark.parametrize(
    ("class_name", "config", "message"),
    [
        ("Dense", {"units": 3, "kernel_regularizer": "l2"}, "kernel_regularizer must be None"),
        ("Dense", {"units": 3, "kernel_initializer": "he_normal"}, "must be 'glorot_uniform'"),
        ("Dense", {"units": 3, "colour": 1}, "no argument 'colour'"),
        ("Dense", {"name": "head"}, "configuration of Dense 'head' does not fit"),
        ("Dense", {"units": 3, "dtype": "float16"}, "dtype must be 'float32', got 'float16'"),
        ("Dense", {"units": 3, "activation": {"class_name": "F"}}, "activation must be one of"),
        ("Conv2D", {"filters": 1, "kernel_size": 3, "groups": 2}, "groups must be 1"),
        ("Conv2D", {"filters": 1, "kernel_size": 3, "dilation_rate": [2, 1]}, "dilation_rate must"),
        ("BatchNormalization", {"axis": [2]}, "axis must be the last one"),
        ("BatchNormalization", {"scale": False}, "scale must be True"),
        ("ReLU", {"negative_slope": 0.1}, "negative_slope must be 0"),
        ("Flatten", {"data_format": "channels_first"}, "must be None or 'channels_last'"),
        ("LSTM", {"name": "memory"}, r"no layer 'LSTM' \(layer 'memory'\)"),
        ("Dense", [], "must be a dict"),
    ],
)
def test_a_configuration_that_tlcore_does_not_have(class_name, config, message):
    with pytest.raises(ValueError, match=message):
        layers.deserialize(class_name, config)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Dense(0), "units must be a whole number of at least 1, got 0"),
        (lambda: layers.Dense(True), "units must be"),
        (lambda: layers.Dense(3, activation="tan"), "activation must be one of 'linear', 'relu'"),
        (lambda: layers.SeparableConv2D(0, 3), "filters must be"),
        (lambda: layers.SeparableConv2D(3, 3, depth_multiplier=2), "depth_multiplier must be 1"),
        (lambda: layers.MaxPooling2D(0), "pool_size must be a positive whole number or two"),
        (lambda: layers.AveragePooling2D(2, (1, 0)), "strides must be a positive whole number"),
        (lambda: layers.MaxPooling2D(2, padding="full"), "padding must be one of 'valid', 'same'"),
        (lambda: layers.MaxPooling2D(2, data_format="channels_first"), "data_format must be None"),
        (lambda: layers.Concatenate(axis=2), "axis must be the last one, -1, got 2"),
        (lambda: layers.Concatenate(True), "axis must be the last one, -1, got True"),
        (lambda: layers.SpatialDropout2D(1.0), "rate must be a number of at least 0 and below 1"),
        (lambda: layers.BatchNormalization(momentum=1.1), "momentum must be a number from 0 to 1"),
        (lambda: layers.Dense(3, use_bias="no"), "use_bias must be True or False"),
        (lambda: layers.Dense(3, name="a/b"), "name must be a text without '/'"),
        (lambda: layers.Dense(3, name=".."), "and not '.' or '..', got '..'"),
        (lambda: layers.Dense(3, name="a\0b"), "name must be a text"),
        (lambda: layers.Dense(3, name="\ud800"), "name must be a text"),
        (lambda: layers.Dense(3, name="x" * 200), "at most 110 bytes"),
        (lambda: layers.Dense(3, name=3), "name must be a text"),
        (lambda: layers.Dense(3, dtype="float64"), "dtype must be 'float32'"),
        (lambda: layers.Dense(3, input_shape=(None, 3)), "input_shape must be"),
        (lambda: layers.Dropout(1.0), "rate must be a number of at least 0 and below 1, got 1.0"),
        (lambda: layers.Dropout("0.5"), "rate must be"),
        (lambda: layers.Conv2D(0, 3), "filters must be"),
        (lambda: layers.Conv2D(3, (1, 2, 3)), "kernel_size must be a positive whole number or two"),
        (lambda: layers.Conv2D(3, 3, strides=0), "strides must be"),
        (lambda: layers.Conv2D(3, 3, padding="full"), "padding must be one of 'valid', 'same'"),
        (lambda: layers.ZeroPadding2D(-1), "padding must be"),
        (lambda: layers.ZeroPadding2D(((1, 2), 3, 4)), "padding must be"),
        (lambda: layers.ReLU(1.0), "max_value must be None or 6, got 1.0"),
        (lambda: layers.BatchNormalization(epsilon=0), "epsilon must be"),
        (lambda: layers.Input(), "exactly one of shape and batch_shape"),
        (lambda: layers.Input((None, None, 3)), "tlcore fixes every size but the batch's"),
        (lambda: layers.Input((4, 4)), r"must be \(height, width, channels\) or \(features,\)"),
        (lambda: layers.Input((4,), dtype="uint8"), "dtype must be 'float32'"),
        (lambda: layers.Dense(3)(np.zeros((1, 3))), "put it into a tlcore.Sequential"),
    ],
)
def test_bad_arguments_are_told_in_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_input_takes_keras_forms():
    assert layers.Input((8, 6, 3)).output_shape == (None, 8, 6, 3)
    assert layers.Input(shape=(5,), batch_size=4, name="x").batch_shape == (None, 5)
    assert layers.Input(batch_shape=(None, 5)).input_shape == (None, 5)


def test_dropout_with_a_seed_says_where_masks_come_from(capsys):
    from tlcore.utils import notes

    notes.reset_notes()
    assert layers.Dropout(0.5, seed=3).get_config()["seed"] == 3
    assert "set_random_seed" in capsys.readouterr().err


def one_layer(layer, shape=(6, 5, 3)):
    return Sequential([layers.Input(shape), layer])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: one_layer(layers.MaxPooling2D(7)), r"pool_size of \(7, 7\), larger than its inp"),
        (lambda: one_layer(layers.AveragePooling2D(), (4,)), "needs an input of"),
        (lambda: one_layer(layers.SpatialDropout2D(0.5), (4,)), "needs an input of"),
        (lambda: one_layer(layers.Concatenate()), "takes two to 8 inputs, got 1"),
        (lambda: one_layer(layers.SeparableConv2D(3, 9)), "larger than its input"),
    ],
)
def test_a_layer_that_does_not_fit_its_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_concatenate_in_models():
    found = [layers.InputLayer((4, 5, 2), name="x"), layers.Concatenate(3, name="both")]
    model = Model.from_layers(None, found, {"both": ["x", "x"]}, ["x"], ["both"])
    x = np.arange(40, dtype=np.float32).reshape(1, 4, 5, 2)
    assert np.array_equal(model(x), np.concatenate([x, x], -1))
    with pytest.raises(ValueError, match="axis must be the last one, 3 or -1, got 1"):
        wrong = [layers.InputLayer((4, 5, 2), name="x"), layers.Concatenate(1, name="both")]
        Model.from_layers(None, wrong, {"both": ["x", "x"]}, ["x"], ["both"])
    with pytest.raises(ValueError, match="takes two to 8 inputs, got 9"):
        many = [layers.InputLayer((4, 5, 2), name="x"), layers.Concatenate(name="both")]
        Model.from_layers(None, many, {"both": ["x"] * 9}, ["x"], ["both"])


def test_poolings_by_hand():
    x = np.arange(2 * 5 * 5 * 1, dtype=np.float32).reshape(2, 5, 5, 1)
    assert one_layer(layers.MaxPool2D(), (5, 5, 1))(x)[0, ..., 0].tolist() == [[6, 8], [16, 18]]
    same = one_layer(layers.AvgPool2D(3, 2, "same"), (5, 5, 1))(x)[0, ..., 0]
    assert same.tolist() == [[3, 4.5, 6], [10.5, 12, 13.5], [18, 19.5, 21]]
    whole = one_layer(layers.AveragePooling2D(9, 9, "same"), (5, 5, 1))(x)
    assert whole[:, 0, 0, 0].tolist() == [12, 37]


def test_separable_convolution_has_keras_weights():
    layer = layers.SeparableConv2D(4, 3, activation="swish", name="s")
    model = one_layer(layer)
    assert layer.activation == "silu"
    names = ["depthwise_kernel", "pointwise_kernel", "bias"]
    assert [w.path for w in layer.weights] == [f"s/{name}" for name in names]
    assert [w.shape for w in layer.weights] == [(3, 3, 3, 1), (1, 1, 3, 4), (4,)]
    depthwise, pointwise, bias = layer.get_weights()
    assert depthwise.any() and pointwise.any() and not bias.any()
    x = np.random.RandomState(0).randn(1, 6, 5, 3).astype(np.float32)
    parts = Sequential(
        [layers.Input((6, 5, 3)), layers.DepthwiseConv2D(3, use_bias=False), layers.Conv2D(4, 1)]
    )
    parts.set_weights([depthwise, pointwise, bias])
    y = parts(x)
    np.testing.assert_allclose(model(x), y / (1 + np.exp(-y)), atol=1e-6)


def test_core_nodes_hold_what_training_needs():
    norm = layers.BatchNormalization(momentum=0.75)
    graph = one_layer(norm).graph
    assert graph.nodes[1]["attributes"]["momentum"] == 0.75
    assert not graph.nodes[1]["inference"]
    whole = _core.Graph((6, 5, 3))
    whole.add("dropout", "still", [0], rate=0.5, inference=True)
    whole.extend(graph, 1)
    assert [node["inference"] for node in whole.nodes] == [False, True, False]
    frozen = _core.Graph((6, 5, 3))
    frozen.extend(whole, 0, inference=True)
    assert [node["inference"] for node in frozen.nodes] == [False, True, True]


@pytest.mark.parametrize(("op", "cut"), [("dropout", 1), ("spatial_dropout2d", 1)])
def test_dropout_in_inference_does_not_hold_the_cut_back(op, cut):
    for inference, expected in ((False, cut), (True, cut + 2)):
        graph = _core.Graph((6, 5, 3))
        graph.add("relu", "a", [0])
        graph.add(op, "b", [1], rate=0.5, inference=inference)
        graph.add("flatten", "c", [2])
        graph.add("dense", "d", [3], units=2)
        parameters = _core.Parameters([("kernel", (90, 2)), ("bias", (2,))])
        assert _core.Network(graph, [parameters]).cut([True, True]) == expected


def test_initial_weights():
    layer = layers.Dense(50)
    Sequential([layers.Input((70,)), layer])
    kernel, bias = layer.get_weights()
    limit = np.sqrt(6 / 120)
    assert kernel.dtype == np.float32 and kernel.shape == (70, 50)
    assert 0.95 * limit < np.abs(kernel).max() <= limit
    assert abs(kernel.mean()) < 0.02 * limit * 10
    assert not bias.any()
    norm = layers.BatchNormalization()
    Sequential([layers.Input((4, 4, 3)), norm])
    assert [w.tolist() for w in norm.get_weights()] == [[1] * 3, [0] * 3, [0] * 3, [1] * 3]


def test_weights_of_a_layer():
    layer = layers.BatchNormalization(name="bn")
    assert layer.weights == [] and layer.get_weights() == [] and layer.parameters is None
    with pytest.raises(ValueError, match="'bn' is not built"):
        layer.count_params()
    with pytest.raises(AttributeError, match="no output shape yet"):
        _ = layer.output_shape
    Sequential([layers.Input((4, 4, 3)), layer])
    assert [w.path for w in layer.trainable_weights] == ["bn/gamma", "bn/beta"]
    assert [w.name for w in layer.non_trainable_weights] == ["moving_mean", "moving_variance"]
    assert layer.count_params() == 12
    assert layer.input_shape == layer.output_shape == (None, 4, 4, 3)
    layer.trainable = False
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == 4
    assert not layer.weights[0].trainable
    layer.trainable = True
    assert [w.trainable for w in layer.weights] == [True, True, False, False]
    with pytest.raises(ValueError, match="trainable must be True or False"):
        layer.trainable = "yes"


def test_setting_weights_is_all_or_nothing():
    layer = layers.Dense(2, name="head")
    Sequential([layers.Input((3,)), layer])
    before = layer.get_weights()
    with pytest.raises(ValueError, match="'head' has 2 weights, but set_weights was given 1"):
        layer.set_weights(before[:1])
    with pytest.raises(ValueError, match=r"weight 'head/bias' has the shape \(2,\)"):
        layer.set_weights([before[0] + 1, np.zeros(3)])
    assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), before, strict=True))
    layer.set_weights([np.ones((3, 2), np.float64), [1, 2]])
    assert layer.get_weights()[0].dtype == np.float32
    assert np.asarray(layer.weights[1]).tolist() == [1, 2]
    layer.weights[1].assign([5, 6])
    assert layer.weights[1].numpy().tolist() == [5, 6]
    with pytest.raises(ValueError, match="'head/bias'"):
        layer.weights[1].assign([1])
    layer.get_weights()[1][:] = 0
    assert layer.weights[1].numpy().tolist() == [5, 6], "get_weights copies"


def test_every_op_of_the_core_has_a_layer():
    of_two_nodes = {layers.SeparableConv2D}
    assert set(serialization._ops.values()) | of_two_nodes == {type(layer) for layer in LAYERS}
