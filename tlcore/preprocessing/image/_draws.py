"""What was drawn for a batch: which pictures, how each is transformed, how each is saved."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Indices = np.ndarray[Any, np.dtype[np.intp]]
# What `ImageDataGenerator.get_random_transform` returns.
Transform: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Draw:
    """The draws of one batch.

    Attributes:
        indices: sample numbers, (n,).
        transforms: one for each picture; None where pictures are taken as they are.
        names: of the files that the pictures are saved to; empty if they are not.
    """

    indices: Indices
    transforms: tuple[Transform, ...] | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    def pick(self, rows: Sequence[int]) -> Draw:
        """The draws of some rows, for reading alone: nothing is saved."""
        return Draw(
            self.indices[np.asarray(rows, dtype=np.intp)],
            None if self.transforms is None else tuple(self.transforms[row] for row in rows),
        )

    def transform(self, row: int) -> Transform | None:
        """How the picture of this row is transformed; None if not at all."""
        return None if self.transforms is None else self.transforms[row]

    def transform_keys(self) -> list[Hashable]:
        """For each picture a value that is equal for equal transforms."""
        if self.transforms is None:
            return [()] * len(self)
        return [tuple((name, _plain(t[name])) for name in sorted(t)) for t in self.transforms]


class Views:
    """The first `count` transforms that were drawn for each picture; then these again in turn."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: dict[int, list[Transform]] = {}
        self._turns: dict[int, int] = {}

    def take(self, index: int, drawn: Transform) -> Transform:
        """The transform of this picture, for which this one has just been drawn."""
        kept = self._kept.setdefault(index, [])
        if len(kept) < self.count:
            kept.append(drawn)
            return drawn
        turn = self._turns.get(index, 0)
        self._turns[index] = turn + 1
        return kept[turn % self.count]


def _plain(value: Any) -> float | None:
    return None if value is None else float(value)
