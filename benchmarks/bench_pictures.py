"""Pictures a second out of flow_from_directory at 224: tlcore, Keras 3 and bare Pillow.

    python benchmarks/bench_pictures.py --tensorflow PYTHON [--photos FOLDER]

A measurement is three passes over all photos in batches of 32, each with a new iterator, after one
that is not timed; measurements alternate, figures are medians, and every ratio is one of this run.
Pillow decodes with the same number of threads and does nothing else. Without --photos, drawn
pictures are used.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

from common import Process, arguments, machine

import tlcore

DECODING = "decoding"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--photos", type=Path, help="one folder a class")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    chosen = parser.parse_args()

    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as name:
        photos = chosen.photos
        if photos is None:
            photos = Path(name, "photos")
            tlcore.datasets.draw_sports(photos, counts=(90, 82, 98), seed=37)
        peers = [
            Process(sys.executable, "pictures_tlcore.py", photos, chosen.threads),
            Process(sys.executable, "pictures_pillow.py", photos, chosen.threads),
        ]
        if chosen.tensorflow:
            keras = Process(chosen.tensorflow, "pictures_keras.py", photos, chosen.threads)
            peers.append(keras)
        rates: dict[tuple[str, str], list[float]] = {}
        for _ in range(chosen.rounds):
            for peer in peers:
                for setting in peer.hello["settings"]:
                    facts = json.loads(peer.ask(setting))
                    rate = facts["images"] / facts["seconds"]
                    rates.setdefault((peer.name, setting), []).append(rate)
        for peer in peers:
            peer.close()
    _show(rates, peers[0].name, peers[1].name, chosen.threads)
    if chosen.json:
        figures = [{"name": who, "setting": what, "rates": r} for (who, what), r in rates.items()]
        chosen.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _show(rates: dict[tuple[str, str], list[float]], own: str, pillow: str, threads: int) -> None:
    bare = rates[pillow, DECODING]
    print(f"\npictures a second, {threads} threads{'':23}median      best  of bare decoding")
    for (who, setting), runs in rates.items():
        # Pairs of one round: the machine's speed changes from round to round.
        share = statistics.median(one / other for one, other in zip(runs, bare, strict=True))
        line = f"{statistics.median(runs):10.0f}{max(runs):10.0f}{share:10.2f}"
        print(f"{who + ', ' + setting:50}{line}")
    for (who, setting), runs in rates.items():
        if who not in (own, pillow):
            mine = rates[own, setting]
            times = statistics.median(one / other for one, other in zip(mine, runs, strict=True))
            print(f"{setting}: tlcore is {times:.1f} times as fast as {who}")


if __name__ == "__main__":
    main()
