"""Where random numbers begin: one generator of seeds for initial weights, dropout and the like.

The C core draws every tensor from a seed of its own, so what a layer starts with depends on
`set_random_seed` and on the order in which layers are built, never on the number of threads.
"""

from __future__ import annotations

import operator
import random
from typing import SupportsIndex

import numpy as np

_generator = random.Random()


def set_random_seed(seed: SupportsIndex) -> None:
    """Seed Python's `random`, NumPy's global generator and tlcore's own generator.

    Args:
        seed: an integer from 0 to 2**32 - 1.

    Raises:
        ValueError: `seed` is not such an integer.

    Source: `keras.utils.set_random_seed`.
    """
    try:
        value = operator.index(seed)
    except TypeError:
        value = -1
    if not 0 <= value < 2**32:
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1, got {seed!r}.")
    random.seed(value)
    np.random.seed(value)
    _generator.seed(value)


def next_seed() -> int:
    """A seed for the C core, from 0 to 2**63 - 1."""
    return _generator.getrandbits(63)
