"""tlcore.applications: the architecture, its arguments, and what goes with the weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from golden import make_structure

from tlcore import _core, applications, weights
from tlcore.applications import MobileNetV2, mobilenet_v2
from tlcore.utils import naming, notes

STORED = json.loads(make_structure.STORED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("key", STORED["networks"])
def test_layers_names_and_shapes_are_those_of_keras(key):
    shape, alpha, options = json.loads(key)
    naming.reset_uids()
    model = MobileNetV2(tuple(shape), alpha, weights=None, **options)
    expected = STORED["networks"][key]
    assert model.name == expected["name"]
    assert expected["layers"] == [
        [layer.name, type(layer).__name__, list(layer.output_shape[1:])] for layer in model.layers
    ]
    assert expected["weights"] == [
        [weight.path.split("/")[0], *weight.shape] for weight in model.weights
    ]


def test_the_layers_make_the_graph_of_the_table():
    for options in (
        {"include_top": False, "pooling": "max"},
        {"include_top": True, "classes": 7, "classifier_activation": "sigmoid"},
        {"include_top": True, "classifier_activation": None},
    ):
        naming.reset_uids()
        model = MobileNetV2((33, 40, 3), 0.5, weights=None, **options)
        table = _core.mobilenet_v2((33, 40, 3), 0.5, **options)
        assert model.graph.nodes == table.nodes


def test_values_are_those_of_keras_block_by_block():
    model = MobileNetV2(make_structure.SHAPE, make_structure.ALPHA, include_top=False, weights=None)
    model.set_weights(make_structure.random_weights([(w.name, w.shape) for w in model.weights]))
    nodes = [node["name"] for node in model.graph.nodes]
    x = make_structure.pictures(make_structure.SHAPE)
    with np.load(make_structure.VALUES) as stored:
        for name in make_structure.BLOCK_ENDS:
            value = model.network.run(x, 0, nodes.index(name)).mean((1, 2))
            largest = np.abs(stored[name]).max()
            assert np.abs(value - stored[name]).max() < 1e-4 * largest, name


@pytest.mark.parametrize(
    ("alpha", "count"),
    [
        (0.35, 410_208),
        (0.5, 706_224),
        (0.75, 1_382_064),
        (1.0, 2_257_984),
        (1.3, 3_766_048),
        (1.4, 4_363_712),
    ],
)
def test_sizes(alpha, count):
    assert MobileNetV2((32, 32, 3), alpha, include_top=False, weights=None).count_params() == count


def test_with_top():
    model = MobileNetV2(weights=None)
    assert model.count_params() == 3_538_984
    assert model.output_shape == (None, 1000) and model.layers[-1].activation == "softmax"
    assert model.input_range is None
    assert MobileNetV2(weights=None, classifier_activation=None).layers[-1].activation == "linear"


def test_a_name_and_batch_normalization():
    model = MobileNetV2((32, 32, 3), weights=None, include_top=False, name="body")
    assert model.name == "body"
    norm = model.get_layer("block_3_expand_BN")
    assert (norm.momentum, norm.epsilon) == (0.999, 0.001)


def test_without_input_shape_a_note_tells_the_size(capsys):
    notes.reset_notes()
    model = MobileNetV2(alpha=0.35, include_top=False, weights=None)
    assert model.input_shape == (None, 224, 224, 3) and model.name == "mobilenetv2_0.35_224"
    assert "224 x 224 x 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "nowhere.h5"}, "'imagenet' or the path of an existing file, got 'nowhere.h5'"),
        ({"weights": 3}, "weights must be None"),
        ({"input_tensor": object()}, "input_tensor must be None"),
        ({"include_top": "yes"}, "include_top must be True or False"),
        ({"alpha": 0}, "alpha must be a number above 0, got 0"),
        ({"alpha": "1"}, "alpha must be a number"),
        ({"alpha": 0.6, "weights": "imagenet"}, "alpha must be one of 0.35, 0.5, 0.75, 1.0"),
        ({"pooling": "mean"}, "pooling must be None, 'avg' or 'max', got 'mean'"),
        ({"classes": 0}, "classes must be a whole number of at least 1"),
        ({"classes": 5, "weights": "imagenet"}, "classes must be 1000 with weights='imagenet'"),
        ({"classifier_activation": "tanh"}, "classifier_activation must be None, 'softmax'"),
        (
            {"classifier_activation": "relu", "weights": "imagenet"},
            "classifier_activation must be 'softmax' or None with weights",
        ),
        ({"input_shape": (32, 32)}, "three whole numbers"),
        ({"input_shape": (None, None, 3)}, "three whole numbers"),
        ({"input_shape": (31, 64, 3)}, "at least 32 x 32, got \\(31, 64, 3\\)"),
        ({"input_shape": (64, 64, 0)}, "at least 1 channel"),
        ({"input_shape": (64, 64, 1), "weights": "imagenet"}, "3 channels"),
        ({"input_shape": (100, 100, 3), "weights": "imagenet"}, "include_top=True of 96, 128, 160"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        MobileNetV2(**{"weights": None, **arguments})
    assert "\n" not in str(error.value)


def test_weights_from_a_path_and_by_name_of_the_set(shared_data, monkeypatch, capsys):
    folder = shared_data / "weights"
    monkeypatch.setenv("TLCORE_WEIGHTS", str(folder))
    path = folder / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    options = {"alpha": 0.35, "include_top": False, "input_shape": (96, 100, 3)}
    notes.reset_notes()
    named = MobileNetV2(weights="imagenet", **options)
    assert "those of 224 x 224" in capsys.readouterr().err
    assert named.name == "mobilenetv2_0.35_224"
    given = MobileNetV2(weights=path, **options)
    assert given.name == "mobilenetv2_0.35_96"
    for a, b in zip(named.get_weights(), given.get_weights(), strict=True):
        assert np.array_equal(a, b)
    assert named.input_range == given.input_range == (-1.0, 1.0)


def test_top_5_of_real_photos(shared_data, monkeypatch):
    monkeypatch.setenv("TLCORE_WEIGHTS", str(shared_data / "weights"))
    index = json.loads((shared_data / "imagenet_class_index.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(weights, "class_index", lambda: index)
    with np.load(shared_data / "golden" / "numpy_reference.npz") as stored:
        photos = stored["imagenet20_uint8"]
    model = MobileNetV2()
    decoded = mobilenet_v2.decode_predictions(model(mobilenet_v2.preprocess_input(photos)))
    path = shared_data / "golden" / "imagenet20_expected.json"
    for found, image in zip(
        decoded, json.loads(path.read_text(encoding="utf-8"))["images"], strict=True
    ):
        assert [name for _, name, _ in found] == [entry["name"] for entry in image["top5"]]
        for (_, _, score), entry in zip(found, image["top5"], strict=True):
            assert score == pytest.approx(entry["prob"], abs=2e-5)


@pytest.mark.parametrize("alpha", ["1.0", "0.35"])
def test_features_of_real_photos(shared_data, alpha):
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_224_no_top.h5"
    model = MobileNetV2(
        (224, 224, 3),
        float(alpha),
        include_top=False,
        pooling="avg",
        weights=shared_data / "weights" / name,
    )
    with np.load(shared_data / "golden" / "numpy_reference.npz") as stored:
        photos = stored["imagenet20_uint8"]
        expected = stored[f"imagenet20_pooled_{alpha.replace('.', '_')}"]
    features = model(mobilenet_v2.preprocess_input(photos))
    assert np.abs(features - expected).max() < 1e-4 * np.abs(expected).max()


def test_preprocess_input_as_keras_does_it():
    whole = np.arange(6, dtype=np.uint8).reshape(1, 2, 1, 3)
    scaled = mobilenet_v2.preprocess_input(whole)
    assert scaled.dtype == np.float32 and whole[0, 1, 0, 2] == 5
    assert np.array_equal(scaled, whole.astype(np.float32) / np.float32(127.5) - 1)
    for dtype in (np.float16, np.float32, np.float64):
        pixels = np.full((2, 2), 255, dtype)
        assert mobilenet_v2.preprocess_input(pixels, data_format="channels_first") is pixels
        assert pixels.dtype == dtype and (pixels == 1).all()
    assert mobilenet_v2.preprocess_input([0, 255]).tolist() == [-1, 1]
    with pytest.raises(ValueError, match="data_format must be"):
        mobilenet_v2.preprocess_input(whole, data_format="rgb")


def test_decode_predictions(monkeypatch):
    index = {str(i): [f"n{i:08d}", f"thing_{i}"] for i in range(1000)}
    monkeypatch.setattr(weights, "class_index", lambda: index)
    scores = np.zeros((2, 1000), np.float32)
    scores[0, [7, 3]] = 0.75, 0.25
    scores[1, 999] = 1
    decoded = mobilenet_v2.decode_predictions(scores, top=2)
    assert decoded[0] == [("n00000007", "thing_7", 0.75), ("n00000003", "thing_3", 0.25)]
    assert decoded[1][0][:2] == ("n00000999", "thing_999")
    assert len(mobilenet_v2.decode_predictions(scores)[0]) == 5
    for bad in (scores[0], scores[:, :10]):
        with pytest.raises(ValueError, match=r"preds must have the shape \(batch, 1000\)"):
            mobilenet_v2.decode_predictions(bad)
    with pytest.raises(ValueError, match="top must be"):
        mobilenet_v2.decode_predictions(scores, top=0)


def test_what_applications_offers():
    assert applications.MobileNetV2 is mobilenet_v2.MobileNetV2
