"""Many callers at once, forks, signals and the size of the crew."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from core_networks import pictures, small_network
from soak import workload

import tlcore
from tlcore import _core, layers
from tlcore.callbacks import Callback
from tlcore.export import tflite_bytes
from tlcore.models import Sequential
from tlcore.saving import load_model
from tlcore.training.data import Batch
from tlcore.training.kept_features import KeptFeatures
from tlcore.utils import set_random_seed
from tlcore.utils.locks import new_lock, new_rlock


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


# --- whole models ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base() -> Any:
    return workload.frozen_base()


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Results of `work(0)`, `work(1)`, ... begun at the same moment in as many threads."""
    barrier = threading.Barrier(count)
    interval = sys.getswitchinterval()

    def run(i: int) -> Any:
        barrier.wait(60)
        return work(i)

    sys.setswitchinterval(1e-6)  # what can go wrong between two lines does
    try:
        with ThreadPoolExecutor(count) as pool:
            return [done.result(120) for done in [pool.submit(run, i) for i in range(count)]]
    finally:
        sys.setswitchinterval(interval)


class Meanwhile:
    """Repeats each of `jobs` in a thread of its own; leaving waits for them and raises theirs."""

    def __init__(self, *jobs: Callable[[], object]) -> None:
        self._jobs, self._stop = jobs, threading.Event()

    def _repeat(self, job: Callable[[], object]) -> int:
        rounds = 0
        while not self._stop.is_set():
            job()
            rounds += 1
        return rounds

    def __enter__(self) -> Meanwhile:
        self._pool = ThreadPoolExecutor(len(self._jobs))
        self._running = [self._pool.submit(self._repeat, job) for job in self._jobs]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with self._pool:
            assert all(job.result(120) for job in self._running), "each got its turn"


@pytest.mark.parametrize("compiled", [False, True])
def test_sixteen_threads_predict_while_others_set_and_save_weights(
    compiled: bool, tmp_path: Path
) -> None:
    model = workload.classifier(compiled=compiled)
    x = workload.pictures(3)
    contents = {}
    for number, weights in enumerate(workload.two_sets_of_weights(model)):
        model.set_weights(weights)
        contents[number] = (weights, model.predict(x, verbose=0), tflite_bytes(model))
    whole = [scores for _, scores, _ in contents.values()]
    turn = itertools.cycle(contents)

    def predict() -> None:
        scores = model.predict(x, verbose=0)
        for row, (one, other) in enumerate(zip(*whole, strict=True)):
            close = [np.allclose(scores[row], wanted, atol=1e-5) for wanted in (one, other)]
            assert any(close), "a picture saw weights of both sets"

    def save() -> None:
        model.save(tmp_path / "model.h5")
        held = load_model(tmp_path / "model.h5").get_weights()
        assert any(same(held, weights) for weights, _, _ in contents.values())
        held = model.get_weights()
        assert any(same(held, weights) for weights, _, _ in contents.values())

    def convert() -> None:
        assert tflite_bytes(model) in [content for _, _, content in contents.values()]

    def change() -> None:
        model.set_weights(contents[next(turn)][0])
        time.sleep(0.002)

    with Meanwhile(*[predict] * 16, save, convert, change):
        time.sleep(1)


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("verb", ["predict", "call", "build", "evaluate"])
def test_threads_that_build_a_model_at_the_same_time_get_one(verb: str, base: Any) -> None:
    x, y = workload.pictures(2), workload.targets(2)
    for _ in range(5):
        model = Sequential([layers.Flatten(), layers.Dense(8), layers.Dense(workload.CLASSES)])
        model.compile("sgd", "categorical_crossentropy")
        verbs: dict[str, Callable[[], object]] = {
            "predict": lambda model=model: model.predict(x, verbose=0),
            "call": lambda model=model: model(x),
            "build": lambda model=model: model.build((None, *x.shape[1:])),
            "evaluate": lambda model=model: model.evaluate(x, y, verbose=0),
        }
        results = at_once(6, lambda _, verbs=verbs: verbs[verb]())
        assert len({id(block) for v in model.weights for block in [v.parameters]}) == 2
        if verb != "build":
            assert all(np.array_equal(result, results[0]) for result in results)
            assert np.array_equal(results[0], verbs[verb]())


def test_threads_that_name_layers_get_different_names() -> None:
    names = at_once(8, lambda _: [layers.Dense(1).name for _ in range(200)])
    assert len({name for some in names for name in some}) == 8 * 200


def test_models_are_saved_and_loaded_in_several_threads(base: Any, tmp_path: Path) -> None:
    models = [workload.classifier(base) for _ in range(4)]

    def round_trip(i: int) -> bool:
        for suffix in (".h5", ".weights.h5"):
            path = tmp_path / f"{i}{suffix}"
            if suffix == ".h5":
                models[i].save(path)
                again = load_model(path)
            else:
                models[i].save_weights(path)
                again = workload.classifier()
                again.load_weights(path)
            if not same(again.get_weights(), models[i].get_weights()):
                return False
        return True

    assert all(at_once(4, round_trip))


def test_what_fit_saves_from_another_thread_is_of_one_step(tmp_path: Path) -> None:
    """Of SGD with momentum 1 and gradients that never change, step and weights tell each other."""
    model = Sequential([layers.Input((2,)), layers.Dense(1, use_bias=False)])
    model.layers[0].set_weights([np.zeros((2, 1), np.float32)])
    model.compile(tlcore.optimizers.SGD(1e-7, momentum=0.9), "binary_crossentropy")
    x, y = np.ones((4, 2), np.float32), np.ones(4)
    model.fit(x, y, verbose=0)
    seen = set()

    def look() -> None:
        values, (iterations, _) = model.snapshot()
        (kernel,) = values.values()
        seen.add((iterations, float(kernel[0, 0])))

    with Meanwhile(look, look):
        model.fit(x, y, epochs=300, batch_size=2, verbose=0)
    assert len(seen) == len({step for step, _ in seen}), "one step, two sets of weights"
    ordered = [value for _, value in sorted(seen)]
    assert ordered == sorted(ordered)


def test_the_first_evaluate_beside_fit_leaves_one_optimizer(base: Any) -> None:
    x, y = workload.pictures(8), workload.targets(8)
    for _ in range(5):
        model = workload.classifier(base)
        fit = functools.partial(model.fit, x, y, verbose=0)
        evaluate = functools.partial(model.evaluate, x, y, verbose=0)
        at_once(4, lambda i, verbs=(fit, evaluate): verbs[min(i, 1)]())
        assert model.optimizer_state()[0] == 1, "the steps that fit made are those that are kept"


def test_predictions_do_not_draw_from_the_seeds_of_later_layers() -> None:
    kernels = []
    for predictions in (0, 3):
        set_random_seed(5)
        model = Sequential([layers.Input((2,)), layers.Dense(2)])
        for _ in range(predictions):
            model.predict(np.zeros((1, 2)), verbose=0)
        model.add(layers.Dense(3))
        kernels.append(model.layers[-1].get_weights()[0])
    assert np.array_equal(*kernels)


def test_weights_set_during_a_step_are_not_taken_for_the_steps_own() -> None:
    model = workload.classifier()
    x = workload.pictures(4)
    model.fit(x, workload.targets(4), epochs=1, verbose=0)
    compiled = model._compiled
    assert compiled is not None
    kept = KeptFeatures()
    prefix = model._prefix(compiled, kept)
    batch = Batch(x, keys=list(range(4)))
    old = prefix.features(batch)
    before = prefix.stamp()
    first, second = workload.two_sets_of_weights(model)
    model.set_weights(second)  # as another thread may between the two looks at the versions
    prefix.absorb_step(before)
    assert not np.array_equal(prefix.features(batch), old)
    model.set_weights(first)
    assert np.array_equal(prefix.features(batch), old)


def test_features_of_another_stamp_are_not_taken() -> None:
    kept, row = KeptFeatures(), np.zeros((1, 4), np.float32)
    kept.renew("old")
    kept.renew("new")  # by another thread, behind the first one's renew
    kept.add("new", "k", np.ones((1, 4), np.float32))
    assert kept.take("old", "k", row) == [0] and not row.any()
    assert kept.take("new", "k", row) == [] and row.all()


# --- one fit at a time ----------------------------------------------------------------------------


class Holds(Callback):
    """Stops fit at the end of its first batch until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.go = threading.Event(), threading.Event()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.inside.set()
        assert self.go.wait(60)


@contextlib.contextmanager
def being_fitted(model: Sequential) -> Iterator[None]:
    """Another thread is in the middle of fit."""
    holds = Holds()
    x, y = workload.pictures(4), workload.targets(4)
    with ThreadPoolExecutor(1) as pool:
        fitting = pool.submit(model.fit, x, y, verbose=0, callbacks=[holds])
        try:
            assert holds.inside.wait(60)
            yield
        finally:
            holds.go.set()
        fitting.result(60)


def test_what_would_disturb_a_fit_is_refused_meanwhile(base: Any) -> None:
    model = workload.classifier(base, name="kites")
    x, y = workload.pictures(4), workload.targets(4)
    with being_fitted(model):
        for verb in (
            lambda: model.fit(x, y, verbose=0),
            lambda: model.train_on_batch(x, y),
            lambda: model.compile("sgd", "categorical_crossentropy"),
            lambda: model.set_optimizer_state(0, []),
            lambda: model.add(layers.Dense(2)),
            model.pop,
        ):
            with pytest.raises(RuntimeError, match=r"model 'kites' is being trained .* by fit"):
                verb()
    assert len(model.layers) == 4
    model.fit(x, y, verbose=0)


def test_what_does_not_disturb_a_fit_works_meanwhile(tmp_path: Path) -> None:
    model = workload.classifier()
    x, y = workload.pictures(4), workload.targets(4)
    with being_fitted(model):
        model.predict(x, verbose=0)
        model.evaluate(x, y, verbose=0)
        model.save(tmp_path / "model.h5")
        model.set_weights(load_model(tmp_path / "model.h5").get_weights())
        model.load_weights(tmp_path / "model.h5")
        model.layers[-1].trainable = False  # counts from the next compile on
    model.fit(x, y, verbose=0)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_fit_that_fails_does_not_keep_the_model(error: type[BaseException], base: Any) -> None:
    class Fails(Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            raise error("stop")

    model = workload.classifier(base)
    x, y = workload.pictures(4), workload.targets(4)
    with pytest.raises(error, match="stop") as caught:  # `caught` keeps all frames alive
        model.fit(x, y, verbose=0, callbacks=[Fails()])
    model.fit(x, y, verbose=0)
    assert caught.value is not None


def test_models_that_share_a_frozen_base_are_fitted_at_the_same_time(base: Any) -> None:
    x, y = workload.pictures(8), workload.targets(8)
    frozen = base.get_weights()

    def history(model: Sequential) -> list[float]:
        return model.fit(x, y, epochs=10, shuffle=False, verbose=0).history["loss"]

    def fresh() -> list[Sequential]:
        set_random_seed(7)
        return [workload.classifier(base) for _ in range(4)]

    alone = [history(model) for model in fresh()]
    models = fresh()
    assert at_once(4, lambda i: history(models[i])) == alone
    assert same(base.get_weights(), frozen)


# --- forks ----------------------------------------------------------------------------------------


def soaked(script: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "soak" / script, *options],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_forks_beside_threads_that_use_everything() -> None:
    assert "{'worked': 10}" in soaked("forks.py", "--count", "10")


def test_forks_within_the_first_use() -> None:
    """A child may not be able to go on with NumPy's half-done import, but it never hangs."""
    assert "hung" not in soaked("forks.py", "--count", "3", "--first-use")


def test_a_soak_of_seconds_is_flat() -> None:
    assert "NOT FLAT" not in soaked("soak.py", "--minutes", "0.05")


def test_a_forked_child_is_not_bound_by_its_parents_fit(base: Any) -> None:
    model = workload.classifier(base)
    x, y = workload.pictures(4), workload.targets(4)
    with being_fitted(model):
        assert workload.fork_and_wait(lambda: model.fit(x, y, verbose=0) and None) == 0


def test_locks_are_open_in_a_forked_child() -> None:
    lock, again = new_lock(), new_rlock()

    def child() -> None:
        with lock, again:
            pass

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lock.acquire).result()
        pool.submit(again.acquire).result()
        assert workload.fork_and_wait(child) == 0
        assert lock.locked() and not again.acquire(blocking=False)


def test_a_child_can_save_while_its_parent_does(tmp_path: Path) -> None:
    model = workload.classifier()

    def save() -> None:
        model.save(tmp_path / f"{threading.get_ident()}.h5")
        time.sleep(0.005)

    with Meanwhile(save):
        for name in ("one.h5", "two.h5"):
            assert workload.fork_and_wait(functools.partial(model.save, tmp_path / name)) == 0
    for name in ("one.h5", "two.h5"):
        assert same(load_model(tmp_path / name).get_weights(), model.get_weights())


def test_imports_that_another_thread_began_are_begun_again_in_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_import.py").write_text(
        "import threading\n"
        "begun.set()\n"
        "assert threading.current_thread() is threading.main_thread() or go.wait(60)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    begun, go = threading.Event(), threading.Event()
    monkeypatch.setattr("builtins.begun", begun, raising=False)
    monkeypatch.setattr("builtins.go", go, raising=False)

    def child() -> None:
        assert importlib.import_module("slow_to_import").threading is threading

    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(importlib.import_module, "slow_to_import")
        assert begun.wait(60)
        try:
            assert workload.fork_and_wait(child) == 0
        finally:
            go.set()
        importing.result(60)


def test_many_first_imports_at_once() -> None:
    names = "Sequential layers applications saving preprocessing lite losses callbacks datasets"
    code = (
        "import sys, threading, tlcore\n"
        "sys.setswitchinterval(1e-6)\n"
        f"names = {names.split()!r}\n"
        "barrier = threading.Barrier(len(names)); failed = []\n"
        "def use(name):\n"
        "    barrier.wait()\n"
        "    try: getattr(tlcore, name)\n"
        "    except BaseException as error: failed.append((name, error))\n"
        "threads = [threading.Thread(target=use, args=(name,)) for name in names]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "assert not failed, failed\n"
    )
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
