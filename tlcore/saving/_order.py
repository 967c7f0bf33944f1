"""In which order Keras lists layers and weights.

Keras pairs the weights of a file with those of a model by position alone, and the position
depends on the shape of the graph and on which layers are trainable. What is written here must
therefore come in the order in which the reader of the same configuration will list it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tlcore.layers import Layer, Variable
from tlcore.layers._assembly import call_order, layer_order

if TYPE_CHECKING:
    from typing import TypeGuard

    from tlcore.models import Model

Flags = Mapping[int, bool]  # by id(layer): whether it trains


def is_model(layer: Layer) -> TypeGuard[Model]:
    """Whether `layer` holds layers."""
    from tlcore.models import Model

    return isinstance(layer, Model)


def keras_order(model: Model) -> list[Layer]:
    """The layers as `model.layers` of Keras: by distance from the output, then as visited."""
    from tlcore.models import Sequential

    layers = list(model.layers)
    if isinstance(model, Sequential) or not layers:
        return layers
    return layer_order(model.calls)


def unusual_orders(model: Model) -> dict[str, list[str]]:
    """Path -> names of the layers as they are called, for models in another order than Keras's.

    Dropout draws by a node's place in the graph, so training goes on bit for bit in this order.
    """
    from tlcore.models import Functional

    orders = {}
    for path, layer in all_layers(model):
        if isinstance(layer, Functional):
            calls = layer.calls
            if call_order(calls) != list(range(len(calls))):
                orders[path] = [call.layer.name for call in calls]
    return orders


def leaves(layer: Layer) -> list[Layer]:
    """`layer` itself, or for a model the layers inside it that are no models."""
    if not is_model(layer):
        return [layer]
    return [leaf for inner in keras_order(layer) for leaf in leaves(inner)]


def effective_flags(model: Model) -> dict[int, bool]:
    """For each layer inside, whether it and every model around it are trainable.

    tf-keras drops the flag of a nested model and Keras 3 keeps it, so a file that says "this model
    is frozen, that layer in it is not" is read in two orders. Written with these flags it means
    the same training and is read in one.
    """
    flags: dict[int, bool] = {}

    def walk(layer: Layer, around: bool) -> None:
        flag = around and layer.trainable
        flags[id(layer)] = flag
        if is_model(layer):
            for inner in keras_order(layer):
                walk(inner, flag)

    walk(model, True)
    return flags


def all_layers(model: Model, path: str = "") -> Iterator[tuple[str, Layer]]:
    """`model` and every layer inside, each with its path ("" for `model`, "base/Conv1", ...)."""
    yield path, model
    for layer in keras_order(model):
        inner = f"{path}/{layer.name}" if path else layer.name
        if is_model(layer):
            yield from all_layers(layer, inner)
        else:
            yield inner, layer


def set_own_flag(model: Model, value: bool) -> None:
    """Set `model.trainable` and leave the layers inside as they are."""
    flags = [(layer, layer.trainable) for _, layer in all_layers(model)]
    model.trainable = value  # reaches inside
    for layer, flag in flags[1:]:  # a model comes before what is inside it
        layer.trainable = flag


def legacy_weights(layer: Layer, flags: Flags) -> list[Variable]:
    """The weights of `layer` as .h5 files list them: those that train, then the others."""
    training: list[Variable] = []
    fixed: list[Variable] = []
    for leaf in leaves(layer):
        for variable in leaf.weights:
            moving = variable.name.startswith("moving_")
            (training if flags[id(leaf)] and not moving else fixed).append(variable)
    return training + fixed


def trained_weights(model: Model, flags: Flags) -> list[Variable]:
    """The weights that train, in the order of Keras's `model.trainable_weights`."""
    return [
        variable
        for leaf in leaves(model)
        if flags[id(leaf)]
        for variable in leaf.weights
        if not variable.name.startswith("moving_")
    ]


def names(layers: Iterable[Layer], limit: int = 5) -> str:
    """The names of some layers, for an error."""
    found = [layer.name for layer in layers]
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(found[:limit]) + more if found else "none"
