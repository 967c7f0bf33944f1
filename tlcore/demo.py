"""`python -m tlcore demo`: the blog post's program on drawn pictures, start to end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

import tlcore
from tlcore.models import Model

__all__ = ["base_model", "demo", "set_statistics"]

IMG_SIZE = 224
IMG_SHAPE = (IMG_SIZE, IMG_SIZE, 3)
WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
SAMPLE = 32  # pictures that random weights are set from


def demo(folder: str | os.PathLike[str] = "demo") -> None:
    """Draw pictures of three sports, train on them as the blog post does, and say how it went.

    Args:
        folder: gets `dataset/` with the pictures, `blog_model.h5`, `blog_model.tflite` and
            `labels.txt`; made if it is not there.
    """
    folder = Path(folder)
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        seconds[what] = time.perf_counter() - begun

    tlcore.utils.set_random_seed(37)
    with timed("draw 270 pictures"):
        tlcore.datasets.draw_sports(folder / "dataset", counts=(90, 82, 98), seed=37)

    data_gen = tlcore.preprocessing.image.ImageDataGenerator(
        rescale=1.0 / 255, validation_split=0.2
    )
    train_generator, validation_generator = (
        data_gen.flow_from_directory(
            folder / "dataset",
            target_size=(IMG_SIZE, IMG_SIZE),
            class_mode="categorical",
            subset=subset,
            seed=37,
        )
        for subset in ("training", "validation")
    )

    with timed("make the base"):
        base, origin = base_model(train_generator.load(range(0, train_generator.n, 7))[:SAMPLE])
    print(f"The base has {origin}.\n")
    base.trainable = False

    model = tlcore.Sequential(
        [
            base,
            tlcore.layers.GlobalAveragePooling2D(),
            tlcore.layers.Dense(64, activation="relu"),
            tlcore.layers.Dense(3, activation="sigmoid"),
        ]
    )
    model.compile(lr=0.005, loss="binary_crossentropy", optimizer="adam", metrics=["acc"])
    model.summary()

    batch_size = 16
    with timed("train ten epochs"):
        history = model.fit_generator(
            train_generator,
            steps_per_epoch=train_generator.n // batch_size,
            epochs=10,
            validation_data=validation_generator,
            validation_steps=validation_generator.n // batch_size,
        ).history

    with timed("save and convert"):
        tlcore.models.save_model(model, folder / "blog_model.h5")
        converter = tlcore.lite.TFLiteConverter.from_keras_model_file(folder / "blog_model.h5")
        (folder / "blog_model.tflite").write_bytes(converter.convert())

    picture = Path(validation_generator.filepaths[0])
    with timed("name one picture"):
        answer = model.predict_image(picture)

    guessing = np.bincount(validation_generator.classes).max() / validation_generator.n
    print(
        f"\nOf {validation_generator.n} pictures held back, {history['val_acc'][-1]:.1%} get the "
        f"right name; guessing gets {guessing:.1%}.\nCounted for each output by itself, as Keras "
        f"did when the blog post was written: {history['val_binary_acc'][-1]:.1%}."
    )
    scores = ", ".join(f"{label} {score:.2f}" for label, score in answer.items())
    print(f"{picture.parent.name}/{picture.name}: {scores}\n")
    for what, spent in seconds.items():
        print(f"{spent:8.2f} s  {what}")
    print()
    for path in sorted(folder.glob("*.*")):
        print(f"{path.stat().st_size / 2**20:8.2f} MiB  {path}")


def base_model(pictures: ArrayLike, alpha: float = 1.0) -> tuple[Model, str]:
    """MobileNetV2 without its top, and a few words about its weights.

    With the ImageNet weights if they are on this machine, in a folder that `weights='imagenet'`
    searches; otherwise with random ones that are set up from `pictures` (n, 224, 224, 3), as the
    model will see them. Downloads nothing.
    """
    from tlcore.weights import search_folders

    name = WEIGHTS.replace("1.0", str(alpha))
    for folder in search_folders():
        if (folder / name).is_file():
            base = tlcore.applications.MobileNetV2(
                input_shape=IMG_SHAPE, alpha=alpha, include_top=False, weights="imagenet"
            )
            return base, f"ImageNet weights, from {folder}"
    base = tlcore.applications.MobileNetV2(
        input_shape=IMG_SHAPE, alpha=alpha, include_top=False, weights=None
    )
    set_statistics(base, pictures)
    return base, (
        f"random weights, its batch norms set from {len(np.asarray(pictures))} pictures: it shows "
        "how things work and how long they take, but it has learned nothing to build on. For real "
        f"answers put {name} into a folder and name that in TLCORE_WEIGHTS"
    )


def set_statistics(model: Model, pictures: ArrayLike) -> None:
    """Give every batch norm of `model` the mean and variance of what `pictures` bring it.

    From the input on, each sees values that those before it have already normalized: then random
    kernels keep pictures apart, which with untouched statistics they hardly do.
    """
    nodes = model.graph.nodes
    network = model.network
    start, value = 0, np.asarray(pictures)
    for stop, node in enumerate(nodes):
        if node["op"] == "batch_normalization":
            x = network.run(value, start, node["inputs"][0])
            layer = model.get_layer(node["name"])
            gamma, beta, _, _ = layer.get_weights()
            layer.set_weights([gamma, beta, x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))])
        elif node["op"] != "add":
            continue
        if all(source >= stop for later in nodes[stop + 1 :] for source in later["inputs"]):
            value, start = network.run(value, start, stop), stop  # nothing looks back behind it
