"""tlcore's iterators: the first pass, which reads files, and a later one, which does not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pictures import SETTINGS, THREADS, flow, serve, walk

import tlcore
from tlcore.preprocessing import image

tlcore.set_num_threads(THREADS)


def first(setting: str) -> Callable[[], int]:
    return partial(walk, flow(image, setting))


def later(setting: str) -> Callable[[], int]:
    iterator = flow(image, setting)
    walk(iterator)
    return partial(walk, iterator)


serve(
    f"tlcore {tlcore.__version__}",
    {name: partial(first, name) for name in SETTINGS}
    | {f"{name}, later passes": partial(later, name) for name in SETTINGS},
)
