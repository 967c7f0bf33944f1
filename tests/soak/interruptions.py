"""Ctrl-C and kills at random moments, again and again:

    python tests/soak/interruptions.py                            200 interrupted fits, and so on
    python tests/soak/interruptions.py --only fit --count 1000
    python tests/soak/interruptions.py --only kills --count 100 --seed 3

Each kind of interruption is a function here that runs a number of trials in this process and
raises AssertionError at the first that goes wrong; tests/test_interruption.py runs a few of each.
After Ctrl-C: KeyboardInterrupt and nothing else, no thread's traceback, the model usable, files
whole (old or new), nothing left over, and the next run equal to one that nothing interrupted. After
a kill: the old file or the new one, and a leftover that the next process removes; of features on
disk, all that was whole.
"""

from __future__ import annotations

import argparse
import gc
import http.server
import io
import itertools
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

import tlcore
from tlcore import export, weights
from tlcore.preprocessing.image import ImageDataGenerator, load_img, save_img
from tlcore.training.segments import HEADER_BYTES, Store

LEFTOVER = re.compile(r"\.tlcore-[0-9a-f]{16}\.tmp")

# --- the machinery --------------------------------------------------------------------------------


class Alarm:
    """Ctrl-C after a while: a timer of the system, whose signal raises SIGINT."""

    def __init__(self) -> None:
        self.rang = False

    def _ring(self, *_: object) -> None:
        self.rang = True
        signal.raise_signal(signal.SIGINT)

    @contextmanager
    def after(self, seconds: float) -> Iterator[None]:
        self.rang = False
        old = signal.signal(signal.SIGALRM, self._ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-4))
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)


@contextmanager
def watched() -> Iterator[None]:
    """Tracebacks of threads and of destructors are failures; SIGINT raises KeyboardInterrupt."""
    said: list[str] = []

    def hook(args: Any) -> None:
        lines = traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
        said.append("".join(lines))

    before = threading.excepthook, sys.unraisablehook
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.excepthook = sys.unraisablehook = hook
    try:
        yield
        gc.collect()
    except AssertionError as err:
        raise AssertionError("\n".join([str(err), *said])) from err
    finally:
        threading.excepthook, sys.unraisablehook = before
        signal.signal(signal.SIGINT, handler)
    assert not said, said[0]


def interrupted(action: Callable[[], Any], seconds: float, patience: float = 120) -> str:
    """Run `action` with Ctrl-C after some seconds: "interrupted", or "done" if it was faster."""
    alarm = Alarm()
    begun = time.monotonic()
    try:
        with alarm.after(seconds):
            action()
            outcome = "done"
    except KeyboardInterrupt:
        outcome = "interrupted"
    assert time.monotonic() - begun < patience, "the action went on after Ctrl-C"
    assert outcome == "interrupted" or not alarm.rang, "Ctrl-C was swallowed"
    return outcome


def timed(action: Callable[[], Any]) -> float:
    """Seconds that it takes when it has been run before."""
    action()
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def trials(
    name: str, count: int, seed: int, action: Callable[[], Any], check: Callable[[], Any]
) -> Counter[str]:
    """`count` times: `action` with Ctrl-C somewhere in it or just behind it, then `check`."""
    seconds = timed(action)
    check()
    random = Random(f"{name}/{seed}")
    outcomes: Counter[str] = Counter()
    with watched():
        opened = descriptors()
        for i in range(count):
            delay = random.uniform(0, 1.05 * seconds)
            try:
                outcomes[interrupted(action, delay)] += 1
                check()
                gc.collect()
            except BaseException as err:
                raise AssertionError(
                    f"{name}: trial {i} of seed {seed} (at {delay:.4f} s)"
                ) from err
        gc.collect()
        assert descriptors() <= opened + 2, "descriptors were left open"
    return outcomes


# --- models and pictures --------------------------------------------------------------------------


def model(units: int = 8, side: int = 16) -> tlcore.models.Model:
    made = tlcore.Sequential(
        [
            tlcore.layers.Conv2D(
                6, 3, activation="relu", trainable=False, input_shape=(side, side, 3)
            ),
            tlcore.layers.GlobalAveragePooling2D(),
            tlcore.layers.Dense(units, activation="relu"),
            tlcore.layers.Dense(2, activation="softmax"),
        ]
    )
    made.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["acc"])
    made.class_indices = {"a": 0, "b": 1}
    return made


def draw(folder: Path, count: int = 24) -> None:
    """Two classes of small pictures."""
    random = np.random.RandomState(0)
    for k in range(count):
        (folder / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        pixels = random.randint(0, 256, (40, 40, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "ab"[k % 2] / f"{k}.jpg")


def flow(folder: Path) -> Any:
    with redirect_stdout(io.StringIO()):
        made = ImageDataGenerator(rescale=1.0 / 255)
        return made.flow_from_directory(folder, target_size=(16, 16), batch_size=4, seed=1)


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


class Terminal(io.StringIO):
    """A stream on which bars are drawn."""

    def isatty(self) -> bool:
        return True


# --- Ctrl-C ---------------------------------------------------------------------------------------


def fits(folder: Path, count: int, seed: int) -> Counter[str]:
    """fit on pictures from a folder, with bars; then another that nothing interrupts."""
    draw(folder / "pictures")
    trained = model()
    begin = trained.get_weights()
    screens: list[Terminal] = []
    cache = folder / "cache"
    # Pictures that are read every time, and pictures that are kept, in memory and on disk.
    ways = itertools.cycle([False, None, cache])
    way = [next(ways)]

    def fit() -> None:
        screens.append(Terminal())
        with redirect_stdout(screens[-1]):
            trained.fit(
                flow(folder / "pictures"),
                epochs=4,
                validation_data=flow(folder / "pictures"),
                verbose=1,
                keep_features=way[0],
            )

    def another_way() -> None:
        way[0] = next(ways)
        fit()

    def afresh() -> list[np.ndarray]:
        trained.set_weights(begin)
        trained.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["acc"])
        fit()
        return trained.get_weights()

    tlcore.training.progress.QUIET_SECONDS = 0.0
    expected = afresh()

    def check() -> None:
        text = screens[-1].getvalue()
        assert not text or text.endswith("\n"), text[-200:]
        assert all(np.isfinite(value).all() for value in trained.get_weights())
        assert np.isfinite(trained.predict(np.zeros((2, 16, 16, 3)), verbose=0)).all()
        if trained.optimizer_state()[0]:
            assert trained.optimizer.iterations in range(
                trained.optimizer_state()[0] - 1, trained.optimizer_state()[0] + 1
            )
        assert same(afresh(), expected), "the next fit is another"
        shutil.rmtree(cache, ignore_errors=True)  # there is something to write again
        screens.clear()
        screens.append(Terminal())

    return trials("fit", count, seed, another_way, check)


def predictions(folder: Path, count: int, seed: int, pictures: int = 100_000) -> Counter[str]:
    """predict on 100,000 pictures."""
    predicting = model(side=6)
    x = np.random.RandomState(0).uniform(-1, 1, (3, 6, 6, 3)).astype(np.float32)
    expected = predicting.predict(x, verbose=0)
    many = np.broadcast_to(x[:1], (pictures, 6, 6, 3))

    def predict() -> None:
        predicting.predict(many, verbose=0, batch_size=pictures // 2)

    def check() -> None:
        assert np.array_equal(predicting.predict(x, verbose=0), expected)

    return trials("predict", count, seed, predict, check)


def _old_and_new() -> tuple[Any, Any]:
    """Two models of one architecture whose files are 2 MB."""
    one, other = model(60_000), model(60_000)
    return one, other


def _alternating(save: Callable[[Any], Any]) -> Callable[[], None]:
    turn = [0]
    pair = _old_and_new()

    def action() -> None:
        turn[0] += 1
        save(pair[turn[0] % 2])

    return action


def saves(folder: Path, count: int, seed: int) -> Counter[str]:
    """model.save over a file that is there."""
    path = folder / "model.h5"
    pair = _old_and_new()
    turn = [0]

    def save() -> None:
        turn[0] += 1
        pair[turn[0] % 2].save(path)

    def check() -> None:
        found = tlcore.models.load_model(path).get_weights()
        assert any(same(found, one.get_weights()) for one in pair)
        assert [entry.name for entry in folder.iterdir()] == ["model.h5"]

    return trials("save", count, seed, save, check)


def conversions(folder: Path, count: int, seed: int) -> Counter[str]:
    """write_tflite over a file that is there, and the converter."""
    path = folder / "model.tflite"
    pair = _old_and_new()
    contents = [export.tflite_bytes(one) for one in pair]
    turn = [0]

    def convert() -> None:
        turn[0] += 1
        export.write_tflite(pair[turn[0] % 2], path)

    def check() -> None:
        assert path.read_bytes() in contents
        assert (folder / "labels.txt").read_text() == "a\nb\n"
        assert sorted(entry.name for entry in folder.iterdir()) == ["labels.txt", "model.tflite"]

    return trials("convert", count, seed, convert, check)


@contextmanager
def server(content: bytes, pause: float) -> Iterator[str]:
    """The address of a server that sends `content` slowly."""

    class Slow(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            step = len(content) // 20 + 1
            try:
                for at in range(0, len(content), step):
                    self.wfile.write(content[at : at + step])
                    time.sleep(pause)
            except OSError:  # the client has gone
                pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Slow) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()


NAME = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"


def downloads(folder: Path, count: int, seed: int) -> Counter[str]:
    """imagenet_path from a slow server into an empty cache."""
    cache = folder / "cache"
    base = tlcore.applications.MobileNetV2((96, 96, 3), alpha=0.35, include_top=False, weights=None)
    base.save_weights(folder / NAME)
    content = (folder / NAME).read_bytes()
    before = weights._cache, weights._WEIGHTS_URL, sys.stderr
    os.environ["TLCORE_WEIGHTS"] = os.environ["KERAS_HOME"] = str(folder / "nowhere")

    def download() -> None:
        shutil.rmtree(cache, ignore_errors=True)
        assert weights.imagenet_path(0.35, 96, False).read_bytes() == content

    def check() -> None:
        found = {entry.name for entry in cache.iterdir()} if cache.exists() else set()
        assert found <= {NAME}, found
        if NAME in found:
            assert (cache / NAME).read_bytes() == content

    with server(content, 0.005) as address:
        weights._cache, weights._WEIGHTS_URL = lambda: cache, address
        sys.stderr = io.StringIO()
        try:
            outcomes = trials("download", count, seed, download, check)
            download()
        finally:
            weights._cache, weights._WEIGHTS_URL, sys.stderr = before
    return outcomes


# --- kills ----------------------------------------------------------------------------------------


def _killed(save: Callable[[int], Any], seconds: float) -> None:
    """A forked child saves again and again, until it is killed after some seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, on purpose
        child = os.fork()
    if child == 0:
        try:
            turn = 0
            while True:
                turn += 1
                save(turn % 2)
        finally:
            os._exit(1)  # it should not have ended
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "a save failed in the child"


def kills(folder: Path, count: int, seed: int) -> Counter[str]:
    """SIGKILL while files are saved, in a fit with a ModelCheckpoint, while features are kept."""
    random = Random(f"kills/{seed}")
    outcomes: Counter[str] = Counter()
    for kind, prepare in KILLED.items():
        place = folder / kind
        place.mkdir()
        save, check = prepare(place)
        save(0)
        seconds = timed(lambda save=save: save(1))
        for i in range(count):
            try:
                _killed(save, random.uniform(0.2, 3) * seconds)
                check()
            except BaseException as err:
                raise AssertionError(f"{kind}: kill {i} of seed {seed}") from err
            left = [entry for entry in place.iterdir() if LEFTOVER.fullmatch(entry.name)]
            outcomes[f"{kind} with a leftover" if left else f"{kind} clean"] += 1
            for entry in left:  # a minute old, as the next process will find it
                os.utime(entry, (time.time() - 100,) * 2)
        _swept(place, save)
        check()
    return outcomes


def _swept(folder: Path, save: Callable[[int], Any]) -> None:
    """The next process that saves leaves nothing there but its file."""
    from tlcore.saving import _files

    _files._swept.clear()  # as a new process
    save(0)
    assert not [entry for entry in folder.iterdir() if LEFTOVER.fullmatch(entry.name)]


Killed = tuple[Callable[[int], Any], Callable[[], Any]]


def _h5(folder: Path) -> Killed:
    pair = _old_and_new()
    path = folder / "model.h5"

    def check() -> None:
        found = tlcore.models.load_model(path).get_weights()
        assert any(same(found, one.get_weights()) for one in pair)

    return lambda turn: pair[turn].save(path), check


def _tflite(folder: Path) -> Killed:
    pair = _old_and_new()
    contents = [export.tflite_bytes(one) for one in pair]
    path = folder / "model.tflite"

    def check() -> None:
        assert path.read_bytes() in contents
        assert (folder / "labels.txt").read_text() == "a\nb\n"

    return lambda turn: export.write_tflite(pair[turn], path), check


def _picture(folder: Path) -> Killed:
    pixels = np.random.RandomState(0).randint(0, 256, (2, 300, 300, 3))
    path = folder / "picture.png"

    def check() -> None:
        found = np.asarray(load_img(path))
        assert any(np.array_equal(found, one) for one in pixels)

    return lambda turn: save_img(path, pixels[turn], scale=False), check


def _checkpoint(folder: Path) -> Killed:
    trained = model(60_000)
    path = folder / "model.weights.h5"
    x, y = np.random.RandomState(0).rand(8, 16, 16, 3), np.eye(2)[[0, 1] * 4]
    saver = tlcore.callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=1)
    again = model(60_000)

    def check() -> None:
        again.load_weights(path)
        assert np.isfinite(again.predict(x, verbose=0)).all()

    return lambda turn: trained.fit(x, y, batch_size=4, verbose=0, callbacks=[saver]), check


def _features(folder: Path) -> Killed:
    """Eight records of 320 KiB a write, pushing older ones out."""
    shape, most, print_ = (64, 1280), 64 << 20, b"p" * 32

    def opened() -> Store:
        store = Store(folder, print_, shape, most)
        store.begin()
        return store

    def right(key: bytes) -> np.ndarray:
        return np.resize(np.frombuffer(key, np.uint8), shape).astype(np.float32)

    def save(turn: int) -> None:
        keys = [os.urandom(32) for _ in range(8)]
        opened().add(keys, np.array([right(key) for key in keys]))

    def check() -> None:
        store = opened()
        keys = list(store._index)
        found = np.empty((len(keys), *shape), np.float32)
        assert sorted(store.take(keys, range(len(keys)), found)) == list(range(len(keys)))
        assert all(np.array_equal(row, right(key)) for row, key in zip(found, keys, strict=True))
        sizes = [path.stat().st_size for path in folder.glob("*/*.features")]
        assert sum(sizes) <= most
        assert len(keys) == sum(max(0, size - HEADER_BYTES) // store._record for size in sizes)

    return save, check


KILLED = {
    "h5": _h5,
    "tflite": _tflite,
    "picture": _picture,
    "checkpoint": _checkpoint,
    "features": _features,
}

# --- the command ----------------------------------------------------------------------------------

KINDS: dict[str, tuple[Callable[[Path, int, int], Counter[str]], int]] = {
    "fit": (fits, 200),
    "predict": (predictions, 50),
    "save": (saves, 100),
    "convert": (conversions, 100),
    "download": (downloads, 50),
    "kills": (kills, 100),
}


def run(kind: str, folder: Path, count: int, seed: int = 0) -> Counter[str]:
    return KINDS[kind][0](folder, count, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Ctrl-C and kills at random moments.")
    parser.add_argument("--only", choices=sorted(KINDS), help="one kind alone")
    parser.add_argument("--count", type=int, help="how many of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (0)")
    chosen = parser.parse_args()
    for kind, (_, usual) in KINDS.items():
        if chosen.only in (None, kind):
            begun = time.monotonic()
            with tempfile.TemporaryDirectory() as scratch:
                outcomes = run(kind, Path(scratch), chosen.count or usual, chosen.seed)
            parts = ", ".join(f"{n} {word}" for word, n in sorted(outcomes.items()))
            print(f"{kind}: {parts} in {time.monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
