"""Networks that learn from nothing: all their layers, on drawings that they have not seen.

`make test` lets a small one tell three kinds apart; with TLCORE_LEARN=1, as `make learn` sets it,
MobileNetV2 learns all ten kinds.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from drawings import drawings

import tlcore
from tlcore import applications, layers
from tlcore.callbacks import OneCycle


def learn(model: Any, kinds: int, size: int, count: int, epochs: int, rate: float) -> float:
    """Accuracy on drawings that are not those of the training."""
    x, y = drawings(count, size, seed=1, kinds=kinds)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["acc"])
    model.fit(x, y, epochs=epochs, verbose=0, callbacks=[OneCycle(rate)])
    fresh = drawings(1000, size, seed=2, kinds=kinds)
    return float(model.evaluate(*fresh, verbose=0)[1])


def test_a_small_network_learns_three_kinds() -> None:
    tlcore.utils.set_random_seed(0)
    model = tlcore.Sequential([layers.Input((32, 32, 3))])
    for filters in (16, 32, 64):
        model.add(layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.ReLU())
    model.add(layers.GlobalMaxPooling2D())
    model.add(layers.Dense(3, activation="softmax"))
    assert learn(model, kinds=3, size=32, count=1500, epochs=12, rate=1e-2) >= 0.9


@pytest.mark.skipif("TLCORE_LEARN" not in os.environ, reason="make learn: minutes")
def test_mobilenet_learns_ten_kinds_within_a_quarter_of_an_hour() -> None:
    tlcore.utils.set_random_seed(0)
    base = applications.MobileNetV2(
        (96, 96, 3), 0.35, include_top=False, weights=None, pooling="avg"
    )
    for layer in base.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.95
    model = tlcore.Sequential([base, layers.Dense(10, activation="softmax")])
    begun = time.monotonic()
    accuracy = learn(model, kinds=10, size=96, count=4000, epochs=25, rate=4e-3)
    print(f"accuracy {accuracy:.4f} after {time.monotonic() - begun:.0f} s")
    assert accuracy >= 0.95
