"""From layers to a core graph and the blocks of weights that it runs on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tlcore import _core
from tlcore.layers.layer import Layer, Shape, Variable


class Call(NamedTuple):
    """A place of a layer in a model. A layer that is called twice has two of them."""

    layer: Layer
    sources: tuple[int, ...]  # the calls that feed it, by their places in the model's list
    inference: bool = False  # called with training=False


class Placed(NamedTuple):
    """Where a call's nodes are: from `start` up to `stop`, fed by `inputs`."""

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
    graph: _core.Graph, sources: Sequence[int], calls: Sequence[Call], inference: bool = False
) -> list[Placed]:
    """Add the calls behind the first ones, whose values are those of the nodes `sources`.

    `inference` puts all of them into inference mode; otherwise each has its own.
    """
    taken = {node["name"] for node in graph.nodes}
    outputs = list(sources)
    placed: list[Placed] = []
    for layer, feeds, own in calls[len(sources) :]:
        inputs = [outputs[i] for i in feeds]
        start = len(graph)
        mode: dict[str, Any] = {"inference": own or inference} if layer._takes_training else {}
        if layer._holds_layers:
            output = layer.add_to(graph, inputs, **mode)
            taken.update(node["name"] for node in graph.nodes[start:])
        else:
            name = _free_name(layer.name, taken)
            output = layer.add_to(graph, inputs, name, **mode)
            taken.update((name, f"{name}/activation"))
        outputs.append(output)
        placed.append(Placed(layer, inputs, start, len(graph), output))
    return placed


def chained(layers: Sequence[Layer]) -> list[Call]:
    """The calls of layers in a row."""
    return [Call(layer, (i - 1,) if i else ()) for i, layer in enumerate(layers)]


def reordered(calls: Sequence[Call], order: Sequence[int]) -> list[Call]:
    """The calls in another order, in which each still stands behind those that feed it."""
    places = {old: new for new, old in enumerate(order)}
    return [
        calls[i]._replace(sources=tuple(places[source] for source in calls[i].sources))
        for i in order
    ]


class _Visit(NamedTuple):
    """What Keras knows of a model's calls before it sorts them."""

    depths: list[int]  # of each call: the longest way from the output
    layer_depths: dict[Layer, int]
    first: dict[Layer, int]  # when a walk from the output meets the layer
    finished: list[int]  # the calls, each behind those that feed it


def _visited(calls: Sequence[Call]) -> _Visit:
    """Keras's map_graph (keras/src/ops/function.py) for a model whose last call is its output."""
    first: dict[Layer, int] = {}
    finished: list[int] = []
    seen: set[int] = set()
    waiting = [(len(calls) - 1, False)]
    while waiting:
        i, done = waiting.pop()
        if done:
            finished.append(i)
        elif i not in seen:
            seen.add(i)
            first.setdefault(calls[i].layer, len(first))
            waiting.append((i, True))
            waiting.extend((source, False) for source in reversed(calls[i].sources))
    depths = [0] * len(calls)
    layer_depths: dict[Layer, int] = {}
    for i in reversed(finished):
        layer = calls[i].layer
        # a layer that is called twice stands where its deepest call does
        depths[i] = layer_depths[layer] = max(depths[i], layer_depths.get(layer, 0))
        for source in calls[i].sources:
            depths[source] = max(depths[source], depths[i] + 1)
    return _Visit(depths, layer_depths, first, finished)


def call_order(calls: Sequence[Call]) -> list[int]:
    """The calls sorted as Keras sorts a model's layers; the last of `calls` is the output."""
    visit = _visited(calls)
    places = {i: place for place, i in enumerate(visit.finished)}
    return sorted(
        visit.finished,
        key=lambda i: (-visit.depths[i], visit.first[calls[i].layer], places[i]),
    )


def layer_order(calls: Sequence[Call]) -> list[Layer]:
    """The layers as `model.layers` of Keras: by distance from the output, then as visited."""
    visit = _visited(calls)
    return sorted(
        visit.layer_depths, key=lambda layer: (-visit.layer_depths[layer], visit.first[layer])
    )


def bind(nodes: Sequence[_core.Node], placed: Sequence[Placed], together: bool) -> None:
    """Give the placed layers their shapes, and weights to those that have none yet.

    `nodes` are those of the graph. `together` puts the weights of neighbours into one block;
    otherwise each layer has its own, so that it can leave the model.
    """
    runs: list[list[tuple[Layer, list[_core.ParameterSpec]]]] = []
    joins = False  # whether the next new layer may share the last block
    seen: dict[Layer, list[_core.ParameterSpec]] = {}  # new layers, some of which come twice
    for layer, _, start, stop, _ in placed:
        if layer._holds_layers:
            joins = False
            continue
        specs = [spec for node in nodes[start:stop] for spec in node["parameters"]]
        layer._check_specs(specs)
        if layer in seen:
            _check_equal(layer, seen[layer], specs)
        elif layer.built:
            joins = joins and not specs
        elif specs:
            seen[layer] = specs
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


def _check_equal(
    layer: Layer, first: Sequence[_core.ParameterSpec], second: Sequence[_core.ParameterSpec]
) -> None:
    """ValueError if a layer that is called twice would need weights of two shapes."""
    for one, other in zip(first, second, strict=True):
        if one["shape"] != other["shape"]:
            raise ValueError(
                f"{layer._owner} is called twice, and its weight "
                f"{one['name'].rpartition('/')[2]!r} would have the shapes {tuple(one['shape'])} "
                f"and {tuple(other['shape'])}."
            )


def network(graph: _core.Graph, variables: Sequence[Variable]) -> _core.Network:
    """`graph` bound to `variables`: block by block, or each by itself where a block is in parts."""
    found: list[_core.Parameters] = []
    left: list[int] = []  # indices of the last block that are still to come
    for variable in variables:
        if not left:
            found.append(variable.parameters)
            left = list(range(len(variable.parameters)))
        if variable.parameters is not found[-1] or variable.index != left.pop(0):
            left = [-1]
            break
    if not left:
        return _core.Network(graph, found)
    return _core.Network(graph, [v.parameters for v in variables], [v.index for v in variables])
