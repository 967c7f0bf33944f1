"""Keras 3 on TensorFlow; also writes the .tflite file that LiteRT and OpenVINO run."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from protocol import serve
from shared import ALPHA, FOLDER, MANY, THREADS, pictures

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(THREADS)
base = keras.applications.MobileNetV2(
    input_shape=(224, 224, 3), alpha=ALPHA, include_top=False, weights=str(FOLDER / "base.h5")
)
(FOLDER / "base.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(base).convert())

run = tf.function(lambda x: base(x, training=False), autograph=False)
many = pictures(MANY)
constants = tf.constant(many)


def singly(images: int) -> None:
    for i in range(images):
        run(constants[i % MANY, None]).numpy()


def batches(images: int) -> None:
    for done in range(0, images, 32):
        run(constants[done : min(images, done + 32)]).numpy()


def predict(images: int) -> None:
    for done in range(0, images, MANY):
        base.predict(many[: images - done], verbose=0)


serve(
    f"TensorFlow {tf.__version__}, Keras {keras.__version__}",
    {
        "one at a time, tf.function": singly,
        "tf.function, batch 32": batches,
        "predict, batch 32": predict,
    },
    run(tf.constant(pictures(4))).numpy(),
)
