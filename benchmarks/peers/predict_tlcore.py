"""tlcore's base, as a user calls it."""

from __future__ import annotations

import numpy as np
from protocol import serve
from shared import FOLDER, THREADS, pictures

import tlcore

tlcore.set_num_threads(THREADS)
base = tlcore.applications.MobileNetV2(
    input_shape=(224, 224, 3), include_top=False, weights=FOLDER / "base.h5"
)
one, many = pictures(1), np.concatenate([pictures(32)] * 3)


def singly(images: int) -> None:
    for _ in range(images):
        base(one)


def batches(images: int) -> None:
    for done in range(0, images, len(many)):
        base.predict(many[: images - done], verbose=0)


serve(
    f"tlcore {tlcore.__version__}",
    {"one at a time": singly, "predict": batches},
    base(pictures(4)),
)
