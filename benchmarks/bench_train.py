"""One training step of MobileNetV2 at 224: tlcore against Keras 3 on TensorFlow and torch.

    python benchmarks/bench_train.py --tensorflow PYTHON --torch PYTHON
        [--cases all frozen-norm block13 kept] [--rounds 8] [--batch 32] [--photos FOLDER]
        [--json FILE]
    python benchmarks/bench_train.py --epochs 10 --tensorflow PYTHON [--photos FOLDER]

What trains in each case stands in peers/training.py. Everybody runs in a process and an
environment of its own, from the same weights on the same batch: plain SGD, cross-entropy over five
classes. Each peer runs twice, with malloc as it is and with the settings of common.py, without
which glibc gives large blocks back at every step. A measurement is a pair, one step of tlcore and
then one of the peer; before each, all CPUs are kept busy until they are as fast as they were
(peak.c). Ratios are tlcore's time to the peer's, medians over the pairs: less is better. Memory is
the most that the process has had, its libraries and torch's compiler with it. Differences under
5 % mean nothing.

In the case "kept", tlcore keeps the values in front of block_13_expand by itself, in fit; the peers
are given them as their users do by hand, and stand there a second time as they run without.

With --epochs, instead: so many epochs from block_13_expand on over a folder of photos, in a fresh
process each, and how often a photo passed tlcore's frozen part. --photos has one folder a class;
without it, steps are taken on noise and epochs on drawn pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import HERE, MALLOC, Peak, Process, arguments, machine, share_base

import tlcore
from tlcore.models import Model

CASES = {
    "all": "everything trains, batch norm with the batch's statistics",
    "frozen-norm": "everything but batch norm trains",
    "block13": "block_13_expand and what follows trains, the layers before run in each step",
    "kept": "the same, with what comes in front of block_13_expand kept",
}
CLASSES = 5
WARM = 3  # steps of each process that are not timed
CUT = "block_12_add"
FOREIGN = 0.1  # CPUs; more of it, taken by other programs, spoils the figures


class Trainee(Process):
    """A process that takes training steps."""

    def __init__(
        self, python: str, script: str, folder: Path, threads: int, **environment: str
    ) -> None:
        super().__init__(python, script, folder, threads, **environment)
        self.mib = 0.0
        self.wall = 0.0  # seconds of all steps, and
        self.foreign = 0.0  # CPU seconds that other processes took meanwhile

    def _facts(self, line: str) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.ask(line))
        return facts

    def warm(self) -> list[float] | str:
        """The losses of the first steps, or why it cannot take them."""
        facts = self._facts(str(WARM))
        losses: list[float] | str = facts.get("cannot") or facts["losses"]
        return losses

    def step(self) -> float:
        """The seconds of one more step."""
        busy, own, begun = busy_seconds(), busy_seconds(self._process.pid), time.perf_counter()
        facts = self._facts("1")
        self.wall += time.perf_counter() - begun
        own = busy_seconds(self._process.pid) - own
        self.foreign += max(0.0, busy_seconds() - busy - own)
        if "cannot" in facts:
            sys.exit(f"{self.name} has trained and then stopped: {facts['cannot']}")
        self.mib = facts["mib"]
        seconds: float = facts["seconds"][0]
        return seconds

    def profile(self) -> list[list[Any]] | str:
        """(name, kind, forward seconds, backward seconds) of each operation, or why not."""
        facts = self._facts("profile")
        split: list[list[Any]] | str = facts.get("cannot") or facts["profile"]
        return split


def busy_seconds(pid: int | None = None) -> float:
    """CPU seconds so far: of a process, or all that this machine was not idle."""
    if pid is None:
        # user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user already
        ticks = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
        count = sum(ticks) - ticks[3] - ticks[4]
    else:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        count = int(words[11]) + int(words[12])  # user and system
    return count / os.sysconf("SC_CLK_TCK")


@dataclass
class Rival:
    """How to start a peer."""

    name: str
    python: str
    script: str
    case: str
    tuned: bool
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, folder: Path, threads: int) -> Trainee:
        malloc = MALLOC if self.tuned else {}
        environment = {"CASE": self.case, **malloc, **self.environment}
        return Trainee(self.python, self.script, folder, threads, **environment)


@dataclass
class Pairs:
    """All pairs of one peer: seconds a step, tlcore's and the peer's."""

    peer: str
    tuned: bool
    same_case: bool  # False: the peer computes in the step what tlcore has kept
    foreign: float = 0.0  # CPUs that other programs had meanwhile
    mib: float = 0.0
    losses: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float | None:
        """tlcore's time to the peer's; None if tlcore cannot train this."""
        if not self.own:
            return None
        return median(a / b for a, b in zip(self.own, self.theirs, strict=True))


@dataclass
class Result:
    """One case."""

    case: str
    batch: int
    threads: int
    machine: str
    floor: float  # seconds a step, if it were multiply-adds at the speed of peak.c alone
    own_name: str
    own_mib: float
    own_losses: list[float]
    cannot: str | None
    pairs: list[Pairs]
    split: list[list[Any]] | str


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=8, help="pairs with each peer")
    parser.add_argument("--batch", type=int, default=32, help="pictures a step")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="one folder a class")
    parser.add_argument("--epochs", type=int, help="whole trainings instead of steps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, for a program")
    chosen = parser.parse_args()
    for name in ("rounds", "batch", "threads", "epochs"):
        number = getattr(chosen, name)
        if number is not None and number < 1:
            parser.error(f"--{name} is {number}; at least 1 is needed")

    print(machine())
    figures: list[dict[str, Any]]
    if chosen.epochs is not None:
        figures = whole_trainings(chosen)
    else:
        figures = []
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            gflop = prepare(folder, chosen.photos, chosen.batch)
            peak = Peak(folder, chosen.threads)
            peak.measure()
            for case in chosen.cases:
                result = compare(chosen, folder, case, gflop, peak)
                show(result)
                figures.append(asdict(result))
    if chosen.json:
        chosen.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


# --- one step ---------------------------------------------------------------------------------


def prepare(folder: Path, photos: Path | None, count: int) -> float:
    """Write what peers/training.py reads; the base's GFLOP for one picture, forward."""
    rng = np.random.default_rng(37)
    if photos is None:
        pictures = rng.random((count, 224, 224, 3), np.float32) * 2 - 1
    else:
        flow = flow_of(photos, count)
        first = flow[0][0]  # fewer where the folder has not so many
        pictures = first[np.arange(count) % len(first)]
    base, gflop = share_base(folder, pictures)
    arrays = zip(base.weights, base.get_weights(), strict=True)
    np.savez(folder / "weights.npz", **{variable.path: value for variable, value in arrays})
    limit = np.sqrt(6 / (1280 + CLASSES))  # Keras's glorot_uniform
    kernel = rng.uniform(-limit, limit, (1280, CLASSES)).astype(np.float32)
    np.savez(folder / "head.npz", kernel=kernel, bias=np.zeros(CLASSES, np.float32))
    np.save(folder / "pictures.npy", pictures)
    np.save(folder / "labels.npy", np.arange(count) % CLASSES)
    np.save(folder / "cut.npy", at_cut(base, pictures))
    return gflop


def flow_of(photos: Path, count: int) -> Any:
    """Batches of `count` photos in [-1, 1], in a fixed order."""
    return tlcore.preprocessing.image.ImageDataGenerator(
        preprocessing_function=tlcore.applications.mobilenet_v2.preprocess_input
    ).flow_from_directory(photos, target_size=(224, 224), batch_size=count, shuffle=True, seed=37)


def at_cut(base: Model, pictures: np.ndarray) -> np.ndarray:
    """The values in front of the layers that train in the last two cases."""
    names = [node["name"] for node in base.graph.nodes]
    return base.network.run(pictures, 0, names.index(CUT))


def rivals(chosen: argparse.Namespace, case: str) -> list[Rival]:
    """Everybody whose Python is given, with malloc as it is and set."""
    known: list[tuple[str, str, str, dict[str, str]]] = []
    if chosen.tensorflow:
        known.append(("Keras", chosen.tensorflow, "train_keras.py", {}))
    if chosen.torch:
        known.append(("torch eager", chosen.torch, "train_torch.py", {}))
        known.append(("torch compiled", chosen.torch, "train_torch.py", {"COMPILE": "1"}))
    theirs = ["kept", "block13"] if case == "kept" else [case]
    return [
        Rival(name, python, script, their, tuned, environment)
        for their in theirs
        for name, python, script, environment in known
        for tuned in (False, True)
    ]


def compare(
    chosen: argparse.Namespace, folder: Path, case: str, gflop: float, peak: Peak
) -> Result:
    """tlcore lives through the whole case, one peer after another beside it."""
    own = Trainee(sys.executable, "train_tlcore.py", folder, chosen.threads, CASE=case)
    answer = own.warm()
    cannot = answer if isinstance(answer, str) else None
    table = []
    for rival in rivals(chosen, case):
        pairs = Pairs(rival.name, rival.tuned, rival.case == case)
        peer = rival.start(folder, chosen.threads)
        losses = peer.warm()
        if isinstance(losses, str):
            sys.exit(f"{rival.name}: {losses}")
        pairs.losses = losses
        own.wall = own.foreign = 0.0
        for _ in range(chosen.rounds):
            if cannot is None:
                peak.settle()
                pairs.own.append(own.step())
            peak.settle()
            pairs.theirs.append(peer.step())
        pairs.mib = peer.mib
        pairs.foreign = (own.foreign + peer.foreign) / (own.wall + peer.wall)
        peer.close()
        peak.measure()
        table.append(pairs)
    if not table and cannot is None:  # tlcore alone
        alone = Pairs("", False, True)
        for _ in range(chosen.rounds):
            peak.settle()
            alone.own.append(own.step())
        alone.foreign = own.foreign / own.wall
        table.append(alone)
    split = cannot or own.profile()
    own.close()
    # Each multiplication of the forward pass has two more in the backward pass.
    whole = case in ("all", "frozen-norm")
    return Result(
        case,
        chosen.batch,
        chosen.threads,
        machine(),
        3 * gflop * chosen.batch / peak.gflops if whole else 0.0,
        own.name,
        own.mib,
        [] if isinstance(answer, str) else answer,
        cannot,
        table,
        split,
    )


def show(result: Result) -> None:
    """The table of a case for a reader."""
    print(f"\n{result.case}: {CASES[result.case]}; {result.batch} pictures, ", end="")
    print(
        f"{result.threads} threads" + (f", at least {result.floor:.3f} s" if result.floor else "")
    )
    print(
        f"{'':44}{'s a step: min median max':>26}{'img/s':>7}{'peak MiB':>10}"
        "  tlcore's time, memory"
    )
    own = [seconds for pairs in result.pairs for seconds in pairs.own]
    if result.cannot:
        print(f"{result.own_name} cannot: {result.cannot}")
    else:
        print(_line(result.own_name, own, result.batch, result.own_mib))
    for pairs in result.pairs:
        if not pairs.theirs:
            continue
        way = "" if pairs.same_case else ", nothing kept"
        name = f"{pairs.peer}{way}, malloc {'set' if pairs.tuned else 'as it is'}"
        line = _line(name, pairs.theirs, result.batch, pairs.mib)
        if pairs.ratio is not None:
            line += f"{pairs.ratio:11.2f}{result.own_mib / pairs.mib:11.2f}"
        print(line)
    _warn(result)
    if result.cannot or not any(pairs.theirs for pairs in result.pairs):
        _show_split(result)
        return
    for text, same in (("", True), (" that keep nothing", False)):
        for tuned in (False, True):
            ratios = [
                pairs.ratio or 0.0
                for pairs in result.pairs
                if pairs.tuned == tuned and pairs.same_case == same
            ]
            if ratios:
                how = "set" if tuned else "as it is"
                print(f"tlcore takes {max(ratios):.2f} of the best peer's time{text}, malloc {how}")
    lowest = min(pairs.mib for pairs in result.pairs)
    print(f"tlcore takes {result.own_mib / lowest:.2f} of the lowest peer's memory")
    first = [
        abs(pairs.losses[0] / result.own_losses[0] - 1)
        for pairs in result.pairs
        if pairs.losses and pairs.same_case
    ]
    print(f"the peers' first losses differ from tlcore's by at most {max(first):.1e} of it")
    _show_split(result)


def _warn(result: Result) -> None:
    worst = max((pairs.foreign for pairs in result.pairs), default=0.0)
    if worst > FOREIGN:
        print(
            f"NOT QUIET: beside a peer's steps and tlcore's, other programs had {worst:.1f} CPUs. "
            "Peers whose threads wait for each other suffer most; take the figures again."
        )


def _line(name: str, seconds: list[float], batch: int, mib: float) -> str:
    spread = f"{min(seconds):8.3f} {median(seconds):8.3f} {max(seconds):8.3f}"
    return f"{name:44}{spread:>26}{batch / median(seconds):7.0f}{mib:10.0f}"


def _show_split(result: Result) -> None:
    """Where tlcore's time goes, by kind of operation and then the ten that take most."""
    if result.cannot:
        return
    if isinstance(result.split, str):
        print(f"how the time splits over operations is not known: {result.split}")
        return
    total = sum(forward + backward for _, _, forward, backward in result.split)
    kinds: dict[str, list[float]] = {}
    for _, kind, forward, backward in result.split:
        sums = kinds.setdefault(kind, [0, 0.0, 0.0])
        for i, value in enumerate((1, forward, backward)):
            sums[i] += value
    print(f"{'operations':44}{'how many':>10}{'forward ms':>12}{'backward ms':>13}{'share':>8}")
    for kind, (count, forward, backward) in sorted(
        kinds.items(), key=lambda item: -item[1][1] - item[1][2]
    ):
        print(_split_line(kind, int(count), forward, backward, total))
    largest = sorted(result.split, key=lambda row: -row[2] - row[3])[:10]
    for name, _, forward, backward in largest:
        print(_split_line(f"  {name}", 1, forward, backward, total))


def _split_line(name: str, count: int, forward: float, backward: float, total: float) -> str:
    share = (forward + backward) / total if total else 0.0
    return f"{name:44}{count:10}{forward * 1e3:12.2f}{backward * 1e3:13.2f}{share:8.1%}"


# --- whole trainings --------------------------------------------------------------------------


def whole_trainings(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Epochs from block_13_expand on, in turn and each in a fresh process."""
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = chosen.photos
        if photos is None:
            photos = folder / "photos"
            tlcore.datasets.draw_sports(photos, counts=(90, 82, 98), seed=37)
        flow = flow_of(photos, 32)
        share_base(folder, flow[0][0])
        programs = [("tlcore", sys.executable, "finetune_tlcore.py")]
        if chosen.tensorflow:
            programs.append(("Keras", chosen.tensorflow, "finetune_keras.py"))
        for who, python, script in programs:
            given = [photos, folder / "base.h5", str(chosen.epochs), str(chosen.threads)]
            begun = time.perf_counter()
            done = subprocess.run(
                [python, HERE / "peers" / script, *given],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "OMP_NUM_THREADS": str(chosen.threads)},
            )
            spent = time.perf_counter() - begun
            facts: dict[str, Any]
            if done.returncode != 0:
                last = done.stderr.strip().rpartition("\n")[2]
                if not (who == "tlcore" and last.startswith(("ValueError:", "MemoryError:"))):
                    sys.exit(f"{script} ended:\n{done.stderr[-3000:]}")
                facts = {"cannot": last}
            else:
                facts = json.loads(done.stdout.splitlines()[-1])
            runs.append({"who": who, "process": spent, **facts})

    print(f"\n{chosen.epochs} epochs from block_13_expand on, {flow.n} photos")
    print(f"{'seconds':10}{'import':>9}{'build':>9}{'fit':>9}{'process':>9}  peak MiB  accuracy")
    for run in runs:
        if "cannot" in run:
            print(f"{run['who']:10} cannot: {run['cannot']}")
            continue
        cells = "".join(f"{run['laps'][lap]:9.2f}" for lap in ("import", "build", "fit"))
        tail = f"{run['process']:9.2f}{run['mib']:10.0f}{run['accuracy']:10.3f}"
        print(f"{run['who']:10}{cells}{tail}")
    if "passes" in runs[0]:
        passes = runs[0]["passes"]
        print(f"photos that passed tlcore's frozen part: {passes}, {passes / flow.n:g} a photo")
    if len(runs) > 1 and "laps" in runs[0]:
        ratio = runs[0]["laps"]["fit"] / runs[1]["laps"]["fit"]
        print(f"tlcore takes {ratio:.2f} of Keras's time for fit")
    return runs


if __name__ == "__main__":
    main()
