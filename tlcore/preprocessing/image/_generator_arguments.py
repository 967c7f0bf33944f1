"""Arguments of ImageDataGenerator that are numbers or lists of them: checked, each by its name."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np


def is_number(value: Any) -> bool:
    return isinstance(value, (numbers.Real, np.bool_)) and bool(np.isfinite(float(value)))


def check_number(name: str, value: Any) -> None:
    # None is off, as 0 is, for what is asked whether it is true.
    if value is None and name in ("rotation_range", "shear_range"):
        return
    if not is_number(value):
        raise ValueError(f"{name} must be a finite number, not {value!r}.")


def check_shift(name: str, value: Any) -> Any:
    if value is None or is_number(value):
        return value
    is_list = isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1
    if is_list and all(map(is_number, value)):
        return value.tolist() if isinstance(value, np.ndarray) else value
    raise ValueError(f"{name} must be a number or a list of numbers, not {value!r}.")


def check_brightness(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) != 2 or not all(map(is_number, value)):
        raise ValueError(f"brightness_range must be two numbers (low, high), not {value!r}.")
    return value


def low_and_high(zoom_range: Any) -> list[Any]:
    if is_number(zoom_range):
        return [1 - zoom_range, 1 + zoom_range]
    if (
        isinstance(zoom_range, (list, tuple, np.ndarray))
        and len(zoom_range) == 2
        and all(map(is_number, zoom_range))
    ):
        return [zoom_range[0], zoom_range[1]]
    raise ValueError(f"zoom_range must be a number or two (low, high), not {zoom_range!r}.")
