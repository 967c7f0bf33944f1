"""Campaigns of hostile files: thousands are made, each is opened in a child and judged.

A campaign is a script beside this file:

    import campaign

    def prepare() -> None: ...
        # In the child, once: import all that a trial will need.
    def trial(path: Path) -> str: ...
        # In the child, per file: a word for what became of it ("opened", "refused"). Every
        # exception that leaves it is a finding.
    def make(random: Random) -> tuple[bytes, str]: ...
        # In the parent: a file, and what was done to it. If the words begin with an ending and a
        # blank (".png flips"), the file gets that ending.

    if __name__ == "__main__":
        raise SystemExit(campaign.main(__file__, make, suffix=".h5"))

    python tests/fuzz/mutate_h5.py --count 10000 --seed 1      try files 0 ... 9999 of seed 1
    python tests/fuzz/mutate_h5.py --only 4711 --seed 1        try one and print what becomes of it

File i of a seed is always the same. Exit code 1 if there are findings; their files stay in --keep.
A finding is a file which
  - makes `trial` raise, or warn (warnings are errors in the child),
  - ends the child (a crash), or keeps it for `wall_seconds`,
  - takes more CPU time than `cpu_seconds`, all threads together, twice in a row,
  - makes the child larger than `memory` (resident), or ask for more than that beyond what it had,
  - makes it touch another file, the network or a process, as Python's audit events tell
    (what a C library opens by itself they do not: for that, --strace).

`damaged` is the usual maker of bytes for any format. A worker tries many files, one after the
other, and answers after each, so that whatever happens is known to belong to one file.
tests/fuzz/test_campaigns.py tries a sample of every mutate_*.py that lies beside this file.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib.util
import io
import itertools
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

Make = Callable[[Random], "tuple[bytes, str]"]


@dataclass(frozen=True)
class Limits:
    """What one file may cost."""

    cpu_seconds: float = 1.0
    memory: int = 1 << 30
    wall_seconds: float = 60.0


@dataclass(frozen=True)
class Finding:
    """A file that did what none may do."""

    number: int
    verdict: str  # "wrong", "crash", "hang", "slow", "large" or "touched"
    detail: str
    change: str
    path: Path


@dataclass
class Report:
    """What a campaign has seen."""

    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)  # CPU seconds, number
    largest: tuple[int, int] = (0, 0)  # resident bytes, number
    seconds: float = 0.0

    def __str__(self) -> str:
        tried = sum(self.outcomes.values())
        outcomes = ", ".join(f"{n:,} {word}" for word, n in sorted(self.outcomes.items()))
        return (
            f"{tried:,} files in {self.seconds:.0f} s: {outcomes}; "
            f"slowest {self.slowest[0]:.2f} s of CPU (file {self.slowest[1]}), "
            f"largest {self.largest[0] / 2**20:.0f} MiB (file {self.largest[1]}); "
            f"{len(self.findings)} findings"
        )


# --- damage ---------------------------------------------------------------------------------------


_EDGES = [0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 1 << 20, 0x7FFFFFFF, 0xFFFFFFFF]
_EDGES += [1 << 40, (1 << 63) - 1, (1 << 64) - 1]


def damaged(
    random: Random,
    content: bytes,
    others: Sequence[bytes] = (),
    places: Sequence[int] = (),
    spare: int = 0,
) -> tuple[bytes, str]:
    """`content` with one to four damages of different kinds, and a few words that name them.

    Args:
        others: further files, of which pieces may be put in.
        places: offsets where the format keeps numbers or marks; half of the edits hit one.
        spare: how many bytes at the beginning most damages leave alone, for formats whose readers
            look at nothing if those are wrong.
    """
    data = bytearray(content)
    changes = []
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        kind = random.choice(_KINDS)
        start = 0 if random.random() < 0.05 else min(spare, max(len(data) - 1, 0))
        if len(data) - start < 16:
            break
        kind(random, data, others, [p for p in places if start <= p < len(data) - 8], start)
        changes.append(kind.__name__.strip("_"))
    return bytes(data), "+".join(changes)


def _place(random: Random, data: bytearray, places: Sequence[int], start: int) -> int:
    if places and random.random() < 0.5:
        return min(random.choice(places) + random.randrange(-4, 9), len(data) - 9) % len(data)
    return random.randrange(start, len(data))


def _flips(
    random: Random, data: bytearray, others: object, places: Sequence[int], start: int
) -> None:
    for _ in range(random.choice((1, 1, 2, 4, 16, 64))):
        data[_place(random, data, places, start)] ^= 1 << random.randrange(8)


def _bytes(
    random: Random, data: bytearray, others: object, places: Sequence[int], start: int
) -> None:
    for _ in range(random.choice((1, 1, 2, 8))):
        data[_place(random, data, places, start)] = random.choice(
            (0, 1, 255, random.randrange(256))
        )


def _integer(
    random: Random, data: bytearray, others: object, places: Sequence[int], start: int
) -> None:
    """An integer of 1 to 8 bytes becomes an extreme one, or a little more or less than it was."""
    width = random.choice((1, 2, 4, 8))
    order: Any = random.choice(("little", "little", "big"))
    at = max(min(_place(random, data, places, start), len(data) - width), 0)
    if random.random() < 0.4:
        at -= at % width
    value = int.from_bytes(data[at : at + width], order)
    value = random.choice(
        (*_EDGES, value + 1, value - 1, value * 2, value // 2, -value, len(data), at, at + 8)
    )
    data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)


def _truncation(
    random: Random, data: bytearray, others: object, places: Sequence[int], start: int
) -> None:
    del data[max(_place(random, data, places, start), start + 1) :]


def _extension(
    random: Random, data: bytearray, others: object, places: Sequence[int], start: int
) -> None:
    data += random.randbytes(random.choice((1, 100, 5000)))


def _removal(
    random: Random, data: bytearray, others: object, places: Sequence[int], start: int
) -> None:
    at = _place(random, data, places, start)
    del data[at : at + random.choice((1, 4, 8, 64, 1000))]


def _insertion(
    random: Random, data: bytearray, others: object, places: Sequence[int], start: int
) -> None:
    at = _place(random, data, places, start)
    data[at:at] = random.randbytes(random.choice((1, 4, 8, 64)))


def _zeros(
    random: Random, data: bytearray, others: object, places: Sequence[int], start: int
) -> None:
    at = _place(random, data, places, start)
    size = min(random.choice((4, 8, 32, 512, 4096)), len(data) - at)
    data[at : at + size] = bytes([random.choice((0, 255))]) * size


def _swap(
    random: Random, data: bytearray, others: object, places: Sequence[int], start: int
) -> None:
    """Two blocks change places."""
    size = min(random.choice((4, 8, 40, 512, 2048)), (len(data) - start) // 2)
    first = min(_place(random, data, places, start), len(data) - size)
    second = min(_place(random, data, places, start), len(data) - size)
    if abs(first - second) >= size:
        one, other = data[first : first + size], data[second : second + size]
        data[first : first + size], data[second : second + size] = other, one


def _copy(
    random: Random, data: bytearray, others: object, places: Sequence[int], start: int
) -> None:
    """A block also stands where another stood: loops, and things of the wrong kind."""
    size = min(random.choice((4, 8, 8, 16, 40, 512)), len(data) - start)
    source = min(_place(random, data, places, start), len(data) - size)
    target = min(_place(random, data, places, start), len(data) - size)
    data[target : target + size] = data[source : source + size]


def _splice(
    random: Random, data: bytearray, others: Sequence[bytes], places: Sequence[int], start: int
) -> None:
    """A piece of another file, most often at the same offset."""
    if not others:
        return _copy(random, data, others, places, start)
    other = random.choice(others)
    at = _place(random, data, places, start)
    source = at if random.random() < 0.7 else random.randrange(len(other))
    piece = other[source : source + random.choice((8, 100, 1000, len(other)))]
    data[at : at + len(piece)] = piece
    return None


_KINDS = (
    _flips,
    _flips,
    _bytes,
    _integer,
    _integer,
    _integer,
    _truncation,
    _extension,
    _removal,
    _insertion,
    _zeros,
    _swap,
    _copy,
    _splice,
)


# --- the child ------------------------------------------------------------------------------------


def _load(script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("campaign_under_trial", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class _Watch:
    """Notes every audit event that reaches outside the one file under trial."""

    REACHING = ("os.", "socket.", "shutil.", "subprocess.", "tempfile.", "urllib.", "pty.")
    HARMLESS = ("os.fspath", "os.putenv", "os.unsetenv")

    def __init__(self) -> None:
        self.target: str | None = None  # None: not watching
        self.touched: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.target is None or len(self.touched) > 20:
            return
        if event == "open":
            path = args[0]
            if isinstance(path, int) or os.path.abspath(os.fsdecode(path)) == self.target:
                return
        elif event in ("ctypes.dlopen", "exec.file", "pickle.find_class", "code.__new__"):
            pass
        elif not event.startswith(self.REACHING) or event in self.HARMLESS:
            return
        self.touched.append(f"{event}{args!r:.300}")


def _resident_peak() -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def _forget_peak() -> None:
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def _virtual_size() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _serve(script: str, limits: Limits) -> None:
    """Read paths from stdin, try each, answer with a line of JSON."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module = _load(script)
    module.prepare()
    warnings.simplefilter("error")
    watch = _Watch()
    ceiling = _virtual_size() + limits.memory
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        answer = _judged(module.trial, path, limits, watch)
        if answer["verdict"] == "slow":  # once more: the machine may have been at fault
            answer = _judged(module.trial, path, limits, watch)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _judged(
    trial: Callable[[Path], str], path: Path, limits: Limits, watch: _Watch
) -> dict[str, Any]:
    _forget_peak()
    signal.setitimer(signal.ITIMER_PROF, 20 * limits.cpu_seconds)  # then SIGPROF ends the child
    watch.touched = []
    watch.target = os.path.abspath(path)
    start = time.process_time()
    verdict, detail = "wrong", ""
    try:
        outcome = trial(path)
        verdict = "fine"
    except BaseException:
        cpu = time.process_time() - start
        watch.target = None
        detail = outcome = traceback.format_exc()
    else:
        cpu = time.process_time() - start
        watch.target = None
    signal.setitimer(signal.ITIMER_PROF, 0)
    peak = _resident_peak()
    if watch.touched:
        verdict, detail = "touched", "; ".join(watch.touched)
    elif verdict == "fine" and cpu > limits.cpu_seconds:
        verdict, detail = "slow", f"{cpu:.2f} s of CPU"
    elif verdict == "fine" and peak > limits.memory:
        verdict, detail = "large", f"{peak >> 20} MiB"
    return {"verdict": verdict, "outcome": outcome, "detail": detail, "cpu": cpu, "peak": peak}


@contextmanager
def scratch_file(name: str, content: bytes) -> Iterator[Path]:
    """A file for a moment, for `prepare`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        yield path


# --- the parent -----------------------------------------------------------------------------------


class Worker:
    """A child that tries files, started again when one has ended it."""

    def __init__(
        self, script: str, limits: Limits | None = None, prefix: Sequence[str] = ()
    ) -> None:
        self._script = script
        self._limits = limits or Limits()
        self._prefix = list(prefix)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()
        self._errors.close()

    def tried(self, path: Path) -> dict[str, Any]:
        """{"verdict", "outcome", "detail", "cpu", "peak"} of one file; "fine" is no finding."""
        child = self._child or self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(f"{path}\n".encode())
            child.stdin.flush()
            ready, _, _ = select.select([child.stdout], [], [], self._limits.wall_seconds)
            line = child.stdout.readline() if ready else b""
        except BrokenPipeError:
            ready, line = [child.stdout], b""
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        if not ready:
            self._end()
            return _ended("hang", f"no answer in {self._limits.wall_seconds} s", self._said())
        code = child.wait()
        self._end()
        if code == -signal.SIGPROF:
            return _ended("hang", f"{20 * self._limits.cpu_seconds} s of CPU", self._said())
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return _ended("crash", name, self._said())

    def _start(self) -> subprocess.Popen[bytes]:
        command = [*self._prefix, sys.executable, __file__, "--serve", self._script]
        command += [f"{self._limits.cpu_seconds}", f"{self._limits.memory}"]
        self._errors.seek(0)
        self._errors.truncate()
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )
        assert self._child.stdout is not None
        if self._child.stdout.readline() != b"ready\n":
            self._end()
            raise RuntimeError(f"the child of {self._script} did not start:\n{self._said()}")
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _said(self) -> str:
        size = self._errors.seek(0, io.SEEK_END)
        self._errors.seek(max(size - 2000, 0))
        return self._errors.read().decode(errors="replace")


def _ended(verdict: str, detail: str, said: str) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "outcome": verdict,
        "detail": f"{detail}\n{said}",
        "cpu": 0,
        "peak": 0,
    }


def run(
    script: str,
    make: Make,
    numbers: Iterable[int],
    seed: int,
    keep: Path,
    suffix: str,
    workers: int | None = None,
    limits: Limits | None = None,
    prefix: Sequence[str] = (),
) -> Report:
    """Make and try the files with these numbers; findings are printed and kept in `keep`.

    Args:
        script: the campaign's file, which has `prepare` and `trial`.
        make: what gives file i from `Random(f"{seed}/{i}")`.
        suffix: of the files' names, where `make` does not say another.
        workers: how many children; as many as there are CPUs by default.
        prefix: a command before the children's, such as strace.
    """
    report = Report()
    lock = threading.Lock()
    queue = iter(numbers)
    failures: list[BaseException] = []
    start = time.monotonic()

    def work(folder: Path) -> None:
        with Worker(script, limits, prefix) as worker:
            while not failures:
                with lock:
                    number = next(queue, None)
                if number is None:
                    return
                content, change = make(Random(f"{seed}/{number}"))
                own = change.split(" ")[0] if change.startswith(".") else suffix
                path = folder / f"{number}{own}"
                path.write_bytes(content)
                answer = worker.tried(path)
                with lock:
                    _enter(report, number, answer, change, path, keep)
                path.unlink(missing_ok=True)

    def guarded(folder: Path) -> None:
        try:
            work(folder)
        except BaseException as err:  # reaches the caller, not the thread's end
            failures.append(err)

    with tempfile.TemporaryDirectory() as scratch:
        threads = []
        for i in range(workers or len(os.sched_getaffinity(0))):
            folder = Path(scratch) / str(i)
            folder.mkdir()
            threads.append(threading.Thread(target=guarded, args=(folder,)))
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException as err:
            failures.append(err)
            for thread in threads:
                thread.join()
    if failures:
        raise failures[0]
    report.findings.sort(key=lambda finding: finding.number)
    report.seconds = time.monotonic() - start
    return report


def _enter(
    report: Report, number: int, answer: dict[str, Any], change: str, path: Path, keep: Path
) -> None:
    verdict = answer["verdict"]
    report.outcomes[answer["outcome"] if verdict == "fine" else verdict] += 1
    report.slowest = max(report.slowest, (answer["cpu"], number))
    report.largest = max(report.largest, (answer["peak"], number))
    if verdict == "fine":
        return
    keep.mkdir(parents=True, exist_ok=True)
    kept = keep / path.name
    kept.write_bytes(path.read_bytes())
    report.findings.append(Finding(number, verdict, answer["detail"], change, kept))
    print(f"{verdict}: file {number} ({change}), kept as {kept}\n{answer['detail']}", flush=True)


def main(script: str, make: Make, suffix: str, limits: Limits | None = None) -> int:
    """The command line of a campaign; returns the exit code."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many files (1000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file (0)")
    parser.add_argument("--only", type=int, help="one file alone, by its number")
    parser.add_argument("--file", type=Path, help="a file that is there already, alone")
    parser.add_argument("--seed", type=int, default=0, help="of the random choices (0)")
    parser.add_argument("--workers", type=int, help="children at a time (one for each CPU)")
    parser.add_argument("--keep", type=Path, help="folder for files that are findings")
    parser.add_argument("--strace", type=Path, help="write the system calls that open to this file")
    chosen = parser.parse_args()
    keep = chosen.keep or Path(tempfile.gettempdir()) / f"{Path(script).stem}-findings"
    prefix = []
    if chosen.strace:
        prefix = ["strace", "-f", "-qq", "-e", "trace=%file,network", "-o", str(chosen.strace)]
        limits = Limits(cpu_seconds=30)
    if chosen.file or chosen.only is not None:
        with tempfile.TemporaryDirectory() as scratch, Worker(script, limits, prefix) as worker:
            path = chosen.file
            if path is None:
                content, change = make(Random(f"{chosen.seed}/{chosen.only}"))
                own = change.split(" ")[0] if change.startswith(".") else suffix
                path = Path(scratch) / f"{chosen.only}{own}"
                path.write_bytes(content)
                keep.mkdir(parents=True, exist_ok=True)
                (keep / path.name).write_bytes(content)
                print(f"{change}, kept as {keep / path.name}")
            answer = worker.tried(path)
            print(*(f"{key}: {value}" for key, value in answer.items()), sep="\n")
            return int(answer["verdict"] != "fine")
    numbers = itertools.islice(itertools.count(chosen.first), chosen.count)
    report = run(script, make, numbers, chosen.seed, keep, suffix, chosen.workers, limits, prefix)
    print(report)
    return int(bool(report.findings))


if __name__ == "__main__":
    assert sys.argv[1] == "--serve"
    sys.path.insert(0, str(Path(__file__).parent))
    _serve(sys.argv[2], Limits(cpu_seconds=float(sys.argv[3]), memory=int(sys.argv[4])))
