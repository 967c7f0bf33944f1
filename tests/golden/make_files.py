"""Writes the small .h5 files in `files/` with the real tf-keras and Keras 3.

    python make_files.py tf_keras && python make_files.py keras

Needs tensorflow-cpu, keras and tf-keras (what `make parity` installs). The model has every kind
of layer that MobileNetV2 has, and is a few kilobytes; each file comes with an input and the
predictions of the library that wrote it, in `expected_<library>.npz`.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "files"


def build_base(keras: Any) -> Any:
    """A small inverted residual network, its batch normalisation far from the identity."""
    layers = keras.layers
    source = keras.Input((12, 12, 3), name="picture")
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="Conv1")(source)
    x = layers.BatchNormalization(axis=-1, epsilon=1e-3, momentum=0.999, name="bn_Conv1")(x)
    x = kept = layers.ReLU(6.0, name="Conv1_relu")(x)
    x = layers.ZeroPadding2D(((1, 1), (1, 1)), name="block_pad")(x)
    x = layers.DepthwiseConv2D(3, use_bias=False, name="block_depthwise")(x)
    x = layers.BatchNormalization(axis=-1, name="block_depthwise_BN")(x)
    x = layers.Conv2D(4, 1, use_bias=False, name="block_project")(x)
    x = layers.BatchNormalization(axis=-1, name="block_project_BN")(x)
    x = layers.Add(name="block_add")([kept, x])
    base = keras.Model(source, x, name="base")
    random = np.random.RandomState(1)
    for layer in base.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([random.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return base


def main(library: str) -> None:
    """Write the files of one library."""
    keras = importlib.import_module(library)
    layers = keras.layers
    keras.utils.set_random_seed(7)
    FOLDER.mkdir(exist_ok=True)
    random = np.random.RandomState(0)
    x = random.uniform(0, 1, (4, 12, 12, 3)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    expected: dict[str, Any] = {"x": x}

    def keep(model: Any, name: str) -> None:
        model.save(FOLDER / f"{library}_{name}.h5")
        expected[name] = model.predict(x, verbose=0)

    base = build_base(keras)
    base.trainable = False
    model = keras.Sequential(
        [
            base,
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.25),
            layers.Dense(5, activation="relu"),
            layers.Dense(3, activation="sigmoid"),
        ]
    )
    model.compile(
        loss="binary_crossentropy",
        optimizer=keras.optimizers.Adam(0.005),
        metrics=["acc"],
    )
    model.fit(x, y, batch_size=2, epochs=2, verbose=0)
    keep(model, "frozen")
    moments = model.optimizer.variables
    expected["frozen_moments"] = np.concatenate(
        [np.ravel(np.asarray(v)) for v in moments if np.ndim(v) > 0]
    )
    model.save_weights(FOLDER / f"{library}.weights.h5")
    if library == "tf_keras":
        model.save_weights(FOLDER / f"{library}_legacy_weights.h5")

    base.trainable = True
    for layer in base.layers[:5]:
        layer.trainable = False
    keep(keras.Sequential([base, layers.Flatten(), layers.Dense(2, activation="softmax")]), "mixed")

    source = keras.Input((12, 12, 3))
    h = base(source, training=False)
    h = layers.GlobalMaxPooling2D()(h)
    model = keras.Model(source, layers.Dense(3, name="scores")(h))
    model.compile(
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        metrics=[keras.metrics.CategoricalAccuracy(name="top")],
    )
    model.fit(x, y, verbose=0)
    keep(model, "functional")

    np.savez_compressed(FOLDER / f"expected_{library}.npz", **expected)


if __name__ == "__main__":
    main(sys.argv[1])
