"""Symbolic tensors: what layers are called with while a model is put together.

    x = tlcore.Input((32, 32, 3))
    y = tlcore.layers.Flatten()(x)

A tensor has a shape and remembers the call that makes it: the layer, and the tensors that it was
called with. `Model(inputs, outputs)` walks back along them. Calls behind one input are tried at
once on a core graph that they share, which makes weights, shapes and errors; no model runs it.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.utils import naming

if TYPE_CHECKING:
    from tlcore.layers.layer import Layer, Shape


class Origin(NamedTuple):
    """The call that makes a tensor, and where its value is in the graph it was tried on."""

    layer: Layer
    inputs: tuple[KerasTensor, ...]
    inference: bool  # called with training=False
    graph: _core.Graph
    node: int


class KerasTensor:
    """What a layer will give, before there are numbers.

    Attributes:
        name: of an `Input` its name, otherwise "keras_tensor", "keras_tensor_1", ...
        shape: (None, ...): any batch.
        dtype: always "float32".

    `a + b` is `Add()([a, b])`. There are no other operations: everything else is a layer.

    Source: `keras.KerasTensor`.
    """

    name: str
    dtype: str
    __array_ufunc__ = None  # NumPy leaves array + tensor to __radd__, which there is none of

    @property
    def shape(self) -> Shape:
        """(None, ...)."""
        raise NotImplementedError

    @property
    def _origin(self) -> Origin:
        raise NotImplementedError

    def __add__(self, other: object) -> KerasTensor:
        if not isinstance(other, KerasTensor):
            return NotImplemented
        from tlcore.layers.merging import Add

        total: KerasTensor = Add()([self, other])
        return total

    def _refuse(self, what: str) -> NoReturn:
        raise TypeError(
            f"The symbolic tensor {self.name!r} {what}: it has a shape and no numbers. Make a "
            "model with tlcore.Model(inputs, outputs) and call that with arrays."
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        self._refuse("is no array")

    def __bool__(self) -> NoReturn:
        self._refuse("is neither true nor false")

    def __iter__(self) -> NoReturn:
        self._refuse("cannot be iterated over")

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"


class Output(KerasTensor):
    """The tensor that a call of a layer makes."""

    dtype = "float32"

    def __init__(self, origin: Origin, shape: Shape) -> None:
        self.name = naming.unique_name("keras_tensor")
        self._made_by = origin
        self._shape = shape

    @property
    def shape(self) -> Shape:
        """(None, ...)."""
        return self._shape

    @property
    def _origin(self) -> Origin:
        return self._made_by


def given(owner: str, value: Any) -> tuple[KerasTensor, ...] | None:
    """The tensors in one or a list of them; None where there is none.

    Raises:
        ValueError: a list with tensors and other things.
    """
    if isinstance(value, KerasTensor):
        return (value,)
    if not isinstance(value, (list, tuple)):
        return None
    found = [item for item in value if isinstance(item, KerasTensor)]
    if not found:
        return None
    if len(found) < len(value):
        other = next(item for item in value if not isinstance(item, KerasTensor))
        raise ValueError(
            f"{owner} is called with symbolic tensors and with a {type(other).__name__}: all of a "
            "call's inputs must be symbolic, or none."
        )
    return tuple(found)


def is_inference(owner: str, training: Any) -> bool:
    """Whether a symbolic call with this argument `training` always runs in inference mode.

    Raises:
        ValueError: True, or none of None, False and True.
    """
    if training is None:
        return False
    if arguments.flag(owner, "training", training):
        raise ValueError(
            f"{owner} cannot be called with training=True: tlcore runs training mode in fit only. "
            "Leave training out, or pass False for a layer that never runs in training mode."
        )
    return True


def called(layer: Layer, inputs: tuple[KerasTensor, ...], training: Any) -> KerasTensor:
    """The tensor that `layer` makes of `inputs`; builds the layer if it has no weights yet.

    Raises:
        ValueError: shapes that do not fit, tensors of different inputs, or training=True.
    """
    from tlcore.layers import _assembly
    from tlcore.utils.locks import building

    inference = is_inference(layer._owner, training)
    graph = inputs[0]._origin.graph
    for tensor in inputs:
        if tensor._origin.graph is not graph:
            raise ValueError(
                f"{layer._owner} is called with tensors that come from different inputs, "
                f"{source_of(inputs[0]).name!r} and {source_of(tensor).name!r}; a model in tlcore "
                "has one."
            )
    with building:
        calls = [
            *(_assembly.Call(tensor._origin.layer, ()) for tensor in inputs),
            _assembly.Call(layer, tuple(range(len(inputs))), inference),
        ]
        placed = _assembly.place(graph, [tensor._origin.node for tensor in inputs], calls)
        nodes = graph.nodes
        _assembly.bind(nodes, placed, together=False)
        return _recorded(nodes, placed[-1], inputs, inference, graph)


def replayed(calls: Sequence[Any]) -> list[KerasTensor]:
    """The tensors of the calls of a model that was not made from tensors, one a call."""
    from tlcore.layers import _assembly

    source = calls[0].layer
    tensors: list[KerasTensor] = [source]
    graph = source._origin.graph
    placed = _assembly.place(graph, [source._origin.node], calls)
    nodes = graph.nodes
    for call, one in zip(calls[1:], placed, strict=True):
        inputs = tuple(tensors[i] for i in call.sources)
        tensors.append(_recorded(nodes, one, inputs, call.inference, graph))
    return tensors


def _recorded(
    nodes: Sequence[_core.Node],
    placed: Any,
    inputs: tuple[KerasTensor, ...],
    inference: bool,
    graph: _core.Graph,
) -> KerasTensor:
    """The tensor of a placed call, which the layer remembers as long as someone holds it."""
    layer: Layer = placed.layer
    origin = Origin(layer, inputs, inference, graph, placed.output)
    tensor = Output(origin, (None, *nodes[placed.output]["output_shape"]))
    layer._outputs = [known for known in layer._outputs if known() is not None]
    layer._outputs.append(weakref.ref(tensor))
    return tensor


def source_of(tensor: KerasTensor) -> KerasTensor:
    """The `Input` behind a tensor."""
    while tensor._origin.inputs:
        tensor = tensor._origin.inputs[0]
    return tensor


def only_one(owner: str, which: str, value: Any) -> KerasTensor:
    """The one tensor that `Model(inputs, outputs)` takes as `which`.

    Raises:
        ValueError: something else, or another number of them.
    """
    while isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, (list, tuple, dict)):
        raise ValueError(
            f"{owner}: {which} must be one symbolic tensor, got {len(value)}; a model in tlcore "
            "has one input and one output."
        )
    if not isinstance(value, KerasTensor):
        raise ValueError(
            f"{owner}: {which} must be a symbolic tensor, as tlcore.Input(shape) and calls of "
            f"layers give, got {value!r} (a {type(value).__name__})."
        )
    return value


def between(
    owner: str, source: KerasTensor, end: KerasTensor
) -> tuple[list[Any], list[KerasTensor]]:
    """The calls that make `end` out of `source`, in Keras's order, and their tensors.

    `source` may be what a layer made: the model then has an input of its own there.

    Raises:
        ValueError: `end` needs another input, or does not need `source`; two layers of one name.
    """
    from tlcore.layers import _assembly
    from tlcore.layers.input_layer import InputLayer

    places = {id(source): 0}
    tensors = [source]
    waiting = [end]
    while waiting:  # behind all that feed it a tensor gets its place
        tensor = waiting[-1]
        missing = [t for t in tensor._origin.inputs if id(t) not in places]
        if id(tensor) in places:
            waiting.pop()
        elif not tensor._origin.inputs:
            raise ValueError(
                f"{owner}: outputs depends on the input {tensor.name!r}, which is not the model's "
                f"input {source.name!r}."
            )
        elif missing:
            waiting.extend(reversed(missing))
        else:
            places[id(tensor)] = len(tensors)
            tensors.append(tensor)
            waiting.pop()
    first = source if isinstance(source, InputLayer) else InputLayer(source.shape[1:])
    calls = [_assembly.Call(first, ())]
    for tensor in tensors[1:]:
        layer, inputs, inference, *_ = tensor._origin
        calls.append(_assembly.Call(layer, tuple(places[id(t)] for t in inputs), inference))
    names: dict[str, Layer] = {}
    for call in calls:
        if names.setdefault(call.layer.name, call.layer) is not call.layer:
            raise ValueError(
                f"{owner} has two layers named {call.layer.name!r}; names must differ."
            )
    order = _assembly.call_order(calls)
    return _assembly.reordered(calls, order), [tensors[i] for i in order]
