"""Epochs from block_13_expand on, on tlcore. Arguments: photos, weights, epochs, threads."""

from __future__ import annotations

import stopwatch  # first: it starts the clock

# isort: split
import sys

import tlcore
from tlcore import keras
from tlcore.keras.preprocessing.image import ImageDataGenerator

photos, weights, epochs, threads = sys.argv[1:5]
tlcore.set_num_threads(int(threads))
keras.utils.set_random_seed(37)
stopwatch.lap("import")

preprocess = keras.applications.mobilenet_v2.preprocess_input
data_gen = ImageDataGenerator(preprocessing_function=preprocess, validation_split=0.2)
flows = [
    data_gen.flow_from_directory(
        photos, target_size=(224, 224), class_mode="categorical", subset=subset, seed=37
    )
    for subset in ("training", "validation")
]
base = keras.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False, weights=weights)
first = base.layers.index(base.get_layer("block_13_expand"))
for layer in base.layers[:first]:
    layer.trainable = False
model = keras.Sequential(
    [
        base,
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(flows[0].num_classes, activation="softmax"),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(1e-4), loss="categorical_crossentropy", metrics=["accuracy"]
)
stopwatch.lap("build")
history = model.fit(flows[0], validation_data=flows[1], epochs=int(epochs), verbose=2).history
stopwatch.lap("fit")
stopwatch.report(accuracy=history["val_accuracy"][-1], passes=model.prefix_runs)
