"""Which pictures are alike: equal digests, and rows of numbers whose products are large.

Both perceptual hashes (bits as -1 and 1) and features (of length 1) are compared by the products of
their rows, a block of rows against all at a time: memory stays small, and NumPy does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows that are compared with all others at once: 10 MB of products for 10,000 pictures.
_BLOCK = 256

Mask = Callable[[Any, Any], Any]  # (rows, columns) -> which pairs are asked about


class Match(NamedTuple):
    """The nearest of the others that were asked about."""

    other: int
    product: float
    mirrored: bool


def equal(
    keys: Sequence[Hashable | None],
    kinds: Sequence[Hashable],
    asked: Callable[[int, int], Any],
) -> dict[int, int]:
    """For each place the first other one with the same key that `asked(place, other)` allows.

    What is asked may depend on the order of the two and on their `kinds`, and on nothing else.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(place)
    found = {}
    for group in groups.values():
        firsts: dict[Hashable, int] = {}
        for place in group:
            firsts.setdefault(kinds[place], place)
        for place in group if len(group) > 1 else ():
            other = next((other for other in firsts.values() if asked(place, other)), None)
            if other is not None:
                found[place] = other
    return found


def nearest(
    rows: NDArray[np.float32],
    mirrored: NDArray[np.float32] | None,
    least: float,
    questions: Sequence[Mask],
) -> list[dict[int, Match]]:
    """For each question and row the other row with the largest product of at least `least`.

    `rows` (n, k) and `mirrored` (n, k): those of the pictures and of their mirror images. A
    question is a function of row and column numbers, shapes (m, 1) and (1, n), to a bool (m, n).
    """
    n = len(rows)
    columns = np.arange(n)[np.newaxis]
    answers: list[dict[int, Match]] = [{} for _ in questions]
    for first in range(0, n, _BLOCK):
        block = rows[first : first + _BLOCK]
        numbers = np.arange(first, first + len(block))[:, np.newaxis]
        straight = block @ rows.T
        products = straight if mirrored is None else np.maximum(straight, block @ mirrored.T)
        near = (products >= least) & (numbers != columns)
        busy = np.flatnonzero(near.any(axis=1))
        if not len(busy):
            continue
        numbers, products, near = numbers[busy], products[busy], near[busy]
        for answer, question in zip(answers, questions, strict=True):
            asked = near & question(numbers, columns)
            best = np.where(asked, products, -np.inf).argmax(axis=1)
            for i in np.flatnonzero(asked.any(axis=1)):
                product = float(products[i, best[i]])
                flipped = product > float(straight[busy[i], best[i]])
                answer[int(numbers[i, 0])] = Match(int(best[i]), product, flipped)
    return answers
