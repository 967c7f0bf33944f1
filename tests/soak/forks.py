"""Forks while other threads use tlcore: every child works, none hangs.

    python tests/soak/forks.py --count 2000
    python tests/soak/forks.py --count 200 --first-use

Threads predict, train, save, read pictures and change the size of the crew; the main thread forks
at random moments, and each child does one of the same things, alone, in a thread, or in a child of
its own. With --first-use every fork falls into the first use of tlcore in a fresh process.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

HANGS = 60  # seconds after which a child is taken for one that never ends

FIRST_USE = """
import os, sys, threading, time
import tlcore
sys.setswitchinterval(1e-5)

def use():
    base = tlcore.applications.MobileNetV2((32, 32, 3), 0.35, include_top=False, weights=None)
    head = [tlcore.layers.GlobalAveragePooling2D(), tlcore.layers.Dense(2)]
    model = tlcore.Sequential([base, *head])
    model.predict([[[[0.5] * 3] * 32] * 32] * 2, verbose=0)
    model.save(f"{folder}/{{os.getpid()}}.h5")

thread = threading.Thread(target=use)
thread.start()
time.sleep({delay})
import signal, warnings
warnings.simplefilter("ignore", DeprecationWarning)
pid = os.fork()
if pid == 0:
    import faulthandler
    faulthandler.dump_traceback_later({hangs}, exit=True)
    try:
        use()
    except Exception:
        import traceback
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(3)
    os._exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
thread.join()
sys.exit(status if status in (0, 3) else 4)
"""


def first_use(count: int, seed: int) -> Counter[str]:
    """Forks within the first second of a process: imports, first kernels, start of the crew."""
    choice = random.Random(seed)
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        with tempfile.TemporaryDirectory() as folder:
            code = FIRST_USE.format(folder=folder, delay=choice.uniform(0, 0.8), hangs=HANGS)
            done = subprocess.run([sys.executable, "-c", code], timeout=200, capture_output=True)
        outcome = {0: "worked", 3: "raised", 4: "hung or crashed"}.get(
            done.returncode, "parent failed"
        )
        if outcome != "worked":
            print(done.stderr.decode(), file=sys.stderr)
        outcomes[outcome] += 1
    return outcomes


def forks(count: int, seed: int) -> Counter[str]:
    """Forks while six threads are at work."""
    import workload

    choice = random.Random(seed)
    model = workload.classifier()
    model.predict(workload.pictures(2), verbose=0)
    outcomes: Counter[str] = Counter()
    stop = threading.Event()
    errors: list[BaseException] = []
    scratch = Path(tempfile.mkdtemp())  # no `with`: a child that ends must leave it alone
    folder = workload.picture_folder(scratch / "pictures")

    parent = os.getpid()

    def worker(tasks: list[Callable[[], None]], pause: float) -> None:
        try:
            while not stop.is_set():
                choice.choice(tasks)()
                time.sleep(choice.uniform(0, pause))
        except BaseException as error:
            errors.append(error)
            raise

    def repeated_fit() -> None:
        try:
            model.fit(workload.pictures(8), workload.targets(8), epochs=2, verbose=0)
        except RuntimeError as error:  # two threads of the parent fit it
            assert "is being trained" in str(error)
            assert os.getpid() == parent, "a child has none of its parent's claims"

    able = workload.tasks(model, folder, scratch, choice)
    beside = [able["save_and_load"], able["read"], able["fit_pictures"], able["convert"]]
    threads = [
        *(threading.Thread(target=worker, args=([able["predict"]], 0.01)) for _ in range(4)),
        threading.Thread(target=worker, args=([repeated_fit, able["resize"]], 0.1)),
        threading.Thread(target=worker, args=([repeated_fit, *beside], 0.5)),
    ]
    for thread in threads:
        thread.start()

    def in_a_thread(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            failures: list[BaseException] = []

            def guarded() -> None:
                try:
                    work()
                except BaseException as error:
                    failures.append(error)

            thread = threading.Thread(target=guarded)
            thread.start()
            thread.join()
            if failures:
                raise failures[0]

        return run

    def in_a_grandchild(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            work()
            status = workload.fork_and_wait(work)
            assert status == 0, f"a child of the child ended with {status}"

        return run

    often = [able["predict"], repeated_fit, able["read"]] * 12

    def execs() -> None:
        os.execv(sys.executable, [sys.executable, "-c", "pass"])

    try:
        for i in range(count):
            time.sleep(choice.uniform(0, 0.02))
            work = choice.choice([*able.values(), execs, *often])
            if work is not execs and i % 5 == 1:
                work = in_a_thread(work)
            elif work is not execs and i % 5 == 3:
                work = in_a_grandchild(work)
            status = workload.fork_and_wait(work, leave=i % 2 == 0)
            outcomes[{0: "worked", 1: "raised"}.get(status, "hung or crashed")] += 1
            if errors:
                break
    finally:
        stop.set()
        if os.getpid() == parent:
            for thread in threads:
                thread.join()
            shutil.rmtree(scratch)
    if errors:
        outcomes["parent failed"] += 1
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first-use", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    run = first_use if options.first_use else forks
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        outcomes = run(options.count, options.seed)
    seconds = time.monotonic() - began
    print(f"{options.count} forks in {seconds:.0f} s, seed {options.seed}: {dict(outcomes)}")
    # a child whose parent was in the middle of an import may not be able to go on with it
    allowed = outcomes["worked"] + (outcomes["raised"] if options.first_use else 0)
    return 0 if allowed == options.count else 1


if __name__ == "__main__":
    sys.exit(main())
