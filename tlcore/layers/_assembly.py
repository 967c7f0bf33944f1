"""From layers to a core graph and the blocks of weights that it runs on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tlcore import _core
from tlcore.layers.layer import Layer, Shape, Variable


class Placed(NamedTuple):
    """Where a layer's nodes are: from `start` up to `stop`, fed by `inputs`."""

    layer: Layer
    inputs: list[int]
    start: int
    stop: int
    output: int


def _free_name(name: str, taken: set[str]) -> str:
    """`name`, with a number behind it if a node of that name is there already."""
    free, count = name, 0
    while free in taken or f"{free}/activation" in taken:
        count += 1
        free = f"{name}_{count}"
    return free


def place(
    graph: _core.Graph, source: int, layers: Sequence[Layer], inbound: Mapping[str, Sequence[str]]
) -> list[Placed]:
    """Add `layers` to `graph`; the first is the InputLayer, whose value is that of `source`."""
    taken = {node["name"] for node in graph.nodes}
    outputs = {layers[0].name: source}
    placed: list[Placed] = []
    for layer in layers[1:]:
        inputs = [outputs[name] for name in inbound[layer.name]]
        start = len(graph)
        if layer._holds_layers:
            output = layer.add_to(graph, inputs)
            taken.update(node["name"] for node in graph.nodes[start:])
        else:
            name = _free_name(layer.name, taken)
            output = layer.add_to(graph, inputs, name)
            taken.update((name, f"{name}/activation"))
        outputs[layer.name] = output
        placed.append(Placed(layer, inputs, start, len(graph), output))
    return placed


def bind(graph: _core.Graph, placed: Sequence[Placed], together: bool) -> None:
    """Give the placed layers their shapes, and weights to those that have none yet.

    `together` puts the weights of neighbours into one block; otherwise each layer has its own,
    so that it can leave the model.
    """
    nodes = graph.nodes
    runs: list[list[tuple[Layer, list[_core.ParameterSpec]]]] = []
    joins = False  # whether the next new layer may share the last block
    for layer, _, start, stop, _ in placed:
        if layer._holds_layers:
            joins = False
            continue
        specs = [spec for node in nodes[start:stop] for spec in node["parameters"]]
        layer._check_specs(specs)
        if layer.built:
            joins = joins and not specs
        elif specs:
            if not joins:
                runs.append([])
            runs[-1].append((layer, specs))
            joins = together
    for run in runs:
        parameters = _core.Parameters(
            [
                (f"{layer.name}/{spec['name']}", spec["shape"])
                for layer, specs in run
                for spec in specs
            ]
        )
        first = 0
        for layer, specs in run:
            layer._bind(specs, parameters, first)
            first += len(specs)
    for layer, inputs, _, _, output in placed:
        shapes: list[Shape] = [(None, *nodes[i]["output_shape"]) for i in inputs]
        layer._set_shapes(shapes, (None, *nodes[output]["output_shape"]))


def blocks(owner: str, variables: Iterable[Variable]) -> list[_core.Parameters]:
    """The blocks that hold `variables`, one after the other, each whole and in order."""
    found: list[_core.Parameters] = []
    left: list[int] = []  # indices of the last block that are still to come
    for variable in variables:
        if not left:
            found.append(variable.parameters)
            left = list(range(len(variable.parameters)))
        if variable.parameters is not found[-1] or variable.index != left.pop(0):
            left = [-1]
            break
    if left:
        raise ValueError(
            f"{owner} holds single layers of another model, whose weights are kept in one block: "
            "put that model into the Sequential as a whole."
        )
    return found
