"""Checks of layer arguments, and the values at which Keras's other arguments mean "off".

Keras's layers take many arguments that tlcore has no use for (regularizers, dilation, ...), and
the files of its three generations spell the same defaults differently. Each layer class lists
such arguments with an `Only`: what may be given, and how it is told to the user.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ACTIVATIONS = (
    "linear",
    "relu",
    "sigmoid",
    "softmax",
    "relu6",
    "tanh",
    "elu",
    "selu",
    "softplus",
    "softsign",
    "silu",
    "gelu",
    "hard_sigmoid",
    "hard_silu",
    "leaky_relu",
    "exponential",
    "mish",
    "log_softmax",
)
_SAME_ACTIVATION = {"swish": "silu", "hard_swish": "hard_silu"}


@dataclass(frozen=True)
class Only:
    """The one meaning that an argument may have: `accepts(value)`, described by `text`."""

    text: str
    accepts: Callable[[Any], bool]


def _plain(value: Any) -> Any:
    """A list from JSON as the tuple that it stands for."""
    return tuple(_plain(item) for item in value) if isinstance(value, (list, tuple)) else value


def only(*values: object) -> Only:
    """The argument may be one of `values` and nothing else."""
    text = " or ".join(repr(value) for value in values)
    return Only(
        text,
        lambda value: any(type(_plain(value)) is type(v) and _plain(value) == v for v in values),
    )


def _initializer(value: Any) -> tuple[str, dict[str, Any]]:
    """Class or function name and configuration of an initializer, however it is spelled."""
    if isinstance(value, dict):
        config = value.get("config")
        return str(value.get("class_name")), config if isinstance(config, dict) else {}
    return (value, {}) if isinstance(value, str) else (type(value).__name__, {})


def _is_glorot_uniform(value: Any) -> bool:
    name, config = _initializer(value)
    if name == "VarianceScaling":  # what Keras 2 wrote for glorot_uniform
        found = config.get("scale"), config.get("mode"), config.get("distribution")
        return found == (1.0, "fan_avg", "uniform")
    return name in ("glorot_uniform", "GlorotUniform")


NOTHING = only(None)
CHANNELS_LAST = only(None, "channels_last")
NO_DILATION = only(1, (1, 1))
GLOROT_UNIFORM = Only("'glorot_uniform'", _is_glorot_uniform)
ZEROS = Only("'zeros'", lambda value: _initializer(value)[0] in ("zeros", "Zeros"))
ONES = Only("'ones'", lambda value: _initializer(value)[0] in ("ones", "Ones"))


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def whole(owner: str, name: str, value: Any, least: int = 1) -> int:
    """`value` as an int of at least `least`."""
    if not _is_whole(value) or value < least:
        raise ValueError(
            f"{owner}: {name} must be a whole number of at least {least}, got {value!r}."
        )
    return int(value)


def number(owner: str, name: str, value: Any, low: float, high: float, allowed: str) -> float:
    """`value` as a float with low <= value < high."""
    fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not fits or not low <= value < high:
        raise ValueError(f"{owner}: {name} must be {allowed}, got {value!r}.")
    return float(value)


def finite(owner: str, name: str, value: Any) -> float:
    """`value` as a float that float32 can hold."""
    return number(owner, name, value, -3.4e38, 3.4e38, "a finite number")


def flag(owner: str, name: str, value: Any) -> bool:
    """`value` as a bool."""
    if value not in (True, False):
        raise ValueError(f"{owner}: {name} must be True or False, got {value!r}.")
    return bool(value)


def one_of(owner: str, name: str, value: Any, allowed: Sequence[str]) -> str:
    """`value`, which must be one of the strings `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        names = ", ".join(repr(item) for item in allowed)
        raise ValueError(f"{owner}: {name} must be one of {names}, got {value!r}.")
    return value


def activation(owner: str, value: Any) -> str:
    """Name of an activation, as Keras 3 spells it; None is 'linear'."""
    if value is None:
        return "linear"
    if isinstance(value, str):
        value = _SAME_ACTIVATION.get(value, value)
    return one_of(owner, "activation", value, ACTIVATIONS)


def pair(owner: str, name: str, value: Any) -> tuple[int, int]:
    """Two positive ints out of one or two."""
    items = list(value) if isinstance(value, (list, tuple)) else [value, value]
    if len(items) != 2 or any(not _is_whole(item) or item < 1 for item in items):
        raise ValueError(
            f"{owner}: {name} must be a positive whole number or two of them, got {value!r}."
        )
    return int(items[0]), int(items[1])


def last_axis(owner: str, value: Any) -> int:
    """-1, or what is the last index of a batch of vectors (1) or of pictures (3)."""
    if value not in (-1, 1, 3) or isinstance(value, (bool, float)):
        raise ValueError(f"{owner}: axis must be the last one, -1, got {value!r}.")
    return int(value)


def check_last_axis(owner: str, axis: int, rank: int) -> None:
    """ValueError unless `axis` is the last of a batch of `rank` axes beside the batch's."""
    if axis not in (-1, rank):
        raise ValueError(f"{owner}: axis must be the last one, {rank} or -1, got {axis}.")


Padding = tuple[tuple[int, int], tuple[int, int]]


def zero_padding(owner: str, value: Any) -> Padding:
    """((top, bottom), (left, right)) out of one number, two, or two pairs."""
    items = list(value) if isinstance(value, (list, tuple)) else [value, value]
    sides = [list(side) if isinstance(side, (list, tuple)) else [side, side] for side in items]
    fits = len(sides) == 2 and all(
        len(side) == 2 and all(_is_whole(n) and n >= 0 for n in side) for side in sides
    )
    if not fits:
        raise ValueError(
            f"{owner}: padding must be a whole number, (height, width) or "
            f"((top, bottom), (left, right)), none below 0, got {value!r}."
        )
    (top, bottom), (left, right) = sides
    return (int(top), int(bottom)), (int(left), int(right))


def sizes(owner: str, name: str, value: Any) -> tuple[int, ...]:
    """The shape of one picture or vector, without the batch axis, every size known."""
    if _is_whole(value):
        value = (value,)
    if not isinstance(value, (list, tuple)) or len(value) not in (1, 3):
        raise ValueError(
            f"{owner}: {name} must be (height, width, channels) or (features,), got {value!r}."
        )
    if any(not _is_whole(n) or n < 1 for n in value):
        raise ValueError(
            f"{owner}: {name} must hold whole numbers of at least 1 "
            f"(tlcore fixes every size but the batch's), got {tuple(value)!r}."
        )
    return tuple(int(n) for n in value)


def without_batch(owner: str, name: str, value: Any) -> tuple[int, ...]:
    """`sizes` of a shape that starts with the batch axis: None or a size that is not kept."""
    if (
        not isinstance(value, (list, tuple))
        or len(value) < 2
        or not (value[0] is None or _is_whole(value[0]))
    ):
        raise ValueError(
            f"{owner}: {name} must be (None, height, width, channels) or (None, features), "
            f"got {value!r}."
        )
    return sizes(owner, name, list(value[1:]))


def dtype(owner: str, value: Any) -> str:
    """'float32', which is the only type that layers compute in."""
    name = value
    if isinstance(value, dict):  # a dtype policy of Keras 3 or tf-keras
        config = value.get("config")
        name = config.get("name") if isinstance(config, dict) else None
    elif isinstance(value, type):
        name = value.__name__
    if value is not None and str(name) != "float32":
        raise ValueError(f"{owner}: dtype must be 'float32', got {name!r}.")
    return "float32"
