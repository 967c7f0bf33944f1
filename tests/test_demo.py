"""`make demo` without weights at hand: whole program, files written, nothing downloaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import tlcore
from tlcore.demo import set_statistics


def test_statistics_are_those_of_the_pictures() -> None:
    tlcore.utils.set_random_seed(1)
    model = tlcore.applications.MobileNetV2(
        input_shape=(64, 64, 3), alpha=0.35, include_top=False, weights=None
    )
    pictures = np.random.default_rng(1).random((8, 64, 64, 3), np.float32)
    set_statistics(model, pictures)
    normalized = [i for i, n in enumerate(model.graph.nodes) if n["op"] == "batch_normalization"]
    assert len(normalized) == 52
    for stop in normalized[::5]:
        value = model.network.run(pictures, 0, stop)
        np.testing.assert_allclose(value.mean(axis=(0, 1, 2)), 0, atol=1e-3)
        # epsilon and channels that are silent make it a little less than 1
        assert 0.5 < value.var(axis=(0, 1, 2)).mean() < 1.001


def test_demo_runs_as_a_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tlcore", "demo", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        # Nowhere to find weights, so that every machine runs the same thing.
        env={
            **{name: value for name, value in os.environ.items() if name != "TLCORE_WEIGHTS"},
            "KERAS_HOME": str(tmp_path),
            "XDG_CACHE_HOME": str(tmp_path),
        },
    )
    assert done.returncode == 0, done.stderr
    assert "The base has random weights" in done.stdout
    assert "Of 53 pictures held back" in done.stdout
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert written == {"dataset", "blog_model.h5", "blog_model.tflite", "labels.txt"}
    labels = (tmp_path / "demo" / "labels.txt").read_text(encoding="utf-8").split()
    assert labels == ["kitesurfing", "surfing", "windsurfing"]
