"""`.h5` files between tlcore and the real tf-keras and Keras 3, both ways."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras

from tlcore import layers as tlcore_layers
from tlcore.applications import MobileNetV2
from tlcore.layers import (
    Activation,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    InputLayer,
    MaxPooling2D,
    SeparableConv2D,
    SpatialDropout2D,
)
from tlcore.layers._arguments import ACTIVATIONS
from tlcore.models import Functional, Model, Sequential, load_model
from tlcore.optimizers import SGD, Adam
from tlcore.utils import notes, set_random_seed

LIBRARIES = {"tf_keras": tf_keras, "keras": keras}
library = pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
SIZE = 64
logging.getLogger("absl").setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def seeds() -> None:
    """The same kernels in every run, here and in Keras."""
    set_random_seed(1)
    for peer in LIBRARIES.values():
        peer.utils.set_random_seed(1)


def pictures(count: int = 4, size: int = SIZE) -> np.ndarray[Any, Any]:
    random = np.random.RandomState(5)
    return random.uniform(-1, 1, (count, size, size, 3)).astype(np.float32)


TARGETS = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
OTHER_TARGETS = np.roll(TARGETS, 1, axis=1)  # steps against the moments, so that they show


def randomize(model: Any, seed: int = 0) -> None:
    """Weights under which every batch normalisation matters."""
    random = np.random.RandomState(seed)
    for variable in model.weights:
        if variable.name in ("gamma", "moving_variance"):
            variable.assign(random.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "moving_mean", "bias"):
            variable.assign(random.uniform(-0.3, 0.3, variable.shape))


def base(**how: Any) -> Functional:
    how = {"input_shape": (SIZE, SIZE, 3), "alpha": 0.35, "include_top": False, **how}
    return MobileNetV2(weights=None, **how)


def blog_model() -> Sequential:
    model = Sequential(
        [
            base(),
            GlobalAveragePooling2D(),
            Dropout(0.2),
            Dense(8, activation="relu"),
            Dense(3, activation="sigmoid"),
        ]
    )
    randomize(model)
    return model


def opened(library: Any, path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return library.models.load_model(path)


def outputs(theirs: Any, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Eager, because tracing a graph for each model takes longer than all the rest."""
    return np.asarray(theirs(x, training=False))


def assert_same(library: Any, path: Path, model: Any, x: np.ndarray[Any, Any]) -> Any:
    """The file predicts in `library` what `model` predicts here."""
    theirs = opened(library, path)
    np.testing.assert_allclose(outputs(theirs, x), model(x), atol=1e-5, rtol=1e-5)
    return theirs


# --- ours in theirs -------------------------------------------------------------------------------


def all_frozen(model: Sequential) -> None:
    model.layers[0].trainable = False


def first_layers_frozen(model: Sequential) -> None:
    for layer in model.layers[0].layers[:100]:
        layer.trainable = False


def head_frozen(model: Sequential) -> None:
    model.layers[3].trainable = False


def every_third_frozen(model: Sequential) -> None:
    for layer in model.layers[0].layers[::3]:
        layer.trainable = False


def random_flags(model: Sequential) -> None:
    random = np.random.RandomState(0)
    for layer in model.layers[0].layers:
        layer.trainable = bool(random.rand() < 0.5)


def frozen_around_trainable(model: Sequential) -> None:
    model.layers[0].trainable = False
    for layer in model.layers[0].layers[50:90]:
        layer.trainable = True


def frozen_model(model: Sequential) -> None:
    model.trainable = False


@library
@pytest.mark.parametrize(
    "freeze",
    [
        lambda model: None,
        all_frozen,
        first_layers_frozen,
        head_frozen,
        every_third_frozen,
        random_flags,
        frozen_around_trainable,
        frozen_model,
    ],
    ids=lambda freeze: freeze.__name__,
)
def test_any_mixture_of_trainable(
    tmp_path: Path, library: Any, freeze: Callable[[Sequential], None]
) -> None:
    model = blog_model()
    freeze(model)
    model.save(tmp_path / "m.h5")
    theirs = assert_same(library, tmp_path / "m.h5", model, pictures())
    # Flags are read as they were, unless a frozen model stood around trainable layers.
    if freeze not in (frozen_around_trainable, frozen_model):
        ours = {layer.name: layer.trainable for layer in model.layers[0].layers[1:]}
        found = {layer.name: layer.trainable for layer in theirs.layers[0].layers[1:]}
        assert found == ours
    again = load_model(tmp_path / "m.h5")
    assert np.array_equal(again(pictures()), model(pictures()))


def branches() -> Functional:
    layers = [
        InputLayer((6,), name="x"),
        Dense(5, name="short", trainable=False),
        Dense(7, activation="relu", name="long_1"),
        Dense(5, name="long_2"),
        Add(name="sum"),
        Dense(2, activation="softmax", name="scores"),
    ]
    inbound = {
        "short": ["x"],
        "long_1": ["x"],
        "long_2": ["long_1"],
        "sum": ["short", "long_2"],
        "scores": ["sum"],
    }
    return Model.from_layers("branches", layers, inbound, ["x"], ["scores"])


def inception() -> Functional:
    layers = [
        InputLayer((9, 8, 3), name="x"),
        SeparableConv2D(6, 3, padding="same", activation="silu", name="separable"),
        SeparableConv2D(4, (3, 2), 1, "same", use_bias=False, name="plain"),
        BatchNormalization(momentum=0.9, name="norm"),
        MaxPooling2D(3, 1, "same", name="max"),
        AveragePooling2D((2, 3), 1, "same", name="average"),
        Concatenate(name="all"),
        SpatialDropout2D(0.3, name="drop"),
        MaxPooling2D(name="smaller"),
        Conv2D(5, 1, activation="gelu", name="mix"),
        Concatenate(axis=3, name="twice"),
        GlobalAveragePooling2D(name="pool"),
        Dense(3, activation="log_softmax", name="scores"),
    ]
    inbound = {
        "separable": ["x"],
        "plain": ["separable"],
        "norm": ["plain"],
        "max": ["x"],
        "average": ["norm"],
        "all": ["separable", "average", "max", "norm"],
        "drop": ["all"],
        "smaller": ["drop"],
        "mix": ["smaller"],
        "twice": ["mix", "smaller"],
        "pool": ["twice"],
        "scores": ["pool"],
    }
    return Model.from_layers("inception", layers, inbound, ["x"], ["scores"])


MODELS: dict[str, Callable[[], Any]] = {
    "inception": inception,
    "inception_inside": lambda: Sequential([Input((9, 8, 3)), inception(), Dense(2)]),
    "top": lambda: base(include_top=True, classes=7),
    "logits": lambda: base(include_top=True, classes=7, classifier_activation=None),
    "pooling_avg": lambda: base(pooling="avg"),
    "pooling_max": lambda: base(pooling="max"),
    "maps": base,
    "odd_size": lambda: base(input_shape=(65, 70, 3)),
    "flatten": lambda: Sequential([base(), Flatten(), Dense(2, activation="softmax")]),
    "dense_on_maps": lambda: Sequential([base(), Dense(2), GlobalAveragePooling2D()]),
    "two_levels": lambda: Sequential(
        [Sequential([base(), GlobalAveragePooling2D()], name="features"), Dense(2)]
    ),
    "branches": branches,
    "branches_inside": lambda: Sequential([Input((6,)), branches(), Dense(2)]),
}


@library
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_models(tmp_path: Path, library: Any, make: Callable[[], Any]) -> None:
    model = make()
    randomize(model)
    for layer in model.layers[1:3]:
        layer.trainable = False
    x = np.random.RandomState(2).uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
    model.save(tmp_path / "m.h5")
    assert_same(library, tmp_path / "m.h5", model, x)


@library
def test_activations(tmp_path: Path, library: Any) -> None:
    """All of them in Keras 3; tf-keras has no hard_silu, and another hard_sigmoid."""
    names = [
        name
        for name in ACTIVATIONS
        if library is keras or name not in ("hard_sigmoid", "hard_silu")
    ]
    model = Sequential([Input((6,)), *(Dense(6, activation=name) for name in names)])
    model.add(Activation(names[-1]))
    x = np.random.RandomState(2).uniform(-3, 3, (4, 6)).astype(np.float32)
    model.save(tmp_path / "m.h5")
    assert_same(library, tmp_path / "m.h5", model, x)


def test_a_hard_sigmoid_is_never_taken_for_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes.reset_notes()
    model = Sequential([Input((6,)), Dense(6, activation="hard_sigmoid")])
    x = np.random.RandomState(2).uniform(-3, 3, (4, 6)).astype(np.float32)
    model.save(tmp_path / "m.h5")
    assert "tf-keras and Keras 2 read as another function" in capsys.readouterr().err
    assert np.array_equal(load_model(tmp_path / "m.h5")(x), model(x))
    for name, library in LIBRARIES.items():
        theirs = opened(library, tmp_path / "m.h5")
        difference = np.abs(outputs(theirs, x) - model(x)).max()
        assert (difference < 1e-6) == (name == "keras")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs.save(tmp_path / f"{name}.h5")
    assert np.allclose(load_model(tmp_path / "keras.h5")(x), model(x))
    with pytest.raises(ValueError, match=r"layer 'dense.*' has the hard_sigmoid of Keras 2\."):
        load_model(tmp_path / "tf_keras.h5")


@library
@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5"])
@pytest.mark.parametrize("make", ["two_levels", "branches_inside", "inception"])
def test_weights_alone(tmp_path: Path, library: Any, name: str, make: str) -> None:
    model = MODELS[make]()
    randomize(model)
    x = np.random.RandomState(2).uniform(-1, 1, (2, *model.input_shape[1:])).astype(np.float32)
    model.save(tmp_path / "m.h5")
    theirs = opened(library, tmp_path / "m.h5")
    theirs.set_weights([np.zeros_like(w) for w in theirs.get_weights()])
    model.save_weights(tmp_path / name)
    theirs.load_weights(tmp_path / name)
    expected = model(x)
    np.testing.assert_allclose(outputs(theirs, x), expected, atol=1e-5, rtol=1e-5)
    if library is keras and name == "w.h5":
        return  # Keras 3 writes only .weights.h5
    theirs.save_weights(tmp_path / f"their_{name}")
    randomize(model, 8)
    model.load_weights(tmp_path / f"their_{name}")
    np.testing.assert_allclose(model(x), expected, atol=1e-5, rtol=1e-5)


def test_weights_written_with_other_flags(tmp_path: Path) -> None:
    """The order of tf-keras's save_weights("x.h5") depends on what is frozen."""
    model = blog_model()
    model.save(tmp_path / "m.h5")
    theirs = opened(tf_keras, tmp_path / "m.h5")
    theirs.layers[0].trainable = False
    theirs.save_weights(tmp_path / "w.h5")
    expected = model(pictures())
    randomize(model, 6)
    model.load_weights(tmp_path / "w.h5")
    assert np.array_equal(model(pictures()), expected)


@pytest.mark.parametrize(
    "optimizer",
    [Adam(0.0123), Adam(0.001, beta_1=0.8, epsilon=1e-5), SGD(0.05), SGD(0.05, 0.9, True)],
    ids=repr,
)
def test_training_goes_on(tmp_path: Path, optimizer: Any) -> None:
    # no dropout: the steps after opening are compared
    model = Sequential([base(), GlobalAveragePooling2D(), Dense(3, activation="sigmoid")])
    randomize(model)
    model.layers[0].trainable = False
    model.compile(loss="binary_crossentropy", optimizer=optimizer, metrics=["acc"])
    x = pictures()
    for _ in range(3):
        model.train_on_batch(x, TARGETS)
    model.save(tmp_path / "m.h5")
    for name, library in LIBRARIES.items():
        theirs = assert_same(library, tmp_path / "m.h5", model, x)
        assert type(theirs.optimizer).__name__ == type(optimizer).__name__
        config = theirs.optimizer.get_config()
        for key, value in optimizer.get_config().items():
            if key not in ("name", "amsgrad"):
                assert config[key] == pytest.approx(value)
        loss = theirs.evaluate(x, TARGETS, verbose=0)[0]
        assert loss == pytest.approx(model.evaluate(x, TARGETS, verbose=0)[0], rel=1e-4), name
    theirs = opened(tf_keras, tmp_path / "m.h5")
    assert int(theirs.optimizer.iterations) == 3
    for _ in range(2):
        theirs.train_on_batch(x, OTHER_TARGETS)
        model.train_on_batch(x, OTHER_TARGETS)
    for ours, their in zip(model.get_weights()[-2:], theirs.get_weights()[-2:], strict=True):
        np.testing.assert_allclose(their, ours, atol=1e-4)  # a fresh state: 1e-3 and more
    again = load_model(tmp_path / "m.h5")
    for _ in range(2):
        again.train_on_batch(x, OTHER_TARGETS)
    for ours, their in zip(model.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(ours, their)


# --- theirs in ours -------------------------------------------------------------------------------


def their_base(library: Any, **how: Any) -> Any:
    how = {"input_shape": (SIZE, SIZE, 3), "alpha": 0.35, "include_top": False, **how}
    model = library.applications.MobileNetV2(weights=None, **how)
    random = np.random.RandomState(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


def sequential(library: Any) -> Any:
    layers = library.layers
    return library.Sequential(
        [
            their_base(library),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(8, activation="relu"),
            layers.Dense(3, activation="sigmoid"),
        ]
    )


def sequential_with_input(library: Any) -> Any:
    layers = library.layers
    return library.Sequential(
        [
            library.Input((SIZE, SIZE, 3)),
            their_base(library, pooling="max"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def functional(library: Any) -> Any:
    source = library.Input((SIZE, SIZE, 3))
    h = their_base(library)(source, training=False)
    h = library.layers.Flatten()(h)
    return library.Model(source, library.layers.Dense(3)(h))


def flat(library: Any) -> Any:
    inner = their_base(library)
    h = library.layers.GlobalAveragePooling2D()(inner.output)
    return library.Model(inner.input, library.layers.Dense(3, activation="softmax")(h))


def top(library: Any) -> Any:
    return their_base(library, include_top=True, classes=3)


def odd(library: Any) -> Any:
    return their_base(library, input_shape=(65, 71, 3), pooling="avg")


def built_later(library: Any) -> Any:
    layers = library.layers
    model = library.Sequential(
        [
            layers.Conv2D(4, 3, strides=(2, 1), padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(3),
        ]
    )
    model.build((None, 12, 12, 3))
    return model


def small_network(library: Any) -> Any:
    layers = library.layers
    source = library.Input((16, 17, 3))
    h = layers.SeparableConv2D(8, 3, strides=2, padding="same", activation="swish")(source)
    h = layers.BatchNormalization(momentum=0.9)(h)
    h = layers.SpatialDropout2D(0.2)(h)
    a = layers.MaxPooling2D(3, strides=1, padding="same")(h)
    b = layers.AveragePooling2D((2, 2), strides=1, padding="same")(h)
    c = layers.SeparableConv2D(5, (2, 3), padding="same", use_bias=False)(h)
    h = layers.Concatenate(axis=-1)([a, b, c, h])
    h = layers.MaxPooling2D()(layers.Activation("selu")(h))
    h = layers.concatenate([layers.Flatten()(h), layers.GlobalAveragePooling2D()(c)])
    return library.Model(source, layers.Dense(3, activation="gelu")(h))


def small_stack(library: Any) -> Any:
    layers = library.layers
    return library.Sequential(
        [
            library.Input((16, 17, 3)),
            layers.SeparableConv2D(8, 3, activation="leaky_relu"),
            layers.AveragePooling2D((3, 2)),
            layers.Conv2D(4, 2, activation="mish"),
            layers.SpatialDropout2D(0.2),
            layers.GlobalMaxPooling2D(),
            layers.Dense(3, activation="softplus"),
        ]
    )


@library
@pytest.mark.parametrize(
    "make",
    [
        sequential,
        sequential_with_input,
        functional,
        flat,
        top,
        odd,
        built_later,
        small_network,
        small_stack,
    ],
)
@pytest.mark.parametrize("frozen", ["everything", "half"])
def test_their_models(tmp_path: Path, library: Any, make: Any, frozen: str) -> None:
    theirs = make(library)
    inner = next((layer for layer in theirs.layers if hasattr(layer, "layers")), theirs)
    if frozen == "everything":
        inner.trainable = False
    elif frozen == "half":
        for layer in inner.layers[: len(inner.layers) // 2]:
            layer.trainable = False
    x = np.random.RandomState(1).uniform(-1, 1, (2, *theirs.input_shape[1:])).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save(tmp_path / "m.h5")
    expected = outputs(theirs, x)
    model = load_model(tmp_path / "m.h5")
    np.testing.assert_allclose(model(x), expected, atol=1e-5, rtol=1e-5)
    theirs.save_weights(tmp_path / "w.weights.h5")
    randomize(model, 3)
    model.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_allclose(model(x), expected, atol=1e-5, rtol=1e-5)


@library
def test_their_training_goes_on(tmp_path: Path, library: Any) -> None:
    theirs = sequential_with_input(library)
    theirs.layers[0].trainable = False
    theirs.compile(
        loss=library.losses.CategoricalCrossentropy(),
        optimizer=library.optimizers.Adam(0.01),
        metrics=["acc"],
    )
    x = pictures()
    for _ in range(3):
        theirs.train_on_batch(x, TARGETS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save(tmp_path / "m.h5")
    model = load_model(tmp_path / "m.h5")
    assert model.optimizer_state()[0] == 3
    for _ in range(2):
        theirs.train_on_batch(x, OTHER_TARGETS)
        model.train_on_batch(x, OTHER_TARGETS)
    for ours, their in zip(model.get_weights()[-2:], theirs.get_weights()[-2:], strict=True):
        np.testing.assert_allclose(their, ours, atol=1e-4)  # a fresh state: 1e-3 and more


# --- models from symbolic tensors -----------------------------------------------------------------


def guide(layers: Any, inputs: Any, model: Any, its_base: Any) -> Any:
    """Keras's guide to transfer learning: the base in inference mode, whatever is trainable."""
    x = inputs((SIZE, SIZE, 3), name="picture")
    y = layers.GlobalAveragePooling2D(name="pool")(its_base(x, training=False))
    y = layers.Dropout(0.2, name="drop")(y)
    return model(x, layers.Dense(3, activation="softmax", name="scores")(y), name="guide")


def wired(layers: Any, inputs: Any, model: Any, its_base: Any) -> Any:
    """Branches, a layer and two models inside that are called twice, flags of all kinds."""
    inner_x = inputs((5, 5, 4), name="inner_x")
    y = layers.Conv2D(4, 3, padding="same", name="inner_conv")(inner_x)
    y = layers.BatchNormalization(name="inner_norm")(y)
    inner = model(inner_x, y, name="inner")
    outer_x = inputs((5, 5, 4), name="outer_x")
    deep_x = inputs((5, 5, 4), name="deep_x")
    deep = model(deep_x, layers.BatchNormalization(name="deep_norm")(deep_x), name="deep")
    outer = model(outer_x, deep(deep(layers.ReLU(name="relu")(outer_x))), name="outer")
    x = inputs((5, 5, 3), name="x")
    shared = layers.Conv2D(4, 1, activation="relu", name="shared")
    a = layers.Conv2D(4, 3, padding="same", name="a")(x)
    b = shared(inner(a, training=False))
    c = layers.Add(name="c")([shared(outer(b)), inner(b)])
    d = layers.BatchNormalization(name="d")(outer(c, training=False), training=False)
    y = layers.Add(name="y")([d, a])
    y = layers.GlobalAveragePooling2D(name="pool")(y)
    return model(x, layers.Dense(3, name="scores")(y), name="wired")


def ends_in_a_model(layers: Any, inputs: Any, model: Any, its_base: Any) -> Any:
    """The output is what a model inside makes where it is called last."""
    inner_x = inputs((4,), name="inner_x")
    inner = model(inner_x, layers.Dense(4, name="dense")(inner_x), name="inner")
    x = inputs((4,), name="x")
    return model(x, inner(layers.ReLU(name="relu")(inner(x))), name="ends")


MADE = pytest.mark.parametrize("make", [guide, wired, ends_in_a_model])


def ours_from(make: Any) -> Any:
    model = make(tlcore_layers, Input, Model, base())
    randomize(model)
    return model


def save(theirs: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.save(path)


def modes(model: Any) -> list[tuple[str, bool]]:
    return [(call.layer.name, call.inference) for call in model.calls]


def batch(model: Any) -> np.ndarray[Any, Any]:
    shape = (4, *model.input_shape[1:])
    return np.random.RandomState(5).uniform(-1, 1, shape).astype(np.float32)


@library
@MADE
def test_symbolic_models_in_theirs(tmp_path: Path, library: Any, make: Any) -> None:
    model = ours_from(make)
    model.save(tmp_path / "m.h5")
    theirs = assert_same(library, tmp_path / "m.h5", model, batch(model))
    assert [layer.name for layer in theirs.layers] == [layer.name for layer in model.layers]
    assert [w.shape for w in theirs.get_weights()] == [w.shape for w in model.get_weights()]
    save(theirs, tmp_path / "again.h5")  # and back
    again = load_model(tmp_path / "again.h5")
    np.testing.assert_allclose(again(batch(model)), model(batch(model)), atol=1e-5, rtol=1e-5)
    assert modes(again) == modes(model)


@library
@MADE
def test_their_symbolic_models(tmp_path: Path, library: Any, make: Any) -> None:
    theirs = make(library.layers, library.Input, library.Model, their_base(library))
    for variable in theirs.weights:
        if "moving" in variable.name or "gamma" in variable.name:
            variable.assign(np.random.RandomState(3).uniform(0.5, 1.5, variable.shape))
    save(theirs, tmp_path / "m.h5")
    model = load_model(tmp_path / "m.h5")
    x = batch(model)
    np.testing.assert_allclose(model(x), outputs(theirs, x), atol=1e-5, rtol=1e-5)
    assert modes(model) == modes(ours_from(make)) or make is guide  # whose base has another name
    assert sorted(flag for _, flag in modes(model)) == sorted(
        flag for _, flag in modes(ours_from(make))
    )


def test_the_flag_of_a_call_holds_in_training(tmp_path: Path) -> None:
    """In tf-keras. Keras 3 reads the flag, and lets fit override it."""
    model = ours_from(guide)
    model.compile(SGD(0.01), "categorical_crossentropy")
    model.save(tmp_path / "m.h5")
    theirs = opened(tf_keras, tmp_path / "m.h5")
    before = [w.numpy() for w in theirs.weights if "moving" in w.name]
    theirs.train_on_batch(pictures(), TARGETS)
    after = [w.numpy() for w in theirs.weights if "moving" in w.name]
    assert len(before) > 100 and all(map(np.array_equal, before, after))
