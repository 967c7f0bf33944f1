"""Layers that change all pictures alike: their size and the scale of their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers._arguments import CHANNELS_LAST, Only, only
from tlcore.layers._pictures import PictureLayer

INTERPOLATIONS = ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5", "area")


class Rescaling(PictureLayer):
    """inputs * scale + offset, while training as well.

    Args:
        scale: a number, or one for each channel, of at most 4.
        offset: the same.

    Any input shape, the channels last; the output has the same, float32. `Rescaling(1 / 127.5,
    offset=-1)` brings pixels from 0 to 255 into the range -1 to 1 that MobileNetV2's weights
    expect.

    Raises:
        ValueError: something else than finite numbers, or as many of them as the input has no
            channels.

    Source: `keras.layers.Rescaling`.
    """

    _neutral: ClassVar[Mapping[str, Only]] = {}
    _keeps_range = False

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = self._numbers("scale", scale)
        self.offset = self._numbers("offset", offset)

    def _numbers(self, name: str, value: Any) -> float | list[float]:
        if isinstance(value, dict) and value.get("class_name") == "__numpy__":  # of Keras 3
            config = value.get("config")
            value = config.get("value") if isinstance(config, dict) else None
        try:
            array = np.asarray(value)
        except ValueError:  # a ragged list
            array = np.asarray(None)
        with np.errstate(over="ignore"):
            fits = array.dtype.kind in "iuf" and np.isfinite(array.astype(np.float32)).all()
        if not fits or array.ndim > 1 or array.size == 0:
            raise ValueError(
                f"{self._owner}: {name} must be a finite number or a list of one a channel, got "
                f"{value!r}."
            )
        return float(array) if array.ndim == 0 else [float(x) for x in array]

    def _takes_rank(self, rank: int) -> bool:
        return rank >= 2

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """One rescaling node."""
        scale, offset = np.broadcast_arrays(np.atleast_1d(self.scale), np.atleast_1d(self.offset))
        return graph.add(
            "rescaling", name or self.name, inputs, scale=scale.tolist(), offset=offset.tolist()
        )

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "scale": self.scale, "offset": self.offset}


class _Sized(PictureLayer):
    """What Resizing and CenterCrop share."""

    def __init__(self, height: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.height = arguments.whole(self._owner, "height", height)
        self.width = arguments.whole(self._owner, "width", width)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "data_format": "channels_last",
            "height": self.height,
            "width": self.width,
        }


class Resizing(_Sized):
    """Pictures of another size, in training as well.

    Args:
        height, width: of the result.
        interpolation: "bilinear", "nearest", "bicubic", "lanczos3", "lanczos5" or "area".
        crop_to_aspect_ratio: whether the largest part in the middle is taken that has the
            result's aspect ratio, instead of a distorted picture.
        pad_to_aspect_ratio: whether a border of `fill_value` gives the picture that aspect ratio
            instead.
        fill_mode: "constant".
        fill_value: a number.
        antialias: whether a smaller result is made of all pixels instead of the nearest few; of no
            effect with "nearest" and "area".

    Input (batch, height, width, channels), output (batch, new height, new width, channels),
    float32, of the same range of values ("bicubic" and "lanczos" go a little beyond it).

    Raises:
        ValueError: an argument that is not allowed, or both ways to keep the aspect ratio.

    Source: `keras.layers.Resizing` on TensorFlow.
    """

    _neutral: ClassVar[Mapping[str, Only]] = {
        **PictureLayer._neutral,
        "fill_mode": only("constant"),
    }

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(height, width, fill_mode=fill_mode, **kwargs)
        self.interpolation = arguments.one_of(
            self._owner, "interpolation", interpolation, INTERPOLATIONS
        )
        self.crop_to_aspect_ratio = arguments.flag(
            self._owner, "crop_to_aspect_ratio", crop_to_aspect_ratio
        )
        self.pad_to_aspect_ratio = arguments.flag(
            self._owner, "pad_to_aspect_ratio", pad_to_aspect_ratio
        )
        self.fill_value = arguments.finite(self._owner, "fill_value", fill_value)
        self.antialias = arguments.flag(self._owner, "antialias", antialias)
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise ValueError(
                f"{self._owner}: only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be "
                "True."
            )

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """One resizing node."""
        return graph.add(
            "resizing",
            name or self.name,
            inputs,
            size=(self.height, self.width),
            interpolation=self.interpolation,
            crop_to_aspect_ratio=self.crop_to_aspect_ratio,
            pad_to_aspect_ratio=self.pad_to_aspect_ratio,
            fill_value=self.fill_value,
            antialias=self.antialias,
        )

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "interpolation": self.interpolation,
            "crop_to_aspect_ratio": self.crop_to_aspect_ratio,
            "pad_to_aspect_ratio": self.pad_to_aspect_ratio,
            "fill_mode": "constant",
            "fill_value": self.fill_value,
            "antialias": self.antialias,
        }


class CenterCrop(_Sized):
    """The middle of pictures, in training as well.

    Args:
        height, width: of the result. Where a picture is smaller in either of them, the largest
            part in the middle of the result's aspect ratio is resized, by "bilinear".

    Input (batch, height, width, channels), output (batch, new height, new width, channels),
    float32.

    Raises:
        ValueError: a size below 1.

    Source: `keras.layers.CenterCrop`.
    """

    _neutral: ClassVar[Mapping[str, Only]] = {"data_format": CHANNELS_LAST}

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """One center_crop node."""
        return graph.add("center_crop", name or self.name, inputs, size=(self.height, self.width))
