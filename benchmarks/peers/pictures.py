"""What the peers of bench_pictures.py share: photos, settings, passes over all of them."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

PHOTOS, THREADS = sys.argv[1], int(sys.argv[2])
SIZE, BATCH, PASSES = (224, 224), 32, 3
AUGMENTATION = {
    "rotation_range": 20,
    "width_shift_range": 0.1,
    "height_shift_range": 0.1,
    "shear_range": 10,
    "zoom_range": 0.2,
    "horizontal_flip": True,
}
SETTINGS: dict[str, dict[str, Any]] = {"rescale only": {}, "augmented": AUGMENTATION}

# Libraries print what they like; only the answers use the real standard output.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def flow(image: Any, setting: str) -> Any:
    """The iterator that a user of Keras makes."""
    generator = image.ImageDataGenerator(rescale=1 / 255, **SETTINGS[setting])
    return generator.flow_from_directory(PHOTOS, target_size=SIZE, batch_size=BATCH, seed=1)


def walk(iterator: Any) -> int:
    """One pass, batch after batch; the number of pictures."""
    return sum(len(next(iterator)[0]) for _ in range(len(iterator)))


def serve(name: str, settings: dict[str, Callable[[], Callable[[], int]]]) -> None:
    """Say who this is; answer each line, a setting, with images and seconds of some passes.

    A setting prepares a pass, which is not timed, and returns it.
    """
    for prepare in settings.values():
        prepare()()  # warm
    print(json.dumps({"name": name, "settings": list(settings)}), file=answers)
    for line in sys.stdin:
        images, seconds = 0, 0.0
        for number in range(1 + PASSES):
            one_pass = settings[line.strip()]()
            begun = time.perf_counter()
            count = one_pass()
            if number:  # the first wakes a process that has waited for the others
                images, seconds = images + count, seconds + time.perf_counter() - begun
        print(json.dumps({"images": images, "seconds": seconds}), file=answers)
