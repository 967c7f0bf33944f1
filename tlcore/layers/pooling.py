"""Smaller feature maps, and from them to vectors: pooling and flattening."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers._arguments import CHANNELS_LAST, Only
from tlcore.layers.layer import Layer


class _Pooling2D(Layer):
    """What MaxPooling2D and AveragePooling2D share."""

    _neutral: ClassVar[Mapping[str, Only]] = {"data_format": CHANNELS_LAST}
    _op: ClassVar[str]

    def __init__(
        self, pool_size: Any = (2, 2), strides: Any = None, padding: str = "valid", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = arguments.pair(self._owner, "pool_size", pool_size)
        self.strides = (
            self.pool_size if strides is None else arguments.pair(self._owner, "strides", strides)
        )
        self.padding = arguments.one_of(self._owner, "padding", padding, ("valid", "same"))

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """One pooling node."""
        return graph.add(
            self._op,
            name or self.name,
            inputs,
            pool_size=self.pool_size,
            strides=self.strides,
            padding=self.padding,
        )

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "pool_size": list(self.pool_size),
            "padding": self.padding,
            "strides": list(self.strides),
            "data_format": "channels_last",
        }


class MaxPooling2D(_Pooling2D):
    """The largest value of each channel in a window that moves over height and width.

    Args:
        pool_size: one or two sizes of the window.
        strides: one or two steps; None: as large as the window.
        padding: "valid", or "same": the window may reach beyond the border, where nothing is.

    Input (batch, height, width, channels), output (batch, new height, new width, channels),
    float32.

    Raises:
        ValueError: see `Layer`; a window larger than its input.

    Source: `keras.layers.MaxPooling2D`.
    """

    _op = "max_pooling2d"


class AveragePooling2D(_Pooling2D):
    """The mean of each channel in a window that moves over height and width.

    Args:
        pool_size: one or two sizes of the window.
        strides: one or two steps; None: as large as the window.
        padding: "valid", or "same": the window may reach beyond the border; the mean is over
            the pixels that exist.

    Input (batch, height, width, channels), output (batch, new height, new width, channels),
    float32.

    Raises:
        ValueError: see `Layer`; a window larger than its input.

    Source: `keras.layers.AveragePooling2D`, with the default pool_size of tf-keras.
    """

    _op = "average_pooling2d"


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D


class _GlobalPooling2D(Layer):
    """What the two global poolings share."""

    _neutral: ClassVar[Mapping[str, Only]] = {"data_format": CHANNELS_LAST}
    _op: ClassVar[str]

    def __init__(self, *, keepdims: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.keepdims = arguments.flag(self._owner, "keepdims", keepdims)

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """One pooling node."""
        return graph.add(self._op, name or self.name, inputs, keepdims=self.keepdims)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "data_format": "channels_last",
            "keepdims": self.keepdims,
        }


class GlobalAveragePooling2D(_GlobalPooling2D):
    """The mean over height and width.

    Args:
        keepdims: whether height and width stay, as 1.

    Input (batch, height, width, channels), output (batch, channels).

    Source: `keras.layers.GlobalAveragePooling2D`.
    """

    _op = "global_average_pooling2d"


class GlobalMaxPooling2D(_GlobalPooling2D):
    """The largest value over height and width.

    Args:
        keepdims: whether height and width stay, as 1.

    Input (batch, height, width, channels), output (batch, channels).

    Source: `keras.layers.GlobalMaxPooling2D`.
    """

    _op = "global_max_pooling2d"


class Flatten(Layer):
    """All axes but the batch's in one.

    Input (batch, ...), output (batch, product of the rest).

    Source: `keras.layers.Flatten`.
    """

    _neutral: ClassVar[Mapping[str, Only]] = {"data_format": CHANNELS_LAST}

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """One flatten node."""
        return graph.add("flatten", name or self.name, inputs)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "data_format": "channels_last"}
