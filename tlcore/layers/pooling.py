"""From feature maps to vectors: global pooling and flattening."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers._arguments import CHANNELS_LAST, Only
from tlcore.layers.layer import Layer


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
