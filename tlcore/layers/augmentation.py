"""Layers that change pictures at random while a model trains, and do nothing otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from tlcore.layers import _arguments as arguments
from tlcore.layers._pictures import RandomLayer

MODES = ("horizontal", "vertical", "horizontal_and_vertical")
FILL_MODES = ("reflect", "wrap", "constant", "nearest")
_MOST = float(1 << 16)  # what the core takes, far beyond what makes a difference


class RandomFlip(RandomLayer):
    """In training, mirrors about half of the pictures.

    Args:
        mode: "horizontal" exchanges left and right, "vertical" top and bottom;
            "horizontal_and_vertical" does both or neither, which is Keras 3's way.
        seed: see `RandomLayer`; None: the model's.

    Input and output (batch, height, width, channels), of any range of values.

    Raises:
        ValueError: an argument that is not allowed.

    Source: `keras.layers.RandomFlip`.
    """

    _op = "random_flip"

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.mode = arguments.one_of(self._owner, "mode", mode, MODES)

    def _attributes(self) -> dict[str, Any]:
        return {
            "horizontal": self.mode != "vertical",
            "vertical": self.mode != "horizontal",
        }

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "mode": self.mode}


class _Warp(RandomLayer):
    """What the layers share that move pixels about."""

    def __init__(
        self,
        *,
        fill_mode: str,
        interpolation: str,
        seed: int | None,
        fill_value: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.fill_mode = arguments.one_of(self._owner, "fill_mode", fill_mode, FILL_MODES)
        self.interpolation = arguments.one_of(
            self._owner, "interpolation", interpolation, ("nearest", "bilinear")
        )
        self.fill_value = arguments.finite(self._owner, "fill_value", fill_value)

    def _attributes(self) -> dict[str, Any]:
        return {
            "fill_mode": self.fill_mode,
            "interpolation": self.interpolation,
            "fill_value": self.fill_value,
        }

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), **_Warp._attributes(self)}


class RandomRotation(_Warp):
    """In training, turns each picture about its middle by an angle of its own.

    Args:
        factor: shares of a whole turn, counter-clockwise where positive: (smallest, largest), or a
            number x for (-|x|, |x|). 0.1 turns by at most 36 degrees.
        fill_mode: what lies beyond the border: "reflect" (d c b a | a b c d | d c b a), "wrap",
            "nearest" or "constant".
        interpolation: "bilinear" or "nearest".
        seed: see `RandomLayer`; None: the model's.
        fill_value: of "constant".

    Input and output (batch, height, width, channels), of any range of values.

    Raises:
        ValueError: an argument that is not allowed.

    Source: `keras.layers.RandomRotation` on TensorFlow.
    """

    _op = "random_rotation"

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            fill_mode=fill_mode,
            interpolation=interpolation,
            seed=seed,
            fill_value=fill_value,
            **kwargs,
        )
        self.factor = _overlapping(self._owner, factor, -1.0, 1.0)

    def _attributes(self) -> dict[str, Any]:
        return {**super()._attributes(), "factor": self.factor}

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "factor": list(self.factor)}


class _TwoFactors(_Warp):
    """What RandomZoom and RandomTranslation share: a factor for each direction."""

    _allowed: ClassVar[str]
    _may_follow: ClassVar[bool] = False  # the width's factor the height's

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: int | None = None,
        fill_value: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            fill_mode=fill_mode,
            interpolation=interpolation,
            seed=seed,
            fill_value=fill_value,
            **kwargs,
        )
        self.height_factor = _plain(height_factor)
        self.width_factor = _plain(width_factor)
        self._height = self._bounds("height_factor", height_factor)
        follows = width_factor is None and self._may_follow
        self._width = None if follows else self._bounds("width_factor", width_factor)

    def _bounds(self, name: str, value: Any) -> tuple[float, float]:
        """(smallest, largest): both within the bounds."""
        given = _finite(self._owner, name, value if _is_pair(value) else [value])
        inside = all(self._fits(x) for x in given)
        if not inside or len(given) != (2 if _is_pair(value) else 1):
            raise ValueError(
                f"{self._owner}: {name} must be a number or two of them, each {self._allowed}, "
                f"got {value!r}."
            )
        return (min(given), max(given)) if len(given) == 2 else (-abs(given[0]), abs(given[0]))

    def _fits(self, x: float) -> bool:
        raise NotImplementedError

    def _attributes(self) -> dict[str, Any]:
        return {**super()._attributes(), "factor": self._height, "width_factor": self._width}

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "height_factor": self.height_factor,
            "width_factor": self.width_factor,
        }


class RandomZoom(_TwoFactors):
    """In training, zooms each picture about its middle by a factor of its own.

    Args:
        height_factor: how much more of the height is seen: (smallest, largest) above -1 and at
            most 1, or a number x for (-|x|, |x|). (0.2, 0.3) zooms out by 20 to 30 %, (-0.3, -0.2)
            in.
        width_factor: the same of the width; None: what is drawn for the height, so that
            the picture keeps its aspect ratio.
        fill_mode, interpolation, seed, fill_value: as in `RandomRotation`.

    Input and output (batch, height, width, channels), of any range of values.

    Raises:
        ValueError: an argument that is not allowed.

    Source: `keras.layers.RandomZoom` on TensorFlow.
    """

    _op = "random_zoom"
    _allowed = "above -1 and at most 1"
    _may_follow = True

    def _fits(self, x: float) -> bool:
        return -1 < x <= 1


class RandomTranslation(_TwoFactors):
    """In training, moves each picture by a distance of its own.

    Args:
        height_factor: by which share of the height, down where positive: (smallest, largest)
            from -1 to 1, or a number x for (-|x|, |x|).
        width_factor: by which share of the width, to the right where positive.
        fill_mode, interpolation, seed, fill_value: as in `RandomRotation`.

    Input and output (batch, height, width, channels), of any range of values.

    Raises:
        ValueError: an argument that is not allowed.

    Source: `keras.layers.RandomTranslation` on TensorFlow.
    """

    _op = "random_translation"
    _allowed = "from -1 to 1"

    def _fits(self, x: float) -> bool:
        return -1 <= x <= 1


class _Light(RandomLayer):
    """What RandomContrast and RandomBrightness share."""

    def __init__(
        self, factor: Any, value_range: Any, seed: int | None, least: float, **kwargs: Any
    ) -> None:
        super().__init__(seed=seed, **kwargs)
        self.factor = _overlapping(self._owner, factor, least, 1.0)
        given = _finite(self._owner, "value_range", value_range if _is_pair(value_range) else [])
        if len(given) != 2 or given[0] == given[1]:
            raise ValueError(
                f"{self._owner}: value_range must hold two different numbers, got {value_range!r}."
            )
        self.value_range = sorted(given)

    def _attributes(self) -> dict[str, Any]:
        return {"factor": self.factor, "value_range": self.value_range}

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "factor": list(self.factor),
            "value_range": list(self.value_range),
        }


class RandomContrast(_Light):
    """In training, draws the values of each picture away from their mean or towards it.

    (x - mean) * c + mean, with the mean of the picture's channel and a c of the picture's own;
    what leaves value_range is put on its border.

    Args:
        factor: (lower, upper) for a c from 1 - lower to 1 + upper. A number x is (0, x), as Keras 3
            has it: contrast only grows.
        value_range: smallest and largest value of a pixel.
        seed: see `RandomLayer`; None: the model's.

    Input and output (batch, height, width, channels), within value_range.

    Raises:
        ValueError: a factor out of 0 to 1, or another argument that is not allowed.

    Source: `keras.layers.RandomContrast`.
    """

    _op = "random_contrast"

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(factor, value_range, seed, 0.0, **kwargs)


class RandomBrightness(_Light):
    """In training, adds a number of its own to each picture.

    What leaves value_range is put on its border.

    Args:
        factor: shares of the value range: (smallest, largest) from -1 to 1, or a number x for
            (-|x|, |x|). -1 makes everything black, 1 white.
        value_range: smallest and largest value of a pixel.
        seed: see `RandomLayer`; None: the model's.

    Input and output (batch, height, width, channels), within value_range.

    Raises:
        ValueError: a factor out of -1 to 1, or another argument that is not allowed.

    Source: `keras.layers.RandomBrightness`.
    """

    _op = "random_brightness"

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(factor, value_range, seed, -1.0, **kwargs)


class RandomCrop(RandomLayer):
    """In training, cuts a part out of the pictures, at one place for all of a batch.

    Otherwise the largest part in the middle of the result's aspect ratio is resized, by
    "bilinear".

    Args:
        height, width: of the result. Where a picture is not larger in both, the part begins
            where Keras's does and is resized.
        seed: see `RandomLayer`; None: the model's.

    Input (batch, height, width, channels), output (batch, new height, new width, channels), of any
    range of values.

    Raises:
        ValueError: a size below 1.

    Source: `keras.layers.RandomCrop`; outside of training its documentation, and its code up to
    Keras 3.4: that of 3.15 gives the picture back in its old size, whatever shape it promises.
    """

    _op = "random_crop"

    def __init__(self, height: int, width: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.height = arguments.whole(self._owner, "height", height)
        self.width = arguments.whole(self._owner, "width", width)

    def _attributes(self) -> dict[str, Any]:
        return {"size": (self.height, self.width)}

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "height": self.height, "width": self.width}


def _plain(value: Any) -> Any:
    """A factor as a file keeps it."""
    return list(value) if _is_pair(value) else value


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _finite(owner: str, name: str, values: Iterable[Any]) -> list[float]:
    """The values as floats; none of them where one is no finite number."""
    try:
        return [arguments.finite(owner, name, x) for x in values]
    except ValueError:
        return []


def _overlapping(owner: str, factor: Any, least: float, most: float) -> tuple[float, float]:
    """(smallest, largest) of a factor, as Keras checks it: a pair may reach beyond the bounds."""
    pair = _is_pair(factor)
    given = _finite(owner, "factor", factor if pair else [factor])
    if pair:
        fits = len(given) == 2 and given[0] <= most and given[1] >= least
        fits = fits and all(abs(x) <= _MOST for x in given)
    else:
        fits = len(given) == 1 and least <= given[0] <= most
    if not fits:
        raise ValueError(
            f"{owner}: factor must be a number or two of them, from {least:g} to {most:g}, got "
            f"{factor!r}."
        )
    return (min(given), max(given)) if pair else (max(-abs(given[0]), least), abs(given[0]))
