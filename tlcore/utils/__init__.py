"""Small helpers that Keras keeps under `keras.utils`."""

from __future__ import annotations

from tlcore.utils.numerical import to_categorical
from tlcore.utils.seeds import set_random_seed

__all__ = ["set_random_seed", "to_categorical"]
