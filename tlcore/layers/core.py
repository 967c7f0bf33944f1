"""Dense layers, activations and dropout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers._arguments import CHANNELS_LAST, GLOROT_UNIFORM, NOTHING, ZEROS, Only
from tlcore.layers.layer import Layer
from tlcore.utils.notes import note


def written_initializer(class_name: str) -> dict[str, Any]:
    """An initializer as Keras 2 writes it, which every later Keras reads."""
    return {"class_name": class_name, "config": {"seed": None} if "Uniform" in class_name else {}}


def add_activation(graph: _core.Graph, node: int, function: str, name: str) -> int:
    """Append the activation of layer `name` behind `node`; 'linear' needs none."""
    if function == "linear":
        return node
    return graph.add("activation", f"{name}/activation", [node], function=function)


class Dense(Layer):
    """activation(x @ kernel + bias), over the last axis.

    Args:
        units: size of the output's last axis.
        activation: None or a name of `Activation`'s.
        use_bias: whether a bias is added.

    Input (batch, ..., features), output (batch, ..., units), float32. Weights: kernel
    (features, units), drawn from glorot_uniform, and bias (units,), zeros.

    Raises:
        ValueError: see `Layer`; regularizers, constraints and other initializers are not there.

    Source: `keras.layers.Dense`.
    """

    _has_weights = True
    _neutral: ClassVar[Mapping[str, Only]] = {
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
    _written: ClassVar[Mapping[str, Any]] = {
        "kernel_initializer": written_initializer("GlorotUniform"),
        "bias_initializer": written_initializer("Zeros"),
        "kernel_regularizer": None,
        "bias_regularizer": None,
        "activity_regularizer": None,
        "kernel_constraint": None,
        "bias_constraint": None,
    }

    def __init__(
        self, units: int, activation: str | None = None, use_bias: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = arguments.whole(self._owner, "units", units)
        self.activation = arguments.activation(self._owner, activation)
        self.use_bias = arguments.flag(self._owner, "use_bias", use_bias)

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """A dense node and, unless linear, an activation node."""
        name = name or self.name
        node = graph.add("dense", name, inputs, units=self.units, use_bias=self.use_bias)
        return add_activation(graph, node, self.activation, name)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            **self._written,
        }


class Activation(Layer):
    """An activation as a layer of its own.

    Args:
        activation: one of Keras 3's names: "linear", "relu", "relu6", "sigmoid", "tanh", "elu",
            "selu", "softplus", "softsign", "silu" (or "swish"), "gelu" (by erf), "hard_sigmoid",
            "hard_silu" (or "hard_swish"), "leaky_relu" (slope 0.2), "exponential", "mish";
            "softmax" and "log_softmax" over the last axis. None is "linear".

    Any input shape; the output has the same.

    Raises:
        ValueError: another name.

    Source: `keras.layers.Activation`, `keras.activations`.
    """

    def __init__(self, activation: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = arguments.activation(self._owner, activation)

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """An activation node; none where it is linear."""
        if self.activation == "linear":
            return inputs[0]
        return graph.add("activation", name or self.name, inputs, function=self.activation)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "activation": self.activation}


def _number(value: Any) -> Any:
    """The number in what an old file wrote for a NumPy scalar."""
    return value.get("value") if isinstance(value, dict) else value


_ZERO = Only("0", lambda value: _number(value) in (0, None))


class ReLU(Layer):
    """min(max(x, 0), max_value).

    Args:
        max_value: 6, as MobileNetV2 has it, or None for no limit.

    Any input shape; the output has the same.

    Source: `keras.layers.ReLU` with negative_slope and threshold 0.
    """

    _neutral: ClassVar[Mapping[str, Only]] = {
        "negative_slope": _ZERO,
        "threshold": _ZERO,
    }

    def __init__(self, max_value: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        limit = _number(max_value)
        if limit is not None and limit != 6:
            raise ValueError(f"{self._owner}: max_value must be None or 6, got {max_value!r}.")
        self.max_value = None if limit is None else 6.0

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """One relu node."""
        return graph.add("relu", name or self.name, inputs, max_value=self.max_value)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": 0.0,
            "threshold": 0.0,
        }


class Dropout(Layer):
    """While training, zeros for a share of the values, the others scaled up to keep the mean.

    Args:
        rate: share of the values, at least 0 and below 1.
        seed: kept for files; masks come from `tlcore.utils.set_random_seed`, and a note says so.

    Any input shape; the output has the same. Inference passes values through.

    Source: `keras.layers.Dropout`.
    """

    _takes_training = True
    _neutral: ClassVar[Mapping[str, Only]] = {"noise_shape": NOTHING}
    _op: ClassVar[str] = "dropout"

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = arguments.number(
            self._owner, "rate", rate, 0.0, 1.0, "a number of at least 0 and below 1"
        )
        self.seed = None if seed is None else arguments.whole(self._owner, "seed", seed, 0)
        if seed is not None:
            note(
                f"{type(self).__name__}(seed=...) is kept for files, but the masks are drawn from "
                "tlcore.utils.set_random_seed.",
                key="dropout seed",
            )

    def add_to(
        self,
        graph: _core.Graph,
        inputs: list[int],
        name: str | None = None,
        *,
        inference: bool = False,
    ) -> int:
        """One dropout node."""
        name = name or self.name
        return graph.add(self._op, name, inputs, inference=inference, rate=self.rate)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "rate": self.rate,
            "noise_shape": None,
            "seed": self.seed,
        }


class SpatialDropout2D(Dropout):
    """While training, zeros for a share of the channels of each picture, whole maps at a time.

    The other channels are scaled up to keep the mean.

    Args:
        rate: share of the channels, at least 0 and below 1.
        seed: kept for files; masks come from `tlcore.utils.set_random_seed`, and a note says so.

    Input (batch, height, width, channels); the output has the same shape. Inference passes values
    through.

    Raises:
        ValueError: see `Layer`; a rate that is not allowed.

    Source: `keras.layers.SpatialDropout2D`.
    """

    _neutral: ClassVar[Mapping[str, Only]] = {"noise_shape": NOTHING, "data_format": CHANNELS_LAST}
    _op = "spatial_dropout2d"

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`; without `trainable` and `noise_shape`, which Keras 3 refuses."""
        config = super().get_config()
        del config["trainable"], config["noise_shape"]
        return {**config, "data_format": "channels_last"}
