"""torch, TensorFlow and tlcore in one process, in every order: nobody's numbers or threads change.

Every order runs in a fresh process, which imports and uses the libraries one after the other and
then all of them again; what comes out is compared bit for bit with processes where each is alone.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

LIBRARIES = ("tlcore", "torch", "tensorflow")
ORDERS = [
    *itertools.permutations(LIBRARIES),
    *itertools.permutations(("tlcore", "torch")),
    *itertools.permutations(("tlcore", "tensorflow")),
]

PROGRAM = """
import hashlib, json, sys

def digest(*arrays):
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(memoryview(array).cast("B"))
    return hashed.hexdigest()

def use_tlcore():
    import numpy as np
    import tlcore
    tlcore.utils.set_random_seed(3)
    base = tlcore.applications.MobileNetV2((96, 96, 3), 0.35, include_top=False, weights=None)
    base.trainable = False
    head = [tlcore.layers.GlobalAveragePooling2D(), tlcore.layers.Dense(3, activation="softmax")]
    model = tlcore.Sequential([base, *head])
    model.compile("adam", "categorical_crossentropy")
    x = np.random.RandomState(1).uniform(-1, 1, (12, 96, 96, 3)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    before = model.predict(x, verbose=0)
    losses = model.fit(x, y, epochs=3, shuffle=False, verbose=0).history["loss"]
    return digest(before, np.array(losses), model.predict(x, verbose=0)), tlcore.get_num_threads()

def use_torch():
    import torch
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    convolution = torch.nn.Conv2d(3, 32, 3)
    x = torch.rand(8, 3, 64, 64)
    y = convolution(x).relu().mean((2, 3)) @ torch.rand(32, 200)
    y.sum().backward()
    assert torch.get_num_threads() == threads
    return digest(y.detach().numpy(), convolution.weight.grad.numpy()), threads

def use_tensorflow():
    import tensorflow as tf
    tf.random.set_seed(0)
    x = tf.random.stateless_uniform((8, 64, 64, 3), (1, 2))
    kernel = tf.random.stateless_uniform((3, 3, 3, 32), (3, 4))
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        y = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME")), (1, 2))
        y = y @ tf.random.stateless_uniform((32, 200), (5, 6))
    return digest(y.numpy(), tape.gradient(y, kernel).numpy()), 0

order = sys.argv[1:]
used = [(name, globals()["use_" + name]()) for name in [*order, *reversed(order), *order]]
print(json.dumps(used))
"""


def results(order: Sequence[str]) -> list[tuple[str, Any]]:
    """(library, (digest of its numbers, its threads)) of every use, in order."""
    for name in order:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *order],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert done.returncode == 0, done.stderr
    assert "OMP:" not in done.stderr and "libgomp:" not in done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@functools.lru_cache
def alone(name: str) -> Any:
    """What the library gives in a process of its own, every time."""
    ((_, first), *others) = results([name])
    assert all(other == first for _, other in others)
    return first


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_each_is_as_it_is_alone(order: tuple[str, ...]) -> None:
    for name, given in results(order):
        assert given == alone(name), f"{name} in the order {', '.join(order)}"
