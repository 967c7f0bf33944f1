"""Thousands of damaged .h5 files: each opens as the same architecture, or is refused."""

from __future__ import annotations

from pathlib import Path
from random import Random

import campaign

FILES = Path(__file__).parents[1] / "golden" / "files"


def prepare() -> None:
    from tlcore.models import load_model

    load_model(FILES / "keras_frozen.h5")


def trial(path: Path) -> str:
    from tlcore.models import load_model

    try:
        load_model(path)
    except ValueError as err:
        assert str(err).startswith(str(path))
        return "refused"
    return "opened"


ORIGINALS = [path.read_bytes() for path in sorted(FILES.glob("*_frozen.h5"))]


def make(random: Random) -> tuple[bytes, str]:
    return campaign.damaged(random, random.choice(ORIGINALS), ORIGINALS)


if __name__ == "__main__":
    raise SystemExit(campaign.main(__file__, make, suffix=".h5"))
