"""What the benchmarks need: a base to share with the peers, their processes, the CPU's limit."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import tlcore
from tlcore.demo import base_model
from tlcore.models import Model

HERE = Path(__file__).parent

# Without these glibc gives large blocks back at every step, which costs torch half its speed.
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "268435456",
}


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options of benchmarks with peers; a peer whose Python is not given is left out."""
    parser = argparse.ArgumentParser(description=description)
    for peer in ("tensorflow", "torch"):
        parser.add_argument(
            f"--{peer}",
            metavar="PYTHON",
            default=os.environ.get(f"{peer.upper()}_PYTHON"),
            help=f"Python of an environment with {peer}; ${peer.upper()}_PYTHON",
        )
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="for every peer"
    )
    return parser


def share_base(folder: Path, pictures: np.ndarray, alpha: float = 1.0) -> tuple[Model, float]:
    """Write the base for the peers into `folder`; the base and its GFLOP for one picture."""
    base, origin = base_model(pictures, alpha)
    print(f"MobileNetV2 {alpha} at 224 without top: {origin}")
    (folder / "alpha.txt").write_text(str(alpha), encoding="utf-8")
    base.save_weights(folder / "base.h5")
    steps, arrays, flop = base.network.lowered(), {}, 0.0
    for i, step in enumerate(steps):
        height, width, channels = step["output_shape"]
        kernel = step.pop("kernel")
        bias = step.pop("bias")
        if kernel is not None and bias is not None:
            arrays[f"kernel{i}"], arrays[f"bias{i}"] = kernel, bias
            taps = kernel.size / (channels if step["op"] == "conv2d" else kernel.shape[2])
            flop += 2.0 * height * width * channels * taps
    (folder / "network.json").write_text(json.dumps(steps), encoding="utf-8")
    np.savez(folder / "network.npz", **arrays)
    return base, flop / 1e9


class Peak:
    """The machine's limits, by the assembly loops of peak.c, compiled here and now."""

    def __init__(self, folder: Path, threads: int) -> None:
        program = str(folder / "peak")
        used = "avx512" if tlcore._core.config()["used_isa"] == "avx512" else "avx2"
        self._command = [program, str(threads), used]
        self.rates: list[tuple[float, float, float]] = []
        subprocess.run(["cc", "-O2", "-pthread", "-o", program, str(HERE / "peak.c")], check=True)

    def measure(self) -> None:
        """Take the figures once more; machines speed up and slow down."""
        done = subprocess.run(self._command, check=True, capture_output=True, text=True)
        fma, cache, memory = map(float, done.stdout.split())
        self.rates.append((fma, cache, memory))

    def settle(self) -> None:
        """Keep all CPUs busy until they are as fast as they were; see peak.c."""
        subprocess.run([*self._command, str(self.gflops)], check=True, stdout=subprocess.DEVNULL)

    @property
    def gflops(self) -> float:
        """Multiply-adds of all threads, two FLOP each."""
        return max(rate[0] for rate in self.rates)

    @property
    def cache_gbs(self) -> float:
        """Reading from the second cache level."""
        return max(rate[1] for rate in self.rates)

    @property
    def memory_gbs(self) -> float:
        """Reading from memory."""
        return max(rate[2] for rate in self.rates)


class Process:
    """A program under peers/ that answers lines; see peers/protocol.py."""

    def __init__(
        self, python: str, script: str, folder: Path, threads: int, **environment: str
    ) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            [python, str(HERE / "peers" / script), str(folder), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), **environment},
        )
        self.hello: dict[str, Any] = json.loads(self._answer())
        self.name: str = self.hello["name"]

    def ask(self, line: str) -> str:
        """Its answer to this line; ends the benchmark with its last words if it has ended."""
        assert self._process.stdin is not None
        # What a process that has ended does not read, its log explains.
        with contextlib.suppress(BrokenPipeError):
            print(line, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            sys.exit(f"{self._process.args!r} ended:\n{self._log.read()[-3000:]}")
        return line

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Peer(Process):
    """A process that carries pictures through the base."""

    def __init__(
        self, python: str, script: str, folder: Path, threads: int, **environment: str
    ) -> None:
        super().__init__(python, script, folder, threads, **environment)
        self.settings: list[str] = self.hello["settings"]
        self.features = np.load(folder / f"{self.name}.npy")

    def seconds(self, setting: str, images: int) -> float:
        """How long this many pictures take in one setting."""
        return float(self.ask(f"{setting} {images}"))


def has(python: str, module: str) -> bool:
    """Whether that Python has the module."""
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", found], check=False).returncode == 0


def machine() -> str:
    """One line about where the figures were taken."""
    name = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        "an unknown CPU",
    )
    return f"{name}, {len(os.sched_getaffinity(0))} CPUs, {tlcore._core.config()}"
