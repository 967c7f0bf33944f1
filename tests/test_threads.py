"""Many callers at once, forks, signals and the size of the crew."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from core_networks import pictures, small_network

from tlcore import _core


@pytest.fixture
def threads() -> None:
    before = _core.get_num_threads()
    yield
    _core.set_num_threads(before)


def test_four_threads_predict_what_one_predicts() -> None:
    network, _ = small_network()
    batches = [pictures(7, seed) for seed in range(12)]
    expected = [network.run(x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for one, other in zip(expected, pool.map(network.run, batches), strict=True):
                assert np.array_equal(one, other)


def test_results_do_not_depend_on_the_number_of_threads(threads: None) -> None:
    network, _ = small_network()
    x = pictures(9)
    expected = network.run(x)
    for n in (1, 2, 3, 5):
        _core.set_num_threads(n)
        assert _core.get_num_threads() == n
        assert np.array_equal(network.run(x), expected)
        assert np.array_equal(network.run(x[4:5])[0], expected[4])


@pytest.mark.parametrize("n", [0, -1, 10_000])
def test_sizes_of_the_crew_are_checked(n: int) -> None:
    with pytest.raises(ValueError, match="n must be"):
        _core.set_num_threads(n)


def test_weights_change_between_batches_never_within_one() -> None:
    network, parameters = small_network()
    last = len(parameters) - 1
    bias = np.zeros_like(parameters.get(last))
    parameters.set([(last, bias)])
    x = pictures(2)
    expected = network.run(x)
    stop = threading.Event()

    def change() -> None:
        value = 0.0
        while not stop.is_set():
            value = 1.0 - value
            parameters.set([(last, bias + np.float32(8.0 * value))])

    changer = threading.Thread(target=change)
    changer.start()
    try:
        scores = [network.run(x) for _ in range(200)]
    finally:
        stop.set()
        changer.join()
    for given in scores:  # a constant added to all logits leaves softmax as it is
        np.testing.assert_allclose(given, expected, atol=1e-5)


def child_predicts(network: _core.Network, expected: np.ndarray) -> None:
    signal.alarm(30)
    os._exit(0 if np.array_equal(network.run(pictures(3)), expected) else 1)


def forked(target: Callable[..., None], *args: object) -> int | None:
    """Exit code of a forked child that runs `target`, which ends it by os._exit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, on purpose
        child = multiprocessing.get_context("fork").Process(target=target, args=args)
        child.start()
    child.join(40)
    return child.exitcode


def test_a_forked_child_predicts() -> None:
    network, _ = small_network()
    expected = network.run(pictures(3))
    assert forked(child_predicts, network, expected) == 0


def test_forks_while_other_threads_predict() -> None:
    network, _ = small_network()
    expected = network.run(pictures(3))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            network.run(pictures(3))

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(5):
            assert forked(child_predicts, network, expected) == 0
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def test_ctrl_c_interrupts_a_long_run() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        interrupt_a_long_run()
    finally:
        signal.signal(signal.SIGINT, before)


def interrupt_a_long_run() -> None:
    network, _ = small_network()
    x = np.broadcast_to(pictures(1), (20_000, 32, 32, 3))
    network.run(x[:8])
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    began = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(100):
            network.run(x)
    timer.join()
    assert time.monotonic() - began < 20
    assert network.run(x[:2]).shape == (2, 5)


def test_the_crew_is_resized_while_others_predict(threads: None) -> None:
    network, _ = small_network()
    expected = network.run(pictures(3))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            assert np.array_equal(network.run(pictures(3)), expected)

    with ThreadPoolExecutor(3) as pool:
        workers = [pool.submit(work) for _ in range(3)]
        try:
            for n in (1, 4, 2, 1, 3) * 4:
                _core.set_num_threads(n)
                assert len(os.listdir("/proc/self/task")) >= n
        finally:
            stop.set()
        for worker in workers:
            worker.result()


def trained(x: np.ndarray) -> tuple[_core.Trainer, np.ndarray]:
    network, parameters = small_network()
    flags = [i >= len(parameters) - 2 for i in range(len(parameters))]
    cut = network.cut(flags)
    loss = "sparse_categorical_crossentropy"
    trainer = _core.Trainer(network, cut, flags, loss, False, {"name": "adam"}, 0)
    return trainer, network.run(x, 0, cut)


def child_trains(trainer: _core.Trainer, features: np.ndarray) -> None:
    signal.alarm(30)
    trainer.train_batch(features, np.arange(4))
    os._exit(0)


def test_forks_while_another_thread_trains() -> None:
    trainer, features = trained(pictures(4))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            trainer.train_batch(features, np.arange(4))

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(5):
            assert forked(child_trains, trainer, features) == 0
    finally:
        stop.set()
        worker.join()


def test_state_is_that_of_whole_steps() -> None:
    trainer, features = trained(pictures(4))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            trainer.train_batch(features, np.arange(4), learning_rate=0.0)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(100):
            iterations, (momentum, *_) = trainer.get_state()
            if iterations:  # the gradient never changes: m = (1 - 0.9^t) g
                scale = momentum / (1 - 0.9**iterations)
                again, (later, *_) = trainer.get_state()
                np.testing.assert_allclose(later / (1 - 0.9**again), scale, rtol=1e-3, atol=1e-7)
    finally:
        stop.set()
        worker.join()


def test_negative_iterations_are_refused() -> None:
    trainer, _ = trained(pictures(4))
    _, slots = trainer.get_state()
    with pytest.raises(ValueError, match="iterations must be an integer from 0"):
        trainer.set_state(-1, slots)
