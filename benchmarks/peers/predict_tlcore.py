"""tlcore's base, as a user calls it."""

from __future__ import annotations

import numpy as np
from protocol import serve
from shared import ALPHA, FOLDER, THREADS, pictures

import tlcore

tlcore.set_num_threads(THREADS)
base = tlcore.applications.MobileNetV2(
    input_shape=(224, 224, 3), alpha=ALPHA, include_top=False, weights=FOLDER / "base.h5"
)
one, many = pictures(1), np.concatenate([pictures(32)] * 6)
one_as_bytes, as_bytes = (np.uint8((x + 1) * 127.5) for x in (one, many))


def singly(images: int) -> None:
    for _ in range(images):
        base.predict_on_batch(one)


def batches(images: int) -> None:
    for done in range(0, images, len(many)):
        base.predict(many[: images - done], verbose=0)


def singly_from_bytes(images: int) -> None:
    for _ in range(images):
        base.predict_on_batch(one_as_bytes)


def batches_from_bytes(images: int) -> None:
    for done in range(0, images, len(as_bytes)):
        base.predict(as_bytes[: images - done], verbose=0)


serve(
    f"tlcore {tlcore.__version__}",
    {
        "one at a time": singly,
        "predict": batches,
        "one at a time, from bytes": singly_from_bytes,
        "predict, from bytes": batches_from_bytes,
    },
    base(pictures(4)),
)
