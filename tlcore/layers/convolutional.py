"""Convolutions and zero padding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers._arguments import (
    CHANNELS_LAST,
    GLOROT_UNIFORM,
    NO_DILATION,
    NOTHING,
    ZEROS,
    Only,
    only,
)
from tlcore.layers.core import add_activation, written_initializer
from tlcore.layers.layer import Layer


class _Convolution(Layer):
    """What Conv2D and DepthwiseConv2D share."""

    _has_weights = True
    _neutral: ClassVar[Mapping[str, Only]] = {
        "data_format": CHANNELS_LAST,
        "dilation_rate": NO_DILATION,
        "groups": only(1),
        "kernel_initializer": GLOROT_UNIFORM,
        "bias_initializer": ZEROS,
        "kernel_regularizer": NOTHING,
        "bias_regularizer": NOTHING,
        "kernel_constraint": NOTHING,
        "bias_constraint": NOTHING,
        "lora_rank": NOTHING,
        "lora_alpha": NOTHING,
        "quantization_config": NOTHING,
    }

    def __init__(
        self,
        kernel_size: Any,
        strides: Any,
        padding: str,
        activation: str | None,
        use_bias: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kernel_size = arguments.pair(self._owner, "kernel_size", kernel_size)
        self.strides = arguments.pair(self._owner, "strides", strides)
        self.padding = arguments.one_of(self._owner, "padding", padding, ("valid", "same"))
        self.activation = arguments.activation(self._owner, activation)
        self.use_bias = arguments.flag(self._owner, "use_bias", use_bias)

    def _core_attributes(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "use_bias": self.use_bias,
        }

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "kernel_size": list(self.kernel_size),
            "strides": list(self.strides),
            "padding": self.padding,
            "data_format": "channels_last",
            "dilation_rate": [1, 1],
            "activation": self.activation,
            "use_bias": self.use_bias,
            **self._written,
        }


class Conv2D(_Convolution):
    """A convolution over height and width.

    Args:
        filters: channels of the output.
        kernel_size: one or two sizes.
        strides: one or two steps.
        padding: "valid" or "same".
        activation: None or a name of `Activation`'s.
        use_bias: whether a bias is added.

    Input (batch, height, width, channels), output (batch, new height, new width, filters),
    float32. Weights: kernel (height, width, channels, filters), from glorot_uniform, and bias.

    Source: `keras.layers.Conv2D` without dilation and groups.
    """

    _written: ClassVar[Mapping[str, Any]] = {
        "groups": 1,
        "kernel_initializer": written_initializer("GlorotUniform"),
        "bias_initializer": written_initializer("Zeros"),
        "kernel_regularizer": None,
        "bias_regularizer": None,
        "activity_regularizer": None,
        "kernel_constraint": None,
        "bias_constraint": None,
    }

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        activation: str | None = None,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(kernel_size, strides, padding, activation, use_bias, **kwargs)
        self.filters = arguments.whole(self._owner, "filters", filters)

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """A convolution node and, unless linear, an activation node."""
        name = name or self.name
        node = graph.add("conv2d", name, inputs, filters=self.filters, **self._core_attributes())
        return add_activation(graph, node, self.activation, name)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "filters": self.filters}


class DepthwiseConv2D(_Convolution):
    """A convolution of each channel with a kernel of its own.

    Args:
        kernel_size: one or two sizes.
        strides: one or two steps.
        padding: "valid" or "same".
        activation: None or a name of `Activation`'s.
        use_bias: whether a bias is added.

    Input (batch, height, width, channels), output with as many channels, float32. Weights:
    depthwise_kernel (height, width, channels, 1), from glorot_uniform, and bias.

    Source: `keras.layers.DepthwiseConv2D` with depth_multiplier 1.
    """

    _neutral: ClassVar[Mapping[str, Only]] = {
        **_Convolution._neutral,
        "depth_multiplier": only(1),
        "depthwise_initializer": GLOROT_UNIFORM,
        "depthwise_regularizer": NOTHING,
        "depthwise_constraint": NOTHING,
    }
    # No "groups": tf-keras writes it, and Keras 3 then refuses the file.
    _written: ClassVar[Mapping[str, Any]] = {
        "depth_multiplier": 1,
        "depthwise_initializer": written_initializer("GlorotUniform"),
        "bias_initializer": written_initializer("Zeros"),
        "depthwise_regularizer": None,
        "bias_regularizer": None,
        "activity_regularizer": None,
        "depthwise_constraint": None,
        "bias_constraint": None,
    }

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        *,
        activation: str | None = None,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(kernel_size, strides, padding, activation, use_bias, **kwargs)

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """A depthwise node and, unless linear, an activation node."""
        name = name or self.name
        node = graph.add("depthwise_conv2d", name, inputs, **self._core_attributes())
        return add_activation(graph, node, self.activation, name)


class SeparableConv2D(_Convolution):
    """A depthwise convolution, then one of 1 x 1 over the channels; the bias comes last.

    Args:
        filters: channels of the output.
        kernel_size: one or two sizes, of the depthwise part.
        strides: one or two steps, of the depthwise part.
        padding: "valid" or "same".
        activation: None or a name of `Activation`'s.
        use_bias: whether a bias is added.

    Input (batch, height, width, channels), output (batch, new height, new width, filters),
    float32. Weights: depthwise_kernel (height, width, channels, 1) and pointwise_kernel
    (1, 1, channels, filters), from glorot_uniform, and bias (filters,).

    Raises:
        ValueError: see `Layer`; regularizers, constraints and other initializers are not there.

    Source: `keras.layers.SeparableConv2D` with depth_multiplier 1 and without dilation.
    """

    _neutral: ClassVar[Mapping[str, Only]] = {
        **_Convolution._neutral,
        "depth_multiplier": only(1),
        "depthwise_initializer": GLOROT_UNIFORM,
        "pointwise_initializer": GLOROT_UNIFORM,
        "depthwise_regularizer": NOTHING,
        "pointwise_regularizer": NOTHING,
        "depthwise_constraint": NOTHING,
        "pointwise_constraint": NOTHING,
    }
    # No "groups": tf-keras writes it, and Keras 3 then refuses the file.
    _written: ClassVar[Mapping[str, Any]] = {
        "depth_multiplier": 1,
        "depthwise_initializer": written_initializer("GlorotUniform"),
        "pointwise_initializer": written_initializer("GlorotUniform"),
        "bias_initializer": written_initializer("Zeros"),
        "depthwise_regularizer": None,
        "pointwise_regularizer": None,
        "bias_regularizer": None,
        "activity_regularizer": None,
        "depthwise_constraint": None,
        "pointwise_constraint": None,
        "bias_constraint": None,
    }

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        *,
        activation: str | None = None,
        use_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(kernel_size, strides, padding, activation, use_bias, **kwargs)
        self.filters = arguments.whole(self._owner, "filters", filters)

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """A depthwise node, a pointwise node and, unless linear, an activation node."""
        name = name or self.name
        depthwise = {**self._core_attributes(), "use_bias": False}
        node = graph.add("depthwise_conv2d", name, inputs, **depthwise)
        node = graph.add(
            "conv2d",
            f"{name}/pointwise",
            [node],
            filters=self.filters,
            kernel_size=(1, 1),
            use_bias=self.use_bias,
        )
        return add_activation(graph, node, self.activation, name)

    def _bind(
        self, specs: Sequence[_core.ParameterSpec], parameters: _core.Parameters, first: int
    ) -> None:
        """The second node's kernel is Keras's pointwise_kernel."""
        names = {"kernel": "pointwise_kernel"}
        renamed = [_renamed(spec, names.get(spec["name"], spec["name"])) for spec in specs]
        super()._bind(renamed, parameters, first)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "filters": self.filters}


def _renamed(spec: _core.ParameterSpec, name: str) -> _core.ParameterSpec:
    return {"name": name, "shape": spec["shape"], "trainable": spec["trainable"]}


class ZeroPadding2D(Layer):
    """Zeros around height and width.

    Args:
        padding: a number, (height, width) or ((top, bottom), (left, right)).

    Input (batch, height, width, channels), output larger by the padding.

    Source: `keras.layers.ZeroPadding2D`.
    """

    _neutral: ClassVar[Mapping[str, Only]] = {"data_format": CHANNELS_LAST}

    def __init__(self, padding: Any = (1, 1), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.padding = arguments.zero_padding(self._owner, padding)

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """One padding node."""
        return graph.add("zero_padding2d", name or self.name, inputs, padding=self.padding)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "padding": [list(side) for side in self.padding],
            "data_format": "channels_last",
        }
