"""Pictures that stand on both sides of fit's split, which validation then knows already.

A look of milliseconds: only what coincides in cheap marks (size and a few bytes of a file, a few
values of an array's row) is compared as a whole, and only up to a fixed amount of bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlcore.training.data import ArraySource, IteratorSource
from tlcore.utils.notes import note

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlcore.training.data import Source

# Bytes of each side that are hashed at most.
_BUDGET = 32 << 20
# Bytes out of the middle of a file whose size coincides, and values out of a row.
_PIECE, _VALUES = 512, 16
# Pairs that are named.
_EXAMPLES = 2

Mark = Callable[[int], Hashable]  # of a place; None: it cannot be compared


class Leaks(NamedTuple):
    """Place among the validation pictures -> place of an equal one in training.

    Not `complete` where the budget ended before what coincided in its marks was compared.
    """

    places: dict[int, int]
    complete: bool = True


class _Budget:
    """What may still be hashed."""

    def __init__(self) -> None:
        self.left = _BUDGET

    def takes(self, size: int) -> bool:
        self.left -= size
        return self.left >= 0


def note_leaks(source: Source, validation: Source) -> None:
    """Say so if pictures of `validation` are in `source`; silent where one cannot tell."""
    paths, others = _paths(source), _paths(validation)
    if paths is not None and others is not None:
        found = same_files(paths, others)
        _say(found, len(others), lambda i: repr(paths[i]), lambda j: repr(others[j]))
        return
    x, tested = _array(source), _array(validation)
    if x is not None and tested is not None:
        _say(same_rows(x, tested), len(tested), "x[{}]".format, "validation's x[{}]".format)


def same_files(paths: Sequence[str], others: Sequence[str]) -> Leaks:
    """Which of `others` are files in `paths`, or have the bytes of one."""
    ours, theirs = [_status(path) for path in paths], [_status(path) for path in others]
    # From behind, so that the first one stays.
    by_id = {(one.st_dev, one.st_ino): i for i, one in reversed([*enumerate(ours)]) if one}
    found = {
        j: by_id[one.st_dev, one.st_ino]
        for j, one in enumerate(theirs)
        if one and (one.st_dev, one.st_ino) in by_id
    }
    budgets = _Budget(), _Budget()
    found |= _same(
        range(len(paths)),
        [j for j in range(len(others)) if j not in found],
        [
            (lambda i: _size(ours[i]), lambda j: _size(theirs[j])),
            (lambda i: _piece(paths[i], ours[i]), lambda j: _piece(others[j], theirs[j])),
            (_file_digests(paths, budgets[0]), _file_digests(others, budgets[1])),
        ],
    )
    return Leaks(dict(sorted(found.items())), min(one.left for one in budgets) >= 0)


def same_rows(x: NDArray[Any], others: NDArray[Any]) -> Leaks:
    """Which of `others` are rows of `x`."""
    if x.dtype != others.dtype or x.shape[1:] != others.shape[1:] or x[:1].size == 0:
        return Leaks({})
    spread = np.linspace(0, x[0].size - 1, _VALUES).astype(np.intp)
    at: Any = (slice(None), *np.unravel_index(spread, x.shape[1:]))
    few, other_few = x[at], others[at]
    budgets = _Budget(), _Budget()
    found = _same(
        range(len(x)),
        range(len(others)),
        [
            (lambda i: few[i].tobytes(), lambda j: other_few[j].tobytes()),
            (_row_digests(x, budgets[0]), _row_digests(others, budgets[1])),
        ],
    )
    return Leaks(found, min(one.left for one in budgets) >= 0)


def _same(
    ours: Iterable[int], theirs: Iterable[int], marks: Sequence[tuple[Mark, Mark]]
) -> dict[int, int]:
    """Place of theirs -> first place of ours; what differs in one mark is not asked for the next.

    The last mark decides.
    """
    for mark, other_mark in marks:
        marked = {i: found for i in ours if (found := mark(i)) is not None}
        other_marked = {j: found for j in theirs if (found := other_mark(j)) is not None}
        common = set(marked.values()) & set(other_marked.values())
        ours = [i for i, found in marked.items() if found in common]
        theirs = [j for j, found in other_marked.items() if found in common]
    first: dict[Hashable, int] = {}
    for i in ours:
        first.setdefault(marked[i], i)
    return {j: first[other_marked[j]] for j in theirs}


def _paths(source: Source) -> list[str] | None:
    """The files of one of tlcore's iterators over files."""
    iterator = source.iterator if isinstance(source, IteratorSource) else None
    paths = getattr(iterator, "filepaths", None)
    return paths if isinstance(paths, list) else None


def _array(source: Source) -> NDArray[Any] | None:
    """Pictures in an array; other rows, such as of numbers, are equal for good reasons."""
    x = source.x if isinstance(source, ArraySource) else None
    if isinstance(source, IteratorSource):
        x = getattr(source.iterator, "x", None)
    return x if isinstance(x, np.ndarray) and x.ndim == 4 and x.dtype != object else None


def _say(
    found: Leaks,
    total: int,
    ours: Callable[[int], str],
    theirs: Callable[[int], str],
) -> None:
    n = len(found.places)
    if n == 0:
        return
    pairs = [(theirs(j), ours(i)) for j, i in list(found.places.items())[:_EXAMPLES]]
    examples = ", ".join(one if one == other else f"{one} = {other}" for one, other in pairs)
    if n > len(pairs):
        examples += ", ..."
    number = f"{n}" if found.complete else f"at least {n}"
    note(
        f"{number} of {total} validation pictures are training pictures too ({examples}): "
        "validation is flattered. tlcore.datasets.check(folder, validation_split) lists such files "
        "and near duplicates.",
        key=object(),
    )


def _status(path: str) -> os.stat_result | None:
    try:
        found = os.stat(path)
    except OSError:  # whoever reads it says so
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _size(status: os.stat_result | None) -> int | None:
    return status.st_size if status else None


def _piece(path: str, status: os.stat_result | None) -> Hashable:
    assert status is not None  # it has a size
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(max(0, status.st_size - _PIECE) // 2)
            return status.st_size, file.read(_PIECE)
    except OSError:
        return None


def _file_digests(paths: Sequence[str], budget: _Budget) -> Mark:
    def digest(i: int) -> Hashable:
        try:
            if not budget.takes(os.path.getsize(paths[i])):
                return None
            with open(paths[i], "rb") as file:
                return hashlib.sha256(file.read()).digest()
        except OSError:
            return None

    return digest


def _row_digests(x: NDArray[Any], budget: _Budget) -> Mark:
    def digest(i: int) -> Hashable:
        fits = budget.takes(x[i].nbytes)
        return hashlib.sha256(x[i].tobytes()).digest() if fits else None

    return digest
