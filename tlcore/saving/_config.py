"""Models as JSON: written in the one dialect that tf-keras and Keras 3 both read, read in all.

What the dialect is: `Functional`, `batch_input_shape`, flat `input_layers` and `output_layers`,
`inbound_nodes` as lists, and layer configurations as `Layer.get_config` gives them. Keras 3
refuses its own nested lists in a model inside a Sequential, tf-keras's `axis: [3]`, and `groups`
on a depthwise convolution; tf-keras refuses Keras 3's nodes and dtype policies.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tlcore import _core
from tlcore.layers import Dropout, InputLayer, Layer, deserialize
from tlcore.layers._assembly import Call, call_order, chained, reordered
from tlcore.layers._pictures import RandomLayer
from tlcore.saving._hdf5 import File
from tlcore.saving._order import Flags, is_model, keras_order, set_own_flag
from tlcore.utils.notes import note

if TYPE_CHECKING:
    from tlcore.models import Model

_MAX_DEPTH = 64  # of JSON brackets
_MAX_NESTED = 8  # of models in models
_MAX_LAYERS = 2_000
_MAX_CALLS = 4_000  # of layers, those of a model inside as often as it is called
_MAX_MODEL_CALLS = 250  # of models inside
_MAX_NUMBER = 1 << 24  # of any size in a configuration
_SPARE = 1 << 24  # weights that a model may have beyond those of its file until shapes are checked


# --- writing --------------------------------------------------------------------------------------


def written(model: Model, flags: Flags) -> dict[str, Any]:
    """{"class_name", "config"} of `model`, its layers trainable as `flags` say."""
    from tlcore.models import Sequential

    source = model.input_layer
    if source is None:
        raise ValueError(
            f"The model {model.name!r} cannot be saved: its input shape is unknown; start it with "
            "tlcore.Input(shape) or call build((None, ...))."
        )
    if isinstance(model, Sequential):
        layers = [_written_layer(layer, flags) for layer in (source, *model.layers)]
        return {"class_name": "Sequential", "config": {"name": model.name, "layers": layers}}

    inbound, places = _written_calls(model.calls)
    layers = [
        {**_written_layer(layer, flags), "name": layer.name, "inbound_nodes": inbound[layer.name]}
        for layer in keras_order(model)
    ]
    config: dict[str, Any] = {"name": model.name}
    if not flags[id(model)]:
        config["trainable"] = False
    config["layers"] = layers
    config["input_layers"] = places[0]
    config["output_layers"] = places[-1]
    return {"class_name": "Functional", "config": config}


def _written_calls(calls: Sequence[Call]) -> tuple[dict[str, list[Any]], list[list[Any]]]:
    """`inbound_nodes` by name of the layer, and for each call how others refer to it.

    tf-keras counts the calls of a model inside from 1, Keras 3 from 0. Each is written twice, so
    that a number means the same call to both.
    """
    inbound: dict[str, list[Any]] = {}
    places: list[list[Any]] = []
    for layer, sources, inference in calls:
        kwargs = {"training": False} if inference and layer._takes_training else {}
        node = [[*places[source], kwargs] for source in sources]
        nodes = inbound.setdefault(layer.name, [])
        places.append([layer.name, len(nodes) + is_model(layer), 0])
        if node:
            nodes.extend([node, node] if is_model(layer) else [node])
    return inbound, places


def _written_layer(layer: Layer, flags: Flags) -> dict[str, Any]:
    if is_model(layer):
        return written(layer, flags)
    config = layer.get_config()
    if config.get("activation") == "hard_sigmoid":
        note(
            "the file holds a hard_sigmoid, which tf-keras and Keras 2 read as another function "
            "(0.2 x + 0.5); tlcore and Keras 3 read it right.",
            key="hard_sigmoid in a file",
        )
    if "trainable" in config:
        config["trainable"] = flags[id(layer)]
    return {"class_name": type(layer).__name__, "config": config}


# --- reading --------------------------------------------------------------------------------------


def parsed(file: File, text: str, what: str) -> Any:
    """The JSON `text`; ValueError if it is not JSON, nested too deep, or holds absurd numbers."""

    def refuse_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        value = json.loads(text, parse_constant=refuse_constant)
    except RecursionError as err:
        raise file.refuse(f"its {what} is nested too deep") from err
    except ValueError as err:
        raise file.refuse(f"its {what} is not JSON ({err})") from err
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return value
    raise file.refuse(f"its {what} is nested too deep")


def rebuilt(
    file: File, description: Any, budget: int, orders: Mapping[str, Sequence[str]]
) -> Model:
    """A model, not yet with the file's weights, from what any Keras wrote about it.

    `budget` is how many numbers the file holds: a model with many more weights is refused before
    memory is taken for them. `orders` are tlcore's `unusual_orders`.

    Raises:
        ValueError: a layer or an arrangement that tlcore does not have, or damage; it names the
            layer.
    """
    layer = _Reader(file, budget, orders).layer(description, 0)
    if not is_model(layer):
        raise file.refuse("its model_config describes a single layer, not a model")
    return layer


class _Place(NamedTuple):
    """One call of a layer."""

    layer: str
    call: int


class _Source(NamedTuple):
    """What a call takes, as a file says it."""

    layer: str
    call: int  # of that layer
    from_one: bool  # whether calls of models inside are counted from 1
    by: str  # who takes it


class _Node(NamedTuple):
    """A call as a file says it."""

    sources: list[_Source]
    inference: bool


class _Reader:
    """Turns descriptions into layers."""

    def __init__(self, file: File, budget: int, orders: Mapping[str, Sequence[str]]) -> None:
        self.file = file
        self.budget = budget
        self.orders = orders
        self._inside: list[str] = []  # names of the models around what is being read
        self.count = 0  # of layers so far
        self.sizes: dict[Layer, tuple[int, int]] = {}  # of models: see _check_size

    def layer(self, description: Any, depth: int) -> Layer:
        """One layer or model."""
        class_name, config = self._parts(description)
        self.count += 1
        if self.count > _MAX_LAYERS or depth > _MAX_NESTED:
            raise self.file.refuse(
                f"its model has more than {_MAX_LAYERS} layers or {_MAX_NESTED} models inside "
                "each other"
            )
        name = config.get("name")
        if class_name in ("Sequential", "Functional", "Model"):
            read = self._sequential if class_name == "Sequential" else self._functional
            self._inside.append(str(name))
            model = read(config, depth)
            self._inside.pop()
            return model
        if class_name == "Lambda":
            raise self.file.refuse(
                f"layer {name!r} is a Lambda, which holds a program; tlcore runs none from files"
            )
        self._check_numbers(name, config)
        self._check_activation(name, config.get("activation"))
        try:
            return deserialize(class_name, config)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as err:
            raise self.file.refuse(_without_stop(str(err))) from err

    def _parts(self, description: Any) -> tuple[str, dict[str, Any]]:
        """Class name and configuration of a layer."""
        if not isinstance(description, Mapping):
            raise self.file.refuse("its model_config holds something that is no layer")
        class_name, config = description.get("class_name"), description.get("config")
        if isinstance(class_name, str) and class_name == "Sequential" and isinstance(config, list):
            config = {"layers": config}  # Keras before 2.2.3
        if not isinstance(class_name, str) or not isinstance(config, dict):
            raise self.file.refuse("its model_config holds a layer without class_name or config")
        return class_name, dict(config)

    def _check_numbers(self, name: Any, config: Mapping[str, Any]) -> None:
        """Refuse sizes that no model has before anything is made of that size."""
        waiting = [(key, value) for key, value in config.items() if key != "seed"]
        while waiting:
            key, value = waiting.pop()
            if isinstance(value, list):
                waiting.extend((key, inner) for inner in value)
            elif isinstance(value, (int, float)) and abs(value) > _MAX_NUMBER:
                raise self.file.refuse(
                    f"layer {name!r} has {key}={value:g}, and sizes end at {_MAX_NUMBER}"
                )

    def _check_activation(self, name: Any, activation: Any) -> None:
        """Refuse the one name that meant another function before Keras 3."""
        if activation != "hard_sigmoid" or self.file.text("tlcore_version") is not None:
            return
        version = self.file.text("keras_version") or "?"
        if not re.match(r"([3-9]|[1-9]\d{1,2})\.", version):
            raise self.file.refuse(
                f"layer {name!r} has the hard_sigmoid of Keras {version[:20]}, which is "
                "0.2 x + 0.5 between 0 and 1; tlcore has Keras 3's, x / 6 + 0.5 between 0 and 1"
            )

    # --- models -----------------------------------------------------------------------------------

    def _sequential(self, config: dict[str, Any], depth: int) -> Layer:
        from tlcore.models import Sequential

        name = config.get("name")
        layers = [self.layer(inner, depth + 1) for inner in self._list(config.get("layers"), name)]
        shape = config.get("build_input_shape")
        if layers and shape is not None and not isinstance(layers[0], InputLayer):
            first = layers[0]
            if not (is_model(first) and first.built):
                source = {"class_name": "InputLayer", "config": {"batch_input_shape": shape}}
                layers.insert(0, self.layer(source, depth + 1))
        size = (len(layers), 1)
        if layers and isinstance(layers[0], InputLayer):
            size = self._made(name, lambda: self._check_size(chained(layers)))
        model: Sequential = self._made(name, lambda: Sequential(layers, name=self._name(name)))
        self.sizes[model] = size
        return model

    def _functional(self, config: dict[str, Any], depth: int) -> Layer:
        from tlcore.models import Model

        name = config.get("name")
        layers: dict[str, Layer] = {}
        inbound: dict[str, list[_Node]] = {}
        for description in self._list(config.get("layers"), name):
            class_name, inner = self._parts(description)
            layer_name = description.get("name", inner.get("name"))
            if not isinstance(layer_name, str) or layer_name in layers:
                raise self.file.refuse(f"the model {name!r} has no or two layers {layer_name!r}")
            inner["name"] = layer_name
            layers[layer_name] = self.layer({"class_name": class_name, "config": inner}, depth + 1)
            inbound[layer_name] = self._inbound(
                layers[layer_name], description.get("inbound_nodes")
            )
        source, _ = self._end(config.get("input_layers"), "input", name, layers)
        output, index = self._end(config.get("output_layers"), "output", name, layers)
        if not isinstance(layers[source], InputLayer):
            raise self.file.refuse(f"the input {source!r} of the model {name!r} is no InputLayer")
        end = self._output(name, layers, inbound, output, index)
        calls, found = self._calls(name, layers, inbound, source, end)
        size = self._made(name, lambda: self._check_size(calls))
        self._check_unused(name, layers, inbound, found, end)
        model: Model = self._made(name, lambda: Model.from_calls(self._name(name), calls))
        self.sizes[model] = size
        if config.get("trainable") is False:
            set_own_flag(model, False)
        return model

    def _output(
        self,
        name: Any,
        layers: Mapping[str, Layer],
        inbound: Mapping[str, Sequence[_Node]],
        layer: str,
        index: Any,
    ) -> _Place:
        """The call that makes the output of the model."""
        from tlcore.models import Sequential

        if type(index) is not int or index < 0:
            raise self.file.refuse(f"the model {name!r} has the output {index!r} of {layer!r}")
        nodes = inbound[layer]
        # Here every Keras counts the calls of a Functional from 1, and Keras 3 a Sequential's not.
        old = any(source.from_one for node in nodes for source in node.sources)
        from_one = old or not isinstance(layers[layer], Sequential)
        return self._place(name, layers, inbound, _Source(layer, index, from_one, layer))

    def _check_size(self, calls: Sequence[Call]) -> tuple[int, int]:
        """How many layers and models a call of this model is, with all that is inside.

        Refuses too many, and far more weights than the file has, from shapes alone.
        """
        sizes = [self.sizes.get(call.layer, (1, 0)) for call in calls]
        leaves, models = sum(size[0] for size in sizes), sum(size[1] for size in sizes)
        if leaves > _MAX_CALLS or models > _MAX_MODEL_CALLS:
            raise ValueError(
                f"it calls {leaves} layers and {models} models inside, and the most is "
                f"{_MAX_CALLS} and {_MAX_MODEL_CALLS}"
            )
        graph = _core.Graph([int(n or 0) for n in calls[0].layer.output_shape[1:]])
        outputs = [0]
        spans: dict[Layer, range] = {}  # the nodes of each layer, where it is first called
        for i, (layer, sources, _) in enumerate(calls[1:]):
            start = len(graph)
            # no layer has such a name
            outputs.append(layer.add_to(graph, [outputs[k] for k in sources], f"/{i}"))
            spans.setdefault(layer, range(start, len(graph)))
        nodes = graph.nodes
        count = sum(
            math.prod(spec["shape"])
            for span in spans.values()
            for k in span
            for spec in nodes[k]["parameters"]
        )
        if count > _SPARE + 4 * self.budget:  # less is left to the check of shapes, which names
            raise ValueError(f"it has {count} weights, and the file holds values for {self.budget}")
        return leaves, models + 1

    def _calls(
        self,
        name: Any,
        layers: Mapping[str, Layer],
        inbound: Mapping[str, Sequence[_Node]],
        source: str,
        output: _Place,
    ) -> tuple[list[Call], set[_Place]]:
        """The calls that make the output out of the input, and their places in the file."""
        found: dict[_Place, int] = {_Place(source, 0): 0}
        calls = [Call(layers[source], ())]
        entered: set[_Place] = set()
        waiting = [output]
        while waiting:
            place = waiting[-1]
            if place in found:
                waiting.pop()
                continue
            nodes = inbound[place.layer]
            if not nodes:
                raise self.file.refuse(
                    f"in the model {name!r} the layer {place.layer!r} is not fed by the input "
                    f"{source!r}"
                )
            if place.call >= len(nodes):
                raise self.file.refuse(
                    f"in the model {name!r} a layer takes call {place.call} of {place.layer!r}, "
                    f"which has {len(nodes)}"
                )
            sources, inference = nodes[place.call]
            places = [self._place(name, layers, inbound, one) for one in sources]
            if all(one in found for one in places):
                found[place] = len(calls)
                feeds = tuple(found[one] for one in places)
                calls.append(Call(layers[place.layer], feeds, inference))
            elif place in entered:
                raise self.file.refuse(
                    f"in the model {name!r} the layer {place.layer!r} is fed by itself, so it "
                    "is not fed by the input"
                )
            else:
                entered.add(place)
                waiting.extend(one for one in reversed(places) if one not in found)
        return reordered(calls, self._order(name, calls, found)), set(found)

    def _order(
        self, name: Any, calls: Sequence[Call], found: Mapping[_Place, int]
    ) -> Sequence[int]:
        """Keras's order of the calls, or the one that tlcore has written beside it."""
        said = self.orders.get("/".join(self._inside[1:]))
        if said is None:
            return call_order(calls)
        # a name that comes again is the next call of that layer
        left: dict[str, list[int]] = {}
        for place in sorted(found, reverse=True):
            left.setdefault(place.layer, []).append(found[place])
        order = [left[key].pop() for key in said if left.get(key)]
        places = {i: place for place, i in enumerate(order)}
        if (
            len(order) < max(len(calls), len(said))
            or order[-1] != len(calls) - 1
            or any(places[feed] > places[i] for i in order for feed in calls[i].sources)
        ):
            raise self.file.refuse(f"its tlcore_layer_order is not one of the model {name!r}")
        return order

    def _place(
        self,
        name: Any,
        layers: Mapping[str, Layer],
        inbound: Mapping[str, Sequence[_Node]],
        source: _Source,
    ) -> _Place:
        """The call that a node refers to."""
        layer = layers.get(source.layer)
        if layer is None:
            raise self.file.refuse(
                f"the model {name!r} has no layer {source.layer!r}, but {source.by!r} is fed by it"
            )
        index = source.call
        if is_model(layer) and source.from_one:
            index -= 1
        return _Place(source.layer, 0 if len(inbound[source.layer]) < 2 else max(index, 0))

    def _check_unused(
        self,
        name: Any,
        layers: Mapping[str, Layer],
        inbound: Mapping[str, Sequence[_Node]],
        found: set[_Place],
        output: _Place,
    ) -> None:
        """Refuse layers and calls that do not lead to the output."""
        used = {place.layer for place in found}
        for key, layer in layers.items():
            nodes = inbound[key]
            if key not in used:
                raise self.file.refuse(
                    f"in the model {name!r} the layer {key!r} does not lead to {output.layer!r}, "
                    "or is not fed by the input"
                )
            kept = [nodes[i] for i in range(len(nodes)) if _Place(key, i) in found]
            # calls of models inside are written twice, see _written_calls
            if len(kept) < len(nodes) and not (is_model(layer) and all(n in kept for n in nodes)):
                raise self.file.refuse(
                    f"in the model {name!r} the layer {key!r} is used {len(nodes)} times, and "
                    f"{len(nodes) - len(kept)} of them lead nowhere"
                )

    def _inbound(self, layer: Layer, nodes: Any) -> list[_Node]:
        """The calls of `layer`, in any Keras's spelling."""
        name = layer.name
        if not nodes:
            return []
        if not isinstance(nodes, list):
            raise self.file.refuse(f"layer {name!r} has inbound_nodes that are no list")
        if isinstance(nodes[0], list) and nodes[0] and isinstance(nodes[0][0], str):
            nodes = [nodes]  # tf-keras leaves one pair of brackets out for some layers
        return [self._node(layer, node) for node in nodes]

    def _node(self, layer: Layer, node: Any) -> _Node:
        """One call of `layer`."""
        name = layer.name
        inference = False
        if isinstance(node, Mapping):  # Keras 3
            # Of a dropout Keras 3 writes the default, False, and drops out in fit all the same.
            inference = self._is_inference(layer, node.get("kwargs"))
            inference = inference and not isinstance(layer, Dropout)
            found: list[Any] = []
            waiting = [node.get("args")]
            while waiting:
                item = waiting.pop(0)
                if isinstance(item, list):
                    waiting = item + waiting
                elif isinstance(item, Mapping) and item.get("class_name") == "__keras_tensor__":
                    config = item.get("config")
                    found.append(config.get("keras_history") if isinstance(config, Mapping) else 0)
                elif item is not None:
                    raise self.file.refuse(
                        f"layer {name!r} is called with {item!r}, which tlcore does not have"
                    )
        else:
            found = node if isinstance(node, list) else [node]
        sources = []
        for entry in found:
            if not isinstance(entry, list) or len(entry) < 3 or not isinstance(entry[0], str):
                raise self.file.refuse(f"layer {name!r} has inbound_nodes that tlcore cannot read")
            if entry[2] != 0:
                raise self.file.refuse(f"layer {name!r} takes output {entry[2]!r} of {entry[0]!r}")
            if type(entry[1]) is not int or entry[1] < 0:
                raise self.file.refuse(f"layer {name!r} takes call {entry[1]!r} of {entry[0]!r}")
            inference |= self._is_inference(layer, entry[3] if len(entry) > 3 else None)
            sources.append(_Source(entry[0], entry[1], isinstance(node, list), name))
        if not sources:
            raise self.file.refuse(f"layer {name!r} is called with nothing")
        return _Node(sources, inference)

    def _is_inference(self, layer: Layer, kwargs: Any) -> bool:
        """Whether a call says training=False; refuses what else changes what a layer computes."""
        name = layer.name
        if kwargs is None or kwargs == {}:
            return False
        if not isinstance(kwargs, Mapping):
            raise self.file.refuse(f"layer {name!r} is called with {kwargs!r}")
        for key, value in kwargs.items():
            # True is what Keras 3 writes of a random layer that was called without `training`
            plain = value is False or (value is True and isinstance(layer, RandomLayer))
            if not (value is None or (key == "training" and plain)):
                raise self.file.refuse(
                    f"layer {name!r} is called with {key}={value!r}, which tlcore does not have"
                )
        return kwargs.get("training") is False

    def _end(
        self, value: Any, which: str, name: Any, layers: Mapping[str, Layer]
    ) -> tuple[str, Any]:
        """The one input or output layer and its call, from `["x", 0, 0]` or `[["x", 0, 0]]`."""
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, list) and value and isinstance(value[0], list):
            raise self.file.refuse(
                f"the model {name!r} has {len(value)} {which}s, and tlcore's models have one"
            )
        end = value[0] if isinstance(value, list) and value else None
        if not isinstance(end, str) or end not in layers:
            raise self.file.refuse(f"the model {name!r} does not say what its {which} is")
        return end, value[1]

    # --- small things -----------------------------------------------------------------------------

    def _list(self, value: Any, name: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.file.refuse(f"the model {name!r} has no list of layers")
        return value

    def _name(self, name: Any) -> str | None:
        if name is not None and not isinstance(name, str):
            raise self.file.refuse(f"a model has the name {name!r}, which is no text")
        return name

    def _made(self, name: Any, make: Callable[[], Any]) -> Any:
        try:
            return make()
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as err:
            raise self.file.refuse(f"the model {name!r}: {_without_stop(str(err))}") from err


def _without_stop(text: str) -> str:
    """A sentence without its last full stop, to stand inside another."""
    return text.removesuffix(".")
