"""One image or many, one thread or several, alone or in a crowd: the same bits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from core_networks import random_parameters

import tlcore
from tlcore import _core

IMAGES = 7


@pytest.fixture(autouse=True)
def usual_crew() -> Iterator[None]:
    before = _core.get_num_threads()
    yield
    _core.choose_kernels("table")
    tlcore.set_num_threads(before)


def network(size: int, pooling: str | None) -> _core.Network:
    graph = _core.mobilenet_v2((size, size, 3), 0.35, False, pooling)
    return _core.Network(graph, [random_parameters(graph)])


@pytest.mark.parametrize("kernels", ["table", "fused", "separate"])
@pytest.mark.parametrize(("size", "pooling"), [(96, None), (97, "avg"), (160, "max")])
def test_bits_depend_neither_on_the_batch_nor_on_the_crew(
    size: int, pooling: str | None, kernels: str
) -> None:
    _core.choose_kernels(kernels)
    one = network(size, pooling)
    x = np.random.default_rng(1).uniform(-1, 1, (IMAGES, size, size, 3)).astype(np.float32)
    tlcore.set_num_threads(1)
    wanted = one.run(x).tobytes()
    for threads in (1, 2, 3, 5):  # one image: shared out among all of them
        tlcore.set_num_threads(threads)
        for batch in (1, 2, 3, 4, IMAGES):
            parts = [one.run(x[i : i + batch]) for i in range(0, IMAGES, batch)]
            assert np.concatenate(parts).tobytes() == wanted, (threads, batch)


def test_a_crowd_shares_the_crew() -> None:
    """Single images from many threads: whether one is shared out depends on who else is there."""
    tlcore.set_num_threads(2)
    one = network(96, "avg")
    x = np.random.default_rng(2).uniform(-1, 1, (8, 96, 96, 3)).astype(np.float32)
    wanted = [one.run(x[i : i + 1]).tobytes() for i in range(len(x))]
    wrong: list[int] = []

    def ask(first: int) -> None:
        for turn in range(40):
            i = (first + turn) % len(x)
            if one.run(x[i : i + 1]).tobytes() != wanted[i]:
                wrong.append(i)

    crowd = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert wrong == []


def test_a_long_stride_takes_no_rows_that_do_not_exist() -> None:
    graph = _core.Graph((224, 224, 3))
    graph.add("conv2d", "stem", [0], filters=8, kernel_size=(1, 1), strides=(65536, 1))
    graph.add("depthwise_conv2d", "d", [1], kernel_size=(3, 3), padding="same")
    one = _core.Network(graph, [random_parameters(graph)])
    assert one.memory()["executor"] < 4 * 2**20
    _core.choose_kernels("onednn")
    other = _core.Network(graph, [random_parameters(graph)])
    x = np.random.default_rng(4).uniform(-1, 1, (2, 224, 224, 3)).astype(np.float32)
    np.testing.assert_allclose(one.run(x), other.run(x), rtol=1e-5, atol=1e-5)


def test_shapes_of_the_table_are_those_of_the_network() -> None:
    """mobilenet_v2_layers.txt lists the blocks of the network at 224, and all of them."""
    text = Path(__file__).parents[2].joinpath("benchmarks/mobilenet_v2_layers.txt").read_text()
    listed = [tuple(line.split()) for line in text.splitlines() if line and line[0] != "#"]
    known = {(line[0], *map(int, line[1:])) for line in listed}
    needed = set()
    for alpha in (1.0, 0.35):
        graph = _core.mobilenet_v2((224, 224, 3), alpha, False, None)
        steps = _core.Network(graph, [random_parameters(graph)]).lowered()
        shapes = [(224, 224, 3), *(step["output_shape"] for step in steps)]
        for i, step in enumerate(steps):
            if step["op"] != "depthwise_conv2d":
                continue
            before, middle, after = shapes[i - 1], shapes[i], shapes[i + 2]
            pattern = "stem_block" if i == 1 else "inverted_residual"
            needed.add(
                (pattern, before[0], before[2], middle[2], after[2], round(before[0] / after[0]))
            )
        needed.add(("pooled", shapes[-2][0], shapes[-2][2], 0, shapes[-1][2], 1))
        needed.add(("pointwise", shapes[-2][0], shapes[-2][2], 0, shapes[-1][2], 1))
    assert known == needed
