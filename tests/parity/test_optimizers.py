"""SGD and Adam with accumulated gradients and moving averages: ten batches against Keras 3."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tlcore
from tlcore import layers, optimizers
from tlcore.models import Sequential
from tlcore.saving import load_model

FEATURES, HIDDEN, CLASSES, ROWS, BATCHES = 12, 7, 3, 8, 10

RULES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"learning_rate": 0.1}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9}),
    ("SGD", {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {"learning_rate": 0.01}),
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"gradient_accumulation_steps": 2},
    {"gradient_accumulation_steps": 3},
    {"use_ema": True},
    {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    {"use_ema": True, "ema_momentum": 0.0},
    {
        "use_ema": True,
        "ema_momentum": 0.8,
        "ema_overwrite_frequency": 2,
        "gradient_accumulation_steps": 3,
    },
]


def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(0)
    x = random.uniform(-1, 1, (BATCHES * ROWS, FEATURES)).astype(np.float32)
    return x, np.eye(CLASSES, dtype=np.float32)[random.randint(CLASSES, size=len(x))]


def start() -> list[np.ndarray]:
    random = np.random.RandomState(1)
    shapes = [(FEATURES, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)]
    return [random.uniform(-0.5, 0.5, shape).astype(np.float32) for shape in shapes]


def make(library: Any, kinds: Any, models: Any, optimizer: Any) -> Any:
    model = models(
        [
            library.Input((FEATURES,)),
            kinds.Dense(HIDDEN, activation="sigmoid"),
            kinds.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.set_weights(start())
    model.compile(optimizer=optimizer, loss="categorical_crossentropy")
    return model


def both(rule: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
    ours = make(tlcore, layers, Sequential, getattr(optimizers, rule)(**arguments))
    theirs = make(
        keras, keras.layers, keras.Sequential, getattr(keras.optimizers, rule)(**arguments)
    )
    return ours, theirs


def assert_alike(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(one - other).max() <= 1e-6 * np.abs(other).max()


@pytest.mark.parametrize(("rule", "options"), list(product(RULES, OPTIONS)), ids=str)
def test_ten_batches(rule: tuple[str, dict[str, Any]], options: dict[str, Any]) -> None:
    name, arguments = rule
    x, y = data()
    ours, theirs = both(name, {**arguments, **options})
    for i in range(BATCHES):
        rows = slice(i * ROWS, (i + 1) * ROWS)
        ours.train_on_batch(x[rows], y[rows])
        theirs.train_on_batch(x[rows], y[rows])
        assert_alike(ours.get_weights(), theirs.get_weights())
        assert ours.optimizer.iterations == int(theirs.optimizer.iterations)


@pytest.mark.parametrize(("rule", "options"), list(product(RULES, OPTIONS)), ids=str)
def test_fit_ends_with_keras_weights(
    rule: tuple[str, dict[str, Any]], options: dict[str, Any]
) -> None:
    """Two epochs, the second going on from the averages only where Keras does."""
    name, arguments = rule
    x, y = data()
    ours, theirs = both(name, {**arguments, **options})
    for epochs in (1, 2):
        for model in (ours, theirs):
            model.fit(
                x,
                y,
                batch_size=ROWS,
                epochs=epochs,
                initial_epoch=epochs - 1,
                shuffle=False,
                verbose=0,
            )
        assert_alike(ours.get_weights(), theirs.get_weights())


def test_what_the_optimizer_keeps_is_what_keras_keeps() -> None:
    x, y = data()
    ours, theirs = both(
        "Adam", {"learning_rate": 0.01, "use_ema": True, "gradient_accumulation_steps": 4}
    )
    for i in range(6):
        rows = slice(i * ROWS, (i + 1) * ROWS)
        ours.train_on_batch(x[rows], y[rows])
        theirs.train_on_batch(x[rows], y[rows])
    batches, slots = ours.optimizer_state()
    kept = theirs.optimizer
    assert batches == int(kept._iterations)
    expected = [
        np.asarray(array)
        for arrays in zip(
            kept._momentums,
            kept._velocities,
            kept._accumulated_gradients,
            kept._model_variables_moving_average,
            strict=True,
        )
        for array in arrays
    ]
    assert_alike(slots, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_accumulation_steps": 1},
        {"use_ema": True, "ema_momentum": 1.5},
        {"use_ema": True, "ema_overwrite_frequency": -1},
        {"use_ema": True, "ema_overwrite_frequency": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_what_keras_refuses_is_refused(rule: str, options: dict[str, Any]) -> None:
    (*_, name) = options
    with pytest.raises(ValueError, match=name):
        getattr(keras.optimizers, rule)(**options)
    with pytest.raises(ValueError, match=name):
        getattr(optimizers, rule)(**options)


@pytest.mark.parametrize("rule", ["SGD", "Adam"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_configs_cross(rule: str, options: dict[str, Any]) -> None:
    ours = getattr(optimizers, rule)(**options)
    theirs = getattr(keras.optimizers, rule)(**options)
    assert optimizers.deserialize(keras.optimizers.serialize(theirs)).core_config() == (
        ours.core_config()
    )
    back = keras.optimizers.deserialize(optimizers.serialize(ours)).get_config()
    expected = theirs.get_config()
    for config in (back, expected):
        del config["name"]
    assert back == pytest.approx(expected)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_files_open_in_keras(tmp_path: Path, options: dict[str, Any]) -> None:
    """With the options in the optimizer and tlcore's own arrays in the file."""
    x, y = data()
    ours, _ = both("Adam", {"learning_rate": 0.01, **options})
    ours.fit(x, y, batch_size=ROWS, shuffle=False, verbose=0)
    ours.layers[0].trainable = False
    ours.layers[1].learning_rate_multiplier = 0.5
    ours.save(tmp_path / "m.h5")
    theirs = keras.models.load_model(tmp_path / "m.h5")
    np.testing.assert_allclose(theirs.predict(x, verbose=0), ours.predict(x, verbose=0), atol=1e-6)
    for name, value in options.items():
        assert getattr(theirs.optimizer, name) == value


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_files_open_in_tf_keras(tmp_path: Path, options: dict[str, Any]) -> None:
    import tf_keras

    x, y = data()
    ours, _ = both("Adam", {"learning_rate": 0.01, **options})
    ours.fit(x, y, batch_size=ROWS, shuffle=False, verbose=0)
    ours.save(tmp_path / "m.h5")
    if options:  # which it does not know for a plain "Adam"
        with pytest.raises(TypeError, match=r"gradient_accumulation_steps|use_ema"):
            tf_keras.models.load_model(tmp_path / "m.h5")
    theirs = tf_keras.models.load_model(tmp_path / "m.h5", compile=not options)
    np.testing.assert_allclose(theirs.predict(x, verbose=0), ours.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_keras_files_train_on_here(
    tmp_path: Path, rule: tuple[str, dict[str, Any]], options: dict[str, Any]
) -> None:
    x, y = data()
    name, arguments = rule
    _, theirs = both(name, {**arguments, **options})
    for i in range(5):
        theirs.train_on_batch(x[i * ROWS : (i + 1) * ROWS], y[i * ROWS : (i + 1) * ROWS])
    theirs.save(tmp_path / "m.h5")
    ours = load_model(tmp_path / "m.h5")
    for i in range(5, BATCHES):
        rows = slice(i * ROWS, (i + 1) * ROWS)
        ours.train_on_batch(x[rows], y[rows])
        theirs.train_on_batch(x[rows], y[rows])
    assert_alike(ours.get_weights(), theirs.get_weights())
