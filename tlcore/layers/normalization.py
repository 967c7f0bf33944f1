"""Batch normalization."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers._arguments import NOTHING, ONES, ZEROS, Only, only
from tlcore.layers.core import written_initializer
from tlcore.layers.layer import Layer


class BatchNormalization(Layer):
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, for each channel.

    Args:
        axis: the last axis: -1, or its index in the batch's shape.
        momentum: share of the old moving statistics that a training step keeps, from 0 to 1.
        epsilon: above 0 and below 1.

    Any input whose last axis is the channels; the output has the same shape. Weights: gamma
    (ones), beta (zeros), moving_mean (zeros), moving_variance (ones), each (channels,).

    Source: `keras.layers.BatchNormalization` with center and scale.
    """

    _has_weights = True
    _takes_training = True
    _neutral: ClassVar[Mapping[str, Only]] = {
        "center": only(True),
        "scale": only(True),
        "beta_initializer": ZEROS,
        "gamma_initializer": ONES,
        "moving_mean_initializer": ZEROS,
        "moving_variance_initializer": ONES,
        "beta_regularizer": NOTHING,
        "gamma_regularizer": NOTHING,
        "beta_constraint": NOTHING,
        "gamma_constraint": NOTHING,
        "synchronized": only(False, None),
        "renorm": only(False, None),
        "renorm_clipping": NOTHING,
        "renorm_momentum": only(0.99, None),
        "fused": only(None, True, False),  # how TensorFlow computes it; the numbers are the same
        "virtual_batch_size": NOTHING,
        "adjustment": NOTHING,
    }

    def __init__(
        self, axis: Any = -1, momentum: float = 0.99, epsilon: float = 1e-3, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(axis, (list, tuple)) and len(axis) == 1:
            axis = axis[0]  # tf-keras writes a list
        self.axis = arguments.last_axis(self._owner, axis)
        self.momentum = momentum
        self.epsilon = arguments.number(
            self._owner, "epsilon", epsilon, 1e-30, 1.0, "a number above 0 and below 1"
        )

    @property
    def momentum(self) -> float:
        """Share of the old moving statistics that a training step keeps, from 0 to 1.

        A change counts from the next `compile` on. MobileNetV2 has 0.999, as in Keras: statistics
        that begin at 0 and 1 then take some 7,000 steps to forget that.
        """
        return self._momentum

    @momentum.setter
    def momentum(self, value: float) -> None:
        above = math.nextafter(1.0, 2.0)
        self._momentum = arguments.number(
            self._owner, "momentum", value, 0.0, above, "a number from 0 to 1"
        )

    def add_to(
        self,
        graph: _core.Graph,
        inputs: list[int],
        name: str | None = None,
        *,
        inference: bool = False,
    ) -> int:
        """One batch normalization node."""
        node = graph.add(
            "batch_normalization",
            name or self.name,
            inputs,
            inference=inference,
            epsilon=self.epsilon,
            momentum=self.momentum,
        )
        if self.axis != -1:
            rank = len(graph.nodes[node]["output_shape"])
            arguments.check_last_axis(self._owner, self.axis, rank)
        return node

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": True,
            "scale": True,
            "beta_initializer": written_initializer("Zeros"),
            "gamma_initializer": written_initializer("Ones"),
            "moving_mean_initializer": written_initializer("Zeros"),
            "moving_variance_initializer": written_initializer("Ones"),
            "beta_regularizer": None,
            "gamma_regularizer": None,
            "beta_constraint": None,
            "gamma_constraint": None,
        }
