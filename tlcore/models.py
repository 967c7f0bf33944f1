"""Models: layers put together into one graph, with the verbs of `training.Trainer`.

    Sequential([base, GlobalAveragePooling2D(), Dense(3, activation="softmax")])

A model that holds another one has a flat graph: the inner model's nodes stand in it, and both
models' networks use the same `_core.Parameters`, so weights are shared and never copied.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers import _assembly
from tlcore.layers.core import Dropout
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

    Attributes:
        class_indices: class name -> index; set by `fit`, kept in saved files.
        reader: how pictures are read for `predict_image`; set by `fit`, kept in saved files.
    """

    _has_weights = True
    _holds_layers = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse Model(inputs, outputs)."""
        if cls is Model:
            raise ValueError(
                "tlcore has no Model(inputs, outputs): stack layers with tlcore.Sequential([...])."
            )
        return super().__new__(cls)

    def __init__(self, name: str | None = None, *, trainable: bool = True) -> None:
        Layer.__init__(self, name=name, trainable=trainable)
        self.class_indices: dict[str, int] | None = None
        self.reader: dict[str, Any] | None = None
        self._input_range: tuple[float, float] | None = None
        self._graph: _core.Graph | None = None
        self._inner_graphs: list[_core.Graph] = []  # those that self._graph was made from
        self._network: _core.Network | None = None
        Trainer.__init__(self)

    @staticmethod
    def from_layers(
        name: str | None,
        layers: Sequence[Layer],
        inbound: Mapping[str, Sequence[str]],
        input_layers: Sequence[str],
        output_layers: Sequence[str],
    ) -> Functional:
        """A `Functional` model from its layers and the names of the layers that feed each."""
        return Functional(layers, inbound, input_layers, output_layers, name=name)

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
    def inbound(self) -> dict[str, list[str]]:
        """Layer name -> names of the layers that feed it."""
        raise NotImplementedError

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
        return list(dict.fromkeys(self._tensors()))

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

    @property
    def input_range(self) -> tuple[float, float] | None:
        """Smallest and largest pixel value that the weights expect; None if unknown.

        (-1, 1) for ImageNet weights. A `Sequential` has that of its first layer unless it is set.
        """
        if self._input_range is None:
            for layer in self.layers[:1]:
                return layer.input_range if isinstance(layer, Model) else None
        return self._input_range

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

    def _assemble(
        self, layers: Sequence[Layer], inbound: Mapping[str, Sequence[str]], together: bool
    ) -> None:
        """Make the graph of `layers`, the first of which is the InputLayer."""
        source = layers[0]
        sizes = [int(n) for n in source.output_shape[1:] if n is not None]
        with building:
            graph = _core.Graph(sizes, source.name)
            placed = _assembly.place(graph, 0, layers, inbound)
            _assembly.bind(graph, placed, together)
            self._graph = graph
            self._inner_graphs = [layer.graph for layer in layers if isinstance(layer, Model)]
            self._network = None
            self._set_shapes(
                [source.output_shape],
                placed[-1].layer.output_shape if placed else source.output_shape,
            )

    def _reassemble(self) -> None:
        """Make the graph again, after an inner model has changed."""
        raise NotImplementedError

    @property
    def graph(self) -> _core.Graph:
        """The model's flat core graph. ValueError while the input shape is unknown."""
        with building:
            inner = [layer for layer in self.layers if isinstance(layer, Model)]
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
            ValueError: the input shape is unknown, or single layers of another model are in it.
        """
        with building:
            graph = self.graph
            if self._network is None:
                blocks = _assembly.blocks(self._owner, self._tensors())
                self._network = _core.Network(graph, blocks)
            return self._network

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
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
            return graph.extend(own, inputs[0])
        source = self.input_layer
        assert source is not None
        layers = [source, *(layer for layer in self.layers if layer is not source)]
        placed = _assembly.place(graph, inputs[0], layers, self.inbound)
        return placed[-1].output

    def get_config(self) -> dict[str, Any]:
        """Not for models: ValueError says what to do."""
        raise ValueError(f"{self._owner} is written as a whole: use model.save(path).")

    # --- verbs --------------------------------------------------------------------------------

    def __call__(self, x: ArrayLike, training: bool | None = False) -> FloatArray:
        """Outputs for one batch, in inference: (batch, ...) float32 or uint8 -> (batch, ...).

        Raises:
            ValueError: `x` has another shape than `input_shape`, or holds no numbers;
                training=True for a model where that makes a difference (dropout, batch
                normalization that is not frozen): training happens in `fit`.
        """
        if training and any(_differs_in_training(layer) for layer in self._leaves()):
            raise ValueError(
                f"{self._owner} cannot be called with training=True: it has dropout or batch "
                "normalization that is not frozen, which run in training mode only inside fit."
            )
        batch = self._as_input(x)
        return self.network.run(batch)

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

    def _leaves(self) -> Iterator[Layer]:
        """The layers, and in place of inner models theirs."""
        for layer in self.layers:
            if isinstance(layer, Model):
                yield from layer._leaves()
            else:
                yield layer

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
    if isinstance(layer, Dropout):
        return layer.rate > 0
    return isinstance(layer, BatchNormalization) and layer.trainable


class Functional(Model):
    """A model with any wiring, from `tlcore.applications` or a file; its layers are fixed.

    Args:
        layers: all layers, in any order, with exactly one `InputLayer`.
        inbound: layer name -> names of the layers that feed it, in their order.
        input_layers, output_layers: the one name of each.

    Raises:
        ValueError: names repeat or are unknown, wires form a ring, a layer leads nowhere, there
            is more than one input or output, or shapes do not fit.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        inbound: Mapping[str, Sequence[str]],
        input_layers: Sequence[str],
        output_layers: Sequence[str],
        *,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        self._layers: list[Layer] = []
        super().__init__(name)
        if len(input_layers) != 1 or len(output_layers) != 1:
            raise ValueError(
                f"{self._owner} must have one input and one output, got "
                f"{len(input_layers)} and {len(output_layers)}."
            )
        ordered = _in_order(self._owner, layers, inbound, output_layers[0])
        inputs = [layer for layer in ordered if isinstance(layer, InputLayer)]
        if [layer.name for layer in inputs] != list(input_layers) or ordered[0] is not inputs[0]:
            raise ValueError(
                f"{self._owner} must begin with its one InputLayer {input_layers[0]!r}."
            )
        self._inbound = {layer.name: list(inbound.get(layer.name, ())) for layer in ordered}
        self._assemble(ordered, self._inbound, together=True)
        self._layers = ordered
        if not trainable:
            self.trainable = False

    @property
    def layers(self) -> list[Layer]:
        """All layers in the order of the graph, the `InputLayer` first."""
        return list(self._layers)

    @property
    def input_layer(self) -> InputLayer:
        """The model's input."""
        source = self._layers[0]
        assert isinstance(source, InputLayer)
        return source

    @property
    def inbound(self) -> dict[str, list[str]]:
        """Layer name -> names of the layers that feed it."""
        return {name: list(sources) for name, sources in self._inbound.items()}

    def _reassemble(self) -> None:
        self._assemble(self._layers, self._inbound, together=True)


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
        super().__init__(name)
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
            self._graph = self._network = None
            self._inner_graphs = []
            self._input_shapes = []
            self._output_shape = None
            return
        names = [self._input_layer.name, *(layer.name for layer in layers)]
        chain = {name: [before] for before, name in pairwise(names)}
        self._assemble([self._input_layer, *layers], chain, together=False)

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
