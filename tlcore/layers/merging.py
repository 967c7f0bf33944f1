"""Layers with more than one input."""

from __future__ import annotations

from tlcore import _core
from tlcore.layers.layer import Layer


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
