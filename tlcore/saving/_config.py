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
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tlcore import _core
from tlcore.layers import InputLayer, Layer, deserialize
from tlcore.saving._hdf5 import File
from tlcore.saving._order import Flags, is_model, keras_order, set_own_flag
from tlcore.utils.notes import note

if TYPE_CHECKING:
    from tlcore.models import Model

_MAX_DEPTH = 64  # of JSON brackets
_MAX_NESTED = 8  # of models in models
_MAX_LAYERS = 2_000
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

    inbound = model.inbound
    nodes = []
    for layer in keras_order(model):
        node = _written_layer(layer, flags)
        feeds = [[name, 0, 0, {}] for name in inbound[layer.name]]
        nodes.append({**node, "name": layer.name, "inbound_nodes": [feeds] if feeds else []})
    config: dict[str, Any] = {"name": model.name}
    if not flags[id(model)]:
        config["trainable"] = False
    config["layers"] = nodes
    config["input_layers"] = [source.name, 0, 0]
    config["output_layers"] = [model.layers[-1].name, 0, 0]
    return {"class_name": "Functional", "config": config}


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


def rebuilt(file: File, description: Any, budget: int) -> Model:
    """A model, not yet with the file's weights, from what any Keras wrote about it.

    `budget` is how many numbers the file holds: a model with many more weights is refused before
    memory is taken for them.

    Raises:
        ValueError: a layer or an arrangement that tlcore does not have, or damage; it names the
            layer.
    """
    layer = _Reader(file, budget).layer(description, 0)
    if not is_model(layer):
        raise file.refuse("its model_config describes a single layer, not a model")
    return layer


class _Reader:
    """Turns descriptions into layers."""

    def __init__(self, file: File, budget: int) -> None:
        self.file = file
        self.budget = budget
        self.count = 0  # of layers so far

    def layer(self, description: Any, depth: int) -> Layer:
        """One layer or model."""
        class_name, config = self._parts(description)
        self.count += 1
        if self.count > _MAX_LAYERS or depth > _MAX_NESTED:
            raise self.file.refuse(
                f"its model has more than {_MAX_LAYERS} layers or {_MAX_NESTED} models inside "
                "each other"
            )
        if class_name == "Sequential":
            return self._sequential(config, depth)
        if class_name in ("Functional", "Model"):
            return self._functional(config, depth)
        name = config.get("name")
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
        if layers and isinstance(layers[0], InputLayer):
            feeds = {layer.name: [before.name] for before, layer in pairwise(layers)}
            self._made(name, lambda: self._check_size(layers, feeds))
        model: Sequential = self._made(name, lambda: Sequential(layers, name=self._name(name)))
        return model

    def _functional(self, config: dict[str, Any], depth: int) -> Layer:
        from tlcore.models import Model

        name = config.get("name")
        layers: dict[str, Layer] = {}
        inbound: dict[str, list[str]] = {}
        for description in self._list(config.get("layers"), name):
            class_name, inner = self._parts(description)
            layer_name = description.get("name", inner.get("name"))
            if not isinstance(layer_name, str) or layer_name in layers:
                raise self.file.refuse(f"the model {name!r} has no or two layers {layer_name!r}")
            inner["name"] = layer_name
            layers[layer_name] = self.layer({"class_name": class_name, "config": inner}, depth + 1)
            inbound[layer_name] = self._inbound(layer_name, description.get("inbound_nodes"))
        inputs = self._ends(config.get("input_layers"), "input", name, layers)
        outputs = self._ends(config.get("output_layers"), "output", name, layers)
        ordered = self._sorted(name, inputs[0], layers, inbound)
        self._made(name, lambda: self._check_size(ordered, inbound))
        model: Model = self._made(
            name,
            lambda: Model.from_layers(self._name(name), ordered, inbound, inputs, outputs),
        )
        if config.get("trainable") is False:
            set_own_flag(model, False)
        return model

    def _check_size(self, layers: Sequence[Layer], inbound: Mapping[str, Sequence[str]]) -> None:
        """Refuse far more weights than the file has, from shapes alone; the input comes first."""
        graph = _core.Graph([int(n or 0) for n in layers[0].output_shape[1:]])
        outputs = {layers[0].name: 0}
        for i, layer in enumerate(layers[1:]):
            inputs = [outputs[name] for name in inbound[layer.name]]
            outputs[layer.name] = layer.add_to(graph, inputs, f"/{i}")  # no layer has such a name
        count = sum(math.prod(spec["shape"]) for node in graph.nodes for spec in node["parameters"])
        if count > _SPARE + 4 * self.budget:  # less is left to the check of shapes, which names
            raise ValueError(f"it has {count} weights, and the file holds values for {self.budget}")

    def _inbound(self, name: str, nodes: Any) -> list[str]:
        """The names of the layers that feed layer `name`, in any Keras's spelling."""
        if not nodes:
            return []
        if not isinstance(nodes, list):
            raise self.file.refuse(f"layer {name!r} has inbound_nodes that are no list")
        if isinstance(nodes[0], list) and nodes[0] and isinstance(nodes[0][0], str):
            nodes = [nodes]  # tf-keras leaves one pair of brackets out for some layers
        if len(nodes) != 1:
            raise self.file.refuse(
                f"layer {name!r} is used {len(nodes)} times, and tlcore has models that use "
                "each layer once"
            )
        node = nodes[0]
        if isinstance(node, Mapping):  # Keras 3
            self._check_call(name, node.get("kwargs"))
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
            self._check_call(name, entry[3] if len(entry) > 3 else None)
            sources.append(entry[0])
        return sources

    def _check_call(self, name: str, kwargs: Any) -> None:
        """Refuse a call with arguments that change what the layer computes."""
        if kwargs is None or kwargs == {}:
            return
        if not isinstance(kwargs, Mapping):
            raise self.file.refuse(f"layer {name!r} is called with {kwargs!r}")
        for key, value in kwargs.items():
            if not (value is None or (key == "training" and value is False)):
                raise self.file.refuse(
                    f"layer {name!r} is called with {key}={value!r}, which tlcore does not have"
                )

    def _ends(self, value: Any, which: str, name: Any, layers: Mapping[str, Layer]) -> list[str]:
        """The one input or output layer, from `["x", 0, 0]` or `[["x", 0, 0]]`."""
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, list) and value and isinstance(value[0], list):
            raise self.file.refuse(
                f"the model {name!r} has {len(value)} {which}s, and tlcore's models have one"
            )
        end = value[0] if isinstance(value, list) and value else None
        if not isinstance(end, str) or end not in layers:
            raise self.file.refuse(f"the model {name!r} does not say what its {which} is")
        return [end]

    def _sorted(
        self,
        name: Any,
        source: str,
        layers: Mapping[str, Layer],
        inbound: Mapping[str, Sequence[str]],
    ) -> list[Layer]:
        """The layers so that each stands behind those that feed it, the input first."""
        missing = {key: len(set(inbound[key])) for key in layers if key != source}
        feeds: dict[str, list[str]] = {}
        for key in missing:
            for feed in dict.fromkeys(inbound[key]):
                feeds.setdefault(feed, []).append(key)
        ordered = [source]
        for done in ordered:  # grows on the way
            for key in feeds.get(done, ()):
                missing[key] -= 1
                if not missing[key]:
                    ordered.append(key)
        if len(ordered) < len(layers):
            lost = next(
                key for key in layers if key != source and (missing[key] or not inbound[key])
            )
            raise self.file.refuse(
                f"in the model {name!r} the layer {lost!r} is not fed by the input {source!r}"
            )
        return [layers[key] for key in ordered]

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
