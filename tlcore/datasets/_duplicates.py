"""Findings about pictures that are the same or alike: counted twice, labelled twice, or leaked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlcore.datasets._alike import Match, equal, nearest
from tlcore.datasets._examine import HASH_BITS
from tlcore.datasets._findings import Finding
from tlcore.datasets._folder import TRAINING, VALIDATION, Picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlcore.datasets._examine import Facts

Question = Callable[[Any, Any], Any]


class _Link(NamedTuple):
    """Why a picture belongs to another."""

    other: int
    kind: str
    detail: str


def find_duplicates(
    pictures: Sequence[Picture],
    facts: Sequence[Facts],
    near: int | None,
    features: tuple[Sequence[int], NDArray[np.float32]] | None,
    similarity: float,
) -> list[Finding]:
    """Each picture with an earlier one, with one of another class, with one across the split.

    `near`: bits of the hashes that may differ. `features`: for which pictures, and their rows.
    """
    label = np.array([picture.label for picture in pictures])
    training = np.array([picture.split == TRAINING for picture in pictures], dtype=bool)
    validation = np.array([picture.split == VALIDATION for picture in pictures], dtype=bool)
    questions: list[Question] = [
        lambda one, other: other < one,
        lambda one, other: (other < one) & (label[one] != label[other]),
        lambda one, other: training[one] & validation[other],
    ]
    answers: list[dict[int, _Link]] = [{} for _ in questions]
    kinds = [(picture.label, picture.split) for picture in pictures]
    for answer, question in zip(answers, questions, strict=True):
        for digest, kind, detail in (
            ("content", "exact duplicate", "the same bytes"),
            ("pixels", "same pixels", "the same pixels in other bytes"),
        ):
            keys = [getattr(one, digest) for one in facts]
            for place, other in equal(keys, kinds, question).items():
                answer.setdefault(place, _Link(other, kind, detail))
    if near is not None:
        hashed = [place for place, one in enumerate(facts) if one.hashes is not None]
        signs = np.array([facts[place].hashes for place in hashed], dtype=np.float32) * 2 - 1
        signs = signs.reshape(len(hashed), 2, HASH_BITS)

        def bits(match: Match) -> str:
            differ = round((HASH_BITS - match.product) / 2)
            return f"{differ} of {HASH_BITS} bits of their hashes differ"

        least = HASH_BITS - 2 * near
        _add(answers, questions, hashed, signs[:, 0], signs[:, 1], least, bits)
    if features is not None:
        places, rows = features
        _add(
            answers,
            questions,
            places,
            rows,
            None,
            similarity,
            lambda match: f"their features have a cosine of {match.product:.2f}",
        )

    findings = []
    for kind, answer in zip(("", "label conflict", "across the split"), answers, strict=True):
        for place, link in sorted(answer.items()):
            picture, twin = pictures[place], pictures[link.other]
            detail = link.detail
            if picture.label != twin.label:
                detail += f"; classes {picture.label!r} and {twin.label!r}"
            findings.append(
                Finding(
                    kind or link.kind,
                    picture.name,
                    picture.label,
                    picture.split,
                    detail,
                    twin.name,
                )
            )
    return findings


def _add(
    answers: Sequence[dict[int, _Link]],
    questions: Sequence[Question],
    places: Sequence[int],
    rows: NDArray[np.float32],
    mirrored: NDArray[np.float32] | None,
    least: float,
    describe: Callable[[Match], str],
) -> None:
    """Add near duplicates to what has been answered already; `rows` are those of `places`."""
    whole = np.array(places, dtype=np.intp)

    def of_rows(question: Question) -> Question:
        return lambda one, other: question(whole[one], whole[other])

    found = nearest(rows, mirrored, least, [of_rows(question) for question in questions])
    for answer, matches in zip(answers, found, strict=True):
        for row, match in matches.items():
            detail = describe(match) + (", one is mirrored" if match.mirrored else "")
            link = _Link(places[match.other], "near duplicate", detail)
            answer.setdefault(places[row], link)
