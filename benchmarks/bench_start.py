"""From a fresh process to the first answer, and thousands of answers from several threads.

    python benchmarks/bench_start.py --photo FILE

A fresh process imports tlcore, builds MobileNetV2 with its weights, reads one photo and predicts:
seconds by its own clock from the interpreter's start, and the most memory that it had. Then one
process answers single pictures from four threads: memory and threads before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import machine
from PIL import Image

FIRST = """
import json, os, resource, sys, time
import tlcore
from tlcore.applications.mobilenet_v2 import MobileNetV2, preprocess_input
from tlcore.preprocessing.image import img_to_array, load_img

model = MobileNetV2((224, 224, 3), include_top=False, weights=sys.argv[2])
x = img_to_array(load_img(sys.argv[1], target_size=(224, 224)))[None]
model.predict(preprocess_input(x), verbose=0)
ticks = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19])
age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([age, peak]))
"""

MANY = """
import json, sys, threading, time
import numpy as np
import tlcore

def now():
    time.sleep(0.2)  # threads that have been joined are still on their way out
    lines = open("/proc/self/status").read().splitlines()
    return {one.split(":")[0]: int(one.split()[1]) for one in lines
            if one.startswith(("VmRSS", "Threads"))}

model = tlcore.applications.MobileNetV2(
    (224, 224, 3), include_top=False, weights=None, alpha=float(sys.argv[2]))
x = np.zeros((1, 224, 224, 3), np.float32)

def ask(count):
    for _ in range(count):
        model.predict_on_batch(x)

def crowd(count):
    threads = [threading.Thread(target=ask, args=(count // 4,)) for _ in range(4)]
    [one.start() for one in threads], [one.join() for one in threads]

crowd(200)
before = now()
crowd(int(sys.argv[1]))
print(json.dumps([before, now()]))
"""


def ask(program: str, *arguments: str) -> list[object]:
    """What the program prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, capture_output=True, text=True
    )
    answer: list[object] = json.loads(done.stdout)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo", help="a picture file; without it one is made")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--count", type=int, default=10_000, help="single predictions")
    chosen = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        photo = chosen.photo
        if photo is None:
            photo = str(Path(name, "photo.jpg"))
            noise = np.random.default_rng(0).integers(0, 256, (270, 360, 3), dtype=np.uint8)
            Image.fromarray(noise).save(photo)
        weights = "imagenet"
        if "TLCORE_WEIGHTS" not in os.environ:
            import tlcore

            weights = str(Path(name, "base.h5"))
            base = tlcore.applications.MobileNetV2((224, 224, 3), include_top=False, weights=None)
            base.save_weights(weights)
        runs = [ask(FIRST, photo, weights) for _ in range(chosen.runs)]
    seconds, peaks = zip(*runs, strict=True)
    print(
        f"Fresh process to the first prediction: {min(seconds):.2f} / "
        f"{statistics.median(seconds):.2f} / {max(seconds):.2f} s (min, median, max; its start is "
        f"known to 0.01 s), at most {max(peaks):.0f} MiB"
    )
    for alpha in ("1.0", "0.35"):
        before, after = ask(MANY, str(chosen.count), alpha)
        print(f"{chosen.count} predictions from 4 threads, alpha {alpha}: {before} -> {after}")


if __name__ == "__main__":
    main()
