"""Thousands of damaged files of kept features: what is taken from each is right, or nothing is.

A segment with a few records is damaged; a reader looks for all of them, and for some that were
never there.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import campaign
import numpy as np

SHAPE = (4, 5)
RECORD = 64 + 4 * 20
HEADER = 64


def key(number: int) -> bytes:
    return hashlib.sha256(b"picture %d" % number).digest()


def right(number: int) -> np.ndarray:
    return np.random.RandomState(number).standard_normal(SHAPE).astype(np.float32)


def store(fingerprint: bytes = b"f" * 32) -> Any:
    from tlcore.training.segments import Store

    return Store(Path("/nowhere"), fingerprint, SHAPE, 1 << 30)


@lru_cache(maxsize=1)
def originals() -> list[bytes]:
    """Segments of the store that is looked into, and one of another's, with the same keys."""
    contents = []
    for fingerprint, numbers in ((b"f" * 32, range(6)), (b"f" * 32, (9, 2)), (b"g" * 32, range(6))):
        one = store(fingerprint)
        records = [one._packed(key(number), right(number + fingerprint[0])) for number in numbers]
        contents.append(b"".join([one._header, *records]))
    return contents


def prepare() -> None:
    originals()


def trial(path: Path) -> str:
    looked_into = store()
    looked_into._numbers = lambda: [0]
    looked_into._segment = lambda number: path
    looked_into.begin()
    looked_into._in_use.add(0)  # or its time would be set
    numbers = range(12)
    dst = np.full((len(numbers), *SHAPE), np.nan, np.float32)
    found = looked_into.take([key(number) for number in numbers], numbers, dst)
    for number in numbers:
        if number in found:
            assert np.array_equal(dst[number], right(number + ord("f"))), number
        else:
            assert np.isnan(dst[number]).all(), number
    return "all found" if len(found) == 6 else "some found" if found else "none found"


def make(random: Random) -> tuple[bytes, str]:
    good = originals()
    content = random.choice(good)
    places = [0, 8, 16, 48, *range(HEADER, len(content), RECORD), *range(96, len(content), RECORD)]
    damaged, change = campaign.damaged(random, content, good, places, spare=HEADER)
    if random.random() < 0.1:  # another's records behind the right header
        return good[0][:HEADER] + damaged[HEADER:], f"{change}+header"
    return damaged, change


if __name__ == "__main__":
    raise SystemExit(campaign.main(__file__, make, suffix=".features"))
