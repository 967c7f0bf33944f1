"""Makes training.npz: what Keras 3 on TensorFlow does with the heads of `training_cases`.

Run it where tensorflow-cpu and keras 3 are installed: python tests/golden/make_training.py
Weights and batches come from NumPy's RandomState, whose numbers never change, so that only
losses, histories and final weights are stored.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 10
BATCH = 12
FEATURES = 20
HIDDEN = 8

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"learning_rate": 0.1}),
    "momentum": ("SGD", {"learning_rate": 0.05, "momentum": 0.9}),
    "nesterov": ("SGD", {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", {"learning_rate": 0.005}),
    "adam_betas": ("Adam", {"learning_rate": 0.01, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4}),
}
# name: loss, from_logits, outputs, activation
LOSSES: dict[str, tuple[str, bool, int, str]] = {
    "binary": ("BinaryCrossentropy", False, 3, "sigmoid"),
    "binary_one": ("BinaryCrossentropy", False, 1, "sigmoid"),
    "binary_logits": ("BinaryCrossentropy", True, 3, "linear"),
    "binary_softmax": ("BinaryCrossentropy", False, 3, "softmax"),
    "categorical": ("CategoricalCrossentropy", False, 3, "softmax"),
    "categorical_logits": ("CategoricalCrossentropy", True, 3, "linear"),
    "categorical_sigmoid": ("CategoricalCrossentropy", False, 3, "sigmoid"),
    "sparse": ("SparseCategoricalCrossentropy", False, 3, "softmax"),
    "sparse_logits": ("SparseCategoricalCrossentropy", True, 3, "linear"),
    "sparse_sigmoid": ("SparseCategoricalCrossentropy", False, 3, "sigmoid"),
}


def initial_weights(outputs: int) -> list[np.ndarray]:
    """Kernel and bias of both dense layers."""
    random = np.random.RandomState(1)
    shapes = ((FEATURES, HIDDEN), (HIDDEN,), (HIDDEN, outputs), (outputs,))
    return [(0.3 * random.standard_normal(shape)).astype(np.float32) for shape in shapes]


def data(rows: int, loss: str, outputs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x (rows, FEATURES) and the targets that the loss takes."""
    random = np.random.RandomState(seed)
    x = random.standard_normal((rows, FEATURES)).astype(np.float32)
    classes = random.randint(0, max(outputs, 2), rows)
    if loss.startswith("Sparse"):
        return x, classes
    if outputs == 1:
        return x, classes.astype(np.float32)
    return x, np.eye(outputs, dtype=np.float32)[classes]


# Ways of calling fit whose histories are compared.
FITS: dict[str, dict[str, Any]] = {
    "plain": {},
    "class_weight": {"class_weight": {0: 2.0, 2: 0.25}},
    "sample_weight": {"sample_weight": True},
    "split": {"validation_split": 0.3},
}


def fit_arguments(name: str) -> dict[str, Any]:
    """The arguments of this call of fit: 50 rows in batches of 16, three epochs."""
    options = dict(FITS[name])
    x, y = data(50, "CategoricalCrossentropy", 3, seed=5)
    if options.pop("sample_weight", False):
        options["sample_weight"] = np.random.RandomState(6).uniform(0.0, 2.0, 50)
    if "validation_split" not in options:
        options["validation_data"] = data(21, "CategoricalCrossentropy", 3, seed=7)
    return {
        "x": x,
        "y": y,
        "batch_size": 16,
        "epochs": 3,
        "shuffle": False,
        "verbose": 0,
        **options,
    }


def answers() -> dict[str, np.ndarray]:
    """What the Keras that is installed here does."""
    import keras

    def head(outputs: int, activation: str) -> Any:
        model = keras.Sequential(
            [
                keras.Input((FEATURES,)),
                keras.layers.Dense(HIDDEN, activation="relu"),
                keras.layers.Dense(outputs, activation=activation),
            ]
        )
        model.set_weights(initial_weights(outputs))
        return model

    stored: dict[str, np.ndarray] = {}
    for optimizer, (kind, options) in OPTIMIZERS.items():
        for loss, (cls, from_logits, outputs, activation) in LOSSES.items():
            model = head(outputs, activation)
            model.compile(
                getattr(keras.optimizers, kind)(**options),
                getattr(keras.losses, cls)(from_logits=from_logits),
            )
            losses = []
            for step in range(STEPS):
                x, y = data(BATCH, cls, outputs, seed=100 + step)
                losses.append(model.train_on_batch(x, y))
            stored[f"{optimizer}/{loss}/losses"] = np.array(losses, np.float32)
            stored[f"{optimizer}/{loss}/weights"] = np.concatenate(
                [w.ravel() for w in model.get_weights()]
            )
    for name in FITS:
        for loss in ("categorical_crossentropy", "binary_crossentropy"):
            activation = "softmax" if loss.startswith("c") else "sigmoid"
            model = head(3, activation)
            model.compile(keras.optimizers.Adam(0.02), loss, metrics=["acc", "binary_accuracy"])
            history = model.fit(**fit_arguments(name)).history
            for key, values in history.items():
                stored[f"fit/{name}/{loss}/{key}"] = np.array(values, np.float32)
    return stored


def main() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    stored = answers()
    path = Path(__file__).with_name("training.npz")
    np.savez_compressed(path, **stored)
    print(f"{path.name}: {len(stored)} arrays, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
