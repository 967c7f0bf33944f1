"""Pictures a second through MobileNetV2's base: tlcore against TensorFlow, LiteRT, torch and more.

    python benchmarks/bench_predict.py --tensorflow PYTHON --torch PYTHON [--others PYTHON]

Every peer runs in a process and an environment of its own, with the same weights. A measurement
is a pair, tlcore and then the peer at once after it, so that a machine that changes its speed
changes both; the last columns are medians over the pairs. Differences under 10 % mean nothing.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import MALLOC, Peak, Peer, arguments, has, machine, share_base


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--others", metavar="PYTHON", help="Python with onnxruntime and onnx, or openvino, or both"
    )
    parser.add_argument("--rounds", type=int, default=7, help="pairs for each setting")
    parser.add_argument("--images", type=int, default=96, help="for a throughput figure")
    parser.add_argument("--compile", action="store_true", help="torch.compile, too (a minute)")
    chosen = parser.parse_args()

    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = np.random.default_rng(37).random((32, 224, 224, 3), np.float32) * 2 - 1
        np.save(folder / "pictures.npy", pictures)
        _, gflop = share_base(folder, pictures)
        peak = Peak(folder, chosen.threads)

        def start(python: str, script: str, **environment: str) -> Peer:
            return Peer(python, script, folder, chosen.threads, **environment)

        own = start(sys.executable, "predict_tlcore.py")
        peers: list[Peer] = []
        if chosen.tensorflow:
            peers.append(start(chosen.tensorflow, "predict_tensorflow.py"))
            if has(chosen.tensorflow, "ai_edge_litert"):
                peers.append(start(chosen.tensorflow, "predict_litert.py"))
        if chosen.torch:
            compiled = {"COMPILE": "1"} if chosen.compile else {}
            peers.append(start(chosen.torch, "predict_torch.py", **MALLOC, **compiled))
        if chosen.others and has(chosen.others, "onnxruntime"):
            peers.append(start(chosen.others, "predict_onnxruntime.py"))
        if chosen.others and has(chosen.others, "openvino") and chosen.tensorflow:
            peers.append(start(chosen.others, "predict_openvino.py"))

        table = _measure(own, peers, chosen.rounds, chosen.images, peak)
        _show(table, own, peers, gflop, peak.gflops)
        for peer in (own, *peers):
            peer.close()


def _latency(setting: str) -> bool:
    return setting.startswith("one at a time")


def _measure(
    own: Peer, peers: list[Peer], rounds: int, images: int, peak: Peak
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(peer, setting) -> pairs (tlcore's seconds a picture, the peer's)."""
    table: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        peak.measure()
        for peer in peers:
            for setting in peer.settings:
                own_setting = own.settings[0] if _latency(setting) else own.settings[1]
                count = 32 if _latency(setting) else images
                pair = own.seconds(own_setting, count) / count, peer.seconds(setting, count) / count
                table.setdefault((peer.name, setting), []).append(pair)
    return table


def _show(
    table: dict[tuple[str, str], list[tuple[float, float]]],
    own: Peer,
    peers: list[Peer],
    gflop: float,
    peak: float,
) -> None:
    print(
        f"{gflop:.3f} GFLOP a picture; the FMA loop reaches {peak:.0f} GFLOP/s, "
        f"at most {peak / gflop:.0f} pictures/s\n"
    )
    difference = {peer.name: float(np.abs(peer.features - own.features).max()) for peer in peers}
    for title, latency in (("One picture at a time", True), ("Many pictures", False)):
        print(f"{title:62}   ms each  img/s  of peak  tlcore is faster by")
        mine = [a for key, pairs in table.items() if _latency(key[1]) == latency for a, _ in pairs]
        rows = [(own.name, statistics.median(mine), None)] if mine else []
        for (name, setting), pairs in table.items():
            if _latency(setting) == latency:
                rows.append(
                    (
                        f"{name}: {setting.removeprefix('one at a time, ')}",
                        statistics.median(b for _, b in pairs),
                        statistics.median(b / a for a, b in pairs),
                    )
                )
        for name, seconds, ratio in rows:
            share = gflop / seconds / peak
            faster = "" if ratio is None else f"{ratio:6.2f} times"
            print(f"{name:62}  {seconds * 1e3:8.2f} {1 / seconds:6.0f}  {share:6.0%}  {faster}")
        print()
    for name, worst in difference.items():
        print(f"{name}: features differ from tlcore's by at most {worst:.1e}")


if __name__ == "__main__":
    main()
