"""The blog's program, each time in a fresh process: tlcore against Keras 3 and torch.

    python benchmarks/bench_fit.py --tensorflow PYTHON --torch PYTHON [--photos FOLDER]

Everybody imports, builds, reads the photos, trains the head for ten epochs on the frozen base,
saves .h5 and converts to .tflite; torch takes the features once, as its users do by hand, and
neither saves nor converts. Without --photos, drawn pictures are used. Measurements alternate.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import HERE, MALLOC, arguments, machine, share_base

import tlcore


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--photos", type=Path, help="one folder a class; as many classes as you like"
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, with seeds 0, 1, ...")
    chosen = parser.parse_args()

    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = chosen.photos
        if photos is None:
            photos = folder / "photos"
            tlcore.datasets.draw_sports(photos, counts=(90, 82, 98), seed=37)
        sample = tlcore.preprocessing.image.ImageDataGenerator(rescale=1 / 255).flow_from_directory(
            photos, target_size=(224, 224), batch_size=32, seed=37
        )
        share_base(folder, sample[0][0])

        def run(python: str, script: str, seed: int, **environment: str) -> dict[str, Any]:
            if script == "fit_torch.py":
                given = [folder, str(chosen.threads), photos]
            else:
                given = [photos, folder / "base.h5", folder]
            begun = time.perf_counter()
            done = subprocess.run(
                [python, HERE / "peers" / script, *given],
                capture_output=True,
                text=True,
                check=False,
                env={**os.environ, "SEED": str(seed), **environment},
            )
            spent = time.perf_counter() - begun
            if done.returncode != 0:
                sys.exit(f"{script} ended:\n{done.stderr[-3000:]}")
            facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return {**facts, "process": spent}

        results: dict[str, list[dict[str, Any]]] = {}
        for seed in range(chosen.rounds):
            own = results.setdefault("tlcore", [])
            if chosen.torch:
                own.append(run(sys.executable, "fit_tlcore.py", seed))
                results.setdefault("torch, features once by hand", []).append(
                    run(chosen.torch, "fit_torch.py", seed, **MALLOC)
                )
            if chosen.tensorflow:
                own.append(run(sys.executable, "fit_tlcore.py", seed))
                results.setdefault("Keras 3", []).append(
                    run(chosen.tensorflow, "fit_tensorflow.py", seed)
                )
            if not (chosen.torch or chosen.tensorflow):
                own.append(run(sys.executable, "fit_tlcore.py", seed))
    _show(results)


def _show(results: dict[str, list[dict[str, Any]]]) -> None:
    laps = ("import", "build", "fit", "save", "convert")
    header = "".join(f"{lap:>9}" for lap in laps)
    print(f"\nseconds, medians{'':14}{header}  process  times  peak MiB  accuracy")
    own = statistics.median(run["process"] for run in results["tlcore"])
    for name, runs in results.items():
        cells = ""
        for lap in laps:
            spent = [run["laps"][lap] for run in runs if lap in run["laps"]]
            cells += f"{statistics.median(spent):9.2f}" if spent else f"{'-':>9}"
        process = statistics.median(run["process"] for run in runs)
        memory = statistics.median(run["mib"] for run in runs)
        accuracy = statistics.mean(run["accuracy"] for run in runs)
        print(f"{name:30}{cells}{process:9.2f}{process / own:7.1f}{memory:10.0f}{accuracy:10.3f}")
    passes = {run["passes"] for run in results["tlcore"]}
    print(f"\npasses of a picture through tlcore's base: {', '.join(map(str, sorted(passes)))}")


if __name__ == "__main__":
    main()
