"""Memory: what is made is freed, running stays flat, and a failed allocation is an exception."""

from __future__ import annotations

import gc
import importlib.util
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from core_networks import pictures, random_parameters, small_network

from tlcore import _core


def head_trainer() -> tuple[_core.Trainer, np.ndarray, np.ndarray]:
    network, _ = small_network()
    flags = [
        spec["trainable"] and node["name"] == "predictions"
        for node in _core.mobilenet_v2((32, 32, 3), 0.35, True, classes=5).nodes
        for spec in node["parameters"]
    ]
    cut = network.cut(flags)
    trainer = _core.Trainer(
        network, cut, flags, "sparse_categorical_crossentropy", False, {"name": "adam"}, 0
    )
    return trainer, network.run(pictures(4), 0, cut), np.arange(4)


@pytest.mark.parametrize("kind", ["Graph", "Parameters", "Network", "Trainer"])
def test_types_are_not_leaked_by_their_objects(kind: str) -> None:
    makers = {
        "Graph": lambda: _core.Graph((4, 4, 3)),
        "Parameters": lambda: _core.Parameters([("w", (3,))]),
        "Network": lambda: small_network()[0],
        "Trainer": lambda: head_trainer()[0],
    }
    maker, kind_type = makers[kind], getattr(_core, kind)
    maker()
    gc.collect()
    before = sys.getrefcount(kind_type)
    for _ in range(1000 if kind in ("Graph", "Parameters") else 20):
        maker()
    gc.collect()
    assert sys.getrefcount(kind_type) == before


def test_failed_constructors_do_not_leak_their_type() -> None:
    graph = _core.mobilenet_v2((32, 32, 3), 0.35, False)

    def fail() -> None:
        with pytest.raises(ValueError, match="no tensor for the kernel"):
            _core.Network(graph, [])

    counts = []
    for _ in range(3):
        for _ in range(100):
            fail()
        gc.collect()
        counts.append(sys.getrefcount(_core.Network))
    assert counts[1] == counts[2]  # the first round also warms the interpreter's own caches


def test_memory_and_threads_are_flat_over_a_thousand_predictions() -> None:
    network, _ = small_network()
    x = pictures(2)
    process = psutil.Process()
    for _ in range(100):
        network.run(x)
    gc.collect()
    memory, tasks = process.memory_info().rss, len(os.listdir("/proc/self/task"))
    for _ in range(1000):
        network.run(x)
    gc.collect()
    assert process.memory_info().rss - memory < 1 << 20
    assert len(os.listdir("/proc/self/task")) == tasks


def test_networks_give_their_memory_back() -> None:
    def use_one() -> None:
        network, _ = small_network()
        network.run(pictures(1))

    process = psutil.Process()
    for _ in range(20):
        use_one()
    gc.collect()
    memory = process.memory_info().rss
    for _ in range(60):
        use_one()
    gc.collect()
    assert process.memory_info().rss - memory < 8 << 20


def test_a_network_keeps_its_parameters_alive() -> None:
    graph = _core.mobilenet_v2((32, 32, 3), 0.35, False)
    parameters = random_parameters(graph)
    network = _core.Network(graph, [parameters])
    expected = network.run(pictures(1))
    del parameters, graph
    gc.collect()
    assert np.array_equal(network.run(pictures(1)), expected)


def test_every_third_failing_allocation_is_a_memory_error() -> None:
    x, labels = pictures(2), np.arange(2)

    def story() -> None:
        network, _ = small_network()
        flags = [
            node["name"] == "predictions"
            for node in _core.mobilenet_v2((32, 32, 3), 0.35, True, classes=5).nodes
            for _ in node["parameters"]
        ]
        cut = network.cut(flags)
        trainer = _core.Trainer(
            network, cut, flags, "sparse_categorical_crossentropy", False, {"name": "sgd"}, 0
        )
        trainer.train_batch(network.run(x, 0, cut), labels)

    story()
    failures = 0
    n = 0
    try:
        while True:
            _core.fail_allocation(n)
            try:
                story()
                break
            except MemoryError as error:
                assert str(error)
                failures += 1
            n += 3
    finally:
        _core.fail_allocation(-1)
    assert failures > 20
    story()


def test_a_failed_allocation_leaves_the_network_usable() -> None:
    network, _ = small_network()
    x = pictures(3)
    _core.fail_allocation(5)
    with pytest.raises(MemoryError):
        network.run(x)
    _core.fail_allocation(-1)
    assert network.run(x).shape == (3, 5)


def test_two_imports_give_independent_modules() -> None:
    spec = importlib.util.spec_from_file_location("tlcore._core", _core.__file__)
    assert spec is not None and spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.Graph is not _core.Graph
    assert len(again.Graph((4, 4, 3))) == 1


def test_the_crew_ends_at_exit_while_threads_predict() -> None:
    code = (
        f"import sys, threading; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from core_networks import pictures, small_network\n"
        "network, _ = small_network(); x = pictures(64); started = threading.Event()\n"
        "def work():\n"
        "    while True:\n"
        "        network.run(x); started.set()\n"
        "threading.Thread(target=work, daemon=True).start(); started.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def test_parameters_may_come_from_a_generator() -> None:
    graph = _core.mobilenet_v2((32, 32, 3), 0.35, False)
    network = _core.Network(graph, (random_parameters(graph) for _ in range(1)))
    assert network.run(pictures(1)).shape == (1, 1, 1, 1280)


def test_lists_that_shrink_while_they_are_read() -> None:
    class Clears:
        def __index__(self) -> int:
            numbers.clear()
            return 4

    numbers: list[object] = [Clears(), 4, 3]
    assert _core.Graph(numbers).nodes[0]["output_shape"] == (4, 4, 3)  # type: ignore[arg-type]


def test_shapes_beyond_all_memory_are_refused() -> None:
    graph = _core.Graph((2**62 - 1,))
    graph.add("relu", "a", [0])
    graph.add("relu", "b", [1])
    with pytest.raises(MemoryError):
        _core.Network(graph, []).memory()
    graph = _core.Graph((2**33, 2, 1))  # oneDNN's kernels count in int, our own do not
    graph.add("depthwise_conv2d", "c", [0], kernel_size=(2, 2), use_bias=False)
    with pytest.raises(ValueError, match="cannot be run"):
        _core.Network(graph, [_core.Parameters([("k", (2, 2, 1, 1))])]).memory()
    for width in (2**60, 2**61):  # a row of the kernels' working memory overflows to 0
        graph = _core.Graph((1, width, 1))
        graph.add("depthwise_conv2d", "c", [0], kernel_size=(3, 3), padding="same", use_bias=False)
        with pytest.raises(MemoryError):
            _core.Network(graph, [_core.Parameters([("k", (3, 3, 1, 1))])]).memory()
    graph = _core.Graph((2**61, 1, 1))
    graph.add("conv2d", "c", [0], filters=1, kernel_size=(1, 1), use_bias=False)
    with pytest.raises(MemoryError):
        _core.Network(graph, [_core.Parameters([("k", (1, 1, 1, 1))])]).memory()


def test_stretches_beyond_the_last_few_give_their_memory_back() -> None:
    """As when `trainable` changes again and again: each cut has a program of its own."""
    graph = _core.mobilenet_v2((32, 32, 3), 1.0, False)
    network = _core.Network(graph, [random_parameters(graph)])
    x = pictures(1)
    stops = range(len(graph) - 32, len(graph))
    first = [network.run(x, 0, stop) for stop in stops[:2]]
    each = network.memory(0, len(graph) - 1)["packed"]
    process = psutil.Process()
    memory = process.memory_info().rss
    for stop in stops:
        network.run(x, 0, stop)
    assert process.memory_info().rss - memory < 16 * each, "eight programs, and what malloc keeps"
    assert all(
        np.array_equal(network.run(x, 0, stop), given)
        for stop, given in zip(stops, first, strict=False)
    )


def test_more_stretches_than_are_kept_run_at_the_same_time() -> None:
    network, _ = small_network()
    x = pictures(2)
    stops = range(100, 124)
    expected = [network.run(x, 0, stop) for stop in stops]
    with ThreadPoolExecutor(12) as pool:
        for _ in range(2):
            given = pool.map(lambda stop: network.run(x, 0, stop), stops)
            assert all(np.array_equal(*pair) for pair in zip(given, expected, strict=True))
