"""Ten kinds of simple drawings, made from a seed: something to learn from nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]


def _around(center: Point, radius: float, turn: float, corners: list[float]) -> list[Point]:
    """Corners on circles of radius * corner, evenly turned."""
    step = 2 * math.pi / len(corners)
    return [
        (
            center[0] + radius * far * math.cos(turn + i * step),
            center[1] + radius * far * math.sin(turn + i * step),
        )
        for i, far in enumerate(corners)
    ]


def _disc(draw: Any, center: Point, r: float, turn: float, color: Any) -> None:
    draw.ellipse([center[0] - r, center[1] - r, center[0] + r, center[1] + r], fill=color)


def _ring(draw: Any, center: Point, r: float, turn: float, color: Any) -> None:
    box = [center[0] - r, center[1] - r, center[0] + r, center[1] + r]
    draw.ellipse(box, outline=color, width=max(2, int(r / 4)))


def _polygon(corners: list[float]) -> Callable[..., None]:
    def paint(draw: Any, center: Point, r: float, turn: float, color: Any) -> None:
        draw.polygon(_around(center, r, turn, corners), fill=color)

    return paint


def _lines(pairs: list[tuple[int, int]], of: int) -> Callable[..., None]:
    def paint(draw: Any, center: Point, r: float, turn: float, color: Any) -> None:
        ends = _around(center, r, turn, [1.0] * of)
        for a, b in pairs:
            draw.line([ends[a], ends[b]], fill=color, width=max(2, int(r / 4)))

    return paint


def _dots(draw: Any, center: Point, r: float, turn: float, color: Any) -> None:
    for dot in _around(center, r * 0.8, turn, [1.0] * 3):
        _disc(draw, dot, r / 4, turn, color)


KINDS: dict[str, Callable[..., None]] = {
    "disc": _disc,
    "ring": _ring,
    "triangle": _polygon([1.0] * 3),
    "square": _polygon([1.0] * 4),
    "star": _polygon([1.0, 0.4] * 5),
    "line": _lines([(0, 1)], 2),
    "cross": _lines([(0, 2), (1, 3)], 4),
    "corner": _lines([(0, 1), (1, 2)], 4),
    "frame": _lines([(0, 1), (1, 2), (2, 3), (3, 0)], 4),
    "dots": _dots,
}


def drawings(count: int, size: int, seed: int, kinds: int = 10) -> tuple[Any, Any]:
    """(count, size, size, 3) float32 from -1 to 1, and the number of the kind of each."""
    random = np.random.default_rng(seed)
    painters = list(KINDS.values())[:kinds]
    x = np.empty((count, size, size, 3), np.float32)
    y = random.integers(0, kinds, count)
    for i in range(count):
        ground, color = random.integers(0, 256, 3), random.integers(0, 256, 3)
        while np.abs(ground - color).sum() < 200:
            color = random.integers(0, 256, 3)
        picture = Image.new("RGB", (size, size), tuple(map(int, ground)))
        r = float(random.uniform(0.18, 0.38)) * size
        center = tuple(map(float, random.uniform(r, size - r, 2)))
        turn = float(random.uniform(0, 2 * math.pi))
        painters[y[i]](ImageDraw.Draw(picture), center, r, turn, tuple(map(int, color)))
        noisy = np.asarray(picture, np.float32) + random.normal(0, 8, x.shape[1:])
        x[i] = noisy.clip(0, 255) / 127.5 - 1
    return x, y
