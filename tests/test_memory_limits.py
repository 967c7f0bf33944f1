"""A process that may not have more memory: an exception, and everything works once it may.

The address space is limited in forked children of one fresh process, a step further each time,
while a model is loaded, predicts, is trained and saved. What the C core does then is tested
exactly by tests/c/test_refusals.c; here it stands between Python, NumPy and the file readers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

STEPS = int(os.environ.get("TLCORE_MEMORY_STEPS", "8"))

PROGRAM = """
import json, os, resource, sys, traceback
import numpy as np
import tlcore

path, steps = sys.argv[1], int(sys.argv[2])
MOST = 512 << 20  # enough for all of it


def model():
    base = tlcore.applications.MobileNetV2((96, 96, 3), 0.35, False, weights=None, pooling="avg")
    base.trainable = False
    whole = tlcore.Sequential([base, tlcore.layers.Dense(3, activation="softmax")])
    whole.compile("adam", "sparse_categorical_crossentropy")
    return whole


def story(places):
    loaded = tlcore.models.load_model(path)
    places.append("loaded")
    loaded.predict(x, verbose=0)
    places.append("predicted")
    loaded.fit(x, y, epochs=2, batch_size=4, verbose=0)
    places.append("trained")
    loaded.save(f"{path}.{os.getpid()}.h5")
    places.append("saved")


x = np.random.default_rng(0).uniform(-1, 1, (8, 96, 96, 3)).astype("float32")
y = np.arange(8) % 3
model().save(path)

# The libraries are loaded, but no thread runs yet: what a fork copies is whole.
warm = os.fork()
if warm == 0:
    story([])
    os._exit(0)
assert os.waitpid(warm, 0)[1] == 0


def child(room):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
    places, name, text = [], "", ""
    try:
        story(places)
    except Exception as error:
        name, text = type(error).__name__, str(error)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    again = []
    story(again)
    return {"room": room, "places": places, "error": name, "text": text, "again": len(again)}


for step in range(steps):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with os.fdopen(writer, "w") as file:
                json.dump(child(MOST * step // steps), file)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    status = os.waitpid(pid, 0)[1]
    print(json.dumps({"status": status, **(json.loads(text) if text else {})}), flush=True)
"""


def test_without_memory_there_is_an_exception_and_with_it_all_works(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "model.h5"), str(STEPS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(runs) == STEPS
    for run in runs:
        assert run["status"] == 0, (run, done.stderr)
        assert run["error"] in ("", "MemoryError", "OSError"), run
        assert run["error"] == "" or run["text"], run
        assert run["again"] == 4, run
    assert any(run["error"] for run in runs)
    assert runs[-1]["error"] == "", runs[-1]
