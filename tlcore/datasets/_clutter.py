"""What is at sea and on the shore besides the sport."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tlcore.datasets._brush import Canvas, Colour, Frame, Point, curve, mix, smooth_noise

if TYPE_CHECKING:
    from numpy.random import RandomState

    from tlcore.datasets._seascape import View


def land(canvas: Canvas, view: View) -> None:
    """A headland on the horizon, sometimes with a lighthouse."""
    rs, width = canvas.rs, canvas.width
    start, length = rs.uniform(-0.3, 0.8) * width, rs.uniform(0.25, 0.8) * width
    high = rs.uniform(0.02, 0.09) * canvas.height
    shape = smooth_noise(rs, (1, 24), (1, rs.randint(3, 7)))[0]
    points: list[Point] = []
    for k, bump in enumerate(shape):
        x = start + length * k / 23
        rise = high * (0.75 + 0.5 * float(bump)) * min(1.0, 5 * k / 23, 5 * (23 - k) / 23)
        points.append((x, view.at(x, width) - max(rise, 0)))
    ink = canvas.ink(
        ((58, 82, 58), (96, 88, 76), (70, 76, 84))[rs.randint(3)], rs.uniform(0.5, 1.0)
    )
    ends = [(x, view.at(x, width) + 1) for x in (start + length, start)]
    canvas.polygon([*points, *ends], ink)
    if rs.rand() < 0.25:
        x, y = points[rs.randint(8, 16)]
        tall = high * rs.uniform(0.6, 1.1)
        tower = [(x - tall * 0.11, y + 1), (x - tall * 0.07, y - tall), (x + tall * 0.07, y - tall)]
        canvas.polygon([*tower, (x + tall * 0.11, y + 1)], canvas.ink((236, 232, 226), 0.5))
        canvas.disc((x, y - tall * 1.05), tall * 0.09, canvas.ink((168, 52, 44), 0.5))


def boat(canvas: Canvas, view: View) -> None:
    """A yacht, a motor boat or a freighter, small: whoever sails here stands on no board."""
    rs, width = canvas.rs, canvas.width
    x, kind = rs.uniform(0.04, 0.96) * width, rs.randint(3)
    down = rs.uniform(0.0, 0.12) * canvas.height
    far = 1 - down / (0.2 * canvas.height)
    size = rs.uniform(0.03, 0.05) * canvas.height + 0.35 * down
    at = Frame((x, view.at(x, width) + down + 1), size, rs.rand() < 0.5)
    hull = canvas.ink(((238, 238, 236), (44, 52, 72), (150, 52, 46))[rs.randint(3)], far)
    if kind == 0:
        canvas.polygon(at.all([(-0.6, 0), (-0.7, 0.22), (0.8, 0.24), (0.5, 0)]), hull)
        white = canvas.ink((240, 238, 230), far)
        canvas.polygon(at.all([(0.12, 0.3), (0.1, 1.9), (-0.62, 0.34)]), white)
        canvas.polygon(
            at.all([(0.2, 0.32), (0.16, 1.6), (0.72, 0.3)]), canvas.ink((226, 226, 222), far)
        )
    elif kind == 1:
        canvas.polygon(at.all([(-0.8, 0), (-0.85, 0.3), (0.95, 0.38), (0.6, 0)]), hull)
        canvas.polygon(
            at.all([(-0.4, 0.3), (-0.3, 0.7), (0.15, 0.7), (0.4, 0.34)]),
            canvas.ink((230, 234, 238), far),
        )
        canvas.foam(at(-0.8, 0.05), at(-2.2, 0), size * 0.06, size * 0.12, 10)
    else:
        long = size * 0.8
        at = Frame((x, view.at(x, width) + 1), long, rs.rand() < 0.5)
        dark = canvas.ink((64, 62, 70), 0.9)
        canvas.polygon(at.all([(-2.2, 0), (-2.3, 0.32), (2.5, 0.36), (2.2, 0)]), dark)
        canvas.polygon(
            at.all([(-2.1, 0.3), (-2.1, 0.9), (-1.4, 0.9), (-1.4, 0.3)]),
            canvas.ink((220, 220, 220), 0.9),
        )
        for k in range(rs.randint(2, 6)):
            left = -1.2 + 0.55 * k
            canvas.polygon(
                at.all([(left, 0.33), (left, 0.62), (left + 0.5, 0.62), (left + 0.5, 0.33)]),
                canvas.ink(bright_colour(rs), 0.9),
            )


def buoy(canvas: Canvas, view: View) -> None:
    rs = canvas.rs
    x, down = rs.uniform(0.05, 0.95) * canvas.width, rs.uniform(0.05, 0.4) * canvas.height
    at = Frame(
        (x, view.at(x, canvas.width) + down),
        3 + down * 0.12,
        rs.rand() < 0.5,
        rs.uniform(-0.2, 0.2),
    )
    ink = canvas.ink(((226, 92, 32), (222, 190, 40), (196, 44, 40))[rs.randint(3)], 0.2)
    canvas.polygon(at.all([(-0.5, 0), (-0.2, 1.1), (0.2, 1.1), (0.5, 0)]), ink)
    canvas.oval(at(0, 0), 0.55 * at.scale, 0.2 * at.scale, ink)
    canvas.foam(at(-0.6, 0), at(0.6, 0), at.scale * 0.1, at.scale * 0.2, 5, 0.4)


def gulls(canvas: Canvas, count: int) -> None:
    rs = canvas.rs
    middle = (rs.uniform(0, 1) * canvas.width, rs.uniform(0.04, 0.5) * canvas.height)
    for _ in range(count):
        span = rs.uniform(0.012, 0.04) * canvas.width
        place = (middle[0] + rs.randn() * span * 5, middle[1] + rs.randn() * span * 3)
        at = Frame(place, span, rs.rand() < 0.5, rs.uniform(-0.4, 0.4))
        ink = canvas.ink(((60, 62, 66), (235, 236, 238))[rs.randint(2)], 0.1)
        lift = rs.uniform(0.1, 0.6)
        for side in (-1.0, 1.0):
            wing = curve((0, 0), (0.45 * side, lift + 0.3), (side, lift - 0.2), 6)
            canvas.line(at.all(wing), ink, max(0.7, span * 0.12))
        canvas.line(at.all([(-0.12, -0.04), (0.18, 0.02)]), ink, max(0.8, span * 0.18))


def beach(canvas: Canvas) -> None:
    """Sand along the bottom with a line of foam, umbrellas or tufts of grass on it."""
    rs, width, height = canvas.rs, canvas.width, canvas.height
    left, right = (height * (1 - rs.uniform(0.02, 0.16)) for _ in range(2))
    wave = smooth_noise(rs, (1, 20), (1, 4))[0] * height * 0.012
    shore = [(width * k / 19, left + (right - left) * k / 19 + float(wave[k])) for k in range(20)]
    sand = ((206, 182, 140), (186, 164, 128), (224, 208, 176))[rs.randint(3)]
    for lift, alpha in ((height * 0.02, 0.35), (height * 0.008, 0.75)):
        lifted = [(x, y - lift) for x, y in shore]
        canvas.polygon(
            [*lifted, (width, height), (0, height)], canvas.ink((244, 246, 246), alpha=alpha)
        )
    canvas.polygon([*shore, (width, height), (0, height)], canvas.ink(sand))
    if rs.rand() < 0.4:
        for _ in range(rs.randint(1, 4)):
            x = rs.uniform(0, width)
            at = Frame(
                (x, height * rs.uniform(0.98, 1.03)),
                height * rs.uniform(0.06, 0.1),
                False,
                rs.uniform(-0.2, 0.2),
            )
            canvas.line(at.all([(0, 0), (0, 1)]), canvas.ink((120, 100, 80)), at.scale * 0.05)
            dome = [(0.7 * np.cos(a), 0.75 + 0.4 * np.sin(a)) for a in np.linspace(0, np.pi, 9)]
            canvas.polygon(at.all(dome), canvas.ink(bright_colour(rs)))
    if rs.rand() < 0.5:
        for _ in range(rs.randint(15, 45)):
            x = rs.uniform(0, 0.35) * width
            tall = rs.uniform(0.04, 0.16) * height
            blade = curve(
                (x, height),
                (x, height - tall),
                (x + rs.uniform(-0.6, 0.6) * tall, height - tall),
                4,
            )
            canvas.line(blade, canvas.ink((98, 112, 60)), 1.2)


def palm(canvas: Canvas) -> None:
    """A palm that leans in from one side, close to the camera."""
    rs = canvas.rs
    flip = rs.rand() < 0.5
    foot = (canvas.width * (1.03 if flip else -0.03), canvas.height * rs.uniform(0.9, 1.1))
    at = Frame(foot, canvas.height * rs.uniform(0.55, 0.95), flip)
    top = (rs.uniform(0.05, 0.22), rs.uniform(0.75, 1.0))
    canvas.line(
        at.all(curve((0, 0), (0.02, top[1] * 0.6), top)), canvas.ink((92, 74, 54)), at.scale * 0.035
    )
    for _ in range(rs.randint(6, 10)):
        angle, reach = rs.uniform(-0.6, 3.7), rs.uniform(0.22, 0.36)
        tip = (top[0] + reach * np.cos(angle), top[1] + reach * np.sin(angle) - 0.12)
        bend = (top[0] + 0.6 * reach * np.cos(angle), top[1] + 0.6 * reach * np.sin(angle) + 0.1)
        rib = curve(top, bend, tip, 9)
        green = canvas.ink(mix((46, 92, 44), (104, 128, 52), rs.rand()))
        canvas.line(at.all(rib), green, at.scale * 0.008)
        for x, y in rib[1:]:
            for side in (-0.05, 0.05):
                canvas.line(at.all([(x, y), (x + side * 0.6, y - 0.07)]), green, at.scale * 0.009)


def drops(canvas: Canvas) -> None:
    """Water on the lens."""
    rs = canvas.rs
    for _ in range(rs.randint(3, 12)):
        place = (rs.uniform(0, canvas.width), rs.uniform(0, canvas.height))
        radius = rs.uniform(0.004, 0.02) * canvas.width
        canvas.disc(place, radius, (235, 240, 245, 46))
        canvas.disc(
            (place[0] - radius * 0.3, place[1] - radius * 0.3), radius * 0.35, (255, 255, 255, 60)
        )


def bright_colour(rs: RandomState) -> Colour:
    """A colour as sails, kites and boards have it."""
    palette = (
        (226, 44, 48), (244, 138, 30), (250, 214, 44), (60, 178, 84), (30, 150, 200),
        (34, 66, 160), (128, 62, 158), (232, 84, 150), (240, 240, 236), (36, 38, 44),
        (140, 208, 60), (0, 176, 170),
    )  # fmt: skip
    r, g, b = palette[rs.randint(len(palette))]
    dr, dg, db = rs.uniform(-18, 18, 3)
    return r + dr, g + dg, b + db
