"""How a peer process serves measurements, in its own environment.

A measurement begins with some pictures that are not timed.

It prints one JSON line about itself and then answers each line "<setting> <images>" with the
seconds that it took. Import before anything that may print.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from shared import FOLDER

WARM = 8  # pictures

# Libraries print what they like; only the protocol uses the real standard output.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


def serve(name: str, settings: dict[str, Callable[[int], object]], features: np.ndarray) -> None:
    """Say who this is and run settings until standard input ends.

    Args:
        name: of the peer, with its version.
        settings: what it is called -> a function that carries so many images through the base.
        features: its answer to the first four pictures, (4, 7, 7, channels).
    """
    np.save(FOLDER / f"{name}.npy", np.asarray(features, np.float32))
    for run in settings.values():
        run(32)  # warm: code is made, memory is there
    print(json.dumps({"name": name, "settings": list(settings)}), file=answers)
    for line in sys.stdin:
        setting, images = line.rsplit(" ", 1)
        settings[setting](WARM)
        begun = time.perf_counter()
        settings[setting](int(images))
        print(time.perf_counter() - begun, file=answers)


def side_by_side(runners: Sequence[Callable[[int], object]], images: int) -> None:
    """Give each runner its share of the images, in a thread of its own."""
    share = images // len(runners)
    crew = [threading.Thread(target=run, args=(share,)) for run in runners]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
