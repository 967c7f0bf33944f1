"""Training the head gives Keras 3's numbers, which tests/golden/make_training.py stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden import make_training as golden

from tlcore import layers, losses, optimizers
from tlcore.models import Sequential

STORED = np.load(Path(golden.__file__).with_name("training.npz"))


def head(outputs: int, activation: str) -> Sequential:
    model = Sequential(
        [
            layers.Input((golden.FEATURES,)),
            layers.Dense(golden.HIDDEN, activation="relu"),
            layers.Dense(outputs, activation=activation),
        ]
    )
    model.set_weights(golden.initial_weights(outputs))
    return model


@pytest.mark.parametrize("loss", golden.LOSSES)
@pytest.mark.parametrize("optimizer", golden.OPTIMIZERS)
def test_ten_steps_match_keras(optimizer: str, loss: str) -> None:
    kind, options = golden.OPTIMIZERS[optimizer]
    cls, from_logits, outputs, activation = golden.LOSSES[loss]
    model = head(outputs, activation)
    model.compile(
        getattr(optimizers, kind)(**options), getattr(losses, cls)(from_logits=from_logits)
    )
    values = [
        model.train_on_batch(*golden.data(golden.BATCH, cls, outputs, seed=100 + step))
        for step in range(golden.STEPS)
    ]
    weights = np.concatenate([w.ravel() for w in model.get_weights()])
    np.testing.assert_allclose(values, STORED[f"{optimizer}/{loss}/losses"], rtol=1e-5)
    np.testing.assert_allclose(weights, STORED[f"{optimizer}/{loss}/weights"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "binary_crossentropy"])
@pytest.mark.parametrize("call", golden.FITS)
def test_fit_history_matches_keras(call: str, loss: str) -> None:
    model = head(3, "softmax" if loss.startswith("c") else "sigmoid")
    model.compile(optimizers.Adam(0.02), loss, metrics=["acc", "binary_accuracy"])
    arguments: dict[str, Any] = golden.fit_arguments(call)
    history = model.fit(**arguments).history
    prefix = f"fit/{call}/{loss}/"
    stored = {
        key.removeprefix(prefix): STORED[key] for key in STORED.files if key.startswith(prefix)
    }
    assert [key for key in history if "binary_acc" not in key or "accuracy" in key] == list(stored)
    for key, values in stored.items():
        np.testing.assert_allclose(history[key], values, rtol=2e-5, err_msg=key)


def test_adam_takes_its_shares_in_double() -> None:
    """1 - beta as Keras rounds it: 0.001 for the squares, which 1 - float32(0.999) is not.

    The difference is 1.3e-5 of every step, and 2e-3 of the blog's predictions after its epochs.
    """
    model = head(3, "softmax")
    model.compile("adam", "categorical_crossentropy")
    model.train_on_batch(*golden.data(golden.BATCH, "CategoricalCrossentropy", 3, seed=100))
    _, slots = model.optimizer_state()
    for m, v in zip(slots[::2], slots[1::2], strict=True):
        moved = np.abs(m) > 1e-6
        np.testing.assert_allclose(v[moved] / np.square(m[moved]), 0.1, rtol=2e-6)
