"""The blog's program as Keras 3 accepts it today. Arguments: photos, weights, output folder."""

from __future__ import annotations

import stopwatch  # first: it starts the clock

# isort: split
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf
from tensorflow.keras.preprocessing.image import ImageDataGenerator

photos, weights, out = sys.argv[1:4]
keras.utils.set_random_seed(int(os.environ["SEED"]))
stopwatch.lap("import")

flows = [
    ImageDataGenerator(rescale=1.0 / 255, validation_split=0.2).flow_from_directory(
        photos, target_size=(224, 224), class_mode="categorical", subset=subset, seed=37
    )
    for subset in ("training", "validation")
]
base = keras.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False, weights=weights)
base.trainable = False
model = keras.Sequential(
    [
        base,
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(flows[0].num_classes, activation="sigmoid"),
    ]
)
model.compile(optimizer=keras.optimizers.Adam(0.005), loss="binary_crossentropy", metrics=["acc"])
stopwatch.lap("build")
history = model.fit(flows[0], validation_data=flows[1], epochs=10, verbose=2).history
stopwatch.lap("fit")
model.save(f"{out}/keras.h5")
stopwatch.lap("save")
converter = tf.lite.TFLiteConverter.from_keras_model(model)
Path(out, "keras.tflite").write_bytes(converter.convert())
stopwatch.lap("convert")
stopwatch.report(accuracy=history["val_acc"][-1])
