"""What every layer is: a name, its weights, and the nodes that it adds to a graph.

A layer is a description. It computes nothing: a model asks each of its layers to add itself to a
`_core.Graph`, gives it a place in the `_core.Parameters` that hold the weights, and lets C do the
rest. Called with a symbolic tensor it records the call, for `tlcore.Model(inputs, outputs)`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers._arguments import NOTHING, Only
from tlcore.training._checks import real
from tlcore.utils import naming
from tlcore.utils.seeds import next_seed

if TYPE_CHECKING:
    from typing_extensions import Self

    from tlcore.layers._symbolic import KerasTensor
    from tlcore.models import Model

Shape = tuple[int | None, ...]
FloatArray = NDArray[np.float32]

_MOST = float(np.finfo(np.float32).max)  # the core computes in float32

# The core keeps names of up to 127 bytes, and "/activation" may be put behind a layer's.
_LONGEST_NAME = 110


def _is_name(name: Any) -> bool:
    """Whether the core and an .h5 file can keep this as a layer's name."""
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    try:
        return len(name.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:  # half of a pair of surrogates
        return False


class Variable:
    """One weight tensor of a layer: a place in a `_core.Parameters`.

    Attributes:
        name: Keras's name within the layer, such as "kernel".
        path: layer and name, such as "dense/kernel".
        shape: its sizes; kernels are (height, width, in, out), of dense layers (in, out).
        dtype: always "float32".
        trainable: False for moving statistics and while the layer is frozen.
        parameters, index: where the values are.
    """

    dtype = "float32"

    def __init__(
        self,
        parameters: _core.Parameters,
        index: int,
        path: str,
        shape: Sequence[int],
        trainable: bool,
    ) -> None:
        self.parameters = parameters
        self.index = index
        self.path = path
        self.name = path.rpartition("/")[2]
        self.shape = tuple(shape)
        self.trainable = trainable

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    def numpy(self) -> FloatArray:
        """A copy of the values."""
        return self.parameters.get(self.index)

    def assign(self, value: ArrayLike) -> None:
        """Copy new values of the same shape in; ValueError if the shape differs."""
        assign_all(f"Variable {self.path!r}", [self], [value])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError(f"The values of {self.path!r} can only be had as a copy.")
        return np.asarray(self.numpy(), dtype=dtype)

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}>"


def assign_all(owner: str, variables: Sequence[Variable], values: Iterable[ArrayLike]) -> None:
    """Copy `values` into `variables`: all of them at once, or none with a ValueError."""
    arrays = list(values)
    if len(arrays) != len(variables):
        raise ValueError(
            f"{owner} has {len(variables)} weights, but set_weights was given {len(arrays)}."
        )
    updates: list[tuple[_core.Parameters, int, FloatArray]] = []
    for variable, value in zip(variables, arrays, strict=True):
        array = np.asarray(value, dtype=np.float32)
        if array.shape != variable.shape:
            raise ValueError(
                f"{owner}: weight {variable.path!r} has the shape {variable.shape}, "
                f"but the value for it has {array.shape}."
            )
        updates.append((variable.parameters, variable.index, array))
    _core.set_tensors(updates)


def values_of(variables: Sequence[Variable]) -> list[FloatArray]:
    """Copies of the values, all of one moment."""
    return _core.get_tensors([(variable.parameters, variable.index) for variable in variables])


def initialize(variables: Iterable[Variable]) -> None:
    """Keras's initial values: glorot_uniform kernels, gamma and moving variance 1, the rest 0."""
    for variable in variables:
        if variable.name.endswith("kernel"):
            variable.parameters.glorot_uniform(variable.index, next_seed())
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(np.ones(variable.shape, np.float32))


class Layer:
    """Base of all layers.

    Args:
        name: a name without "/"; None makes one of the class, as Keras counts them.
        trainable: whether training changes the weights.
        dtype: None or "float32".
        input_shape: shape of one input, for the first layer of a `Sequential`; `input_dim=n`
            stands for (n,) and `batch_input_shape` has a None in front.

    Raises:
        ValueError: an argument that the layer does not have, or a value it does not allow.

    Source: `keras.layers.Layer`.
    """

    # Whether building the layer makes weights.
    _has_weights: ClassVar[bool] = False
    # Whether it is a model, which has layers of its own and names their nodes itself.
    _holds_layers: ClassVar[bool] = False
    # Whether it runs in two modes, so that calls and nodes say `training` and `inference`.
    _takes_training: ClassVar[bool] = False
    # What Keras's layer of this name also takes, and the only values that tlcore allows there.
    _neutral: ClassVar[Mapping[str, Only]] = {}
    # What Keras writes beside the arguments that tlcore keeps.
    _written: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        input_shape: Any = None,
        batch_input_shape: Any = None,
        input_dim: Any = None,
        **others: Any,
    ) -> None:
        kind = type(self).__name__
        if name is None:
            name = naming.unique_name(naming.to_snake_case(kind))
        if not _is_name(name):
            raise ValueError(
                f"{kind}: name must be a text without '/' of at most {_LONGEST_NAME} bytes, and "
                f"not '.' or '..', got {name!r}."
            )
        self.name = name
        self.dtype = arguments.dtype(self._owner, dtype)
        self._trainable = arguments.flag(self._owner, "trainable", trainable)
        self._rate_multiplier = 1.0
        self._variables: list[Variable] = []
        self._input_shapes: list[Shape] = []
        self._output_shape: Shape | None = None
        self.built = False
        # What calls have made, as long as somebody holds it, and the model that says the rest.
        self._outputs: list[weakref.ref[KerasTensor]] = []
        self._home: weakref.ref[Model] | None = None
        self._wanted_shape: tuple[int, ...] | None = None
        if batch_input_shape is not None:
            self._wanted_shape = arguments.without_batch(
                self._owner, "batch_input_shape", batch_input_shape
            )
        elif input_shape is not None or input_dim is not None:
            self._wanted_shape = arguments.sizes(
                self._owner, "input_shape", input_dim if input_shape is None else input_shape
            )
        for key, value in others.items():
            allowed = NOTHING if key == "activity_regularizer" else self._neutral.get(key)
            if allowed is None:
                raise ValueError(f"{self._owner} has no argument {key!r}.")
            if not allowed.accepts(value):
                raise ValueError(
                    f"{self._owner}: {key} must be {allowed.text} in tlcore, got {value!r}."
                )

    @property
    def _owner(self) -> str:
        """How error messages call this layer."""
        return f"{type(self).__name__} {self.name!r}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"

    def __call__(self, inputs: Any, training: bool | None = None) -> Any:
        """The symbolic tensor that the layer makes of a symbolic tensor, or of a list of them.

        The first call makes the layer's weights; every further one shares them.

        Args:
            inputs: what `tlcore.Input(shape)` or another call gave. Arrays go into models only.
            training: False: in this place batch normalization always uses its stored statistics
                and dropout passes values through, also inside `fit`. None: what the model does.

        Raises:
            ValueError: no symbolic tensors, shapes that do not fit, tensors that come from
                different inputs, or training=True.

        Source: `keras.layers.Layer.__call__`.
        """
        from tlcore.layers import _symbolic

        tensors = _symbolic.given(self._owner, inputs)
        if tensors is None:
            raise ValueError(
                f"{self._owner} is called with symbolic tensors, such as tlcore.Input(shape) "
                f"gives, got a {type(inputs).__name__}; to run it on arrays put it into a "
                "tlcore.Sequential."
            )
        return _symbolic.called(self, tensors, training)

    @property
    def output(self) -> KerasTensor:
        """The symbolic tensor that the layer makes where it was first called.

        Of a layer inside a model the one within that model, for `Model(model.input, ...)`.

        Raises:
            AttributeError: the layer was never called and is in no model, or is there no longer.
        """
        home = None if self._home is None else self._home()
        if home is not None:
            for tensor in home.symbolic_tensors():
                if tensor._origin.layer is self:
                    return tensor
        for known in self._outputs:
            made = known()
            if made is not None:
                return made
        raise AttributeError(
            f"{self._owner} has no input or output yet: it was not called, and its model is gone "
            "or was never built."
        )

    def _settle_in(self, model: Model) -> None:
        """`model` holds the layer, and tells its `output` if no call and no model does."""
        if all(known() is None for known in self._outputs) and (
            self._home is None or self._home() is None
        ):
            self._home = weakref.ref(model)

    @property
    def input(self) -> KerasTensor | list[KerasTensor]:
        """What made `output`: a symbolic tensor, of a layer with several inputs a list."""
        inputs = self.output._origin.inputs
        return inputs[0] if len(inputs) == 1 else list(inputs)

    # --- weights ------------------------------------------------------------------------------

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights; a change counts from the next `compile` on."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._set_trainable(arguments.flag(self._owner, "trainable", value))

    def _set_trainable(self, value: bool) -> None:
        self._trainable = value
        for variable in self._variables:
            variable.trainable = value and not variable.name.startswith("moving_")

    @property
    def learning_rate_multiplier(self) -> float:
        """Factor of the optimizer's learning rate for this layer, at least 0; 1 unless it is set.

        A change counts from the next `compile` on. With 0 the optimizer goes on keeping its
        moments, as with a learning rate of 0. Setting it on a model sets it on all layers inside,
        and later on single ones again.
        """
        return self._rate_multiplier

    @learning_rate_multiplier.setter
    def learning_rate_multiplier(self, value: float) -> None:
        self._set_rate_multiplier(real(self._owner, "learning_rate_multiplier", value, 0.0, _MOST))

    def _set_rate_multiplier(self, value: float) -> None:
        self._rate_multiplier = value

    @property
    def weights(self) -> list[Variable]:
        """All weights: those that can be trained, then moving statistics."""
        return list(self._variables)

    @property
    def trainable_weights(self) -> list[Variable]:
        """The weights that training changes."""
        return [v for v in self.weights if v.trainable] if self._trainable else []

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The weights that training leaves alone."""
        return [v for v in self.weights if not v.trainable] if self._trainable else self.weights

    # Keras's other names for the same lists; tlcore has no other variables.
    @property
    def variables(self) -> list[Variable]:
        """The same as `weights`."""
        return self.weights

    @property
    def trainable_variables(self) -> list[Variable]:
        """The same as `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The same as `non_trainable_weights`."""
        return self.non_trainable_weights

    @property
    def parameters(self) -> _core.Parameters | None:
        """The core's block that holds the weights; None without weights."""
        return self._variables[0].parameters if self._variables else None

    def get_weights(self) -> list[FloatArray]:
        """Copies of all weights, in the order of `weights`; never half of an old set of them."""
        return values_of(self.weights)

    def set_weights(self, weights: Iterable[ArrayLike]) -> None:
        """Copy new values into all weights, in the order of `weights`.

        Other threads may use the model meanwhile: every picture that they predict sees all of the
        old values or all of the new ones, and so does every training step.

        Raises:
            ValueError: another number of arrays, or another shape; nothing is changed then.
        """
        assign_all(self._owner, self.weights, weights)

    def count_params(self) -> int:
        """How many numbers the weights hold; ValueError before the layer is built."""
        if not self.built:
            raise ValueError(
                f"{self._owner} is not built, so its weights cannot be counted: "
                "its model needs an input shape first."
            )
        return sum(variable.size for variable in self.weights)

    # --- shapes -------------------------------------------------------------------------------

    @property
    def input_shape(self) -> Any:
        """(None, ...): what the layer takes; of a merging layer a list. AttributeError unbuilt."""
        shapes = self._input_shapes
        if len(shapes) > 1:
            return list(shapes)
        return self._known(shapes[0] if shapes else None, "input")

    @property
    def output_shape(self) -> Shape:
        """(None, ...): what the layer gives. AttributeError before it is built."""
        return self._known(self._output_shape, "output")

    def _known(self, shape: Shape | None, which: str) -> Shape:
        if shape is None:
            raise AttributeError(f"{self._owner} has no {which} shape yet: it is not built.")
        return shape

    def _set_shapes(self, inputs: Sequence[Shape], output: Shape) -> None:
        """The layer is built for these shapes."""
        self._input_shapes = list(inputs)
        self._output_shape = output
        self.built = True

    # --- configuration ------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The arguments of the layer, spelled so that Keras 2, tf-keras and Keras 3 read them."""
        return {"name": self.name, "trainable": self._trainable, "dtype": self.dtype}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """A layer from its configuration as Keras 2, tf-keras, Keras 3 or tlcore wrote it.

        Raises:
            ValueError: an argument is missing, unknown, or set to what tlcore does not have.
        """
        try:
            return cls(**config)
        except TypeError as error:
            raise ValueError(
                f"The configuration of {cls.__name__} {config.get('name')!r} does not fit: {error}."
            ) from error

    # --- building -----------------------------------------------------------------------------

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """Append the layer's nodes to `graph`, fed by the nodes `inputs`; the output's index.

        `name` names the first node; None means the layer's own name. A layer with
        `_takes_training` also takes `inference`: whether it was called with training=False.
        """
        raise NotImplementedError

    def _check_specs(self, specs: Sequence[_core.ParameterSpec]) -> None:
        """ValueError if the layer is built and its weights are not the ones that `specs` asks."""
        if not self.built:
            return
        for variable, spec in zip(self._variables, specs, strict=True):
            if variable.shape != tuple(spec["shape"]):
                raise ValueError(
                    f"{self._owner} was built for inputs of shape {self.input_shape}: its weight "
                    f"{variable.name!r} has the shape {variable.shape}, "
                    f"but {tuple(spec['shape'])} is needed here."
                )

    def _bind(
        self, specs: Sequence[_core.ParameterSpec], parameters: _core.Parameters, first: int
    ) -> None:
        """Make the layer's weights out of the tensors `first`, first + 1, ... of `parameters`."""
        self._variables = [
            Variable(
                parameters,
                first + i,
                f"{self.name}/{spec['name'].rpartition('/')[2]}",
                spec["shape"],
                spec["trainable"],
            )
            for i, spec in enumerate(specs)
        ]
        self._set_trainable(self._trainable)
        initialize(self._variables)
