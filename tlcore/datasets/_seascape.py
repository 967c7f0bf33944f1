"""Light, sky and sea, as arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tlcore.datasets._brush import Colour, Light, Point, mix, smooth_noise

if TYPE_CHECKING:
    from numpy.random import RandomState
    from numpy.typing import NDArray

LIGHTS = (
    # noon
    Light((52, 112, 196), (172, 207, 236), (38, 98, 148), (22, 92, 128),
          (255, 250, 235), 1.0, 0.2, 0.3),
    # tropics
    Light((58, 140, 214), (190, 226, 240), (8, 118, 160), (72, 190, 190),
          (255, 250, 235), 1.0, 0.1, 0.3),
    # overcast
    Light((146, 155, 163), (203, 208, 211), (104, 120, 128), (74, 92, 100),
          (240, 244, 250), 0.8, 0.4, 0.9),
    # storm
    Light((66, 72, 84), (146, 152, 156), (66, 84, 90), (44, 62, 64),
          (225, 232, 240), 0.68, 0.4, 0.9),
    # sunset
    Light((72, 72, 124), (252, 164, 92), (206, 132, 92), (56, 52, 84),
          (255, 170, 80), 0.34, 0.2, 0.4),
    # golden hour
    Light((112, 150, 196), (255, 218, 156), (168, 152, 128), (46, 84, 108),
          (255, 214, 140), 0.8, 0.3, 0.3),
    # dawn
    Light((112, 124, 176), (247, 196, 192), (182, 156, 172), (82, 96, 136),
          (255, 205, 195), 0.7, 0.4, 0.4),
    # dusk
    Light((26, 38, 74), (128, 116, 136), (58, 66, 96), (22, 32, 54),
          (210, 190, 200), 0.4, 0.2, 0.4),
    # fog
    Light((196, 202, 206), (216, 220, 222), (170, 180, 184), (122, 138, 144),
          (250, 250, 250), 0.82, 0.9, 0.1),
    # winter
    Light((96, 132, 172), (206, 216, 222), (70, 92, 104), (46, 74, 80),
          (245, 248, 255), 0.85, 0.3, 0.6),
)  # fmt: skip


class View(NamedTuple):
    """Where the horizon lies and what the sea is like."""

    horizon: float  # y in the middle of the picture; above the top means that no sky is seen
    slope: float  # how far the camera is tilted: dy/dx of the horizon
    rough: float  # 0 is a pond, 1 a gale
    sun: Point | None

    def at(self, x: float, width: float) -> float:
        """y of the horizon at `x`."""
        return self.horizon + self.slope * (x - width / 2)


def choose_light(rs: RandomState) -> Light:
    light = LIGHTS[rs.randint(len(LIGHTS))]
    shift = rs.uniform(-16, 16, 3)
    green = rs.uniform(-22, 22)

    def jitter(colour: Colour, water: float = 0.0) -> Colour:
        r, g, b = (
            float(np.clip(c + s + rs.uniform(-8, 8), 4, 255))
            for c, s in zip(colour, shift, strict=True)
        )
        return r, float(np.clip(g + water, 4, 255)), b

    return light._replace(
        sky_top=jitter(light.sky_top),
        sky_low=jitter(light.sky_low),
        sea_far=jitter(light.sea_far, green * 0.5),
        sea_near=jitter(light.sea_near, green),
        key=float(np.clip(light.key * rs.uniform(0.85, 1.12), 0.25, 1.05)),
        haze=light.haze * rs.uniform(0.5, 1.5),
        cloud=float(np.clip(light.cloud + rs.uniform(-0.3, 0.3), 0, 1)),
    )


class Textures:
    """Noise that all pictures of a set take pieces of: making it anew for each costs too much."""

    def __init__(self, rs: RandomState) -> None:
        size = (512, 1024)
        ripples = smooth_noise(rs, size, (44, 44)) + 0.6 * smooth_noise(rs, size, (110, 120))
        ripples += 1.2 * smooth_noise(rs, size, (14, 12)) + 0.5 * smooth_noise(rs, size, (230, 280))
        self.ripples = (ripples / ripples.std()).astype("float32")
        self.ragged = smooth_noise(rs, (480, 480), (200, 200)) + smooth_noise(
            rs, (480, 480), (70, 70)
        )
        self.grain = rs.randn(640, 640).astype("float32")


class _Mixture:
    """Layers of paint as weights (height, width) of a few colours: one product mixes them all."""

    def __init__(self) -> None:
        self._weights: list[NDArray[np.float32]] = []
        self._colours: list[Colour] = []

    def lay(self, colour: Colour, weight: NDArray[np.float32]) -> None:
        """Cover what is there with this share (0..1) of `colour`."""
        rest = 1 - weight
        for below in self._weights:
            below *= rest
        self._weights.append(weight)
        self._colours.append(colour)

    def darken(self, weight: NDArray[np.float32]) -> None:
        for below in self._weights:
            below *= weight

    def mixed(self) -> NDArray[np.float32]:
        colours = np.asarray(self._colours, dtype="float32")
        mixed: NDArray[np.float32] = np.stack(self._weights, axis=-1) @ colours
        return mixed


def sky_and_sea(
    rs: RandomState, light: Light, view: View, size: tuple[int, int], textures: Textures
) -> NDArray[np.float32]:
    """The empty scene, (height, width, 3), 0..255."""
    height, width = size
    edge = view.horizon + view.slope * (np.arange(width, dtype="float32") - width / 2)
    depth = (np.arange(height)[:, None] - edge).astype("float32")
    first, last = (int(np.clip(y, 0, height)) for y in (edge.min() - 1, edge.max() + 2))
    scene = np.zeros((height, width, 3), "float32")
    if last:
        scene[:last] = _sky(rs, light, view, depth[:last], (last, width))
    sea = _sea(rs, light, view, depth[first:], (height, width), textures)
    between = last - first
    cover = np.clip(depth[first:last, :, None] + 0.5, 0, 1)
    scene[first:last] += cover * (sea[:between] - scene[first:last])
    scene[last:] = sea[between:]
    return scene


def _sky(
    rs: RandomState, light: Light, view: View, depth: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float32]:
    height, width = size
    paint = _Mixture()
    paint.lay(light.sky_low, np.ones(size, "float32"))
    rise = np.clip(depth * (-1 / max(view.horizon, 60.0)), 0, 1)
    paint.lay(light.sky_top, rise * (1.6 - 0.6 * rise))
    clouds = smooth_noise(rs, size, (rs.randint(2, 5), rs.randint(2, 5)))
    clouds = clouds + 0.5 * smooth_noise(rs, size, (rs.randint(6, 10), rs.randint(5, 9)))
    clouds += 0.25 * smooth_noise(rs, size, (18, rs.randint(12, 20)))
    cover = np.clip((clouds + (1.6 * light.cloud - 0.9)) * rs.uniform(0.8, 1.8), 0, 0.8)
    lit = np.clip(0.65 - 0.4 * light.cloud * clouds, 0.15, 1)
    paint.lay(mix(light.sky_top, (90, 96, 106), 0.5), cover)
    paint.lay(mix(light.sky_low, light.sun, 0.6), cover * lit)
    if view.sun is not None:
        dx = np.arange(width, dtype="float32") - view.sun[0]
        dy = np.arange(height, dtype="float32")[:, None] - view.sun[1]
        far = np.sqrt(dx * dx + dy * dy) / width
        glow = np.exp(far * -7) * 0.7 + 1.2 * np.clip(1.6 - far * 45, 0, 1)
        paint.lay(mix(light.sun, (255, 255, 255), 0.4), np.clip(glow, 0, 1))
    return paint.mixed()


def _sea(
    rs: RandomState,
    light: Light,
    view: View,
    depth: NDArray[np.float32],
    size: tuple[int, int],
    textures: Textures,
) -> NDArray[np.float32]:
    height, width = size
    below = np.maximum(depth, 0) * (1 / height)
    paint = _Mixture()
    paint.lay(light.sea_far, np.ones(below.shape, "float32"))
    paint.lay(
        light.sea_near, np.sqrt(np.clip(below * (height / max(height - view.horizon, 40.0)), 0, 1))
    )
    # A flat sea seen in perspective: the texture's rows crowd together towards the horizon.
    z = 1 / (below + 0.035)
    x = np.arange(width, dtype="float32") - width / 2
    column = x * z * (rs.uniform(0.6, 1.1) * 160 / width) + below * rs.uniform(-90, 90)
    row = z * rs.uniform(55, 90)
    ripple = textures.ripples[
        (row.astype("int32") + rs.randint(512)) & 511,
        (column.astype("int32") + rs.randint(1024)) & 1023,
    ]
    swell = np.sin(z * rs.uniform(1.0, 2.2) + ripple * 0.25 + x * rs.uniform(-0.02, 0.02))
    strength = (0.35 + 0.65 * view.rough) * np.clip(below * 9, 0.15, 1)
    lift = np.clip((ripple * 0.55 + swell * 0.45) * strength, -1.5, 1.5)
    paint.darken(1 + 0.24 * np.minimum(lift, 0))
    paint.lay(mix(light.sky_low, light.sun, 0.3), 0.28 * np.maximum(lift, 0))
    caps = np.clip((ripple + swell * 0.7 - (3.0 - 1.5 * view.rough)) * 1.5, 0, 1)
    caps *= (0.8 * view.rough) * np.clip(1.1 - below, 0.3, 1)
    paint.lay(mix((240, 244, 246), light.sky_low, 0.4), caps)
    if view.sun is not None:
        path = np.exp(-(((x + width / 2 - view.sun[0]) / (width * (0.05 + 0.25 * below))) ** 2))
        glitter = np.clip(path * (ripple + 0.4), 0, 1)
        paint.lay(mix(light.sun, (255, 255, 255), 0.3), glitter * 0.75)
    return paint.mixed()
