"""The three sports: people, boards, sails and kites, in units of a rider's height."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tlcore.datasets._brush import Canvas, Colour, Frame, Point, curve, mix, smooth_noise
from tlcore.datasets._clutter import bright_colour
from tlcore.datasets._poses import (
    KITE_POSE,
    PADDLING,
    SITTING,
    SURF_POSES,
    TUCKED_POSE,
    WINDSURF_POSE,
    Pose,
)

if TYPE_CHECKING:
    from numpy.random import RandomState

    from tlcore.datasets._seascape import View

SKIN = ((236, 196, 164), (214, 164, 124), (176, 122, 84), (120, 78, 54), (84, 56, 42))
HAIR = ((40, 30, 24), (92, 62, 36), (196, 156, 90), (24, 22, 24))
WETSUITS = ((26, 28, 34), (34, 44, 66), (54, 58, 64), (22, 52, 60))


def place(canvas: Canvas, view: View, tall: float, above: float, x: tuple[float, float]) -> Point:
    """A spot on the water, lower if the rider is near, with room `above` it."""
    rs, width, height = canvas.rs, canvas.width, canvas.height
    px = rs.uniform(*x) * width
    horizon = max(view.at(px, width), 0.0)
    near = horizon + (0.05 + 0.9 * tall / height) * (height - horizon)
    if view.horizon < 0.05 * height:
        near = rs.uniform(0.35, 0.8) * height
    lowest = max(horizon + 0.1 * height, above + 0.03 * height)
    y = np.clip(near + rs.uniform(-0.08, 0.16) * height, min(lowest, 0.9 * height), 0.93 * height)
    return px, float(y)


def person(canvas: Canvas, at: Frame, pose: Pose) -> None:
    """A figure from its joints: feet, knees, hip, neck, head, elbows, hands (0 far, 1 near)."""
    rs = canvas.rs
    skin = canvas.ink(SKIN[rs.randint(len(SKIN))])
    suit: Colour = WETSUITS[rs.randint(len(WETSUITS))] if rs.rand() < 0.65 else bright_colour(rs)
    legs, arms, body = canvas.ink(suit), canvas.ink(suit), canvas.ink(suit)
    if rs.rand() < 0.4:
        legs = arms = skin
        body = canvas.ink(bright_colour(rs)) if rs.rand() < 0.6 else skin
    size = at.scale
    hip, neck = pose["hip"], pose["neck"]
    for side in "01":
        canvas.line(at.all([neck, pose["elbow" + side], pose["hand" + side]]), arms, size * 0.068)
        canvas.disc(at(*pose["hand" + side]), size * 0.034, skin)
        knee, foot = pose["knee" + side], pose["foot" + side]
        canvas.line(at.all([hip, knee]), canvas.ink(suit), size * 0.115)
        canvas.line(at.all([knee, foot]), legs, size * 0.085)
        canvas.line(at.all([foot, (foot[0] + 0.07, foot[1])]), skin, size * 0.05)
    dx, dy = neck[0] - hip[0], neck[1] - hip[1]
    long = max(float(np.hypot(dx, dy)), 1e-6)
    nx, ny = -dy / long, dx / long
    torso = [
        (hip[0] + nx * 0.075, hip[1] + ny * 0.075),
        (neck[0] + nx * 0.11 - dx * 0.08, neck[1] + ny * 0.11 - dy * 0.08),
        (neck[0] - nx * 0.11 - dx * 0.08, neck[1] - ny * 0.11 - dy * 0.08),
        (hip[0] - nx * 0.075, hip[1] - ny * 0.075),
    ]
    canvas.polygon(at.all(torso), body)
    canvas.line(
        at.all([hip, (hip[0] + dx * 0.2, hip[1] + dy * 0.2)]), canvas.ink(suit), size * 0.15
    )
    canvas.disc(at(*neck), size * 0.075, body)
    head = pose["head"]
    canvas.oval(at(*head), size * 0.068, size * 0.082, skin)
    canvas.oval(
        at(head[0] - 0.012, head[1] + 0.026),
        size * 0.068,
        size * 0.06,
        canvas.ink(HAIR[rs.randint(len(HAIR))]),
    )


def loosen(rs: RandomState, pose: Pose, amount: float = 0.025) -> Pose:
    return {
        k: (x + rs.uniform(-amount, amount), y + rs.uniform(-amount, amount))
        for k, (x, y) in pose.items()
    }


def board(
    canvas: Canvas, at: Frame, tail: Point, nose: Point, thick: float, colour: Colour
) -> None:
    """A board seen from the side or a little from above: pointed nose, turned up."""
    dx, dy = nose[0] - tail[0], nose[1] - tail[1]
    long = float(np.hypot(dx, dy))
    nx, ny = -dy / long * thick, dx / long * thick

    def along(t: float, off: float) -> Point:
        rocker = 0.06 * max(0.0, t - 0.6) ** 2 * long / 0.16
        return tail[0] + dx * t + nx * off, tail[1] + dy * t + ny * off + rocker

    upper = [along(t, 0.5 * (1 - abs(2 * t - 0.9) ** 2.6)) for t in np.linspace(0.0, 1.0, 13)]
    lower = [along(t, -0.5 * (1 - abs(2 * t - 0.9) ** 2.6)) for t in np.linspace(1.0, 0.0, 13)]
    canvas.polygon(at.all([*upper, *lower]), canvas.ink(colour))
    canvas.polygon(
        at.all([*lower, *(along(t, -0.18) for t in np.linspace(0.04, 0.96, 9))]),
        canvas.ink(mix(colour, (20, 26, 34), 0.4)),
    )
    if canvas.rs.rand() < 0.6:
        stripe = [along(0.3, 0.1), along(0.75, 0.1)]
        canvas.line(
            at.all(stripe), canvas.ink(bright_colour(canvas.rs)), max(0.8, at.scale * thick * 0.2)
        )


def wake(canvas: Canvas, at: Frame, length: float, strength: float) -> None:
    """White water behind a board, and a dark reflection under it."""
    canvas.oval(
        at(0, -0.06), at.scale * 0.55, at.scale * 0.06, canvas.ink((12, 30, 42), alpha=0.28)
    )
    canvas.foam(
        at(0.1, -0.01),
        at(-length, 0.02),
        at.scale * 0.09 * strength,
        at.scale * 0.11 * strength,
        int(26 + 30 * strength),
    )
    canvas.foam(
        at(-0.35, 0.0),
        at(-0.75, 0.42 * strength),
        at.scale * 0.1 * strength,
        at.scale * 0.06,
        int(26 * strength),
        0.5,
    )


def breaker(canvas: Canvas, middle: Point, wide: float, high: float, flip: bool) -> None:
    """A wave that breaks: a clear green wall on the one side, white water on the other."""
    rs, light = canvas.rs, canvas.light
    at = Frame(middle, 1.0, flip)
    wobble = smooth_noise(rs, (1, 33), (1, rs.randint(4, 8)))[0]
    xs = np.linspace(-wide, wide, 33)
    shape = np.exp(-((xs / (wide * 0.62)) ** 4))
    wobble = wobble * np.sqrt(shape)
    shape = shape * (1 + 0.14 * wobble)
    broken = xs < wide * (0.06 - rs.uniform(0.0, 0.3))
    crest = high * shape
    # The foot of the wall sags in the middle, so that the ends run out into the water.
    base = [
        (float(x), float(-0.2 * high * h - 0.02 * high * w))
        for x, h, w in zip(xs, shape, wobble, strict=True)
    ][::-1]
    deep, clear = mix(light.sea_near, (8, 40, 48), 0.45), mix(light.sea_near, (120, 200, 186), 0.45)
    for k in range(7):
        level = 1 - k / 7
        shade = mix(deep, clear, (1 - level) ** 1.3)
        points = [
            (float(x), float(c * level + high * 0.05 * w * k / 7))
            for x, c, w in zip(xs, crest, wobble, strict=True)
        ]
        r, g, b = (int(v) for v in mix(shade, light.sky_low, 0.08))
        if k == 0:
            r, g, b = (int(v) for v in clear)
        canvas.polygon(at.all([*points, *base]), (r, g, b, 255))
    for k in range(0, 33, 2):
        x, c = float(xs[k]), float(crest[k])
        if broken[k]:
            canvas.foam(
                at(x, c), at(x - high * 0.25, -high * 0.12), high * 0.12, high * 0.12, 13, 0.95
            )
        elif shape[k] > 0.25:
            lip = at.all([(x - wide / 14, c), (x + wide / 14, float(crest[min(k + 2, 32)]))])
            canvas.line(lip, canvas.ink((250, 252, 252), alpha=0.6), max(0.8, high * 0.03))
            canvas.foam(
                at(x, c), at(x - high * 0.3, c + high * 0.2), high * 0.04, high * 0.035, 5, 0.5
            )
    canvas.foam(
        at(-wide * 0.85, -high * 0.1), at(wide * 0.5, -high * 0.2), high * 0.1, high * 0.1, 46, 0.6
    )
    canvas.settle()


def surfing(canvas: Canvas, view: View) -> None:
    rs, height = canvas.rs, canvas.height
    tall = rs.uniform(0.2, 0.44) * height
    flip = rs.rand() < 0.5
    spot = place(canvas, view, tall * 0.9, tall * 1.1, (0.22, 0.78))
    pose_kind = rs.rand()
    riding = pose_kind < 0.78
    angle = rs.uniform(-0.3, 0.18) if riding else rs.uniform(-0.06, 0.06)
    if rs.rand() < (0.9 if riding else 0.4):
        high = tall * (rs.uniform(0.6, 1.3) if riding else rs.uniform(0.3, 0.6))
        down = tall * rs.uniform(0.0, 0.2)
        side = -1 if flip else 1
        middle = (
            spot[0] - side * tall * rs.uniform(0.2, 0.9),
            spot[1] + (down if riding else -tall * 0.25),
        )
        breaker(canvas, middle, tall * rs.uniform(1.8, 3.0), high, flip)
    if riding:
        spot = (spot[0], spot[1] - tall * rs.uniform(0.0, 0.18))
    at = Frame(spot, tall, flip, angle)
    wake(canvas, at, rs.uniform(0.8, 1.8), rs.uniform(0.5, 1.2) if riding else 0.3)
    long = rs.uniform(0.5, 0.85) if riding else rs.uniform(0.7, 0.95)
    colour = bright_colour(rs) if rs.rand() < 0.6 else (242, 240, 230)
    canvas.settle()
    board(canvas, at, (-long, 0.0), (long, 0.04), rs.uniform(0.09, 0.17), colour)
    if riding:
        person(canvas, at, loosen(rs, SURF_POSES[rs.randint(len(SURF_POSES))]))
    else:
        person(canvas, at, loosen(rs, PADDLING if pose_kind < 0.9 else SITTING, 0.015))
    canvas.foam(at(-long * 0.7, -0.03), at(long * 0.9, -0.06), tall * 0.03, tall * 0.05, 16, 0.6)


def windsurfing(canvas: Canvas, view: View) -> None:
    rs = canvas.rs
    tall = rs.uniform(0.13, 0.3) * canvas.height
    flip = rs.rand() < 0.5
    spot = place(canvas, view, tall * 1.1, tall * rs.uniform(2.3, 2.9), (0.25, 0.75))
    if rs.rand() < 0.35:
        breaker(
            canvas,
            (spot[0] - tall, spot[1] + tall * 0.1),
            tall * rs.uniform(2.0, 3.4),
            tall * rs.uniform(0.4, 0.8),
            flip,
        )
    jump = rs.rand() < 0.15
    if jump:
        spot = (spot[0], spot[1] - tall * rs.uniform(0.4, 1.0))
    at = Frame(spot, tall, flip, rs.uniform(0.1, 0.4) if jump else rs.uniform(-0.05, 0.12))
    if not jump:
        wake(canvas, at, rs.uniform(1.0, 2.4), rs.uniform(0.6, 1.5))
    canvas.settle()
    board(
        canvas,
        at,
        (-0.95, 0.0),
        (0.8, 0.05),
        rs.uniform(0.1, 0.16),
        bright_colour(rs) if rs.rand() < 0.7 else (240, 238, 230),
    )
    sail(
        canvas,
        Frame(
            at(0.16, 0.06),
            tall,
            flip,
            float(np.arctan2(at.sin, at.cos)) + rs.uniform(-0.06, 0.3),
            rs.uniform(0.55, 1.0),
        ),
    )
    person(canvas, at, loosen(rs, WINDSURF_POSE))
    if not jump:
        canvas.foam(at(-0.8, -0.03), at(0.7, -0.05), tall * 0.05, tall * 0.07, 20, 0.6)


def sail(canvas: Canvas, at: Frame) -> None:
    """Mast, boom and a sail in panels; its own frame has the foot of the mast as origin."""
    rs = canvas.rs
    top, clew = (0.02, rs.uniform(2.3, 2.7)), (-1.12, rs.uniform(0.62, 0.85))
    luff = curve((0.0, 0.1), (0.2, top[1] * 0.5), top, 12)
    leech = curve(clew, (-0.85, 1.75), (-0.12, top[1]), 12)
    foot = curve((0.0, 0.1), (-0.5, 0.3), clew, 6)
    main, second, third = (bright_colour(rs) for _ in range(3))
    if rs.rand() < 0.4:
        main = (244, 244, 240)
    see_through = rs.choice([0.35, 0.6, 1.0])
    canvas.polygon(
        at.all([*luff[:5], *reversed(leech[:1]), *reversed(foot)]), canvas.ink(main, alpha=0.95)
    )
    window = rs.randint(1, 4)
    for k in range(12):
        panel = at.all([luff[k], luff[k + 1], leech[k + 1], leech[k]])
        colour = main if k < 6 else (second if k < 9 else third)
        alpha = float(see_through) if window <= k < window + 3 else 0.96
        canvas.polygon(panel, canvas.ink(mix(colour, (255, 255, 255), 0.1 * (k % 2)), alpha=alpha))
    if rs.rand() < 0.7:
        band = at.all([luff[4], luff[5], leech[7], leech[6]])
        canvas.polygon(band, canvas.ink(second, alpha=0.9))
    dark = canvas.ink((40, 42, 48))
    thin = max(0.6, at.scale * 0.014)
    for k in (3, 5, 7, 9, 11):
        canvas.line(at.all([luff[k], leech[k]]), canvas.ink((60, 62, 70), alpha=0.7), thin)
    canvas.line(at.all(leech), canvas.ink((70, 72, 80), alpha=0.6), thin)
    canvas.line(at.all(luff), dark, max(1.0, at.scale * 0.04))
    boom = curve((0.12, 0.86), (-0.5, 0.66), (clew[0] - 0.06, clew[1]), 8)
    canvas.line(at.all(boom), dark, max(0.9, at.scale * 0.035))


def kitesurfing(canvas: Canvas, view: View) -> None:
    rs, width, height = canvas.rs, canvas.width, canvas.height
    tall = rs.uniform(0.13, 0.29) * height
    flip = rs.rand() < 0.5
    side = -1.0 if flip else 1.0
    spot = place(
        canvas, view, tall * 1.1, tall + 0.36 * height, (0.38, 0.92) if flip else (0.08, 0.62)
    )
    spot = (spot[0], max(spot[1], 0.54 * height))
    if rs.rand() < 0.35:
        breaker(
            canvas,
            (spot[0], spot[1] + tall * 0.1),
            tall * rs.uniform(2.0, 3.4),
            tall * rs.uniform(0.4, 0.8),
            flip,
        )
    jump = rs.rand() < 0.3
    if jump:
        spot = (spot[0], max(spot[1] - rs.uniform(0.06, 0.24) * height, tall + 0.3 * height))
        canvas.foam(
            (spot[0], spot[1] + tall * 0.6),
            (spot[0] - side * tall * 0.4, spot[1] + tall * 0.1),
            tall * 0.14,
            tall * 0.06,
            36,
            0.5,
        )
    span = float(np.clip(tall * rs.uniform(1.4, 2.2), 0.2 * width, 0.46 * width))
    reach = spot[1] - tall * 0.8
    kite_y = max(
        span * rs.uniform(0.3, 0.55), min(rs.uniform(0.1, 0.34) * height, reach - 0.2 * height)
    )
    margin = span * 0.5
    far = max(0.36 * height, span * 0.85)
    out = rs.uniform(0.05, 1.1) * reach
    out = max(out, float(np.sqrt(max(far**2 - (reach - kite_y) ** 2, 0.0))))
    kite_x = float(np.clip(spot[0] + side * out, margin, width - margin))
    at = Frame(spot, tall, flip, rs.uniform(-0.1, 0.3) if jump else rs.uniform(0.0, 0.2))
    if not jump:
        wake(canvas, at, rs.uniform(1.0, 2.4), rs.uniform(0.6, 1.5))
    hand = at(0.12, 0.82)
    tips = kite(canvas, (kite_x, kite_y), span, hand)
    lines = canvas.ink((70, 74, 82) if rs.rand() < 0.6 else (220, 222, 224), alpha=0.85)
    bar = [at(0.02, 0.76), at(0.22, 0.86)]
    for tip, end in zip(tips, (bar[0], bar[1], hand, hand), strict=True):
        canvas.line([tip, end], lines, max(0.55, tall * 0.008))
    canvas.settle()
    board(canvas, at, (-0.46, 0.06), (0.52, -0.02), rs.uniform(0.08, 0.13), bright_colour(rs))
    person(canvas, at, loosen(rs, TUCKED_POSE if jump and rs.rand() < 0.6 else KITE_POSE))
    canvas.line(bar, canvas.ink(bright_colour(rs)), max(1.0, tall * 0.035))
    if not jump:
        canvas.foam(at(-0.5, -0.03), at(0.5, -0.05), tall * 0.05, tall * 0.07, 20, 0.6)


def kite(
    canvas: Canvas, centre: Point, span: float, rider: Point
) -> tuple[Point, Point, Point, Point]:
    """An arc of coloured cells, open towards the rider. Where the four lines are tied to it."""
    rs = canvas.rs
    dx, dy = rider[0] - centre[0], rider[1] - centre[1]
    turn = float(np.arctan2(dx, dy)) + rs.uniform(-0.35, 0.35)
    bow, chord = rs.uniform(0.34, 0.6), rs.uniform(0.3, 0.5)
    squeeze = rs.uniform(0.7, 1.0)
    cells = rs.randint(6, 10)
    cos, sin = float(np.cos(turn)), float(np.sin(turn))

    def at(x: float, y: float) -> Point:
        x, y = x * span * 0.5 * squeeze, -y * span * 0.5
        return centre[0] + x * cos + y * sin, centre[1] - x * sin + y * cos

    angles = np.linspace(-0.06, np.pi + 0.06, cells + 1)
    lead = [(float(np.cos(a)), float(np.sin(a)) * 2 * bow) for a in angles]
    trail = [
        (
            float(np.cos(a)) * 0.94,
            float(np.sin(a)) * 2 * bow - chord * (0.12 + float(np.sin(a).clip(0)) ** 0.6),
        )
        for a in angles
    ]
    first, second, third = (bright_colour(rs) for _ in range(3))
    pattern = rs.randint(3)
    for k in range(cells):
        middle = abs(k - (cells - 1) / 2)
        if pattern == 0:
            colour = first if k % 2 else second
        elif pattern == 1:
            colour = first if middle > cells / 4 else second
        else:
            colour = third if middle < 1 else (first if k < cells / 2 else second)
        shade = mix(colour, (16, 18, 26), 0.05 + 0.22 * (k / cells if cos > 0 else 1 - k / cells))
        canvas.polygon(
            [at(*lead[k]), at(*lead[k + 1]), at(*trail[k + 1]), at(*trail[k])], canvas.ink(shade)
        )
    dark = canvas.ink(mix(first, (20, 22, 28), 0.55))
    for k in range(1, cells):
        canvas.line(
            [at(*lead[k]), at(*trail[k])],
            canvas.ink((30, 32, 40), alpha=0.45),
            max(0.6, span * 0.008),
        )
    fine = np.linspace(-0.06, np.pi + 0.06, 25)
    canvas.line(
        [at(float(np.cos(a)), float(np.sin(a)) * 2 * bow) for a in fine],
        dark,
        max(1.0, span * 0.026),
    )
    return at(*lead[0]), at(*lead[-1]), at(*trail[cells // 3]), at(*trail[cells - cells // 3])
