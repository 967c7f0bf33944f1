"""Bare Pillow: threads that decode, and nothing else; and with the resizing that everybody does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import PIL
from pictures import PHOTOS, SIZE, THREADS, serve
from PIL import Image

paths = sorted(path for path in Path(PHOTOS).rglob("*") if path.suffix.lower() in {".jpg", ".png"})


def decode(path: Path) -> None:
    with Image.open(path) as img:
        img.convert("RGB")


def resize(path: Path) -> np.ndarray:
    with Image.open(path) as img:
        return np.asarray(img.convert("RGB").resize(SIZE, Image.Resampling.NEAREST))


def one_pass(crew: ThreadPoolExecutor, task: object) -> int:
    return sum(1 for _ in crew.map(task, paths))


crew = ThreadPoolExecutor(THREADS)
serve(
    f"Pillow {PIL.__version__}",
    {
        "decoding": lambda: partial(one_pass, crew, decode),
        "decoding, nearest, to an array": lambda: partial(one_pass, crew, resize),
    },
)
