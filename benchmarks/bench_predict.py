"""Pictures a second through MobileNetV2's base: tlcore against TensorFlow, LiteRT, torch and more.

    python benchmarks/bench_predict.py --tensorflow PYTHON --torch PYTHON [--others PYTHON]
        [--alpha 1.0 0.35] [--isa avx2] [--json FILE] [--picture FILE]

Every peer runs in a process and an environment of its own, with the same weights and pictures. A
measurement is a pair, tlcore and then the peer at once after it, so that a machine that changes
its speed changes both. Before each all CPUs are kept busy with multiplications until they are as
fast as they were at the start: what the one before left running comes to rest meanwhile. Between
the rounds the machine's limits are taken anew (peak.c). The last column is the median over the
pairs. Differences under 5 % mean nothing.

--isa avx2 holds tlcore, and those peers that can be held, to AVX2; the others are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from common import MALLOC, Peak, Peer, arguments, has, machine, share_base
from drawing import draw_bars

# What holds a peer's own oneDNN to AVX2; LiteRT's kernels cannot be held.
HELD = {"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


@dataclass
class Pairs:
    """All pairs of one peer in one setting: seconds a picture, tlcore's and the peer's."""

    peer: str
    setting: str
    latency: bool
    own: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """How many times as fast tlcore is."""
        return median(b / a for a, b in zip(self.own, self.theirs, strict=True))


@dataclass
class Result:
    """One run: a network, an instruction set, all peers."""

    alpha: float
    isa: str
    gflop: float
    peak_gflops: float
    cache_gbs: float
    memory_gbs: float
    machine: str
    pairs: list[Pairs]
    differences: dict[str, float]
    own_name: str


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--others", metavar="PYTHON", help="Python with onnxruntime and onnx, or openvino, or both"
    )
    parser.add_argument("--alpha", type=float, nargs="+", default=[1.0], help="width multipliers")
    parser.add_argument("--isa", choices=["avx512", "avx2"], help="hold everybody to it")
    parser.add_argument("--rounds", type=int, default=9, help="pairs for each setting")
    parser.add_argument("--images", type=int, default=192, help="for a throughput figure")
    parser.add_argument("--compile", action="store_true", help="torch.compile, too (a minute)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, for a program")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="the figures as an SVG")
    chosen = parser.parse_args()
    if chosen.isa and os.environ.get("TLCORE_MAX_CPU_ISA") != chosen.isa:
        # tlcore reads its limit when it is imported, and this process has done so.
        environment = {**os.environ, "TLCORE_MAX_CPU_ISA": chosen.isa}
        sys.exit(
            subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode
        )

    print(machine())
    results = []
    for alpha in chosen.alpha:
        results.append(compare(chosen, alpha))
        show(results[-1])
    if chosen.json:
        whole = [asdict(result) for result in results]
        chosen.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    if chosen.picture:
        chosen.picture.write_text(picture(results), encoding="utf-8")


def compare(chosen: argparse.Namespace, alpha: float) -> Result:
    """Measure everybody on the base of this width."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = np.random.default_rng(37).random((32, 224, 224, 3), np.float32) * 2 - 1
        np.save(folder / "pictures.npy", pictures)
        _, gflop = share_base(folder, pictures, alpha)
        peak = Peak(folder, chosen.threads)
        own, *peers = start_peers(chosen, folder)
        pairs = measure(own, peers, chosen.rounds, chosen.images, peak)
        different = {peer.name: float(np.abs(peer.features - own.features).max()) for peer in peers}
        for peer in (own, *peers):
            peer.close()
        return Result(
            alpha,
            chosen.isa or "all",
            gflop,
            peak.gflops,
            peak.cache_gbs,
            peak.memory_gbs,
            machine(),
            pairs,
            different,
            own.name,
        )


def start_peers(chosen: argparse.Namespace, folder: Path) -> list[Peer]:
    """tlcore first, then whoever is installed."""
    held = HELD if chosen.isa == "avx2" else {}

    def start(python: str, script: str, **environment: str) -> Peer:
        return Peer(python, script, folder, chosen.threads, **{**held, **environment})

    peers = [start(sys.executable, "predict_tlcore.py")]
    if chosen.tensorflow:  # it writes the file that LiteRT and OpenVINO read
        peers.append(start(chosen.tensorflow, "predict_tensorflow.py"))
        if held:
            peers.pop().close()
        elif has(chosen.tensorflow, "ai_edge_litert"):
            peers.append(start(chosen.tensorflow, "predict_litert.py"))
    if chosen.torch:
        compiled = {"COMPILE": "1"} if chosen.compile else {}
        peers.append(start(chosen.torch, "predict_torch.py", **MALLOC, **compiled))
    if chosen.others and has(chosen.others, "onnxruntime") and not held:
        peers.append(start(chosen.others, "predict_onnxruntime.py"))
    if chosen.others and has(chosen.others, "openvino") and chosen.tensorflow:
        peers.append(start(chosen.others, "predict_openvino.py"))
    return peers


def measure(own: Peer, peers: list[Peer], rounds: int, images: int, peak: Peak) -> list[Pairs]:
    """Round after round: the machine's limits, then each peer's settings in pairs with tlcore."""
    table: dict[tuple[str, str], Pairs] = {}
    single, many = own.settings[:2]
    # tlcore's other settings, such as bytes, stand beside its first two as a peer would.
    rivals = [(peer, setting) for peer in peers for setting in peer.settings]
    rivals += [(own, setting) for setting in own.settings[2:]]
    for _ in range(rounds):
        peak.measure()
        for peer, setting in rivals:
            latency = setting.startswith("one at a time")
            count = 32 if latency else images
            row = table.setdefault((peer.name, setting), Pairs(peer.name, setting, latency))
            peak.settle()
            row.own.append(own.seconds(single if latency else many, count) / count)
            peak.settle()
            row.theirs.append(peer.seconds(setting, count) / count)
    return list(table.values())


def show(result: Result) -> None:
    """The tables for a reader."""
    print(
        f"\nMobileNetV2 {result.alpha} at 224 without top: {result.gflop:.3f} GFLOP a picture. The "
        f"FMA loop reaches {result.peak_gflops:.0f} GFLOP/s, at most "
        f"{result.peak_gflops / result.gflop:.0f} pictures/s; reading reaches "
        f"{result.cache_gbs:.0f} GB/s from the second cache level and {result.memory_gbs:.0f} from "
        "memory.\n"
    )
    for title, latency in (("One picture at a time", True), ("Many pictures", False)):
        rows = [row for row in result.pairs if row.latency == latency]
        own = [seconds for row in rows for seconds in row.own]
        print(f"{title:60} {'ms each: min median max':>25}  img/s of peak  tlcore is faster by")
        lines: list[tuple[str, list[float], float | None]] = [(result.own_name, own, None)]
        lines += [
            (f"{row.peer}: {row.setting.removeprefix('one at a time, ')}", row.theirs, row.ratio)
            for row in rows
        ]
        for name, times, ratio in lines if rows else ():
            middle = median(times)
            share = result.gflop / middle / result.peak_gflops
            faster = "" if ratio is None else f"{ratio:6.2f} times"
            spread = f"{min(times) * 1e3:8.2f} {middle * 1e3:7.2f} {max(times) * 1e3:7.2f}"
            print(f"{name:60} {spread:>25}  {1 / middle:5.0f} {share:7.0%}  {faster}")
        print()
    for name, worst in result.differences.items():
        print(f"{name}: features differ from tlcore's by at most {worst:.1e}")


def picture(results: list[Result]) -> str:
    """The medians as bars."""
    charts = []
    for result in results:
        for latency, unit in ((False, "pictures a second"), (True, "ms for one picture")):
            rows = [row for row in result.pairs if row.latency == latency]
            if not rows:
                continue

            def value(times: list[float], latency: bool = latency) -> float:
                return median(times) * 1e3 if latency else 1 / median(times)

            own = [seconds for row in rows for seconds in row.own]
            bars = [(result.own_name, value(own), True)]
            for row in rows:
                setting = row.setting.removeprefix("one at a time, ")
                ours = row.peer == result.own_name
                bars.append((f"{row.peer}, {setting}", value(row.theirs), ours))
            held = "" if result.isa == "all" else f", held to {result.isa.upper()}"
            better = "less is better" if latency else "more is better"
            title = f"MobileNetV2 {result.alpha}, 224 x 224{held}: {unit} ({better})"
            limit = None if latency else result.peak_gflops / result.gflop
            charts.append((title, bars, limit))
    note = f"{results[0].machine.split(',')[0]}, {len(os.sched_getaffinity(0))} CPUs, float32"
    return draw_bars(charts, note)


if __name__ == "__main__":
    main()
