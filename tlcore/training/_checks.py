"""Argument checks that several modules of the training side share."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from tlcore.utils.notes import note


def refuse_unless_neutral(
    owner: str, options: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]]
) -> None:
    """Raise unless every option is known and set to a value that changes nothing.

    `neutral` maps an option that other Keras generations know to the values (a tuple) that mean
    "off". ValueError names the option otherwise.
    """
    for name, value in options.items():
        if name not in neutral:
            raise ValueError(f"{owner} has no option {name!r}.")
        if not any(
            value is off or (type(value) is type(off) and value == off) for off in neutral[name]
        ):
            allowed = " or ".join(repr(off) for off in neutral[name])
            raise ValueError(f"{owner} does not support {name}={value!r}; only {allowed} works.")


def real(
    owner: str,
    name: str,
    value: object,
    low: float,
    high: float = math.inf,
    *,
    open_high: bool = False,
) -> float:
    """`value` as a finite float between `low` and `high`, or a ValueError that names it."""
    fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = math.nan
    if fits:
        number = float(value)  # type: ignore[arg-type]
    elif hasattr(value, "__float__") and not isinstance(value, (bool, str)):
        number = float(value)  # a NumPy scalar or a 0-d array
    below = number < high if open_high else number <= high
    if not (math.isfinite(number) and number >= low and below):
        limits = f"of at least {low:g}"
        if math.isfinite(high):
            limits += f" and {'below' if open_high else 'at most'} {high:g}"
        raise ValueError(f"{owner}: {name} must be a number {limits}, got {value!r}.")
    return number


def whole(owner: str, name: str, value: object, low: int) -> int:
    """`value` as an int of at least `low`, or a ValueError that names it."""
    is_whole = isinstance(value, numbers.Integral) or (
        isinstance(value, numbers.Real) and float(value).is_integer()
    )
    if isinstance(value, bool) or not is_whole or int(value) < low:  # type: ignore[call-overload]
        raise ValueError(
            f"{owner}: {name} must be a whole number of at least {low}, got {value!r}."
        )
    return int(value)  # type: ignore[call-overload, no-any-return]


def note_idle_workers(workers: object, use_multiprocessing: object) -> None:
    """Say, once, what becomes of these arguments of Keras's, if they ask for anything."""
    if use_multiprocessing or workers != 1:
        note(
            "workers and use_multiprocessing have no effect: pictures are always decoded ahead, in "
            "as many threads as tlcore.get_num_threads() tells"
        )


def listed(names: Iterable[str]) -> str:
    """'a, b and c'."""
    words = [repr(name) for name in names]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" and {words[-1]}"
