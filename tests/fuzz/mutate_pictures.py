"""Thousands of damaged pictures: each is read as a picture, or refused in one sentence.

Every kind that Pillow writes (tests/fuzz/picture_files.py) is damaged: bytes, numbers and pieces
anywhere, sizes in headers, mostly with the checksums made right again.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from random import Random

import campaign

SIDES = (1, 2, 255, 256, 1000, 4096, 9000, 9458, 9460, 16_383, 30_000, 65_500, 65_535, 65_536)
SIDES += (1 << 20, 89_478_485, (1 << 31) - 1)


def prepare() -> None:
    import contextlib
    import io

    import picture_files

    from tlcore.preprocessing.image import img_to_array, load_img

    for _, content in picture_files.originals():  # imports and tables come on first use
        for color_mode in ("grayscale", "rgb", "rgba"):
            with contextlib.suppress(OSError, ValueError):  # Lab has no way to the others
                img_to_array(load_img(io.BytesIO(content), color_mode, (9, 9), "bilinear"))


def trial(path: Path) -> str:
    import warnings

    import numpy as np

    from tlcore.preprocessing.image import img_to_array, load_img

    # Pillow warns of damaged Exif data and reads on; its warning of bombs is of another kind.
    warnings.simplefilter("ignore", UserWarning)
    # Which way it is read follows from the file, so that a file alone repeats a finding.
    chosen = zlib.crc32(path.read_bytes())
    mode = ("rgb", "rgb", "grayscale", "rgba")[chosen % 4]
    size = (None, (32, 24), (224, 224))[chosen // 4 % 3]
    way = ("nearest", "bilinear", "lanczos", "box")[chosen // 16 % 4]
    try:
        aspect, exif = bool(chosen & 256), bool(chosen & 512)
        img = load_img(path, mode, size, way, keep_aspect_ratio=aspect, exif=exif)
    except (OSError, ValueError) as err:
        text = str(err)
        assert repr(str(path)) in text, text
        assert "\n" not in text, text
        assert "bomb" not in text, text
        return "refused"
    assert size is None or img.size == (size[1], size[0])
    channels = {"rgb": 3, "rgba": 4, "grayscale": 1}[mode]
    if img.size[0] * img.size[1] < 1 << 20:
        x = img_to_array(img)
        assert x.shape == (img.size[1], img.size[0], channels)
        assert x.dtype == np.float32
        assert np.isfinite(x).all()
    return "opened"


def make(random: Random) -> tuple[bytes, str]:
    import picture_files

    originals = picture_files.originals()
    extension, content = random.choice(originals)
    change = ""
    if random.random() < 0.15:
        width, height = random.choice(SIDES), random.choice(SIDES)
        content = picture_files.resized(content, width, height)
        change = f"{width}x{height} "
    if not change or random.random() < 0.5:
        alike = [other for kind, other in originals if kind == extension]
        places = picture_files.places(content)
        content, damage = campaign.damaged(random, content, alike, places, spare=8)
        change += damage
    if random.random() < 0.8:
        content = picture_files.repaired(extension, content)
    return content, f"{extension} {change}"


if __name__ == "__main__":
    raise SystemExit(campaign.main(__file__, make, suffix=".jpg"))
