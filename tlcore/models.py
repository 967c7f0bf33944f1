"""Models: layers put together into one graph, with the verbs of `training.Trainer`.

    Sequential([base, GlobalAveragePooling2D(), Dense(3, activation="softmax")])

    x = Input((224, 224, 3))
    y = Dense(3, activation="softmax")(GlobalAveragePooling2D()(base(x, training=False)))
    Model(x, y)

A model that holds another one has a flat graph: the inner model's nodes stand in it, and both
models' networks use the same `_core.Parameters`, so weights are shared and never copied.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers import _assembly, _symbolic
from tlcore.layers._assembly import Call
from tlcore.layers._pictures import PictureLayer
from tlcore.layers._symbolic import KerasTensor
from tlcore.layers.input_layer import InputLayer
from tlcore.layers.layer import FloatArray, Layer, Shape, Variable
from tlcore.layers.normalization import BatchNormalization
from tlcore.training.trainer import Trainer
from tlcore.utils.locks import building

if TYPE_CHECKING:
    from typing_extensions import Self

    from tlcore.saving import load_model, save_model

__all__ = ["Functional", "Model", "Sequential", "load_model", "save_model"]


def __getattr__(name: str) -> Any:
    # tlcore.saving imports this module, so its verbs are fetched when they are asked for.
    if name in ("load_model", "save_model"):
        from tlcore import saving

        return getattr(saving, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Model(Trainer, Layer):
    """Layers in a graph: what `Sequential` and `Functional` have in common.

    `Model(inputs, outputs)` makes a `Functional` of the layers between two symbolic tensors.

    Attributes:
        class_indices: class name -> index; set by `fit`, kept in saved files.
        reader: how pictures are read for `predict_image`; set by `fit`, kept in saved files.
    """

    _has_weights = True
    _holds_layers = True
    _takes_training = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Model(inputs, outputs) is a `Functional`."""
        made = super().__new__(Functional if cls is Model else cls)
        return cast("Self", made)

    # Its arguments are those of Functional, which Model(...) makes.
    def __init__(
        self, inputs: Any = None, outputs: Any = None, name: str | None = None, **kwargs: Any
    ) -> None:
        raise NotImplementedError

    def _begin(self, name: str | None) -> None:
        """What every model starts with."""
        Layer.__init__(self, name=name)
        self.class_indices: dict[str, int] | None = None
        self.reader: dict[str, Any] | None = None
        self._input_range: tuple[float, float] | None = None
        self._graph: _core.Graph | None = None
        self._inner_graphs: list[_core.Graph] = []  # those that self._graph was made from
        self._symbols: list[KerasTensor] | None = None  # what each call makes
        self._network: _core.Network | None = None
        Trainer.__init__(self)

    @staticmethod
    def from_layers(
        name: str | None,
        layers: Sequence[Layer],
        inbound: Mapping[str, Sequence[str]],
        input_layers: Sequence[str],
        output_layers: Sequence[str],
        inference: Collection[str] = (),
    ) -> Functional:
        """A `Functional` model from its layers and the names of the layers that feed each.

        Args:
            name: the model's name; None makes one.
            layers: all layers, in any order, with exactly one `InputLayer`.
            inbound: layer name -> names of the layers that feed it, in their order.
            input_layers, output_layers: the one name of each.
            inference: names of the layers that are called with training=False.

        Raises:
            ValueError: names repeat or are unknown, wires form a ring, a layer leads nowhere,
                there is more than one input or output, or shapes do not fit.
        """
        model = Functional.__new__(Functional)
        model._begin(name)
        owner = model._owner
        if len(input_layers) != 1 or len(output_layers) != 1:
            raise ValueError(
                f"{owner} must have one input and one output, got "
                f"{len(input_layers)} and {len(output_layers)}."
            )
        ordered = _in_order(owner, layers, inbound, output_layers[0])
        inputs = [layer for layer in ordered if isinstance(layer, InputLayer)]
        if [layer.name for layer in inputs] != list(input_layers) or ordered[0] is not inputs[0]:
            raise ValueError(f"{owner} must begin with its one InputLayer {input_layers[0]!r}.")
        places = {layer.name: i for i, layer in enumerate(ordered)}
        model._set_calls(
            [
                Call(
                    layer,
                    tuple(places[feed] for feed in inbound.get(layer.name, ())),
                    layer.name in inference,
                )
                for layer in ordered
            ],
            ordered,
        )
        return model

    @staticmethod
    def from_calls(name: str | None, calls: Sequence[Call]) -> Functional:
        """A `Functional` model from its calls: the `InputLayer` first, the output last.

        Each call stands behind those that feed it, and all lead to the last one.

        Raises:
            ValueError: shapes do not fit, or two layers have one name.
        """
        model = Functional.__new__(Functional)
        model._begin(name)
        layers = list(dict.fromkeys(call.layer for call in calls))
        if _assembly.call_order(calls) == list(range(len(calls))):
            layers = _assembly.layer_order(calls)
        if len({layer.name for layer in layers}) < len(layers):
            raise ValueError(f"{model._owner} has two layers of one name; names must differ.")
        model._set_calls(calls, layers)
        return model

    # --- layers -------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers in the order of the graph."""
        raise NotImplementedError

    @property
    def input_layer(self) -> InputLayer | None:
        """The model's input; None while its shape is unknown."""
        raise NotImplementedError

    @property
    def calls(self) -> list[Call]:
        """The places of the layers, in the order of the graph; the input is the first.

        Raises:
            ValueError: the input shape is unknown.
        """
        raise NotImplementedError

    @property
    def inbound(self) -> dict[str, list[str]]:
        """Layer name -> names of the layers that feed it where it is first called."""
        raise NotImplementedError

    def _uses(self) -> list[tuple[Layer, bool]]:
        """The layers but the input, as often as they are called, and whether in inference mode."""
        raise NotImplementedError

    def symbolic_tensors(self) -> list[KerasTensor]:
        """What each of `calls` makes, as symbolic tensors; empty while the shape is unknown."""
        with building:
            if not self.built:
                return []
            _ = self.graph  # an inner model may have changed
            if self._symbols is None:
                self._symbols = _symbolic.replayed(self.calls)
            return list(self._symbols)

    @property
    def input(self) -> KerasTensor:
        """The model's input as a symbolic tensor: `Model(model.input, ...)` shares its layers.

        Raises:
            ValueError: the input shape is unknown.
        """
        return self._ends()[0]

    @property
    def output(self) -> KerasTensor:
        """The model's output as a symbolic tensor, made of `input`.

        Raises:
            ValueError: the input shape is unknown.
        """
        return self._ends()[-1]

    @property
    def inputs(self) -> list[KerasTensor]:
        """[`input`]."""
        return [self.input]

    @property
    def outputs(self) -> list[KerasTensor]:
        """[`output`]."""
        return [self.output]

    def _ends(self) -> list[KerasTensor]:
        tensors = self.symbolic_tensors()
        if not tensors:
            self._explain_unbuilt()
        return tensors

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name, or at this place of `layers`.

        Raises:
            ValueError: both or neither given, or no such layer.
        """
        layers = self.layers
        if (name is None) == (index is None):
            raise ValueError(
                f"get_layer takes either name or index, got name={name!r}, index={index!r}."
            )
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(
                    f"{self._owner} has {len(layers)} layers, there is none at index {index}."
                )
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        raise ValueError(
            f"{self._owner} has no layer {name!r}; it has "
            f"{', '.join(repr(layer.name) for layer in layers)}."
        )

    @property
    def weights(self) -> list[Variable]:
        """All weights, layer after layer; those of a layer that stands in it twice come once."""
        return list(dict.fromkeys(variable for x in self.layers for variable in x.weights))

    def _tensors(self) -> list[Variable]:
        """The weights as the network's nodes use them, in their order."""
        return [variable for leaf in self._leaves() for variable in leaf.weights]

    def _set_trainable(self, value: bool) -> None:
        super()._set_trainable(value)
        for layer in self.layers:
            layer._set_trainable(value)

    def _set_rate_multiplier(self, value: float) -> None:
        super()._set_rate_multiplier(value)
        for layer in self.layers:
            layer._set_rate_multiplier(value)

    @property
    def parameters(self) -> _core.Parameters | None:
        """The block of the model's own weights, if it has exactly one."""
        found = {id(v.parameters): v.parameters for v in self.weights}
        return next(iter(found.values())) if len(found) == 1 else None

    def parameter_flags(self) -> list[bool]:
        """For each tensor of `network`, in its order, whether training may change it."""
        return [self._trainable and variable.trainable for variable in self._tensors()]

    def parameter_multipliers(self) -> list[float]:
        """For each tensor of `network`, in its order, the factor of its learning rate."""
        return [leaf.learning_rate_multiplier for leaf in self._leaves() for _ in leaf.weights]

    def parameter_momentums(self) -> list[float]:
        """For each tensor of `network`, in its order, the momentum of its batch norm, or 0."""
        return [
            leaf.momentum if isinstance(leaf, BatchNormalization) else 0.0
            for leaf in self._leaves()
            for _ in leaf.weights
        ]

    @property
    def input_range(self) -> tuple[float, float] | None:
        """Smallest and largest pixel value that the weights expect; None if unknown.

        (-1, 1) for ImageNet weights. Unless it is set, it is that of the model that the input
        goes into first, or behind layers that only move pixels about; unknown behind a `Rescaling`.
        """
        if self._input_range is not None:
            return self._input_range
        for layer, _ in self._uses():
            if not _keeps_range(layer):
                return layer.input_range if isinstance(layer, Model) else None
        return None

    @input_range.setter
    def input_range(self, value: tuple[float, float] | None) -> None:
        self._input_range = None if value is None else (float(value[0]), float(value[1]))

    # --- graph --------------------------------------------------------------------------------

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for inputs of `input_shape`, (None, ...); None: it is known already.

        Raises:
            ValueError: the shape is unknown, another than before, or does not fit the layers.
        """
        if input_shape is not None:
            shape = (None, *arguments.without_batch(self._owner, "input_shape", input_shape))
            with building:  # another thread may be about to do it, too
                source = self.input_layer
                if source is not None and source.output_shape != shape:
                    raise ValueError(
                        f"{self._owner} takes inputs of shape {source.output_shape}, "
                        f"so it cannot be built for {shape}."
                    )
                if not self.built:
                    self._build_for(shape)
        _ = self.graph  # says what is missing

    def _build_for(self, shape: Shape) -> None:
        """Build a model whose input shape was unknown."""
        raise NotImplementedError

    def _assemble(self, calls: Sequence[Call], together: bool) -> None:
        """Make the graph of `calls`, the first of which is that of the InputLayer."""
        source = calls[0].layer
        sizes = [int(n) for n in source.output_shape[1:] if n is not None]
        with building:
            graph = _core.Graph(sizes, source.name)
            placed = _assembly.place(graph, [0], calls)
            nodes = graph.nodes
            _assembly.bind(nodes, placed, together)
            self._graph = graph
            self._inner_graphs = [x.graph for x in _models(call.layer for call in calls)]
            self._network = None
            self._symbols = None
            for call in calls:
                call.layer._settle_in(self)
            self._set_shapes(
                [source.output_shape],
                (None, *nodes[placed[-1].output if placed else 0]["output_shape"]),
            )

    def _reassemble(self) -> None:
        """Make the graph again, after an inner model has changed."""
        raise NotImplementedError

    @property
    def graph(self) -> _core.Graph:
        """The model's flat core graph. ValueError while the input shape is unknown."""
        with building:
            inner = _models(layer for layer, _ in self._uses())
            if self._graph is not None and any(
                layer.graph is not old for layer, old in zip(inner, self._inner_graphs, strict=True)
            ):
                self._reassemble()
            if self._graph is None:
                self._explain_unbuilt()
            assert self._graph is not None
            return self._graph

    def _explain_unbuilt(self) -> None:
        """Raise the ValueError that says why there is no graph."""
        raise ValueError(
            f"{self._owner} is not built: its input shape is unknown. Start it with "
            "tlcore.Input(shape), call build((None, ...)), or give it data."
        )

    @property
    def network(self) -> _core.Network:
        """The graph bound to its weights, made when it is first asked for.

        Raises:
            ValueError: the input shape is unknown.
        """
        with building:
            graph = self.graph
            if self._network is None:
                self._network = _assembly.network(graph, self._tensors())
            return self._network

    def add_to(
        self,
        graph: _core.Graph,
        inputs: list[int],
        name: str | None = None,
        *,
        inference: bool = False,
    ) -> int:
        """Append the model's nodes to another graph; its layers keep their names if they can."""
        nodes = graph.nodes
        if len(inputs) != 1:
            raise ValueError(f"{self._owner} takes one input, got {len(inputs)}.")
        shape: Shape = (None, *nodes[inputs[0]]["output_shape"])
        if not self.built:
            self._build_for(shape)
        own = self.graph
        if self.input_shape != shape:
            raise ValueError(
                f"{self._owner} takes inputs of shape {self.input_shape}, but is given {shape}."
            )
        taken = {node["name"] for node in nodes}
        if taken.isdisjoint(node["name"] for node in own.nodes[1:]):
            return graph.extend(own, inputs[0], inference)
        placed = _assembly.place(graph, inputs, self.calls, inference)
        return placed[-1].output if placed else inputs[0]

    def get_config(self) -> dict[str, Any]:
        """Not for models: ValueError says what to do."""
        raise ValueError(f"{self._owner} is written as a whole: use model.save(path).")

    # --- verbs --------------------------------------------------------------------------------

    # Two kinds of input, two kinds of output: as in Keras, only the caller knows which.
    def __call__(self, inputs: Any, training: bool | None = None) -> Any:
        """Outputs for one batch, in inference: (batch, ...) float32 or uint8 -> (batch, ...).

        Called with a symbolic tensor it gives one, as every layer does: see `Layer.__call__`. A
        model of nothing but layers for pictures takes arrays as these do: it changes them at random
        unless training=False, and may be called with pictures of any size, or a single one.

        Raises:
            ValueError: `x` has another shape than `input_shape`, or holds no numbers;
                training=True for a model where that makes a difference (dropout, random pictures,
                batch normalization that is not frozen): training happens in `fit`.
        """
        tensors = _symbolic.given(self._owner, inputs)
        if tensors is not None:
            return _symbolic.called(self, tensors, training)
        pictures = list(self._leaf_uses())
        if pictures and all(isinstance(layer, PictureLayer) for layer, _ in pictures):
            return self._changed(inputs, training is None or training)
        if training and self._differs_in_training():
            raise ValueError(
                f"{self._owner} cannot be called with training=True: it has dropout, random "
                "pictures or batch normalization that is not frozen, which run in training mode "
                "only inside fit."
            )
        batch = self._as_input(inputs)
        return self.network.run(batch)

    def _changed(self, pictures: Any, training: bool) -> FloatArray:
        """What a model of layers for pictures, which is a chain, makes of an array of them."""
        for layer, inference in self._leaf_uses():
            assert isinstance(layer, PictureLayer)
            pictures = layer.changed(pictures, training and not inference)
        made: FloatArray = pictures
        return made

    def _as_input(self, x: ArrayLike) -> NDArray[Any]:
        """`x` as a batch that the network takes; builds the model if its shape is still unknown."""
        array = np.asarray(x)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{self._owner} takes arrays of numbers, got dtype {array.dtype}.")
        if not self.built:
            self.build((None, *array.shape[1:]))
        wanted = self.input_shape
        if array.ndim != len(wanted) or array.shape[1:] != wanted[1:]:
            raise ValueError(f"{self._owner} takes arrays of shape {wanted}, got {array.shape}.")
        return array if array.dtype == np.uint8 else array.astype(np.float32, copy=False)

    def _leaf_uses(self, inference: bool = False) -> Iterator[tuple[Layer, bool]]:
        """`_uses`, and in place of inner models theirs."""
        for layer, own in self._uses():
            if isinstance(layer, Model):
                yield from layer._leaf_uses(own or inference)
            else:
                yield layer, own or inference

    def _leaves(self) -> Iterator[Layer]:
        """The layers, and in place of inner models theirs, in the order of the graph."""
        for layer, _ in self._leaf_uses():
            yield layer

    def _differs_in_training(self) -> bool:
        """Whether some layer does something else while training than in inference."""
        return any(
            not inference and _differs_in_training(layer) for layer, inference in self._leaf_uses()
        )

    def summary(
        self,
        line_length: int | None = None,
        positions: Sequence[float] | None = None,
        print_fn: Callable[[str], object] | None = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
        batch_size: int = 32,
    ) -> None:
        """Print the layers, their shapes and sizes, and what memory they need.

        The last lines tell the peak of a prediction and, once the model is compiled, of training.

        Args:
            line_length: width of the table; None fits the terminal.
            positions: where the columns end, as shares of the width.
            print_fn: gets the whole text; None prints it.
            expand_nested: whether the layers of inner models are shown, too.
            show_trainable: whether a column says which layers are trainable.
            batch_size: of the batches that the memory of training is told for.

        Raises:
            ValueError: the line is too short for the columns.

        Source: `keras.Model.summary`; batch_size and the lines about memory are tlcore's.
        """
        from tlcore.utils.summary import print_summary

        print_summary(
            self,
            line_length,
            positions,
            print_fn,
            expand_nested,
            show_trainable,
            arguments.whole(self._owner, "batch_size", batch_size),
        )

    def save(
        self,
        filepath: str | os.PathLike[str],
        overwrite: bool = True,
        include_optimizer: bool = True,
    ) -> None:
        """Write the whole model into one file; see `tlcore.saving.save_model`.

        While another thread trains, the file holds the model as it is between two steps.
        """
        from tlcore import saving

        if not overwrite and Path(filepath).exists():
            raise FileExistsError(f"{os.fspath(filepath)} exists, and overwrite is False.")
        saving.save_model(self, filepath, include_optimizer=include_optimizer)

    def __reduce__(self) -> tuple[Callable[[bytes], Model], tuple[bytes]]:
        """For pickle and copy: the model as `save` would write it, with the optimizer's state.

        So multiprocessing, concurrent.futures and joblib send models, and `copy.deepcopy` gives
        one with weights of its own.

        Raises:
            ValueError: the input shape is unknown.
        """
        from tlcore import saving

        return saving.reduced(self)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights into one file; see `tlcore.saving.save_weights`."""
        from tlcore import saving

        if not overwrite and Path(filepath).exists():
            raise FileExistsError(f"{os.fspath(filepath)} exists, and overwrite is False.")
        saving.save_weights(self, filepath)

    def load_weights(self, filepath: str | os.PathLike[str], by_name: bool = False) -> None:
        """Read weights from a file; see `tlcore.saving.load_weights`."""
        from tlcore import saving

        saving.load_weights(self, filepath, by_name=by_name)


def _differs_in_training(layer: Layer) -> bool:
    """Whether the layer does something else while training than in inference."""
    if isinstance(layer, BatchNormalization):
        return layer.trainable
    return layer._takes_training and getattr(layer, "rate", 1) > 0  # a dropout


def _keeps_range(layer: Layer) -> bool:
    """Whether the layer gives pictures of the range of values that it takes."""
    if isinstance(layer, Model):
        return all(_keeps_range(inner) for inner, _ in layer._uses())
    return isinstance(layer, PictureLayer) and layer._keeps_range


def _models(layers: Iterable[Layer]) -> list[Model]:
    """The models among `layers`, each once."""
    return list(dict.fromkeys(layer for layer in layers if isinstance(layer, Model)))


class Functional(Model):
    """A model with any wiring, from symbolic tensors, from `tlcore.applications` or from a file.

    Args:
        inputs: the symbolic tensor that the model takes, or a list of it: an `Input`, or the
            output of any layer.
        outputs: the symbolic tensor that it makes of it, or a list of it.
        name: the model's name.
        trainable: whether training may change its weights.

    The layers are those that were called on the way from one to the other; their weights are
    shared with all other models that they stand in, and never copied. A layer that was called
    twice stands in it twice with one set of weights; it can be trained in one place only.

    Raises:
        ValueError: not one symbolic tensor each, outputs that need another input, or two layers
            of one name.

    Source: `keras.Model` made from inputs and outputs.
    """

    def __init__(
        self,
        inputs: Any = None,
        outputs: Any = None,
        name: str | None = None,
        *,
        trainable: bool = True,
    ) -> None:
        self._begin(name)
        source = _symbolic.only_one(self._owner, "inputs", inputs)
        end = _symbolic.only_one(self._owner, "outputs", outputs)
        calls, tensors = _symbolic.between(self._owner, source, end)
        self._set_calls(calls, _assembly.layer_order(calls))
        if calls[0].layer is source:
            self._symbols = tensors
            self._inherit_range(source)
        if not arguments.flag(self._owner, "trainable", trainable):
            self.trainable = False

    def _begin(self, name: str | None) -> None:
        self._layers: list[Layer] = []
        self._calls: list[Call] = []
        super()._begin(name)

    def _set_calls(self, calls: Sequence[Call], layers: Sequence[Layer]) -> None:
        """Build for these calls; `layers` are the layers in them, in the order to list them."""
        self._assemble(calls, together=True)
        self._calls = list(calls)
        self._layers = list(layers)

    def _inherit_range(self, source: KerasTensor) -> None:
        """Of a part of another model: it takes the same pictures as the whole."""
        home = source._origin.layer._home
        whole = None if home is None else home()
        if whole is not None and whole is not self:
            self._input_range = whole._input_range

    @property
    def layers(self) -> list[Layer]:
        """All layers in the order of the graph, the `InputLayer` first."""
        return list(self._layers)

    @property
    def input_layer(self) -> InputLayer:
        """The model's input."""
        source = self._calls[0].layer
        assert isinstance(source, InputLayer)
        return source

    @property
    def calls(self) -> list[Call]:
        """The places of the layers, in the order of the graph; the input is the first."""
        return list(self._calls)

    @property
    def inbound(self) -> dict[str, list[str]]:
        """Layer name -> names of the layers that feed it where it is first called."""
        found: dict[str, list[str]] = {}
        for call in self._calls:
            found.setdefault(call.layer.name, [self._calls[i].layer.name for i in call.sources])
        return found

    def _uses(self) -> list[tuple[Layer, bool]]:
        return [(call.layer, call.inference) for call in self._calls[1:]]

    def _reassemble(self) -> None:
        self._assemble(self._calls, together=True)


def _in_order(
    owner: str, layers: Sequence[Layer], inbound: Mapping[str, Sequence[str]], output: str
) -> list[Layer]:
    """`layers`, each behind those that feed it and otherwise in the order given."""
    by_name = {layer.name: layer for layer in layers}
    if len(by_name) != len(layers):
        raise ValueError(f"{owner} has two layers of one name; names must differ.")
    for name in (output, *inbound, *(source for feeds in inbound.values() for source in feeds)):
        if name not in by_name:
            raise ValueError(f"{owner} has no layer {name!r}, but another one names it.")
    for layer in layers:
        if bool(inbound.get(layer.name)) == isinstance(layer, InputLayer):
            fault = "an input but is fed" if inbound.get(layer.name) else "fed by nothing"
            raise ValueError(f"{owner}: layer {layer.name!r} is {fault}.")
    waiting = list(layers)
    ordered: list[Layer] = []
    done: set[str] = set()
    while waiting:
        ready = next((x for x in waiting if done.issuperset(inbound.get(x.name, ()))), None)
        if ready is None:
            raise ValueError(f"{owner}: the layers from {waiting[0].name!r} on form a ring.")
        waiting.remove(ready)
        ordered.append(ready)
        done.add(ready.name)
    used = {source for feeds in inbound.values() for source in feeds} | {output}
    for layer in ordered:
        if layer.name not in used:
            raise ValueError(f"{owner}: layer {layer.name!r} does not lead to {output!r}.")
    if ordered[-1].name != output:
        raise ValueError(f"{owner}: layer {ordered[-1].name!r} comes behind the output {output!r}.")
    return ordered


class Sequential(Model):
    """Layers in a row.

    Args:
        layers: layers, or models, in their order; the first may be `Input(shape)`.
        name: the model's name.
        trainable: whether training may change its weights.

    The model is built, that is its weights exist, as soon as its input shape is known: from an
    `Input`, from the first layer's `input_shape`, from a built model as its first layer, from
    `build`, or from the first data it sees.

    Raises:
        ValueError: not a layer, two layers of one name, or shapes that do not fit.

    Source: `keras.Sequential`.
    """

    def __init__(
        self,
        layers: Iterable[Layer] | Layer | None = None,
        name: str | None = None,
        *,
        trainable: bool = True,
    ) -> None:
        self._layers: list[Layer] = []
        self._input_layer: InputLayer | None = None
        self._begin(name)
        for layer in [layers] if isinstance(layers, Layer) else layers or ():
            self._append(layer)
        self._rebuild(self._layers)
        if not trainable:
            self.trainable = False

    @property
    def layers(self) -> list[Layer]:
        """The layers without the input, as Keras has it."""
        return list(self._layers)

    @property
    def input_layer(self) -> InputLayer | None:
        """The model's input; None while its shape is unknown."""
        return self._input_layer

    @property
    def inbound(self) -> dict[str, list[str]]:
        """Layer name -> name of the layer before it; the first one takes the `InputLayer`."""
        before = [] if self._input_layer is None else [self._input_layer.name]
        chain: dict[str, list[str]] = {}
        for layer in self._layers:
            chain[layer.name] = before
            before = [layer.name]
        return chain

    @property
    def calls(self) -> list[Call]:
        """The layers in their order, behind the input."""
        if self._input_layer is None:
            self._explain_unbuilt()
        assert self._input_layer is not None
        return _assembly.chained([self._input_layer, *self._layers])

    def _uses(self) -> list[tuple[Layer, bool]]:
        return [(layer, False) for layer in self._layers]

    def add(self, layer: Layer) -> None:
        """Put `layer` on top.

        Raises:
            ValueError: not a layer, a name that is there already, or a shape that does not fit;
                the model is then as before.
            RuntimeError: the model is being trained.
        """
        claim = threading.Lock()
        with claim, building:
            self._claim("add", claim)
            before = self._layers, self._input_layer
            self._layers = list(self._layers)
            try:
                self._append(layer)
                self._rebuild(self._layers)
            except BaseException:
                self._layers, self._input_layer = before
                raise

    def _append(self, layer: Layer) -> None:
        """Add to the list, without building."""
        if not isinstance(layer, Layer):
            raise ValueError(
                f"{self._owner} takes layers of tlcore.layers and models, got {layer!r} "
                f"(a {type(layer).__name__})."
            )
        if isinstance(layer, InputLayer):
            if self._input_layer is not None:
                raise ValueError(
                    f"{self._owner} takes inputs of shape {self._input_layer.output_shape} "
                    "already; it cannot have another Input."
                )
            if self._layers:
                raise ValueError(f"{self._owner} has layers already; an Input must come first.")
            self._input_layer = layer
            return
        if layer is self or any(layer.name == other.name for other in self._layers):
            raise ValueError(
                f"{self._owner} has a layer named {layer.name!r} already; names must differ."
            )
        if not self._layers and self._input_layer is None and layer._wanted_shape is not None:
            self._input_layer = InputLayer(layer._wanted_shape)
        self._layers.append(layer)

    def pop(self) -> Layer:
        """Take the last layer off and return it; IndexError if there is none.

        Raises RuntimeError while the model is being trained.
        """
        claim = threading.Lock()
        with claim, building:
            self._claim("pop", claim)
            if not self._layers:
                raise IndexError(f"{self._owner} has no layer to pop.")
            layer = self._layers[-1]
            self._rebuild(self._layers[:-1])
            self._layers = self._layers[:-1]
            return layer

    def _rebuild(self, layers: list[Layer]) -> None:
        """Build for `layers` if the input shape is known; forget the graph otherwise."""
        if self._input_layer is None and layers:
            first = layers[0]
            if isinstance(first, Model) and first.built:
                self._input_layer = InputLayer(first.input_shape[1:])
        if self._input_layer is None or not layers:
            self.built = False
            self._graph = self._network = self._symbols = None
            self._inner_graphs = []
            self._input_shapes = []
            self._output_shape = None
            return
        self._assemble(_assembly.chained([self._input_layer, *layers]), together=False)

    def _reassemble(self) -> None:
        self._rebuild(self._layers)

    def _build_for(self, shape: Shape) -> None:
        if not self._layers:
            self._explain_unbuilt()
        source = self._input_layer
        if source is not None and source.output_shape != shape:
            raise ValueError(
                f"{self._owner} takes inputs of shape {source.output_shape}, but is given {shape}."
            )
        self._input_layer = source or InputLayer(shape[1:])
        try:
            self._rebuild(self._layers)
        except BaseException:
            self._input_layer = source
            raise

    def _explain_unbuilt(self) -> None:
        if not self._layers:
            raise ValueError(
                f"{self._owner} has no layers, so there is nothing to build or run: "
                "add one with model.add(layer)."
            )
        super()._explain_unbuilt()
