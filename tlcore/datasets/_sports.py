"""draw_sports: a folder of pictures of three sports, for demos, notebooks and tests."""

from __future__ import annotations

import io
import json
import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlcore.preprocessing.image._iterator import Iterator
from tlcore.preprocessing.image._pictures import write_file
from tlcore.saving._files import read_small

if TYPE_CHECKING:
    from tlcore.datasets._seascape import Textures

SPORTS = ("windsurfing", "kitesurfing", "surfing")
MARK = "drawn_by_tlcore.json"
# Raised whenever the same seed draws other pictures.
VERSION = 1
SIZES = ((240, 320), (225, 300), (240, 360), (214, 320), (280, 280), (300, 240), (270, 360))


def draw_sports(
    folder: str | os.PathLike[str], counts: Sequence[int] = (90, 82, 98), seed: int = 37
) -> Path:
    """Draw pictures of windsurfing, kitesurfing and surfing, into one folder for each.

    JPEGs of about 320 x 240 pixels, in different light, weather, places and colours. The same
    seed draws the same picture for the same number, however many there are.

    Args:
        folder: made if it is missing.
        counts: how many windsurfing, kitesurfing and surfing pictures, each at least 1.
        seed: an integer from 0 to 2**32 - 1.

    Returns:
        The folder. A folder that holds exactly these pictures already is returned at once, and one
        that an interrupted call left is completed.

    Raises:
        ValueError: bad counts or seed.
        FileExistsError: the folder holds other pictures.
        OSError: a file cannot be written.
    """
    numbers, seed = _checked(counts, seed)
    root = Path(folder)
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(f"{str(root)!r} is not a folder.")
    wanted = {f"{sport}/{name}" for sport, n in numbers.items() for name in _names(sport, n)}
    mark = {"version": VERSION, "counts": list(numbers.values()), "seed": seed}
    there = _pictures(root)
    if there and (_mark(root) != mark or not there <= wanted):
        raise FileExistsError(
            f"Folder {str(root)!r} holds other pictures already: choose another folder, or the "
            f"counts and seed that they were drawn with."
        )
    missing = wanted - there
    if not missing:
        return root
    for sport in SPORTS:
        (root / sport).mkdir(parents=True, exist_ok=True)
    # The mark comes first: with it, a call that was interrupted can be taken up again.
    write_file(str(root / MARK), json.dumps(mark).encode())
    textures = _textures(seed)
    for sport, n in numbers.items():
        for k, name in enumerate(_names(sport, n)):
            if f"{sport}/{name}" in missing:
                write_file(str(root / sport / name), draw(sport, k, seed, textures))
    return root


def draw(sport: str, number: int, seed: int, textures: Textures) -> bytes:
    """One picture as a JPEG file."""
    from PIL import Image

    from tlcore.datasets import _clutter as clutter
    from tlcore.datasets import _riders
    from tlcore.datasets import _seascape as sea
    from tlcore.datasets._brush import OVERSAMPLING, Canvas

    # NumPy promises that RandomState's streams never change.
    rs = np.random.RandomState([seed, SPORTS.index(sport), number])
    height, width = SIZES[rs.randint(len(SIZES))]
    light = sea.choose_light(rs)
    high = rs.rand() < 0.12
    horizon = height * (rs.uniform(-0.25, 0.02) if high else rs.uniform(0.16, 0.58))
    sun = None
    if rs.rand() < 0.4 and not high:
        sun = (rs.uniform(0, 1) * width, horizon * rs.uniform(0.1, 0.95))
    view = sea.View(horizon, rs.uniform(-0.09, 0.09), rs.uniform(0, 1), sun)
    scene = sea.sky_and_sea(rs, light, view, (height, width), textures)
    np.clip(scene, 0, 255, out=scene)
    small = Image.fromarray(scene.astype("uint8"))
    large = (width * OVERSAMPLING, height * OVERSAMPLING)
    canvas = Canvas(small.resize(large, Image.Resampling.NEAREST), rs, light, textures.ragged)
    for thing, chance in (
        (clutter.land, 0.4),
        (clutter.boat, 0.3),
        (clutter.boat, 0.2),
        (clutter.buoy, 0.2),
    ):
        if rs.rand() < chance and not high:
            thing(canvas, view)
    if rs.rand() < 0.12:
        # Close by, but it must not hide the sport.
        clutter.palm(canvas)
    {
        "windsurfing": _riders.windsurfing,
        "kitesurfing": _riders.kitesurfing,
        "surfing": _riders.surfing,
    }[sport](canvas, view)
    canvas.settle()
    if rs.rand() < 0.3:
        clutter.gulls(canvas, rs.randint(1, 7))
    if rs.rand() < 0.22:
        clutter.beach(canvas)
    if rs.rand() < 0.15:
        clutter.drops(canvas)
    finished = np.asarray(canvas.img.reduce(OVERSAMPLING), dtype="float32")
    top, left = rs.randint(640 - height), rs.randint(640 - width)
    grain = textures.grain[top : top + height, left : left + width] * rs.uniform(0.5, 4)
    contrast = rs.uniform(0.82, 1.12)
    finished *= contrast
    finished += (grain + (128 * (1 - contrast) + rs.uniform(-14, 14)))[..., None]
    np.clip(finished, 0, 255, out=finished)
    data = io.BytesIO()
    Image.fromarray(finished.astype("uint8")).save(
        data, format="JPEG", quality=int(rs.randint(80, 94))
    )
    return data.getvalue()


def _textures(seed: int) -> Textures:
    from tlcore.datasets._seascape import Textures

    return Textures(np.random.RandomState([seed, len(SPORTS)]))


def _checked(counts: Sequence[int], seed: int) -> tuple[dict[str, int], int]:
    try:
        numbers = [operator.index(n) for n in counts]
    except TypeError:
        numbers = []
    if len(numbers) != len(SPORTS) or min(numbers) < 1:
        raise ValueError(
            f"counts must be three integers of at least 1 ({', '.join(SPORTS)}), not {counts!r}."
        )
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**32:
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1, not {seed!r}.")
    return dict(zip(SPORTS, numbers, strict=True)), number


def _names(sport: str, n: int) -> list[str]:
    return [f"{sport}_{k:04d}.jpg" for k in range(n)]


def _pictures(root: Path) -> set[str]:
    """Pictures anywhere in the folder, relative to it; hidden folders do not count."""
    found = set()
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(Iterator.white_list_formats):
                found.add((Path(folder) / name).relative_to(root).as_posix())
    return found


def _mark(root: Path) -> object:
    try:
        return json.loads(read_small(root / MARK, 10_000))
    except (OSError, ValueError, RecursionError):
        return None
