"""`check`: what is wrong with a folder of pictures, before anybody trains on it."""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.datasets._duplicates import find_duplicates
from tlcore.datasets._examine import HASH_BITS, Facts, Look, examine
from tlcore.datasets._findings import Finding
from tlcore.datasets._folder import TRAINING, VALIDATION, Picture, list_folder
from tlcore.datasets._report import Report
from tlcore.preprocessing.image._reading import submit
from tlcore.training._checks import real, whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlcore.datasets._features import Extractor
    from tlcore.models import Model

# Files that are being looked at, or were and wait for those before them.
_AHEAD = 64
# Pictures whose features are computed together.
_BATCH = 64


def check(
    directory: str | os.PathLike[str],
    validation_split: float | None = None,
    *,
    validation_directory: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    follow_links: bool = False,
    near: int | None = 36,
    features: bool | Model | None = None,
    similarity: float = 0.9,
    min_size: int = 32,
    max_aspect_ratio: float = 4.0,
    max_imbalance: float = 3.0,
    verbose: bool = True,
) -> Report:
    """Looks for what spoils training in a folder that holds one folder of pictures for each class.

    Every file is read and decoded once, in threads; nothing is written. Found are files that stop
    training (unreadable, truncated, empty, broken links), files that are not used (types that
    flow_from_directory ignores, hidden folders, files beside the class folders), pictures that are
    read otherwise than they look (EXIF rotation, CMYK, 16 bits, transparency, animations, wrong
    extensions, tiny or narrow ones), classes that are empty or small, and pictures that are the
    same or nearly so: counted twice, under two labels, or on both sides of the split.

    Pictures are the same if their bytes (SHA-256) or their decoded pixels are. They are nearly so
    if at most `near` of 192 bits of perceptual hashes differ (phash, dhash and dhash_vertical of
    the library ImageHash, of the picture or its mirror image; pictures without contrast have no
    hash), or if their features have a cosine of at least `similarity`. Each picture is compared
    with all others, by matrix products: the time grows with the square of their number. The
    defaults were measured on photos; docs/decisions/0014-near-duplicates.md tells what they find.

    Args:
        directory: the folder of the class folders, as for `flow_from_directory`.
        validation_split: as for ImageDataGenerator, strictly between 0 and 1: the first
            int(share * n) pictures of each class are for validation. None: there is no split.
        validation_directory: a second such folder with the pictures for validation; all of
            `directory` is for training then.
        classes: names of the class folders; None for all of them, as in flow_from_directory.
        follow_links: follow symbolic links to folders.
        near: bits of 192 that may differ between near duplicates, 0 to 96. None: no hashes.
        features: True to compare features too, of MobileNetV2 with ImageNet weights that are on
            this machine (nothing is downloaded); or a model from pictures to features, whose
            `input_range` is set. Finds more of what was cut or turned; some 5 ms a picture.
        similarity: cosine of features from which on pictures are near duplicates, 0 to 1.
        min_size: pictures with a side below so many pixels are "tiny".
        max_aspect_ratio: the longer side may be so many times the shorter one.
        max_imbalance: the largest class may have so many times the pictures of another.
        verbose: print the summary.

    Returns:
        A Report: its `table` has a line for each finding (a pandas.DataFrame if pandas is
        installed), `print` gives a summary, a notebook shows thumbnails. Without ImageHash
        (pip install 'tlcore[check]') `notes` says that near duplicates were not looked for.

    Raises:
        FileNotFoundError, NotADirectoryError, PermissionError: the folder cannot be listed; there
            are no ImageNet weights for features=True.
        ValueError: no class folder, or an argument out of range. TypeError: one of another type.
    """
    if isinstance(classes, str):
        raise TypeError(f"classes must be a list of folder names, not the string {classes!r}.")
    if validation_split is not None:
        validation_split = real("check", "validation_split", validation_split, 0, 1)
        if not 0 < validation_split < 1:
            raise ValueError(
                f"check: validation_split must be None or strictly between 0 and 1, got "
                f"{validation_split!r}."
            )
        if validation_directory is not None:
            raise ValueError("check: give validation_split or validation_directory, not both.")
    near = None if near is None else whole("check", "near", near, 0)
    if near is not None and near > HASH_BITS // 2:
        raise ValueError(f"check: near must be at most {HASH_BITS // 2} bits, got {near}.")
    similarity = real("check", "similarity", similarity, 0, 1)
    look = Look(
        whole("check", "min_size", min_size, 0),
        real("check", "max_aspect_ratio", max_aspect_ratio, 1),
        near is not None and _has_imagehash(),
        None,
    )
    max_imbalance = real("check", "max_imbalance", max_imbalance, 1)

    root = os.fspath(directory)
    side = "" if validation_directory is None else TRAINING
    pictures, counts, found = list_folder(root, classes, validation_split, follow_links, side)
    if validation_directory is not None:
        folder = os.fspath(validation_directory)
        second = list_folder(folder, classes, None, follow_links, VALIDATION, shown_as=folder)
        pictures, found = pictures + second.pictures, found + second.findings
        found += _different_classes(counts, second.counts)
    found += _imbalance(counts, max_imbalance)

    extractor = None
    if features is not None and features is not False:
        from tlcore.datasets._features import Extractor

        extractor = Extractor(features)
        look = look._replace(features=extractor.shape)
    facts, rows = _all_facts(pictures, look, extractor)
    for picture, one in zip(pictures, facts, strict=True):
        found += [
            Finding(kind, picture.name, picture.label, picture.split, detail)
            for kind, detail in one.findings
        ]
    found += find_duplicates(pictures, facts, near if look.hashes else None, rows, similarity)

    notes = []
    if near is not None and not look.hashes:
        notes.append(
            "near duplicates were not looked for by perceptual hashes: pip install 'tlcore[check]'"
        )
    report = Report(
        root,
        counts,
        Counter(picture.split for picture in pictures),
        found,
        notes,
        {picture.name: picture.path for picture in pictures}
        | {one.file: _path(root, one) for one in found if one.kind in _OTHER_FILES},
    )
    if verbose:
        _print(str(report))
    return report


# Kinds of findings about files that are not among the pictures.
_OTHER_FILES = ("ignored picture", "outside the classes", "other file", "broken link")


def _path(root: str, finding: Finding) -> str:
    return finding.file if finding.split == VALIDATION else os.path.join(root, finding.file)


def _has_imagehash() -> bool:
    try:
        import imagehash  # noqa: F401
    except ImportError:
        return False
    return True


def _all_facts(
    pictures: Sequence[Picture], look: Look, extractor: Extractor | None
) -> tuple[list[Facts], tuple[list[int], NDArray[np.float32]] | None]:
    """What is known of each picture, and for which of them there are features, with their rows."""
    facts: list[Facts] = []
    places: list[int] = []
    waiting: list[NDArray[np.uint8]] = []
    rows: list[NDArray[np.float32]] = []
    for one in _examined(pictures, look):
        if one.picture is not None:
            places.append(len(facts))
            waiting.append(one.picture)
            one.picture = None
        facts.append(one)
        if extractor is not None and len(waiting) == _BATCH:
            rows.append(extractor(waiting))
            waiting = []
    if extractor is None:
        return facts, None
    if waiting:
        rows.append(extractor(waiting))
    return facts, (places, np.concatenate(rows) if rows else np.empty((0, 1), np.float32))


def _examined(pictures: Sequence[Picture], look: Look) -> Iterator[Facts]:
    """The facts of each picture in order, from the crew, a few files ahead."""
    ahead: deque[Future[Any]] = deque()
    try:
        for picture in pictures:
            ahead.append(submit(examine, picture.path, look))
            if len(ahead) == _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()


def _imbalance(counts: dict[str, int], most: float) -> list[Finding]:
    """A finding for each class that is too small beside the largest one; not for empty ones."""
    largest = max(counts, key=lambda name: counts[name])
    return [
        Finding(
            "class imbalance",
            name,
            name,
            "",
            f"{n} pictures, {largest!r} has {counts[largest]}: {counts[largest] / n:.1f} times",
        )
        for name, n in counts.items()
        if 0 < n * most < counts[largest]
    ]


def _different_classes(first: dict[str, int], second: dict[str, int]) -> list[Finding]:
    if list(first) == list(second):
        return []
    return [
        Finding("different classes", name, name, split, f"there is no such folder for {where}")
        for names, others, split, where in (
            (first, second, TRAINING, VALIDATION),
            (second, first, VALIDATION, TRAINING),
        )
        for name in names
        if name not in others
    ]


def _print(text: str) -> None:
    """Names may have characters that the terminal does not."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
