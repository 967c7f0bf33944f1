"""Keras 3 on TensorFlow: train_on_batch as compile() sets it up by itself; see training.py."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from shared import FOLDER, THREADS
from training import BEFORE, CASE, FIRST, RATE, batch, each, head, serve_steps

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)

base = keras.applications.MobileNetV2(
    input_shape=(224, 224, 3), include_top=False, weights=str(FOLDER / "base.h5")
)
if CASE == "frozen-norm":
    for layer in base.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
elif CASE == "block13":
    first = base.layers.index(base.get_layer(FIRST))
    for layer in base.layers[:first]:
        layer.trainable = False
elif CASE == "kept":
    base = keras.Model(base.get_layer(BEFORE).output, base.output)

x, labels = batch()
kernel, bias = head()
last = keras.layers.Dense(len(bias), activation="softmax")
model = keras.Sequential([base, keras.layers.GlobalAveragePooling2D(), last])
model.build((None, *x.shape[1:]))
last.set_weights([kernel, bias])
model.compile(optimizer=keras.optimizers.SGD(RATE), loss="sparse_categorical_crossentropy")

serve_steps(
    f"Keras {keras.__version__} on TensorFlow {tf.__version__}",
    each(lambda: float(model.train_on_batch(x, labels))),
)
