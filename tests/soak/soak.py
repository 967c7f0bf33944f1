"""Hours in minutes: predict, fit, load, save, convert and fork in several threads.

    python tests/soak/soak.py --minutes 10 --seed 1

Every few seconds the threads pause and the process is measured: resident memory and what of it no
file backs, threads, open descriptors, temporary files. (Unique memory would not do: it jumps when
another process that shares our libraries ends.) At the end all of it must be flat:

- descriptors and temporary files are never more at a pause than they were in the warm-up, the first
  third, and threads by no more than two, which a crew may be losing just then;
- memory: the line of least squares through the measurements after the warm-up rises by less than
  GROWTH_MIB over them, for both kinds of memory. A run of less than WARM_MINUTES is all
  warm-up and is not judged by its memory.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import psutil
import workload

import tlcore

GROWTH_MIB = 24
WARM_MINUTES = 3
THREADS = 4
_libc = ctypes.CDLL(None)


class Sample(NamedTuple):
    """The process at a pause. Memory in MiB."""

    seconds: float
    anonymous: float
    resident: float
    threads: int
    descriptors: int
    files: int


def measure(began: float, scratch: Path) -> Sample:
    gc.collect()
    _libc.malloc_trim(0)  # what malloc could give back is no leak
    process = psutil.Process()
    status = Path("/proc/self/status").read_text()
    sizes = {line[0]: line[1] for line in map(str.split, status.splitlines()) if len(line) == 3}
    return Sample(
        time.monotonic() - began,
        int(sizes["RssAnon:"]) / 2**10,
        int(sizes["VmRSS:"]) / 2**10,
        process.num_threads(),
        process.num_fds(),
        sum(1 for path in scratch.iterdir() if path.is_file()),
    )


class Crowd:
    """Threads that each do one thing after another, and that all stop for a moment when asked."""

    def __init__(self, able: dict[str, Callable[[], None]], seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.errors: list[BaseException] = []
        self._able = able
        self._gate = threading.Condition()
        self._open = False
        self._over = False
        self._busy = 0
        self._threads = [
            threading.Thread(target=self._live, args=(random.Random(seed + i),))
            for i in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def _live(self, choice: random.Random) -> None:
        names = sorted(self._able)
        while True:
            with self._gate:
                self._gate.wait_for(lambda: self._open or self._over)
                if self._over:
                    return
                self._busy += 1
            name = choice.choice(names)
            try:
                self._able[name]()
                self.done[name] += 1
            except BaseException as error:
                self.errors.append(error)
            finally:
                with self._gate:
                    self._busy -= 1
                    self._gate.notify_all()

    def run(self, seconds: float) -> None:
        """Let them work for so long; returns when all have come to rest."""
        with self._gate:
            self._open = True
            self._gate.notify_all()
        time.sleep(seconds)
        with self._gate:
            self._open = False
            self._gate.wait_for(lambda: self._busy == 0)

    def end(self) -> None:
        with self._gate:
            self._over = True
            self._gate.notify_all()
        for thread in self._threads:
            thread.join()


def rise(seconds: list[float], values: list[float]) -> float:
    """How much the line of least squares rises from the first to the last value."""
    slope, _ = np.polyfit(seconds, values, 1)
    return float(slope * (seconds[-1] - seconds[0]))


def judged(samples: list[Sample]) -> list[str]:
    """What is not flat, in words."""
    warm = max(1, len(samples) // 3)
    before, after = samples[:warm], samples[warm:]
    faults = []
    for name, slack in (("threads", 2), ("descriptors", 0), ("files", 0)):
        most = max(getattr(sample, name) for sample in before) + slack
        later = max(getattr(sample, name) for sample in after)
        if later > most:
            faults.append(f"{name} rose to {later}, more than {most}")
    for name in ("anonymous", "resident") if samples[-1].seconds > WARM_MINUTES * 60 else ():
        times = [sample.seconds for sample in after]
        grown = rise(times, [getattr(sample, name) for sample in after])
        if grown > GROWTH_MIB:
            faults.append(f"{name} memory rose by {grown:.1f} MiB, more than {GROWTH_MIB}")
    return faults


def soak(minutes: float, seed: int) -> int:
    scratch = Path(tempfile.mkdtemp())
    folder = workload.picture_folder(scratch / "pictures")
    model = workload.classifier()
    first, second = workload.two_sets_of_weights(model)
    choice = random.Random(seed)
    able = workload.tasks(model, folder, scratch, choice)

    def set_weights() -> None:
        model.set_weights(choice.choice((first, second)))

    def train() -> None:
        # Any of the threads may be at it: the others are refused.
        with contextlib.suppress(RuntimeError):
            model.fit(workload.pictures(8), workload.targets(8), epochs=2, verbose=0)

    def compile_anew() -> None:
        with contextlib.suppress(RuntimeError):
            model.compile(choice.choice(("adam", "sgd")), "categorical_crossentropy")

    switching = workload.classifier(workload.frozen_base(2))
    alone = threading.Lock()

    def move_the_cut() -> None:
        """Another cut each time: programs for every stretch would fill the memory."""
        with alone:
            base = switching.layers[0]
            base.trainable = False
            base.trainable = True
            for layer in base.layers[: choice.randrange(len(base.layers))]:
                layer.trainable = False
            switching.compile("sgd", "categorical_crossentropy")
            switching.predict(workload.pictures(2), verbose=0)

    def fork() -> None:
        status = workload.fork_and_wait(choice.choice([able["predict"], able["fit"]]))
        assert status == 0, f"a forked child ended with {status}"

    able |= {f.__name__: f for f in (set_weights, train, compile_anew, move_the_cut, fork)}
    model.compile("adam", "categorical_crossentropy")
    began = time.monotonic()
    pause = min(10.0, minutes * 60 / 24)
    crowd = Crowd(able, seed)
    samples = []
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        while time.monotonic() - began < minutes * 60 and not crowd.errors:
            crowd.run(pause)
            tlcore.set_num_threads(2)  # `resize` leaves any size
            able["read"]()  # and the crew that decodes follows it
            able["predict"]()
            samples.append(measure(began, scratch))
        crowd.end()
    for sample in samples[:: max(1, len(samples) // 12)]:
        print(
            f"{sample.seconds:6.0f} s  anonymous {sample.anonymous:6.1f} MiB  resident "
            f"{sample.resident:6.1f} MiB  threads {sample.threads}  descriptors "
            f"{sample.descriptors}  files {sample.files}"
        )
    for name in ("anonymous", "resident"):
        after = samples[len(samples) // 3 :]
        grown = rise([s.seconds for s in after], [getattr(s, name) for s in after])
        print(f"{name} memory: {grown:+.1f} MiB on the line through the last two thirds")
    print(f"{minutes} minutes, seed {seed}, tlcore {tlcore.__version__}: {dict(crowd.done)}")
    faults = [f"{type(error).__name__}: {error}" for error in crowd.errors] or judged(samples)
    for fault in faults:
        print(f"NOT FLAT: {fault}" if not crowd.errors else f"FAILED: {fault}")
    shutil.rmtree(scratch)
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    return soak(options.minutes, options.seed)


if __name__ == "__main__":
    sys.exit(main())
