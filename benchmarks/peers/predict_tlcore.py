"""tlcore's base, as a user calls it."""

from __future__ import annotations

from functools import partial

import numpy as np
from protocol import serve
from shared import ALPHA, FOLDER, MANY, THREADS, pictures

import tlcore

tlcore.set_num_threads(THREADS)
base = tlcore.applications.MobileNetV2(
    input_shape=(224, 224, 3), alpha=ALPHA, include_top=False, weights=FOLDER / "base.h5"
)
many = pictures(MANY)
as_bytes = np.uint8((many + 1) * 127.5)


def singly(x: np.ndarray, images: int) -> None:
    for i in range(images):
        base.predict_on_batch(x[i % MANY, None])


def batches(x: np.ndarray, images: int) -> None:
    for done in range(0, images, 32):
        base.predict_on_batch(x[done : min(images, done + 32)])


def at_once(images: int) -> None:
    # 48 MB of outputs, for which the kernel zeroes new pages each time.
    for done in range(0, images, MANY):
        base.predict(many[: images - done], verbose=0)


serve(
    f"tlcore {tlcore.__version__}",
    {
        "one at a time": partial(singly, many),
        "batch 32": partial(batches, many),
        "one at a time, from bytes": partial(singly, as_bytes),
        "batch 32, from bytes": partial(batches, as_bytes),
        f"predict of {MANY} at once": at_once,
    },
    base(pictures(4)),
)
