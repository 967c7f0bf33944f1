"""Layers with more than one input."""

from __future__ import annotations

from typing import Any

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers.layer import Layer

_MOST_INPUTS = 8  # of a node of the core


class Add(Layer):
    """The sum of two inputs of one shape.

    Called with a list of two symbolic tensors; `a + b` is the same.

    Source: `keras.layers.Add`.
    """

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """One add node."""
        if len(inputs) != 2:
            raise ValueError(f"{self._owner} takes two inputs, got {len(inputs)}.")
        return graph.add("add", name or self.name, inputs)


class Concatenate(Layer):
    """The channels of two to eight inputs behind each other.

    It stands inside models that come from `tlcore.applications` or from a file.

    Args:
        axis: the last axis: -1, or its index in the batch's shape.

    Inputs that differ in the last axis alone; the output has the sum of their channels.

    Raises:
        ValueError: see `Layer`; another axis, another number of inputs, shapes that do not fit.

    Source: `keras.layers.Concatenate`.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = arguments.last_axis(self._owner, axis)

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """One concatenate node."""
        if not 2 <= len(inputs) <= _MOST_INPUTS:
            raise ValueError(
                f"{self._owner} takes two to {_MOST_INPUTS} inputs, got {len(inputs)}."
            )
        node = graph.add("concatenate", name or self.name, inputs)
        if self.axis != -1:
            rank = len(graph.nodes[node]["output_shape"])
            arguments.check_last_axis(self._owner, self.axis, rank)
        return node

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "axis": self.axis}
