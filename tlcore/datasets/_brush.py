"""A canvas at twice the size, for smooth edges, and the light that every colour passes through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray
    from PIL import Image

Point = tuple[float, float]
Colour = tuple[float, float, float]

OVERSAMPLING = 2


class Light(NamedTuple):
    """A time of day and a weather. Colours are 0..255."""

    sky_top: Colour
    sky_low: Colour
    sea_far: Colour
    sea_near: Colour
    sun: Colour
    key: float  # how bright things are against the sky: 1 is full daylight, 0.2 a silhouette
    haze: float  # how much of the air is seen in things far away
    cloud: float  # how much of the sky is covered


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with this share of `b` in it."""
    return (
        a[0] + (b[0] - a[0]) * share,
        a[1] + (b[1] - a[1]) * share,
        a[2] + (b[2] - a[2]) * share,
    )


def smooth_noise(
    rs: RandomState, size: tuple[int, int], cells: tuple[int, int]
) -> NDArray[np.float32]:
    """Noise (height, width) around 0 with about `cells` (rows, columns) hills and valleys."""
    from PIL import Image

    # Two cells of the far side on each side: the noise can be laid like tiles, without a seam.
    coarse = np.pad(rs.uniform(-1, 1, cells).astype("float32"), 2, mode="wrap")
    box = (2, 2, cells[1] + 2, cells[0] + 2)
    img = Image.fromarray(coarse).resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box)
    return np.asarray(img)


class Canvas:
    """Draws into a Pillow image in the coordinates of the finished picture, y downwards."""

    def __init__(
        self, img: Image.Image, rs: RandomState, light: Light, ragged: NDArray[np.float32]
    ) -> None:
        from PIL import ImageDraw

        self.img = img
        self.rs = rs
        self.light = light
        self.ragged = ragged
        self._blobs: list[NDArray[np.float64]] = []
        self.width = img.width / OVERSAMPLING
        self.height = img.height / OVERSAMPLING
        # RGBA ink on an RGB image is blended, so that spray and windows can be seen through.
        self._pen = ImageDraw.Draw(img, "RGBA")

    def ink(
        self, colour: Colour, far: float = 0.0, alpha: float = 1.0
    ) -> tuple[int, int, int, int]:
        """`colour` as it looks in this light; `far` from 0 (here) to 1 (at the horizon)."""
        light = self.light
        warm = mix((255, 255, 255), light.sun, 0.45)
        lit = tuple(c * light.key * w / 255 for c, w in zip(colour, warm, strict=True))
        r, g, b = mix((lit[0], lit[1], lit[2]), light.sky_low, min(0.85, far * (0.25 + light.haze)))
        return int(r), int(g), int(b), int(255 * alpha)

    def polygon(self, points: Sequence[Point], ink: tuple[int, int, int, int]) -> None:
        if len(points) > 2:
            self._pen.polygon([(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points], fill=ink)

    def line(self, points: Sequence[Point], ink: tuple[int, int, int, int], width: float) -> None:
        """A stroke with round ends; thinner than half a pixel it fades instead."""
        thick = width * OVERSAMPLING
        if thick < 1:
            ink = (*ink[:3], int(ink[3] * max(thick, 0.25)))
        scaled = [(x * OVERSAMPLING, y * OVERSAMPLING) for x, y in points]
        self._pen.line(scaled, fill=ink, width=max(1, round(thick)), joint="curve")
        if thick >= 3:
            for end in (points[0], points[-1]):
                self.disc(end, width / 2, ink)

    def disc(self, centre: Point, radius: float, ink: tuple[int, int, int, int]) -> None:
        self.oval(centre, radius, radius, ink)

    def oval(self, centre: Point, rx: float, ry: float, ink: tuple[int, int, int, int]) -> None:
        x, y = centre[0] * OVERSAMPLING, centre[1] * OVERSAMPLING
        rx, ry = max(rx * OVERSAMPLING, 0.5), max(ry * OVERSAMPLING, 0.5)
        self._pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=ink)

    def foam(
        self,
        start: Point,
        end: Point,
        spread: float,
        size: float,
        count: int,
        alpha: float = 0.6,
    ) -> None:
        """White water along a line, finer towards `end`; `settle` makes it seen."""
        along = self.rs.rand(count)
        off = self.rs.randn(count, 2) * spread * (0.35 + 0.65 * along[:, None])
        blobs = np.empty((count, 4))
        blobs[:, 0] = start[0] + (end[0] - start[0]) * along + off[:, 0]
        blobs[:, 1] = start[1] + (end[1] - start[1]) * along + off[:, 1] * 0.5
        blobs[:, 2] = np.maximum(size * (0.35 + self.rs.rand(count)) * (1.15 - along), 0.6)
        blobs[:, 3] = 255 * alpha * (0.5 + 0.5 * self.rs.rand(count))
        self._blobs.append(blobs)

    def settle(self) -> None:
        """Paint the foam gathered so far, as one ragged cloud with a shaded lower edge."""
        from PIL import Image, ImageDraw, ImageFilter

        if not self._blobs:
            return
        blobs = np.concatenate(self._blobs)
        self._blobs.clear()
        margin = blobs[:, 2:3] + 4
        low = np.floor(np.maximum((blobs[:, :2] - margin).min(axis=0), 0)).astype(int)
        high = np.ceil(
            np.minimum((blobs[:, :2] + margin).max(axis=0), (self.width, self.height))
        ).astype(int)
        width, height = (high - low).tolist()
        if width < 3 or height < 3:
            return
        mask = Image.new("L", (width, height))
        pen = ImageDraw.Draw(mask)
        blobs[:, :2] -= low
        for x, y, r, a in blobs[np.argsort(blobs[:, 3])].tolist():
            pen.ellipse((x - r, y - r * 0.7, x + r, y + r * 0.7), fill=int(a))
        cover = np.asarray(mask.filter(ImageFilter.BoxBlur(1.1)), dtype="float32")
        top, left = (
            self.rs.randint(self.ragged.shape[0] - height),
            self.rs.randint(self.ragged.shape[1] - width),
        )
        cover = cover * (0.95 + 0.3 * self.ragged[top : top + height, left : left + width])
        ragged = Image.fromarray(np.clip(cover, 0, 255).astype("uint8"))
        ragged = ragged.resize(
            (width * OVERSAMPLING, height * OVERSAMPLING), Image.Resampling.BILINEAR
        )
        at = (int(low[0]) * OVERSAMPLING, int(low[1]) * OVERSAMPLING)
        lit = self.ink(mix((250, 252, 252), self.light.sky_low, 0.12))
        bright = mix((lit[0], lit[1], lit[2]), (250, 252, 252), 0.35)
        shade = mix(bright, self.light.sea_near, 0.5)
        for colour, drop in ((shade, OVERSAMPLING * 2), (bright, 0)):
            box = (at[0], at[1] + drop)
            self.img.paste((int(colour[0]), int(colour[1]), int(colour[2])), box, ragged)


class Frame:
    """Places a figure: its own coordinates have y upwards and the rider's height as the unit."""

    def __init__(
        self, origin: Point, scale: float, flip: bool, angle: float = 0.0, squeeze: float = 1.0
    ) -> None:
        self.origin = origin
        self.scale = scale
        self.side = -1.0 if flip else 1.0
        self.cos, self.sin = float(np.cos(angle)), float(np.sin(angle))
        self.squeeze = squeeze

    def __call__(self, x: float, y: float) -> Point:
        x *= self.squeeze
        turned_x = x * self.cos - y * self.sin
        turned_y = x * self.sin + y * self.cos
        return (
            self.origin[0] + self.side * turned_x * self.scale,
            self.origin[1] - turned_y * self.scale,
        )

    def all(self, points: Sequence[Point]) -> list[Point]:
        return [self(x, y) for x, y in points]


def curve(a: Point, bend: Point, b: Point, steps: int = 10) -> list[Point]:
    """Points of the quadratic curve from `a` to `b` that is drawn towards `bend`."""
    points = []
    for k in range(steps + 1):
        t = k / steps
        p, q, r = (1 - t) ** 2, 2 * t * (1 - t), t * t
        points.append((p * a[0] + q * bend[0] + r * b[0], p * a[1] + q * bend[1] + r * b[1]))
    return points
