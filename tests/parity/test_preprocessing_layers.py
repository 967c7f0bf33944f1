"""Layers for pictures against the real Keras 3: pixels, draws, files both ways, `.tflite`.

Keras's random numbers cannot be had elsewhere, so its layers draw and both carry that out; what
tlcore draws is compared as a distribution.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tlcore import Model as FunctionalModel
from tlcore import _core, layers
from tlcore.export import tflite_bytes
from tlcore.models import Sequential, load_model
from tlcore.utils import set_random_seed

logging.getLogger("absl").setLevel(logging.ERROR)

SIZES = [(20, 30), (7, 5), (33, 64), (1, 9)]
TARGETS = [(20, 30), (10, 10), (41, 17), (64, 96), (1, 1), (7, 50)]
FILL_MODES = ("constant", "nearest", "reflect", "wrap")
RANGE = 255.0
NEAR = 1e-5 * RANGE  # ten times nearer than the two may differ by rounding


@pytest.fixture(autouse=True)
def seeds() -> None:
    set_random_seed(1)
    keras.utils.set_random_seed(1)


def pictures(count: int, size: tuple[int, int], channels: int = 3) -> np.ndarray[Any, Any]:
    random = np.random.RandomState(sum(size))
    return random.uniform(0, RANGE, (count, *size, channels)).astype(np.float32)


def changed(layer: Any, x: np.ndarray[Any, Any], numbers: Any) -> Any:
    """What a layer makes of pictures, given what was drawn for each of them."""
    graph = _core.Graph(x.shape[1:])
    layer.add_to(graph, [0])
    padded = np.zeros((len(x), 8), np.float32)
    given = np.asarray(numbers, np.float32).reshape(len(x), -1)
    padded[:, : given.shape[1]] = given
    return _core.Network(graph, []).change(x, 1, padded)


# --- pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", layers.resizing.INTERPOLATIONS)
def test_resizing(interpolation: str, antialias: bool, ratio: str) -> None:
    for size in SIZES:
        for height, width in TARGETS:
            how = {
                "interpolation": interpolation,
                "antialias": antialias,
                "crop_to_aspect_ratio": ratio == "crop",
                "pad_to_aspect_ratio": ratio == "pad",
                "fill_value": 7.0,
            }
            x = pictures(2, size)
            theirs = np.asarray(keras.layers.Resizing(height, width, **how)(x))
            ours = layers.Resizing(height, width, **how)(x)
            exact = interpolation == "nearest"
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=0 if exact else NEAR)


def test_center_crop() -> None:
    for size in SIZES:
        for height, width in TARGETS:
            x = pictures(2, size)
            theirs = np.asarray(keras.layers.CenterCrop(height, width)(x))
            ours = layers.CenterCrop(height, width)(x)
            cut = height <= size[0] and width <= size[1]
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=0 if cut else NEAR)


@pytest.mark.parametrize(
    ("scale", "offset"), [(1 / 127.5, -1), (1 / 255, 0.0), ([0.5, 2.0, 3.0], [1.0, 0.0, -1.0])]
)
def test_rescaling(scale: Any, offset: Any) -> None:
    x = pictures(2, (7, 5))
    theirs = np.asarray(keras.layers.Rescaling(scale, offset)(x))
    np.testing.assert_array_equal(layers.Rescaling(scale, offset)(x), theirs)
    bytes_ = x.astype(np.uint8)
    theirs = np.asarray(keras.layers.Rescaling(scale, offset)(bytes_))
    np.testing.assert_array_equal(layers.Rescaling(scale, offset)(bytes_), theirs)


@pytest.mark.parametrize("mode", layers.augmentation.MODES)
def test_random_flip(mode: str) -> None:
    x = pictures(16, (9, 6))
    theirs = keras.layers.RandomFlip(mode, seed=3)
    drawn = theirs.get_random_transformation(x, training=True)
    flips = np.asarray(drawn["flips"]).reshape(16, 1)
    assert 0 < flips.sum() < 16
    ours = changed(layers.RandomFlip(mode), x, flips)
    np.testing.assert_array_equal(ours, np.asarray(theirs.transform_images(x, drawn)))


@pytest.mark.parametrize("size", [(20, 30), (7, 5), (1, 9), (64, 64)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("fill_mode", FILL_MODES)
@pytest.mark.parametrize("kind", ["rotation", "zoom", "translation"])
def test_warps(kind: str, fill_mode: str, interpolation: str, size: tuple[int, int]) -> None:
    x = pictures(8, size)
    how = {"fill_mode": fill_mode, "interpolation": interpolation, "fill_value": 3.0}
    name, factors = {
        "rotation": ("RandomRotation", ((-0.5, 0.5),)),
        "zoom": ("RandomZoom", ((-0.9, 1.0), (-0.5, 0.2))),
        "translation": ("RandomTranslation", ((-1.0, 1.0), (-0.4, 1.0))),
    }[kind]
    theirs = getattr(keras.layers, name)(*factors, **how)
    drawn = theirs.get_random_transformation(x, training=True)
    if kind == "rotation":
        matrix = drawn["rotation_matrix"]
    elif kind == "zoom":
        zooms = np.concatenate([drawn["width_zoom"], drawn["height_zoom"]], axis=1)
        matrix = theirs._get_zoom_matrix(zooms, *size)
    else:
        matrix = theirs._get_translation_matrix(drawn["translations"])
    ours = changed(getattr(layers, name)(*factors, **how), x, matrix)
    np.testing.assert_allclose(
        ours, np.asarray(theirs.transform_images(x, drawn, training=True)), rtol=0, atol=NEAR
    )


@pytest.mark.parametrize("value_range", [(0, 255), (50, 180)])
def test_light(value_range: tuple[int, int]) -> None:
    x = pictures(16, (9, 6))
    contrast = keras.layers.RandomContrast((0.9, 0.9), value_range=value_range)
    drawn = contrast.get_random_transformation(x, training=True)
    ours = layers.RandomContrast((0.9, 0.9), value_range=value_range)
    np.testing.assert_allclose(
        changed(ours, x, drawn["contrast_factor"]),
        np.asarray(contrast.transform_images(x, drawn, training=True)),
        rtol=0,
        atol=NEAR,
    )
    brightness = keras.layers.RandomBrightness(0.7, value_range=value_range)
    drawn = brightness.get_random_transformation(x, training=True)
    ours = layers.RandomBrightness(0.7, value_range=value_range)
    np.testing.assert_array_equal(
        changed(ours, x, drawn["rgb_delta"]),
        np.asarray(brightness.transform_images(x, drawn, training=True)),
    )


@pytest.mark.parametrize("size", [(9, 11), (8, 20), (20, 10), (4, 12), (30, 30)])
def test_random_crop(size: tuple[int, int]) -> None:
    x = pictures(4, size)
    theirs = keras.layers.RandomCrop(8, 10, seed=5)
    drawn = theirs.get_random_transformation(x, training=True)
    places = np.tile([[float(drawn[0]), float(drawn[1])]], (4, 1))
    ours = changed(layers.RandomCrop(8, 10), x, places)
    expected = np.asarray(theirs.transform_images(x, drawn, training=True))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=NEAR)
    if size[0] <= 8 or size[1] <= 10:  # nothing is drawn: the places are the same too
        np.testing.assert_array_equal(layers.RandomCrop(8, 10)(x), ours)


def test_random_crop_outside_of_training_is_smart_resize() -> None:
    for size in [(9, 11), (8, 20), (4, 12), (30, 30)]:
        x = pictures(2, size)
        expected = np.stack([keras.preprocessing.image.smart_resize(one, (8, 10)) for one in x])
        ours = layers.RandomCrop(8, 10)(x, training=False)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=NEAR)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"interpolation": "nearest"},
        {"interpolation": "bicubic", "antialias": True},
        {"interpolation": "lanczos3", "crop_to_aspect_ratio": True},
        {"pad_to_aspect_ratio": True, "fill_value": 0.3},
    ],
    ids=str,
)
def test_training_through_them(how: Any) -> None:
    """Three steps of a convolution in front of them change its weights as in Keras."""

    def trained(library: Any, make: Any, weights: Any) -> Any:
        model = make(
            [
                library.Input((12, 14, 3)),
                library.Conv2D(3, 3),
                library.Resizing(8, 13, **how),
                library.CenterCrop(7, 6),
                library.Rescaling(1.5, 0.5),
                library.Flatten(),
                library.Dense(3, activation="softmax"),
            ]
        )
        if weights is not None:
            model.set_weights(weights)
        start = model.get_weights()
        model.compile("sgd", "sparse_categorical_crossentropy")
        x = pictures(6, (12, 14)) / np.float32(RANGE)
        for _ in range(3):
            model.train_on_batch(x, np.arange(6) % 3)
        return start, model.get_weights()

    start, ours = trained(layers, Sequential, None)
    _, theirs = trained(keras.layers, keras.Sequential, start)
    assert np.abs(ours[0] - start[0]).max() > 1e-3
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=1e-5)


# --- draws ----------------------------------------------------------------------------------------


def drawn(layer: Any, shape: tuple[int, ...] = (40, 60, 3), rows: int = 20_000) -> Any:
    graph = _core.Graph(shape)
    layer.add_to(graph, [0])
    return _core.Network(graph, []).draw(1, 7, 0, rows).astype(np.float64)


def assert_uniform(values: Any, low: float, high: float) -> None:
    """Within the bounds, near both, and the mean and spread of a uniform distribution."""
    width = high - low
    rounding = 1e-5 * (abs(low) + abs(high))
    assert low - rounding <= values.min() <= low + 0.01 * width
    assert high - 0.01 * width <= values.max() <= high + rounding
    deviation = width / np.sqrt(12 * len(values))  # of the mean
    assert abs(values.mean() - (low + high) / 2) < 4 * deviation
    assert abs(values.std() - width / np.sqrt(12)) < 0.02 * width


@pytest.mark.parametrize("factor", [0.1, (-0.2, 0.4), (0.5, 0.2), [0.3, 0.4]])
def test_rotations_are_drawn_as_in_keras(factor: Any) -> None:
    theirs = keras.layers.RandomRotation(factor)
    numbers = drawn(layers.RandomRotation(factor))
    degrees = np.degrees(np.arctan2(numbers[:, 3], numbers[:, 0])) % 360
    low, high = (360 * x for x in theirs.factor)
    degrees = (degrees - (low - 1)) % 360 + low - 1  # from where the range begins
    assert_uniform(degrees, low, high)
    same = theirs._compute_affine_matrix(
        0.5, 0.5, np.float32(degrees), 0.0, 0.0, 1.0, np.float32(0), np.float32(0), 40, 60
    )
    np.testing.assert_allclose(numbers, same, atol=2e-3)  # of 60 pixels, through the angle


@pytest.mark.parametrize("factors", [(0.2, None), ((-0.3, -0.1), None), (0.2, (0.1, 0.5))])
def test_zooms_are_drawn_as_in_keras(factors: Any) -> None:
    theirs = keras.layers.RandomZoom(*factors)
    numbers = drawn(layers.RandomZoom(*factors))
    assert_uniform(numbers[:, 4], 1 + theirs.height_lower, 1 + theirs.height_upper)
    if factors[1] is None:
        np.testing.assert_array_equal(numbers[:, 0], numbers[:, 4])
    else:
        assert_uniform(numbers[:, 0], 1 + theirs.width_lower, 1 + theirs.width_upper)
        assert abs(np.corrcoef(numbers[:, 0], numbers[:, 4])[0, 1]) < 0.04
    matrix = theirs._get_zoom_matrix(numbers[:, [0, 4]].astype(np.float32), 40, 60)
    np.testing.assert_allclose(numbers, matrix, atol=1e-5)


def test_translations_are_drawn_as_in_keras() -> None:
    theirs = keras.layers.RandomTranslation(0.2, (0.1, 0.5))
    numbers = drawn(layers.RandomTranslation(0.2, (0.1, 0.5)))
    assert_uniform(-numbers[:, 5], 40 * theirs.height_lower, 40 * theirs.height_upper)
    assert_uniform(-numbers[:, 2], 60 * theirs.width_lower, 60 * theirs.width_upper)
    assert abs(np.corrcoef(numbers[:, 2], numbers[:, 5])[0, 1]) < 0.04
    moved = np.array([-numbers[:, 2], -numbers[:, 5]], np.float32).T
    np.testing.assert_array_equal(numbers, theirs._get_translation_matrix(moved))


@pytest.mark.parametrize("factor", [0.3, (0.2, 0.6)])
def test_light_is_drawn_as_in_keras(factor: Any) -> None:
    contrast = keras.layers.RandomContrast(factor)
    numbers = drawn(layers.RandomContrast(factor))[:, 0]
    assert_uniform(numbers, 1 - contrast.factor[0], 1 + contrast.factor[1])
    brightness = keras.layers.RandomBrightness(factor, value_range=(-1, 1))
    numbers = drawn(layers.RandomBrightness(factor, value_range=(-1, 1)))[:, 0]
    assert_uniform(numbers, 2 * brightness.factor[0], 2 * brightness.factor[1])


def test_flips_and_crops_are_drawn_as_in_keras() -> None:
    flips = drawn(layers.RandomFlip())[:, 0]
    assert set(flips) == {0.0, 1.0}
    assert abs(flips.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(flips))
    layer = layers.RandomCrop(36, 58)
    graph = _core.Graph((40, 60, 3))
    layer.add_to(graph, [0])
    network = _core.Network(graph, [])
    places = np.array([network.draw(1, 7, batch, 2) for batch in range(3000)])
    np.testing.assert_array_equal(places[:, 0], places[:, 1])  # one for the batch
    for axis, most in ((0, 4), (1, 2)):
        values, counts = np.unique(places[:, 0, axis], return_counts=True)
        assert values.tolist() == list(range(most + 1))
        share = 1 / (most + 1)
        spread = np.sqrt(3000 * share * (1 - share))
        assert (abs(counts - 3000 * share) < 4 * spread).all()


# --- arguments ------------------------------------------------------------------------------------

SPELLED: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Rescaling", (1 / 127.5,), {"offset": -1.0}),
    ("Rescaling", ([0.5, 1.0, 2.0],), {"offset": [1.0, 2.0, 3.0]}),
    ("Resizing", (20, 24), {"interpolation": "bicubic", "crop_to_aspect_ratio": True}),
    ("Resizing", (20, 24), {"pad_to_aspect_ratio": True, "fill_value": 2.0, "antialias": True}),
    ("CenterCrop", (12, 10), {}),
    ("RandomFlip", (), {}),
    ("RandomFlip", ("vertical",), {"seed": 4}),
    ("RandomRotation", (0.1,), {"fill_mode": "wrap", "interpolation": "nearest"}),
    ("RandomRotation", ((-0.1, 0.3),), {"fill_mode": "constant", "fill_value": 1.0}),
    ("RandomZoom", (0.1,), {}),
    ("RandomZoom", ((0.1, 0.2), (-0.2, 0.0)), {}),
    ("RandomTranslation", (0.1, (-0.2, 0.3)), {"seed": 1}),
    ("RandomContrast", (0.2,), {"value_range": [0.0, 1.0]}),
    ("RandomBrightness", ((-0.1, 0.4),), {"seed": 9}),
    ("RandomCrop", (12, 10), {"seed": 5}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), SPELLED)
def test_configs_are_keras_configs(name: str, args: Any, kwargs: Any) -> None:
    theirs = getattr(keras.layers, name)(*args, **kwargs, name="layer").get_config()
    ours = getattr(layers, name)(*args, **kwargs, name="layer").get_config()

    def plain(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    given = {key: plain(value) for key, value in theirs.items() if key != "dtype"}
    if name == "Rescaling":
        del ours["dtype"]
        assert ours == given
        return
    assert {key: value for key, value in ours.items() if key != "dtype"} == given
    again = getattr(layers, name).from_config(theirs)
    assert again.get_config() == ours
    getattr(keras.layers, name).from_config(ours)


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("RandomRotation", (1.5,), {}),
        ("RandomRotation", ((1.5, 2.0),), {}),
        ("RandomRotation", ((0.1, 0.2, 0.3),), {}),
        ("RandomRotation", ("a",), {}),
        ("RandomRotation", (0.1,), {"fill_mode": "mirror"}),
        ("RandomRotation", (0.1,), {"interpolation": "bicubic"}),
        ("RandomZoom", (-1.0,), {}),
        ("RandomZoom", ((0.0, 1.1),), {}),
        ("RandomTranslation", (1.1, 0.0), {}),
        ("RandomContrast", (-0.2,), {}),
        ("RandomContrast", (1.2,), {}),
        ("RandomBrightness", (-1.5,), {}),
        ("RandomBrightness", (0.2,), {"value_range": 3}),
        ("RandomFlip", (), {"factor": 0.2}),
        ("RandomCrop", (8, 8), {"fill_mode": "wrap"}),
    ],
)
def test_what_keras_refuses_is_refused(name: str, args: Any, kwargs: Any) -> None:
    with pytest.raises(Exception):  # noqa: B017  Keras has several kinds
        getattr(keras.layers, name)(*args, **kwargs)
    with pytest.raises(ValueError, match=name):
        getattr(layers, name)(*args, **kwargs)


@pytest.mark.parametrize("factor", [-0.3, 0.0, (0.4, -0.2), (-2, 0.5)])
def test_factors_mean_what_they_mean_in_keras(factor: Any) -> None:
    theirs = keras.layers.RandomRotation(factor)
    assert layers.RandomRotation(factor).factor == pytest.approx(theirs.factor)


def test_arrays_are_changed_where_keras_changes_them() -> None:
    x = pictures(32, (9, 6))
    for library in (keras.layers, layers):
        flip = library.RandomFlip("horizontal")
        assert (np.asarray(flip(x)) != x).any()
        assert (np.asarray(flip(x, training=True)) != x).any()
        np.testing.assert_array_equal(np.asarray(flip(x, training=False)), x)
        assert np.asarray(flip(x[0])).shape == x[0].shape
    for make in (keras.Sequential, Sequential):
        library = keras.layers if make is keras.Sequential else layers
        model = make([library.RandomFlip("horizontal"), library.Rescaling(2.0)])
        assert (np.asarray(model(x)) != 2 * x).any()
        np.testing.assert_array_equal(np.asarray(model(x, training=False)), 2 * x)


# --- files ----------------------------------------------------------------------------------------


def built(library: Any, make: Any, start: Any) -> Any:
    """A model with every layer, the random ones in a model of their own."""
    # Keras 3.15 cannot save this one of its layers: "cannot pickle 'module' object"
    brightness = library.RandomBrightness(0.1, value_range=(0.0, 255.0))
    random = make(
        [
            library.RandomFlip("horizontal", seed=1),
            library.RandomRotation(0.1, fill_mode="constant", fill_value=2.0),
            library.RandomZoom((-0.1, 0.2), 0.1),
            library.RandomTranslation(0.1, 0.2, interpolation="nearest"),
            library.RandomContrast(0.2),
            *([brightness] if library is layers else []),
        ],
        name="random",
    )
    return make(
        [
            start((30, 40, 3)),
            random,
            library.Resizing(24, 26, interpolation="bicubic", antialias=True),
            library.CenterCrop(20, 18),
            library.Rescaling([0.1, 0.2, 0.3], offset=[0.0, -1.0, 1.0]),
            library.Conv2D(4, 3, activation="relu"),
            library.Flatten(),
            library.Dense(3, activation="softmax"),
        ],
        name="whole",
    )


def theirs_opened(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return keras.models.load_model(path)


def test_our_files_open_in_keras(tmp_path: Path) -> None:
    model = built(layers, Sequential, layers.Input)
    path = tmp_path / "ours.h5"
    model.save(path)
    x = pictures(3, (30, 40))
    theirs = theirs_opened(path)
    np.testing.assert_allclose(np.asarray(theirs(x, training=False)), model(x), atol=1e-5)
    kinds = [type(layer).__name__ for layer in theirs.layers[0].layers]
    assert kinds == [type(layer).__name__ for layer in model.layers[0].layers]
    assert theirs.layers[0].layers[1].fill_value == 2.0


def test_their_files_open_here(tmp_path: Path) -> None:
    theirs = built(keras.layers, keras.Sequential, keras.Input)
    path = tmp_path / "theirs.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save(path)
    x = pictures(3, (30, 40))
    model = load_model(path)
    np.testing.assert_allclose(model(x), np.asarray(theirs(x, training=False)), atol=1e-5)
    kinds = [type(layer).__name__ for layer in model.layers[0].layers]
    assert kinds == [type(layer).__name__ for layer in theirs.layers[0].layers]
    assert model.layers[0].layers[1].fill_value == 2.0
    assert model.layers[0].layers[0].seed == 1


@pytest.mark.parametrize("training", [None, False])
def test_functional_files_both_ways(training: bool | None, tmp_path: Path) -> None:
    """Keras 3 writes training=True of a random layer that was called without `training`."""
    path = tmp_path / "model.h5"
    x = pictures(3, (12, 14)) / np.float32(RANGE)
    source = keras.Input((12, 14, 3))
    y = keras.layers.RandomFlip(name="flip")(source, training=training)
    y = keras.layers.Flatten()(y)
    theirs = keras.Model(source, keras.layers.Dense(2)(y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save(path)
    model = load_model(path)
    np.testing.assert_allclose(model(x), np.asarray(theirs(x, training=False)), atol=1e-4)
    assert model.graph.nodes[1]["inference"] is (training is False)

    start = layers.Input((12, 14, 3))
    z = layers.RandomFlip(name="flip")(start, training=training)
    ours = FunctionalModel(start, layers.Dense(2)(layers.Flatten()(z)))
    ours.save(path)
    opened = theirs_opened(path)
    np.testing.assert_allclose(np.asarray(opened(x, training=False)), ours(x), atol=1e-4)


# --- .tflite --------------------------------------------------------------------------------------


def litert(content: bytes, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    interpreter = Interpreter(model_content=content)
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


@pytest.mark.parametrize(
    "resizing",
    [
        {"interpolation": "bilinear"},
        {"interpolation": "nearest"},
        {"interpolation": "bilinear", "crop_to_aspect_ratio": True},
        {"interpolation": "bilinear", "pad_to_aspect_ratio": True},
        {"interpolation": "nearest", "pad_to_aspect_ratio": True, "fill_value": 9.0},
    ],
    ids=str,
)
def test_tflite(resizing: Any) -> None:
    model = Sequential(
        [
            layers.Input((30, 40, 3)),
            layers.RandomFlip(),
            layers.RandomRotation(0.2),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Resizing(24, 22, **resizing),
            layers.CenterCrop(20, 21),
            layers.RandomCrop(10, 16),
            layers.Rescaling([1.0, 2.0, 3.0]),
        ]
    )
    model.build()
    x = pictures(3, (30, 40))
    ours = model(x, training=False)
    assert ours.shape == (3, 10, 16, 3)
    np.testing.assert_allclose(litert(tflite_bytes(model), x), ours, atol=1e-4)
