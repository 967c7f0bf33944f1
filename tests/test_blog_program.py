"""The blog post's code blocks, unedited, run under the aliases on real photos and real weights."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

# What the post uses and never defines.
DEFINITIONS = """
import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

tf.keras.utils.set_random_seed(37)
IMG_SIZE = 224
IMG_SHAPE = (IMG_SIZE, IMG_SIZE, 3)
"""
REPORT = """
print("RESULT", history.history["val_acc"][-1], history.history["val_binary_acc"][-1],
      model.prefix_runs)
"""


def test_the_post_runs_as_written(shared_data: Path, tmp_path: Path) -> None:
    posts = sorted((shared_data.parent / "seed").glob("*.txt"))
    if not posts:
        pytest.skip(f"no blog post in {shared_data.parent / 'seed'}")
    blocks = re.findall(r"```python\n(.*?)```", posts[0].read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 7
    (tmp_path / "post.py").write_text("\n".join([DEFINITIONS, *blocks, REPORT]), encoding="utf-8")
    (tmp_path / "dataset").symlink_to(shared_data / "photos" / "flowers")
    done = subprocess.run(
        [sys.executable, "-m", "tlcore", "run", "post.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "TLCORE_WEIGHTS": str(shared_data / "weights"), "MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr
    accuracy, binary, passes = (
        float(word) for word in re.findall(r"^RESULT (\S+) (\S+) (\S+)$", done.stdout, re.M)[0]
    )
    assert accuracy >= 0.75
    assert binary >= 0.85
    assert passes == 270
    assert (tmp_path / "blog_model.h5").stat().st_size > 9e6
    assert (tmp_path / "blog_model.tflite").stat().st_size > 9e6
    labels = (tmp_path / "labels.txt").read_text(encoding="utf-8").split()
    assert labels == ["daisy", "roses", "tulips"]
