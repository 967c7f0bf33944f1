"""What datasets.check finds of changed copies of photos, and what it takes for copies wrongly.

    TLCORE_WEIGHTS=FOLDER python benchmarks/bench_duplicates.py --photos FOLDER

The folder holds one folder for each class. Each photo gets a copy, changed in one way; a pair is
right if it is a photo with its copy, wrong if it is any other one: with 290 photos there are 290
right pairs and 167,620 others for each way. Drawn pictures, which look more alike than photos, are
compared too, without copies. Last comes the time that comparing 10,000 pictures takes.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from tlcore.datasets import draw_sports
from tlcore.datasets._alike import nearest
from tlcore.datasets._examine import HASH_BITS, perceptual_hashes
from tlcore.datasets._features import Extractor

NEAR = (16, 24, 30, 36, 42, 48)
SIMILARITY = (0.8, 0.85, 0.88, 0.9, 0.92, 0.95)


def jpeg(img: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    img.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def scaled(img: Image.Image, share: float) -> Image.Image:
    size = (max(1, int(img.width * share)), max(1, int(img.height * share)))
    return img.resize(size, Image.Resampling.BICUBIC)


def cropped(img: Image.Image, share: float, corner: bool = False) -> Image.Image:
    """Without `share` of width and height: half of it on each side, or all at one corner."""
    x, y = int(img.width * share), int(img.height * share)
    left, top = (0, 0) if corner else (x // 2, y // 2)
    return img.crop((left, top, left + img.width - x, top + img.height - y))


def mirrored(img: Image.Image) -> Image.Image:
    return img.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


WAYS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda img: scaled(img, 0.5),
    "a third, JPEG 40": lambda img: jpeg(scaled(img, 1 / 3), 40),
    "JPEG 30": lambda img: jpeg(img, 30),
    "square of 224": lambda img: img.resize((224, 224), Image.Resampling.BILINEAR),
    "brighter by 30 %": lambda img: ImageEnhance.Brightness(img).enhance(1.3),
    "mirrored": mirrored,
    "mirrored, half, JPEG 50": lambda img: jpeg(scaled(mirrored(img), 0.5), 50),
    "cropped 5 %": lambda img: cropped(img, 0.05),
    "cropped 5 %, half, JPEG 60": lambda img: jpeg(scaled(cropped(img, 0.05), 0.5), 60),
    "cropped 5 % at a corner": lambda img: cropped(img, 0.05, corner=True),
    "cropped 10 %": lambda img: cropped(img, 0.1),
    "cropped 20 %": lambda img: cropped(img, 0.2),
    "turned by 5 degrees": lambda img: cropped(img.rotate(5, Image.Resampling.BICUBIC), 0.15),
}


def by_hash(pictures: list[Image.Image]) -> np.ndarray:
    """Distances in bits of all pairs; none to pictures without a hash."""
    rows = [perceptual_hashes(img) for img in pictures]
    signs = np.array([np.zeros((2, HASH_BITS)) if row is None else row * 2.0 - 1 for row in rows])
    products = np.maximum(signs[:, 0] @ signs[:, 0].T, signs[:, 0] @ signs[:, 1].T)
    return (HASH_BITS - products) / 2


def by_features(extractor: Extractor, pictures: list[Image.Image]) -> np.ndarray:
    """Cosines of all pairs, turned round so that small ones are alike."""
    height, width, _ = extractor.shape
    small = [np.asarray(img.resize((width, height), Image.Resampling.BILINEAR)) for img in pictures]
    rows = extractor(small)
    return -(rows @ rows.T)


def count(distances: np.ndarray, photos: int, most: float) -> tuple[int, int]:
    """Right and wrong pairs; the second half of the pictures are copies of the first."""
    i, j = np.nonzero(np.triu(distances <= most, 1))
    right = int((j == i + photos).sum())
    return right, len(i) - right


def table(measure: Callable[[list[Image.Image]], np.ndarray], photos: Any, limits: Any) -> None:
    sign = 1 if limits is NEAR else -1
    print("| copies | " + " | ".join(map(str, limits)) + " |")
    print("|---" * (len(limits) + 1) + "|")
    total = {limit: [0, 0] for limit in limits}
    for name, way in WAYS.items():
        distances = measure([*photos, *map(way, photos)])
        cells = []
        for limit in limits:
            right, wrong = count(distances, len(photos), sign * limit)
            total[limit][0] += right
            total[limit][1] += wrong
            cells.append(f"{right / len(photos):.3f}" + (f" ({wrong} wrong)" if wrong else ""))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    precision = [f"{right / (right + wrong):.4f}" for right, wrong in total.values()]
    print("| precision of all | " + " | ".join(precision) + " |")
    plain = sign * measure(photos)[np.triu_indices(len(photos), 1)]
    nearest_pairs = np.sort(sign * plain)[:5] * sign
    print(
        f"Different photos: mean {plain.mean():.3f}, deviation {plain.std():.3f}, nearest "
        f"{nearest_pairs.round(3).tolist()}"
    )


def drawn(folder: Path) -> list[Image.Image]:
    draw_sports(folder)
    return [Image.open(path).convert("RGB") for path in sorted(folder.rglob("*.jpg"))]


def timed(width: int, mirror: bool, least: float) -> float:
    """Seconds for 10,000 rows that nobody else is near."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((10_000, width)).astype(np.float32)
    rows = np.sign(rows) if mirror else rows / np.linalg.norm(rows, axis=1, keepdims=True)
    start = time.perf_counter()
    questions = [lambda one, other: other < one] * 3
    nearest(rows, -rows if mirror else None, least, questions)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    chosen = parser.parse_args()
    paths = sorted(path for path in chosen.photos.rglob("*.jpg") if path.is_file())
    photos = [Image.open(path).convert("RGB") for path in paths]
    print(f"{len(photos)} photos\n\nRecall by bits of {HASH_BITS} that may differ:\n")
    table(by_hash, photos, NEAR)
    extractor = Extractor(True)
    print(f"\nRecall by cosine of the features of {extractor._model.name}:\n")
    table(lambda pictures: by_features(extractor, pictures), photos, SIMILARITY)
    with tempfile.TemporaryDirectory() as name:
        pictures = drawn(Path(name) / "drawn")
    for measure, sign in ((by_hash, 1), (lambda some: by_features(extractor, some), -1)):
        pairs = np.sort(measure(pictures)[np.triu_indices(len(pictures), 1)])[:5] * sign
        print(f"\n{len(pictures)} drawn pictures, nearest pairs: {pairs.round(3).tolist()}")
    print(
        f"\nComparing 10,000 pictures: hashes {timed(HASH_BITS, True, HASH_BITS - 72):.1f} s, "
        f"features {timed(1280, False, 0.9):.1f} s"
    )


if __name__ == "__main__":
    main()
