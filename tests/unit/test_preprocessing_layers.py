"""Layers for pictures in models of tlcore: what fit changes, and what nothing else does.

Their arithmetic is compared with Keras's in tests/parity, and pixel by pixel in tests/c.
"""

from __future__ import annotations

import copy
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
from PIL import Image

import tlcore
from tlcore import _core, layers
from tlcore.applications import MobileNetV2
from tlcore.export import tflite_bytes
from tlcore.models import Model, Sequential, load_model
from tlcore.preprocessing.image import DirectoryIterator, ImageDataGenerator
from tlcore.recipes import find_learning_rate, linear_probe
from tlcore.utils import notes, set_random_seed

SIZE = 32
COUNT = 14
RANDOM = [
    layers.RandomFlip,
    layers.RandomRotation,
    layers.RandomZoom,
    layers.RandomTranslation,
    layers.RandomContrast,
    layers.RandomBrightness,
    layers.RandomCrop,
]


@pytest.fixture(autouse=True)
def forgotten_notes() -> None:
    notes.reset_notes()


def made(kind: type[layers.Layer], **how: Any) -> Any:
    arguments: tuple[Any, ...] = (0.2,)
    if kind is layers.RandomFlip:
        arguments = ("horizontal",)
    elif kind is layers.RandomCrop:
        arguments = (SIZE - 8, SIZE - 9)
    elif kind is layers.RandomTranslation:
        arguments = (0.2, 0.3)
    return kind(*arguments, **how)


def pictures(count: int = COUNT, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(3)
    x = random.randint(0, 256, (count, size, size, 3)).astype(np.uint8)
    return x, random.randint(0, 3, count)


def model_with(*first: layers.Layer, frozen: bool = True, size: int = SIZE) -> Sequential:
    set_random_seed(4)
    base = MobileNetV2((SIZE, SIZE, 3), 0.35, include_top=False, weights=None)
    random = np.random.RandomState(2)
    for variable in base.weights:  # so that its features tell pictures apart
        if variable.name == "gamma":
            variable.assign(random.uniform(2.5, 4.0, variable.shape))
        elif variable.name in ("beta", "moving_mean"):
            variable.assign(random.normal(0, 0.1, variable.shape))
    base.trainable = not frozen
    model = Sequential(
        [
            layers.Input((size, size, 3)),
            *first,
            layers.Rescaling(1 / 127.5, offset=-1),
            base,
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["acc"])
    return model


def fitted(model: Sequential, epochs: int = 2, **how: Any) -> tuple[Any, list[np.ndarray]]:
    x, y = pictures()
    arguments: dict[str, Any] = {"epochs": epochs, "batch_size": 4, "verbose": 0, "shuffle": False}
    history = model.fit(x, y, **{**arguments, **how}).history
    return history, model.layers[-1].get_weights()


def flow_of_pictures(folder: Path) -> DirectoryIterator:
    """Six of them, as bytes with a rule."""
    for i, pixels in enumerate(pictures(6)[0]):
        (folder / f"class{i % 3}").mkdir(exist_ok=True)
        path = folder / f"class{i % 3}" / f"{i}.png"
        if not path.exists():  # another time of change makes other features
            Image.fromarray(pixels).save(path)
    return ImageDataGenerator().flow_from_directory(
        folder, target_size=(SIZE, SIZE), batch_size=4, seed=1
    )


def same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_base_tells_pictures_apart() -> None:
    """Without this most of the tests below could not fail."""
    model = model_with()
    x, _ = pictures()
    pooled = len(model.graph.nodes) - 3
    features, mirrored = (model.network.run(some, 0, pooled) for some in (x, x[:, :, ::-1]))
    assert features.std(axis=0).max() > 0.1
    assert abs(features - mirrored).max() > 0.1


# --- fit ------------------------------------------------------------------------------------------


def test_the_frozen_base_runs_every_epoch_and_stays_an_executor_of_inference() -> None:
    model = model_with(layers.RandomRotation(0.1), layers.RandomContrast(0.3))
    x, y = pictures()
    fitted(model, epochs=3, validation_data=(x, y))
    # three times for training, and once for validation, whose features are kept
    assert model.prefix_runs == 4 * COUNT
    compiled = model._compiled
    assert compiled is not None
    assert compiled.nodes[compiled.cut]["op"] == "global_average_pooling2d"
    assert [compiled.nodes[i]["op"] for i in compiled.changes] == [
        "random_rotation",
        "random_contrast",
    ]


def test_without_random_layers_features_are_kept_behind_the_others() -> None:
    model = model_with(layers.Resizing(SIZE, SIZE), layers.CenterCrop(SIZE, SIZE), size=SIZE + 6)
    x, y = pictures(size=SIZE + 6)
    model.fit(x, y, epochs=3, batch_size=4, verbose=0)
    assert model.prefix_runs == COUNT


def test_fit_trains_on_what_the_layers_make_of_the_pictures() -> None:
    """The same as training on arrays that were changed by hand, with the same draws."""
    flip, contrast = layers.RandomFlip("horizontal", seed=5), layers.RandomContrast(0.4, seed=6)
    model = model_with(flip, contrast)
    network = model.network
    x, y = pictures()
    by_hand = []
    for batch, first in enumerate(range(0, COUNT, 4)):
        some = x[first : first + 4].astype(np.float32)
        for node in (1, 2):
            some = network.change(some, node, network.draw(node, 0, batch, len(some)))
        by_hand.append(some)
    assert not np.array_equal(np.concatenate(by_hand), x)
    history, weights = fitted(model, epochs=1)
    plain = model_with()
    expected = plain.fit(
        np.concatenate(by_hand), y, epochs=1, batch_size=4, verbose=0, shuffle=False
    ).history
    assert history == expected
    assert same(weights, plain.layers[-1].get_weights())


def test_deterministic_layers_between_random_ones() -> None:
    model = model_with(
        layers.RandomCrop(SIZE + 4, SIZE + 4),
        layers.Rescaling(0.5),
        layers.RandomBrightness(0.3, value_range=(0, 128)),
        layers.Rescaling([2.0, 2.0, 2.0]),
        layers.RandomZoom(0.2),
        layers.Resizing(SIZE, SIZE, interpolation="bicubic", antialias=True),
        size=SIZE + 9,
    )
    x, y = pictures(size=SIZE + 9)
    model.fit(x, y, epochs=2, batch_size=5, verbose=0, validation_data=(x, y))
    assert model.prefix_runs == 3 * COUNT
    assert model.predict(x, verbose=0).shape == (COUNT, 3)


@pytest.mark.parametrize("kind", RANDOM)
def test_training_is_the_same_with_any_number_of_threads(kind: Any) -> None:
    results = []
    before = tlcore._core.get_num_threads()
    try:
        for threads in (1, 3):
            tlcore._core.set_num_threads(threads)
            first = [made(kind), layers.Resizing(SIZE, SIZE)]
            results.append(fitted(model_with(*first)))
    finally:
        tlcore._core.set_num_threads(before)
    assert results[0][0] == results[1][0]
    assert same(results[0][1], results[1][1])


def test_seeds() -> None:
    def run(seed: int | None, models_seed: int = 4) -> list[np.ndarray]:
        model = model_with(layers.RandomRotation(0.2, seed=seed))
        assert model._compiled is not None
        model._compiled.seed = models_seed
        return fitted(model)[1]

    assert same(run(None), run(None))
    assert not same(run(None), run(None, 5))
    assert same(run(7), run(7, 5)), "a seed of its own does not ask the model's"
    assert not same(run(7), run(8))


def test_each_batch_and_epoch_draws_anew() -> None:
    model = model_with(layers.RandomRotation(0.2, seed=1))
    x, _ = pictures(8)
    network = model.network
    draws = [network.draw(1, 0, batch, 4) for batch in range(3)]
    rows = np.concatenate(draws)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert network.change(x[:4], 1, draws[0]).dtype == np.float32


def test_training_goes_on_from_a_file_with_the_same_draws(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    whole = model_with(layers.RandomRotation(0.2), layers.RandomFlip(seed=3))
    expected = fitted(whole, epochs=4)[1]
    model = model_with(layers.RandomRotation(0.2), layers.RandomFlip(seed=3))
    fitted(model, epochs=2)
    model.save(path)
    again = load_model(path)
    assert same(fitted(again, epochs=2)[1], expected)


def test_train_on_batch_changes_pictures_too() -> None:
    x, y = pictures(4)
    model = model_with(layers.RandomFlip("horizontal", seed=2))
    plain = model_with()
    changed = model.network.change(x, 1, model.network.draw(1, 0, 0, 4))
    assert not np.array_equal(changed, x)
    assert model.test_on_batch(x, y) != plain.test_on_batch(changed, y)
    assert model.train_on_batch(x, y) == plain.train_on_batch(changed, y)


def test_learning_rates_are_tried_on_changed_pictures() -> None:
    x, y = pictures()
    losses = []
    for first in ([layers.RandomRotation(0.3, seed=1)], []):
        model = model_with(*first)
        found = find_learning_rate(model, (x, y), steps=20, batch_size=7, verbose=0)
        losses.append(found.history["loss"])
    assert losses[0] != losses[1]


def test_recipes_that_take_each_picture_once_take_it_as_it_is() -> None:
    x, y = pictures()
    y[:6] = [0, 1, 2, 0, 1, 2]
    found = []
    for first in ([layers.RandomRotation(0.3)], []):
        body = Sequential([layers.Input((SIZE, SIZE, 3)), *first, *model_with().layers[:-1]])
        found.append(linear_probe(body, (x, y), l2=1e-2, verbose=0).model.get_weights())
    assert same(*found)


def test_an_unfrozen_base_trains_behind_them() -> None:
    model = model_with(layers.RandomRotation(0.1, seed=1), frozen=False)
    compiled = model._compiled
    assert compiled is not None and compiled.nodes[compiled.cut]["op"] == "rescaling"
    before = model.layers[-3].get_weights()
    fitted(model, epochs=1)
    assert not same(before, model.layers[-3].get_weights())


@pytest.mark.parametrize("keep", [None, False])
def test_keep_features_changes_no_bit(keep: bool | None) -> None:
    expected = fitted(model_with(layers.RandomZoom(0.2)), keep_features=None)
    history, weights = fitted(model_with(layers.RandomZoom(0.2)), keep_features=keep)
    assert history == expected[0] and same(weights, expected[1])


# --- flips, whose features are kept ---------------------------------------------------------------

FLIPS = [
    [layers.RandomFlip("horizontal")],
    [layers.RandomFlip()],
    [layers.RandomFlip("horizontal"), layers.RandomFlip("vertical", seed=3)],
    [layers.Rescaling(2.0), layers.RandomFlip("vertical"), layers.CenterCrop(SIZE, SIZE)],
]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("first", FLIPS, ids=lambda first: "-".join(x.name for x in first))
def test_keeping_flipped_pictures_changes_no_bit(first: Any, shuffle: bool) -> None:
    x, y = pictures()
    results = []
    for keep in (None, False):
        model = model_with(*(copy.deepcopy(layer) for layer in first))
        history, weights = fitted(
            model, epochs=12, keep_features=keep, shuffle=shuffle, validation_data=(x[:5], y[:5])
        )
        results.append((history, weights, model.prefix_runs))
    assert results[0][0] == results[1][0]
    assert same(results[0][1], results[1][1])
    ways = 2 ** sum(isinstance(layer, layers.RandomFlip) for layer in first)
    assert COUNT + 5 < results[0][2] <= ways * COUNT + 5
    assert results[1][2] == 12 * (COUNT + 5)


def test_flipped_pictures_of_a_folder_are_read_until_all_ways_are_known(tmp_path: Path) -> None:
    results = []
    for keep in (None, False):
        flow = flow_of_pictures(tmp_path)
        model = model_with(layers.RandomFlip())
        model.compile("adam", "categorical_crossentropy")
        history = model.fit(
            flow,
            epochs=9,
            verbose=0,
            validation_data=flow_of_pictures(tmp_path),
            keep_features=keep,
        ).history
        results.append((history, model.layers[-1].get_weights(), model.prefix_runs))
    assert results[0][0] == results[1][0] and same(results[0][1], results[1][1])
    # pictures that were not flipped are those of the validation
    assert results[0][2] <= 12 < results[1][2] == 9 * 12


def test_features_of_other_layers_are_not_taken_for_those_of_these(tmp_path: Path) -> None:
    results = []
    for keep in (None, False):
        model = model_with(layers.RandomFlip("horizontal"))
        model.compile("sgd", "categorical_crossentropy")
        model.fit(flow_of_pictures(tmp_path), epochs=6, verbose=0, keep_features=keep)
        before = model.layers
        for _ in before:
            model.pop()
        for layer in (layers.RandomFlip("vertical"), layers.Rescaling(1 / 255), *before[2:]):
            model.add(layer)
        model.compile("sgd", "categorical_crossentropy")
        assert model._compiled is not None
        model._compiled.seed = 1
        results.append(
            model.fit(flow_of_pictures(tmp_path), epochs=2, verbose=0, keep_features=keep).history
        )
    assert results[0] == results[1]


def test_flips_behind_other_changes_or_layers_are_not_kept() -> None:
    for first in (
        [layers.RandomFlip(), layers.RandomRotation(0.1)],
        [layers.RandomFlip() for _ in range(3)],
        [layers.ZeroPadding2D(0), layers.RandomFlip()],
    ):
        model = model_with(*first)
        fitted(model, epochs=3)
        assert model.prefix_runs == 3 * COUNT


# --- what is not training -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RANDOM[:-1])
def test_inference_does_not_know_of_random_layers(kind: Any) -> None:
    x, y = pictures()
    model, plain = model_with(made(kind)), model_with()
    np.testing.assert_array_equal(model.predict(x, verbose=0), plain.predict(x, verbose=0))
    assert model.evaluate(x, y, verbose=0) == plain.evaluate(x, y, verbose=0)
    assert model.test_on_batch(x, y) == plain.test_on_batch(x, y)
    np.testing.assert_array_equal(model(x), plain(x))
    assert len(model.network.lowered()) == len(plain.network.lowered())


def test_bytes_mean_what_they_mean_as_floats() -> None:
    x, y = pictures()
    first = [layers.Resizing(SIZE, SIZE, "bicubic"), layers.RandomFlip(seed=1)]
    model = model_with(*first, size=SIZE - 5)
    small = np.ascontiguousarray(x[:, 5:, 5:])
    floats = small.astype(np.float32)
    np.testing.assert_array_equal(model.predict(small, verbose=0), model.predict(floats, verbose=0))
    history = model.fit(small, y, verbose=0, shuffle=False).history
    other = model_with(*(copy.deepcopy(layer) for layer in first), size=SIZE - 5)
    assert other.fit(floats, y, verbose=0, shuffle=False).history == history


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    model = model_with(layers.RandomZoom(0.2))
    model.compile("adam", "categorical_crossentropy")
    model.fit(flow_of_pictures(tmp_path), epochs=2, verbose=0)
    assert model.prefix_runs == 12


def test_notes_about_ranges_of_values_do_not_talk_nonsense() -> None:
    base = MobileNetV2((SIZE, SIZE, 3), 0.35, include_top=False, weights=None)
    base.input_range = (-1, 1)
    start = layers.Input((SIZE, SIZE, 3))
    random = Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)])
    assert Sequential([start, random, base]).input_range == (-1, 1)
    assert Sequential([layers.Input((40, 40, 3)), layers.Resizing(SIZE, SIZE), base]).input_range
    assert Sequential([random, layers.Rescaling(1 / 127.5, -1), base]).input_range is None
    assert Sequential([layers.Conv2D(3, 1), base]).input_range is None


# --- arrays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", RANDOM)
def test_called_with_arrays(kind: Any) -> None:
    x, _ = pictures()
    layer = made(kind, seed=1)
    changed = layer(x)
    assert changed.dtype == np.float32 and changed.shape[0] == COUNT
    assert not np.array_equal(layer(x), changed), "every call draws anew"
    np.testing.assert_array_equal(made(kind, seed=1)(x, training=True), changed)
    assert made(kind)(x[0].astype(np.float64)).shape == changed.shape[1:]
    if kind is not layers.RandomCrop:
        np.testing.assert_array_equal(layer(x, training=False), x)
    assert not layer.built


@pytest.mark.parametrize("mode", ["horizontal", "vertical", "horizontal_and_vertical"])
def test_each_picture_is_flipped_as_the_mode_says_or_not_at_all(mode: str) -> None:
    x, _ = pictures()
    rows = slice(None, None, 1 if mode == "horizontal" else -1)
    cols = slice(None, None, 1 if mode == "vertical" else -1)
    mirrored = x[:, rows, cols]
    flipped = 0
    for before, after, other in zip(x, layers.RandomFlip(mode, seed=1)(x), mirrored, strict=True):
        flipped += np.array_equal(after, other)
        assert np.array_equal(after, other) or np.array_equal(after, before)
    assert 0 < flipped < COUNT


def test_models_of_nothing_else_are_called_with_arrays_of_any_size() -> None:
    model = Sequential([layers.RandomFlip("vertical", seed=1), layers.Rescaling(2.0)])
    for size in (SIZE, SIZE + 3):
        x, _ = pictures(size=size)
        changed = model(x)
        assert changed.shape == x.shape and (changed != 2.0 * x).any()
        np.testing.assert_array_equal(model(x, training=False), 2.0 * x)
        assert model(x[0], training=True).shape == x[0].shape
    assert not model.built
    nested = Sequential([layers.Input((SIZE, SIZE, 3)), model])
    x, _ = pictures()
    assert (nested(x) != 2.0 * x).any()
    np.testing.assert_array_equal(nested.predict(x, verbose=0), 2.0 * x)


def test_calls_in_inference_mode_stay_so() -> None:
    start = layers.Input((SIZE, SIZE, 3))
    y = layers.RandomRotation(0.2)(start, training=False)
    model = Model(start, y)
    x, _ = pictures()
    np.testing.assert_array_equal(model(x, training=True), x)
    assert model.graph.nodes[1]["inference"]
    whole = model_with(model)
    assert whole._compiled is not None and whole._compiled.changes == []
    fitted(whole, epochs=3)
    assert whole.prefix_runs == COUNT, "nothing is random, so features are kept"


def test_rescaling_takes_vectors_too() -> None:
    model = Sequential([layers.Input((3,)), layers.Rescaling([1.0, 2.0, 3.0], 1)])
    np.testing.assert_array_equal(model(np.ones((2, 3))), [[2, 3, 4]] * 2)
    np.testing.assert_array_equal(layers.Rescaling(2)(np.ones((2, 5))), np.full((2, 5), 2.0))


@pytest.mark.parametrize("frozen", [True, False])
def test_rescaling_behind_a_layer_that_trains(frozen: bool) -> None:
    """Its gradient is that of a dense layer with the same fixed weights."""
    results = []
    for scale in (True, False):
        set_random_seed(1)
        fixed = layers.Dense(4)
        model = Sequential(
            [
                layers.Input((5,)),
                layers.Dense(4, activation="tanh"),
                layers.Rescaling([0.5, 2.0, -1.0, 3.0], [1.0, 0.0, 0.5, -1.0]) if scale else fixed,
                layers.Dense(2, activation="softmax"),
            ]
        )
        if not scale:
            fixed.set_weights([np.diag([0.5, 2.0, -1.0, 3.0]), [1.0, 0.0, 0.5, -1.0]])
            fixed.trainable = False
        random = np.random.RandomState(0)
        model.layers[0].trainable = not frozen
        for at in (0, 2):
            shapes = [w.shape for w in model.layers[at].get_weights()]
            model.layers[at].set_weights([random.normal(0, 0.5, shape) for shape in shapes])
        model.compile("sgd", "sparse_categorical_crossentropy")
        model.fit(random.normal(0, 1, (8, 5)), np.arange(8) % 2, epochs=5, shuffle=False, verbose=0)
        results.append([*model.layers[0].get_weights(), *model.layers[2].get_weights()])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


# --- files ----------------------------------------------------------------------------------------


def every_layer() -> list[layers.Layer]:
    return [
        *(made(kind, seed=3) for kind in RANDOM[:-1]),
        layers.RandomCrop(30, 31),
        layers.Resizing(28, 29, "lanczos3", pad_to_aspect_ratio=True, fill_value=3.0),
        layers.CenterCrop(20, 21),
        layers.Rescaling([1.0, 2.0, 3.0], 0.5),
    ]


def test_files_and_copies_have_the_layers_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    model = Sequential([layers.Input((SIZE, SIZE, 3)), *every_layer(), layers.Flatten()])
    model.add(layers.Dense(2))
    model.save(path)
    x, _ = pictures(3)
    for again in (load_model(path), copy.deepcopy(model)):
        np.testing.assert_array_equal(again(x), model(x))
        for ours, theirs in zip(again.layers, model.layers, strict=True):
            assert ours.get_config() == theirs.get_config()
            assert type(ours) is type(theirs)


@pytest.mark.parametrize("layer", every_layer(), ids=lambda layer: type(layer).__name__)
def test_configs_are_json_and_make_the_layer_again(layer: Any) -> None:
    config = json.loads(json.dumps(layer.get_config()))
    again = layers.deserialize(type(layer).__name__, config)
    assert again.get_config() == layer.get_config()


def test_keras_writes_arrays_of_numbers() -> None:
    value = {"class_name": "__numpy__", "config": {"value": [1.0, 2.0], "dtype": "float64"}}
    assert layers.Rescaling.from_config({"scale": value, "offset": 0}).scale == [1.0, 2.0]


# --- .tflite --------------------------------------------------------------------------------------


def operators(model: Any) -> list[tuple[str, int]]:
    content = tflite.Model.GetRootAsModel(tflite_bytes(model), 0)
    names = {v: k for k, v in vars(tflite.BuiltinOperator).items() if not k.startswith("_")}
    graph = content.Subgraphs(0)
    codes = [
        content.OperatorCodes(graph.Operators(i).OpcodeIndex())
        for i in range(graph.OperatorsLength())
    ]
    return [(names[code.BuiltinCode()], code.Version()) for code in codes]


def test_tflite_files_leave_out_what_is_random() -> None:
    model = Sequential(
        [
            layers.Input((SIZE, SIZE, 3)),
            layers.RandomFlip(),
            layers.Rescaling(0.5),
            layers.Resizing(24, 20, crop_to_aspect_ratio=True),
            layers.RandomZoom(0.1),
            layers.CenterCrop(12, 11),
            layers.Resizing(20, 30, "nearest", pad_to_aspect_ratio=True, fill_value=1.0),
            layers.Resizing(30, 40, pad_to_aspect_ratio=True),
        ]
    )
    # version 3 of an operator that resizes is the first that knows the centres of pixels
    assert operators(model) == [
        ("MUL", 1),
        ("ADD", 1),
        ("STRIDED_SLICE", 1),
        ("RESIZE_BILINEAR", 3),
        ("STRIDED_SLICE", 1),
        ("PADV2", 1),
        ("RESIZE_NEAREST_NEIGHBOR", 3),
        ("PAD", 1),
        ("RESIZE_BILINEAR", 3),
    ]


@pytest.mark.parametrize(
    "how", [{"interpolation": "bicubic"}, {"antialias": True}, {"interpolation": "area"}], ids=str
)
def test_what_tflite_cannot_hold_is_said(how: Any) -> None:
    model = Sequential([layers.Input((9, 9, 3)), layers.Resizing(5, 5, **how, name="small")])
    with pytest.raises(ValueError, match=r"'small' has interpolation=.*no operator"):
        tflite_bytes(model)


# --- errors ---------------------------------------------------------------------------------------

WRONG: list[tuple[Any, str]] = [
    (lambda: layers.Rescaling("a"), "scale must be a finite number"),
    (lambda: layers.Rescaling(None), "scale must be a finite number"),
    (lambda: layers.Rescaling([]), "scale must be a finite number"),
    (lambda: layers.Rescaling([[1.0]]), "scale must be a finite number"),
    (lambda: layers.Rescaling([1.0, [2.0]]), "scale must be a finite number"),
    (lambda: layers.Rescaling(1.0, float("nan")), "offset must be a finite number"),
    (lambda: layers.Rescaling(1e60), "scale must be a finite number"),
    (lambda: layers.Resizing(0, 5), "height must be a whole number of at least 1"),
    (lambda: layers.Resizing(5, 5.0), "width must be a whole number of at least 1"),
    (lambda: layers.Resizing(5, 5, "cubic"), "interpolation must be one of"),
    (lambda: layers.Resizing(5, 5, fill_mode="wrap"), "fill_mode must be 'constant'"),
    (lambda: layers.Resizing(5, 5, data_format="channels_first"), "data_format must be"),
    (
        lambda: layers.Resizing(5, 5, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True),
        "only one of",
    ),
    (lambda: layers.CenterCrop(5, 0), "width must be a whole number"),
    (lambda: layers.RandomFlip("diagonal"), "mode must be one of"),
    (lambda: layers.RandomFlip(seed=-1), "seed must be a whole number of at least 0"),
    (lambda: layers.RandomFlip(seed="a"), "seed must be a whole number of at least 0"),
    (lambda: layers.RandomRotation(0.1, bogus=1), "has no argument 'bogus'"),
    (lambda: layers.RandomRotation(float("nan")), "factor must be a number"),
    (lambda: layers.RandomRotation(2), "from -1 to 1, got 2"),
    (lambda: layers.RandomRotation((0.1, 1e9)), "factor must be a number"),
    (lambda: layers.RandomRotation(0.1, "mirror"), "fill_mode must be one of"),
    (lambda: layers.RandomRotation(0.1, interpolation="bicubic"), "interpolation must be one of"),
    (lambda: layers.RandomRotation(0.1, fill_value="x"), "fill_value must be a finite number"),
    (lambda: layers.RandomZoom(-1), "height_factor must be .* above -1 and at most 1"),
    (lambda: layers.RandomZoom(0.1, (0.1, "a")), "width_factor must be"),
    (lambda: layers.RandomTranslation(0.1, 1.5), "width_factor must be .* from -1 to 1"),
    (lambda: layers.RandomTranslation(0.1), "width_factor must be"),
    (lambda: layers.RandomContrast(1.5), "from 0 to 1, got 1.5"),
    (lambda: layers.RandomContrast(0.1, value_range=(1, 1)), "value_range must hold two different"),
    (lambda: layers.RandomBrightness(0.1, value_range="ab"), "value_range must hold two different"),
    (lambda: layers.RandomCrop(5, 0), "width must be a whole number"),
    (
        lambda: Sequential([layers.Input((9, 9, 3)), layers.Rescaling([1.0, 2.0])]),
        "1 number, or one for each of the 3 channels",
    ),
    (
        lambda: Sequential([layers.Input((9,)), layers.RandomFlip()]),
        "needs an input of .height, width, channels",
    ),
    (lambda: layers.RandomFlip()(np.zeros((4, 5))), "takes symbolic tensors and arrays"),
    (lambda: layers.RandomFlip()(np.array(["a"])), "takes symbolic tensors and arrays"),
    (lambda: layers.Resizing(5, 5)("a"), "got a str"),
    (
        lambda: layers.RandomFlip()(layers.Input((9, 9, 3)), training=True),
        "cannot be called with training=True",
    ),
]


@pytest.mark.parametrize(("make", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_is_not_allowed_is_said(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_random_pictures_stand_in_front_of_all_that_trains() -> None:
    for first in (layers.Conv2D(3, 1), layers.Dropout(0.5)):
        model = Sequential(
            [
                layers.Input((9, 9, 3)),
                first,
                layers.RandomFlip(name="flip"),
                layers.Flatten(),
                layers.Dense(2, activation="softmax"),
            ]
        )
        with pytest.raises(ValueError, match="'flip' changes pictures at random, and stands behin"):
            model.compile("sgd", "sparse_categorical_crossentropy")
    start = layers.Input((9, 9, 3))
    y = layers.Add()([start, layers.RandomFlip(name="flip")(start)])
    model = Model(start, layers.Dense(2, activation="softmax")(layers.Flatten()(y)))
    with pytest.raises(ValueError, match="'flip' changes pictures at random, and other layers"):
        model.compile("sgd", "sparse_categorical_crossentropy")


@pytest.mark.parametrize(
    "layer",
    [
        layers.Resizing(7, 5),
        layers.Resizing(12, 14, "lanczos3", pad_to_aspect_ratio=True),
        layers.CenterCrop(5, 6),
        layers.Resizing(9, 9),
        layers.Rescaling(0.5, 1.0),
    ],
    ids=lambda layer: layer.name,
)
def test_gradients_through_layers_that_change_all_pictures_alike(layer: Any) -> None:
    """A step goes down by what finite differences of the loss say."""
    random = np.random.RandomState(1)
    x, y = random.normal(0, 1, (6, 9, 9, 2)), np.arange(6) % 2
    set_random_seed(2)
    model = Sequential(
        [
            layers.Input((9, 9, 2)),
            layers.Conv2D(2, 1, name="first"),
            copy.deepcopy(layer),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile(tlcore.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    first = model.get_layer("first")
    kernel, bias = first.get_weights()
    expected = np.empty_like(kernel)
    step = 1e-2
    for at in np.ndindex(*kernel.shape):
        losses = []
        for sign in (1, -1):
            moved = kernel.copy()
            moved[at] += sign * step
            first.set_weights([moved, bias])
            losses.append(model.test_on_batch(x, y))
        expected[at] = (losses[0] - losses[1]) / (2 * step)
    first.set_weights([kernel, bias])
    model.train_on_batch(x, y)
    np.testing.assert_allclose(kernel - first.get_weights()[0], expected, rtol=0.02, atol=1e-3)


def test_a_signal_ends_a_long_change() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    graph = _core.Graph((64, 64, 3))
    layers.RandomRotation(0.5).add_to(graph, [0])
    network = _core.Network(graph, [])
    x = np.zeros((2000, 64, 64, 3), np.float32)
    drawn = network.draw(1, 0, 0, len(x))
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            while True:
                network.change(x, 1, drawn)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert network.change(x[:2], 1, drawn[:2]).shape == (2, 64, 64, 3)


def test_the_core_checks_what_it_is_given() -> None:
    graph = _core.Graph((9, 9, 3))
    graph.add("random_flip", "flip", [0], horizontal=True)
    network = _core.Network(graph, [])
    x = np.zeros((2, 9, 9, 3), np.float32)
    drawn = network.draw(1, 0, 0, 2)
    with pytest.raises(ValueError, match="numbers must hold a row for each of 2 pictures, not 1"):
        network.change(x, 1, drawn[:1])
    with pytest.raises(ValueError, match="numbers must"):
        network.change(x, 1, drawn[:, :7])
    with pytest.raises(ValueError, match="x must"):
        network.change(x[:, 1:], 1, drawn)
    for node in (0, 2, -1):
        with pytest.raises(ValueError, match="node"):
            network.change(x, node, drawn)
    with pytest.raises(ValueError, match="node 0 is no layer"):
        network.draw(0, 0, 0, 2)
    with pytest.raises(ValueError, match="seed"):
        network.draw(1, -1, 0, 2)
    with pytest.raises(MemoryError):
        network.draw(1, 0, 0, 2**62)
    for op, attributes, words in (
        ("random_flip", {"mode": "x"}, "has no attribute mode"),
        ("rescaling", {"scale": [1.0] * 5}, "scale must hold 1 to 4 numbers"),
        ("rescaling", {"scale": [1.0], "offset": [1.0, 2.0]}, "as many numbers, not 1 and 2"),
        ("rescaling", {"bias": [1.0]}, "has no attribute bias"),
        ("resizing", {"size": (5,)}, "size must hold 2 integers"),
        ("resizing", {"interpolation": "none"}, "interpolation must be one of"),
        ("center_crop", {"interpolation": "area"}, "has no attribute interpolation"),
        ("random_zoom", {"fill_mode": "none"}, "fill_mode must be one of"),
        ("random_zoom", {"factor": (0.5,)}, "factor must hold 2 numbers, not 1"),
        ("random_rotation", {"width_factor": None}, "has no attribute width_factor"),
        ("random_crop", {"size": (4, 4), "seed": -1}, "seed must"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            graph.add(op, "wrong", [0], **attributes)
