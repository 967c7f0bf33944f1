"""Optimizers, losses and metrics: names, arguments, and the configs of every Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tlcore import losses, metrics, optimizers
from tlcore.training.compiled import Compiled
from tlcore.utils import notes

# --- optimizers --------------------------------------------------------------------------------


def test_defaults_are_those_of_keras() -> None:
    assert optimizers.SGD().get_config() == {
        "name": "sgd",
        "learning_rate": 0.01,
        "momentum": 0.0,
        "nesterov": False,
    }
    assert optimizers.Adam().get_config() == {
        "name": "adam",
        "learning_rate": 0.001,
        "beta_1": 0.9,
        "beta_2": 0.999,
        "epsilon": 1e-7,
        "amsgrad": False,
    }
    assert isinstance(optimizers.get("Adam"), optimizers.Adam)
    assert isinstance(optimizers.get("sgd"), optimizers.SGD)


def test_old_name_of_the_learning_rate(capsys: pytest.CaptureFixture[str]) -> None:
    notes.reset_notes()
    for _ in range(2):
        optimizer = optimizers.Adam(lr=0.005)
    assert optimizer.learning_rate == optimizer.lr == 0.005
    assert capsys.readouterr().err.count("lr=0.005") == 1
    optimizer.lr = np.float32(0.25)
    assert optimizer.learning_rate == 0.25 and type(optimizer.learning_rate) is float
    optimizer.learning_rate = np.array(0.5)  # type: ignore[assignment]
    assert optimizer.lr == 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optimizers.Adam(-1), "learning_rate must be a number of at least 0, got -1"),
        (lambda: optimizers.Adam("fast"), "learning_rate must be a number"),
        (lambda: optimizers.Adam(np.nan), "learning_rate must be a number"),
        (lambda: optimizers.Adam(lambda step: 0.1), "schedules are not supported"),
        (lambda: optimizers.Adam(beta_1=1.0), "beta_1 must be a number of at least 0 and below 1"),
        (lambda: optimizers.Adam(amsgrad=True), "does not support amsgrad=True"),
        (lambda: optimizers.Adam(clipnorm=1.0), "does not support clipnorm=1.0"),
        (lambda: optimizers.SGD(weight_decay=0.1), "does not support weight_decay=0.1"),
        (lambda: optimizers.SGD(momentum=1.5), "momentum must be"),
        (lambda: optimizers.SGD(decay=1e-6), "does not support decay=1e-06"),
        (lambda: optimizers.SGD(speed=1), "SGD has no option 'speed'"),
        (lambda: optimizers.get("rmsprop"), "optimizer='rmsprop'"),
        (lambda: optimizers.get({"class_name": "Adagrad", "config": {}}), "'Adagrad'"),
    ],
)
def test_optimizers_refuse(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# What Keras 3.15, tf-keras 2.21 and Keras 2.2 write for Adam(0.005) or SGD(0.1, momentum=0.9).
OPTIMIZER_CONFIGS = [
    {
        "class_name": "Adam",
        "config": {
            "name": "adam",
            "learning_rate": 0.004999999888241291,
            "weight_decay": None,
            "clipnorm": None,
            "global_clipnorm": None,
            "clipvalue": None,
            "use_ema": False,
            "ema_momentum": 0.99,
            "ema_overwrite_frequency": None,
            "loss_scale_factor": None,
            "gradient_accumulation_steps": None,
            "beta_1": 0.9,
            "beta_2": 0.999,
            "epsilon": 1e-07,
            "amsgrad": False,
        },
        "module": "keras.optimizers",
        "registered_name": None,
    },
    {
        "class_name": "Custom>Adam",
        "config": {
            "name": "Adam",
            "weight_decay": None,
            "clipnorm": None,
            "global_clipnorm": None,
            "clipvalue": None,
            "use_ema": False,
            "ema_momentum": 0.99,
            "ema_overwrite_frequency": None,
            "jit_compile": False,
            "is_legacy_optimizer": False,
            "learning_rate": 0.004999999888241291,
            "beta_1": 0.9,
            "beta_2": 0.999,
            "epsilon": 1e-07,
            "amsgrad": False,
        },
    },
    {
        "class_name": "Adam",
        "config": {
            "lr": 0.004999999888241291,
            "beta_1": 0.8999999761581421,
            "beta_2": 0.9990000128746033,
            "decay": 0.0,
            "epsilon": None,
            "amsgrad": False,
        },
    },
]


@pytest.mark.parametrize("config", OPTIMIZER_CONFIGS)
def test_configs_of_every_keras_are_read(config: dict[str, Any]) -> None:
    optimizer = optimizers.get(config)
    assert isinstance(optimizer, optimizers.Adam)
    assert optimizer.learning_rate == pytest.approx(0.005)
    assert optimizer.epsilon == 1e-7
    again = optimizers.get(optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()


# --- losses ------------------------------------------------------------------------------------


def test_losses_by_name_and_config() -> None:
    for name, cls in (
        ("binary_crossentropy", losses.BinaryCrossentropy),
        ("CategoricalCrossentropy", losses.CategoricalCrossentropy),
        ("bce", losses.BinaryCrossentropy),
        (["sparse_categorical_crossentropy"], losses.SparseCategoricalCrossentropy),
    ):
        loss = losses.get(name)
        assert isinstance(loss, cls) and not loss.from_logits
        assert losses.serialize(loss) == cls.core_name
    loss = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.0)
    assert losses.get(losses.serialize(loss)).get_config() == loss.get_config()
    from_keras = {
        "module": "keras.losses",
        "class_name": "CategoricalCrossentropy",
        "config": {
            "name": "categorical_crossentropy",
            "reduction": "sum_over_batch_size",
            "from_logits": True,
            "label_smoothing": 0.0,
            "axis": -1,
        },
        "registered_name": None,
    }
    assert losses.get(from_keras).get_config() == loss.get_config()
    from_tf_keras = {
        "class_name": "SparseCategoricalCrossentropy",
        "config": {
            "reduction": "auto",
            "name": "sparse_categorical_crossentropy",
            "from_logits": True,
            "ignore_class": None,
            "fn": "sparse_categorical_crossentropy",
        },
    }
    assert losses.get(from_tf_keras).from_logits


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.BinaryCrossentropy(label_smoothing=0.1), "label_smoothing=0.1"),
        (lambda: losses.CategoricalCrossentropy(reduction="sum"), "reduction='sum'"),
        (lambda: losses.CategoricalCrossentropy(axis=1), "axis=1"),
        (lambda: losses.SparseCategoricalCrossentropy(ignore_class=0), "ignore_class=0"),
        (lambda: losses.Loss(), "is not a loss that tlcore can train with"),
        (lambda: losses.get("hinge"), "loss='hinge'"),
        (lambda: losses.get({"class_name": "Huber", "config": {}}), "'Huber'"),
    ],
)
def test_losses_refuse(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "y", "outputs", "message"),
    [
        (
            "binary_crossentropy",
            np.zeros(4),
            3,
            r"shape \(None, 3\); end the model with Dense\(1\)",
        ),
        ("binary_crossentropy", np.zeros((4, 2)), 1, r"2 classes .* 1 output; .*Dense\(2\)"),
        ("binary_crossentropy", np.full((4, 1), 2), 1, "y holds 2, but"),
        ("binary_crossentropy", np.full((4, 1), -1), 1, "y holds -1, but"),
        ("categorical_crossentropy", np.zeros((4, 1)), 3, "one-hot targets"),
        ("categorical_crossentropy", np.zeros((4, 1)), 1, "at least 2 outputs"),
        ("categorical_crossentropy", np.zeros((4, 2, 2)), 2, r"\(None, 2, 2\)"),
        ("sparse_categorical_crossentropy", np.full(4, 3), 3, "whole numbers 0 to 2"),
        ("sparse_categorical_crossentropy", np.full(4, 0.5), 3, r"y holds 0\.5"),
        ("sparse_categorical_crossentropy", np.full(4, -1), 3, "y holds -1"),
        ("sparse_categorical_crossentropy", np.zeros((4, 3)), 3, "class_mode='sparse'"),
        ("categorical_crossentropy", ["a", "b"], 3, "y must hold numbers"),
        ("categorical_crossentropy", 3, 3, "got the number 3"),
    ],
)
def test_targets_are_checked(loss: str, y: Any, outputs: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        losses.get(loss).prepare(y, outputs)


# --- metrics -----------------------------------------------------------------------------------


def test_metrics_count_over_batches() -> None:
    y = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    p = np.array([[0.6, 0.3, 0.1], [0.7, 0.6, 0.2], [0.2, 0.3, 0.4]], np.float32)
    for metric, truth, expected in (
        (metrics.CategoricalAccuracy(), y, 2 / 3),
        (metrics.SparseCategoricalAccuracy(), y.argmax(1), 2 / 3),
        (metrics.SparseCategoricalAccuracy(), y.argmax(1)[:, None], 2 / 3),
        (metrics.BinaryAccuracy(), y, 7 / 9),
        (metrics.BinaryAccuracy(threshold=0.35), y, 8 / 9),
    ):
        assert metric.result() == 0.0
        metric.update_state(truth[:2], p[:2])
        metric.update_state(truth[2:], p[2:])
        assert metric.result() == pytest.approx(expected)
        metric.reset_state()
        assert metric.result() == 0.0


def test_metrics_by_name_and_config() -> None:
    assert metrics.get("acc") == "acc"
    assert metrics.get("binary_accuracy") == "binary_accuracy"
    named = metrics.BinaryAccuracy("hits", threshold=0.3)
    again = metrics.get(metrics.serialize(named))
    assert isinstance(again, metrics.Metric) and again.get_config() == named.get_config()
    wrapped = {
        "class_name": "MeanMetricWrapper",
        "config": {"name": "acc", "dtype": "float32", "fn": "categorical_accuracy"},
    }
    assert metrics.get(wrapped) == "acc"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.get("auc"), "metrics='auc'"),
        (lambda: metrics.get({"class_name": "AUC", "config": {}}), "'AUC'"),
        (lambda: metrics.Metric(), "is not a metric that tlcore has"),
        (lambda: metrics.BinaryAccuracy(threshold=2), "threshold must be"),
        (lambda: metrics.BinaryAccuracy(dtype="float16"), "dtype='float16'"),
        (
            lambda: metrics.CategoricalAccuracy().update_state([0, 1], np.zeros((2, 3))),
            r"one-hot targets of shape \(None, 3\)",
        ),
        (
            lambda: metrics.SparseCategoricalAccuracy().update_state(
                np.zeros((2, 3)), np.zeros((2, 3))
            ),
            "class numbers",
        ),
        (
            lambda: metrics.BinaryAccuracy().update_state([0, 1], np.zeros((2, 3))),
            r"shape \(None, 3\)",
        ),
    ],
)
def test_metrics_refuse(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- what files hold ---------------------------------------------------------------------------


def test_settings_of_files_by_every_keras() -> None:
    by_keras_3 = {
        "loss": "binary_crossentropy",
        "loss_weights": None,
        "metrics": ["acc"],
        "weighted_metrics": None,
        "run_eagerly": False,
        "steps_per_execution": 1,
        "jit_compile": False,
        "optimizer_config": OPTIMIZER_CONFIGS[0],
    }
    by_tf_keras = {
        "loss": "binary_crossentropy",
        "metrics": [
            [
                {
                    "class_name": "MeanMetricWrapper",
                    "config": {"name": "acc", "dtype": "float32", "fn": "categorical_accuracy"},
                }
            ]
        ],
        "weighted_metrics": None,
        "loss_weights": None,
        "optimizer_config": OPTIMIZER_CONFIGS[1],
    }
    by_output = {
        **by_keras_3,
        "loss": {"dense": "binary_crossentropy"},
        "metrics": {"dense": "acc"},
    }
    by_output["metrics"] = {"dense": ["acc"]}
    for config in (by_keras_3, by_tf_keras, by_output):
        compiled = Compiled.from_config(config)
        assert isinstance(compiled.loss, losses.BinaryCrossentropy)
        assert compiled.metrics == ["acc"]
        assert compiled.optimizer.learning_rate == pytest.approx(0.005)
        written = compiled.get_config()
        assert Compiled.from_config(written).get_config() == written
    with pytest.raises(ValueError, match="loss_weights"):
        Compiled.from_config({**by_keras_3, "loss_weights": [2.0]})
