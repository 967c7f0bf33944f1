"""What worker processes are told to do: they import it by name, which they could not a test."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from soak import workload

import tlcore
from tlcore.models import Sequential
from tlcore.saving import load_model


@lru_cache(maxsize=1)
def loaded(path: str) -> Sequential:
    return load_model(path)


def predict(path: str, seed: int) -> np.ndarray:
    return loaded(path).predict(workload.pictures(3, seed), verbose=0)


def predict_sent(model: Sequential, seed: int) -> np.ndarray:
    return model.predict(workload.pictures(3, seed), verbose=0)


inherited: Sequential | None = None


def predict_inherited(seed: int) -> np.ndarray:
    assert inherited is not None
    return inherited.predict(workload.pictures(3, seed), verbose=0)


def train(_: int) -> list[float]:
    tlcore.utils.set_random_seed(3)
    model = workload.classifier()
    x, y = workload.pictures(8), workload.targets(8)
    return model.fit(x, y, epochs=3, shuffle=False, verbose=0).history["loss"]
