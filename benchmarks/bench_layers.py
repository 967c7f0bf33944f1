"""Each block of MobileNetV2 by each implementation, on one thread: who runs it, and how near the
machine's limits.

    python benchmarks/bench_layers.py [--write]

The blocks stand in mobilenet_v2_layers.txt. Each is run fused, step by step by tlcore's own
kernels, and by oneDNN, in turn; figures are medians. The roofline is the lower of two limits: the
FMA loop of peak.c, and what the block must at least move (source, weights and result once) at the
bandwidth of the read loop from the second cache level. With --write all instruction sets of this
CPU are measured, each in a process of its own, and csrc/kernels/choices.inc is made again: the
table by which the product chooses. A difference below 3 % is a tie, which the first of the three
wins; oneDNN must win by 10 %, because its steps cannot be shared out when a single image comes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from common import HERE, Peak, machine
from drawing import draw_roofline

import tlcore
from tlcore import _core

WAYS = ("fused", "separate", "onednn")
ADVANTAGE = {"fused": 1.0, "separate": 1.03, "onednn": 1.1}  # by which a way must be faster
TABLE = HERE.parent / "csrc" / "kernels" / "choices.inc"
ISAS = {"avx512": "TL_ISA_AVX512", "avx2": "TL_ISA_AVX2", "sse41": "TL_ISA_BASELINE"}
BATCH_BYTES = 2 * 2**20  # of sources: as near as in a network, where they have just been made
SECONDS = 0.004  # of one measurement, at least


@dataclass(frozen=True)
class Block:
    """One line of mobilenet_v2_layers.txt."""

    pattern: str
    height: int
    channels: int
    middle: int
    out: int
    stride: int

    @property
    def name(self) -> str:
        """As a reader knows it."""
        widths = [self.channels, *([self.middle] if self.middle else []), self.out]
        shape = f"{self.height} x {self.height}, {'-'.join(map(str, widths))}"
        return f"{self.pattern.replace('_', ' ')} {shape}, /{self.stride}"

    @property
    def middle_height(self) -> int:
        return -(-self.height // 2) if self.pattern == "stem_block" else self.height

    @property
    def out_height(self) -> int:
        return -(-self.height // self.stride)

    @property
    def flop(self) -> float:
        pixels, inner = self.out_height**2, self.middle_height**2
        if not self.middle:
            return 2.0 * pixels * self.channels * self.out
        taps = 9 if self.pattern == "stem_block" else 1
        into = inner * taps * self.channels * self.middle
        return 2.0 * (into + pixels * 9 * self.middle + pixels * self.middle * self.out)

    @property
    def bytes(self) -> float:
        """What must at least be moved: source, weights and result once."""
        taps = 9 if self.pattern == "stem_block" else 1
        weights = self.channels * self.out
        if self.middle:
            weights = self.middle * (taps * self.channels + 9 + self.out)
        made = self.out if self.pattern == "pooled" else self.out_height**2 * self.out
        return 4.0 * (self.height**2 * self.channels + weights + made)

    def network(self) -> _core.Network:
        """The block with random weights, as small as a network's."""
        graph = _core.Graph((self.height, self.height, self.channels))

        def add(op: str, source: int, **attributes: object) -> int:
            at = graph.add(op, f"step_{len(graph)}", [source], **attributes)
            return graph.add("relu", f"relu_{at}", [at], max_value=6.0)

        at = 0
        if self.pattern == "stem_block":
            at = add(
                "conv2d",
                at,
                filters=self.middle,
                kernel_size=(3, 3),
                strides=(2, 2),
                padding="same",
            )
        elif self.pattern == "inverted_residual":
            at = add("conv2d", at, filters=self.middle, kernel_size=(1, 1))
        if self.middle:
            stride = 1 if self.pattern == "stem_block" else self.stride
            at = add(
                "depthwise_conv2d",
                at,
                kernel_size=(3, 3),
                strides=(stride, stride),
                padding="same",
            )
            at = graph.add("conv2d", "project", [at], filters=self.out, kernel_size=(1, 1))
            if self.channels == self.out and self.stride == 1:
                graph.add("add", "add", [at, 0])
        else:
            at = add("conv2d", at, filters=self.out, kernel_size=(1, 1))
        if self.pattern == "pooled":
            graph.add("global_average_pooling2d", "pool", [at])
        return _core.Network(graph, [_random_parameters(graph)])

    def rows(self, choice: str) -> list[tuple[str, int, int, int, int, int, str]]:
        """Lines of the table. Whoever runs the block's steps one by one runs its rests, too."""
        whole = (
            self.pattern.upper(),
            self.height,
            self.channels,
            self.middle,
            self.out,
            self.stride,
            choice,
        )
        if choice == "fused" or not self.middle:
            return [whole]
        stride = 1 if self.pattern == "stem_block" else self.stride
        rest = (self.middle_height, self.middle, self.middle, self.out, stride, choice)
        rows = [whole, ("SEPARABLE", *rest)]
        if choice == "onednn":
            rows.append(("POINTWISE", self.out_height, self.middle, 0, self.out, 1, choice))
        return rows


def _random_parameters(graph: _core.Graph) -> _core.Parameters:
    specs = [
        (f"{node['name']}/{spec['name']}", spec["shape"])
        for node in graph.nodes
        for spec in node["parameters"]
    ]
    parameters = _core.Parameters(specs)
    rng = np.random.default_rng(0)
    values = [
        (i, rng.uniform(-1, 1, shape) / np.sqrt(max(1, np.prod(shape[:-1]))))
        for i, (_, shape) in enumerate(specs)
    ]
    parameters.set(values)
    return parameters


def blocks() -> list[Block]:
    """All lines of the file, in order."""
    text = (HERE / "mobilenet_v2_layers.txt").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return [Block(line[0], *map(int, line[1:])) for line in lines]


def measure(block: Block, rounds: int) -> dict[str, list[float]]:
    """Seconds an image by each of WAYS, measured in turn."""
    size = 4 * block.height**2 * block.channels
    count = max(2, min(64, BATCH_BYTES // size))
    x = np.random.default_rng(0).uniform(-1, 1, (count, block.height, block.height, block.channels))
    x = x.astype(np.float32)
    networks = {}
    for way in WAYS:
        _core.choose_kernels(way)
        networks[way] = block.network()
        networks[way].run(x)  # its kernels are made now
    _core.choose_kernels("table")
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, network in networks.items():
            calls, begun = 0, time.perf_counter()
            while (spent := time.perf_counter() - begun) < SECONDS:
                network.run(x)
                calls += 1
            taken[way].append(spent / calls / count)
    return taken


def winner(taken: dict[str, list[float]]) -> str:
    """The fastest way, if it is faster by as much as it must be."""
    return min(WAYS, key=lambda way: statistics.median(taken[way]) * ADVANTAGE[way])


def show(results: list[tuple[Block, dict[str, list[float]]]], peak: Peak) -> None:
    """The table for a reader: speed, share of the peak, share of the roofline."""
    print(
        f"One thread: the FMA loop reaches {peak.gflops:.0f} GFLOP/s, the read loop "
        f"{peak.cache_gbs:.0f} GB/s from the second cache level.\n"
    )
    head = f"{'block':41} {'GFLOP/s by ' + ', '.join(WAYS):>34}  {'of peak':>7} {'of roof':>7}"
    print(head + "  runs it")
    total = dict.fromkeys((*WAYS, "chosen"), 0.0)
    for block, taken in results:
        chosen = winner(taken)
        rates = {way: block.flop / statistics.median(taken[way]) / 1e9 for way in WAYS}
        for way in WAYS:
            total[way] += statistics.median(taken[way])
        total["chosen"] += statistics.median(taken[chosen])
        roof = min(peak.gflops, block.flop / block.bytes * peak.cache_gbs)
        name = (
            f"{block.pattern:17} {block.height:3} {block.channels:4}"
            f" {block.middle or '':>4} {block.out:4} /{block.stride}"
        )
        columns = " ".join(f"{rates[way]:10.0f}" for way in WAYS)
        shares = f"{rates[chosen] / peak.gflops:7.0%} {rates[chosen] / roof:7.0%}"
        print(f"{name:41} {columns:>34}  {shares}  {chosen}")
    sums = ", ".join(f"{way} {seconds * 1e6:.0f}" for way, seconds in total.items())
    print(f"\nAll of them, each once, in microseconds: {sums}")


def picture(results: list[tuple[Block, dict[str, list[float]]]], peak: Peak) -> str:
    """Every block by whoever runs it, below what the machine allows."""
    points = [
        (
            block.name,
            block.flop / block.bytes,
            block.flop / statistics.median(taken[winner(taken)]) / 1e9,
        )
        for block, taken in results
    ]
    note = (
        f"{machine().split(',')[0]}, {tlcore._core.config()['used_isa']}, float32. "
        "Per cent: of the lower limit; bytes: source, weights and result, once."
    )
    bandwidths = {"second cache level": peak.cache_gbs, "memory": peak.memory_gbs}
    return draw_roofline(points, peak.gflops, bandwidths, note)


def write(measured: dict[str, list[tuple[Block, dict[str, list[float]]]]]) -> None:
    """Make choices.inc again."""
    lines = [
        "/* Made by benchmarks/bench_layers.py --write from benchmarks/mobilenet_v2_layers.txt:",
        " * instruction set, pattern, height, in, middle, out, stride, who runs it. */",
    ]
    for isa, results in measured.items():
        known: dict[tuple[object, ...], str] = {}
        for block, taken in results:
            for *key, choice in block.rows(winner(taken)):
                known.setdefault(tuple(key), choice)
        for (pattern, *numbers), choice in known.items():
            shape = ", ".join(map(str, numbers))
            lines.append(
                f"{{{ISAS[isa]}, TL_PATTERN_{pattern}, {shape}, TL_CHOICE_{choice.upper()}}},"
            )
    half_done = TABLE.with_suffix(".part")
    half_done.write_text("\n".join([*lines, ""]), encoding="utf-8")
    half_done.replace(TABLE)
    print(f"{TABLE.name} is written; build again.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of each implementation")
    parser.add_argument("--write", action="store_true", help="make the table of choices again")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, for a program")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="the roofline as an SVG")
    chosen = parser.parse_args()

    if chosen.write:
        measured = {}
        has = list(ISAS)[list(ISAS).index(_core.config()["cpu_isa"]) :]
        with tempfile.TemporaryDirectory() as name:
            for isa in has:
                target = Path(name, f"{isa}.json")
                command = [sys.executable, __file__, "--json", str(target)]
                command += ["--rounds", str(chosen.rounds)]
                subprocess.run(command, check=True, env={**os.environ, "TLCORE_MAX_CPU_ISA": isa})
                found = json.loads(target.read_text(encoding="utf-8"))
                measured[isa] = [(Block(**one["block"]), one["seconds"]) for one in found]
        write(measured)
        return
    tlcore.set_num_threads(1)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        peak = Peak(Path(name), 1)
        peak.measure()
        results = [(block, measure(block, chosen.rounds)) for block in blocks()]
        peak.measure()
    show(results, peak)
    if chosen.json:
        found = [{"block": asdict(block), "seconds": taken} for block, taken in results]
        chosen.json.write_text(json.dumps(found), encoding="utf-8")
    if chosen.picture:
        chosen.picture.write_text(picture(results, peak), encoding="utf-8")


if __name__ == "__main__":
    main()
