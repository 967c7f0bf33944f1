"""The input of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers._arguments import NOTHING, Only, only
from tlcore.layers._symbolic import KerasTensor, Origin
from tlcore.layers.layer import Layer, Shape
from tlcore.utils.locks import building


class InputLayer(Layer, KerasTensor):
    """What a model takes: arrays of shape (batch, *shape), any batch.

    It is at the same time the symbolic tensor that other layers are called with.

    Args:
        shape: (height, width, channels) or (features,), all known.
        batch_size: Keras's fixed batch; tlcore takes batches of any size.
        name: its name.
        batch_shape: `shape` with the batch axis in front, instead of `shape`.

    Raises:
        ValueError: no shape, two shapes, or one that is not of these forms.

    Source: `keras.layers.InputLayer`.
    """

    _neutral: ClassVar[Mapping[str, Only]] = {
        "sparse": only(None, False),
        "ragged": only(None, False),
        "optional": only(None, False),
        "type_spec": NOTHING,
        "input_tensor": NOTHING,
    }

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        name: str | None = None,
        batch_shape: Any = None,
        **kwargs: Any,
    ) -> None:
        batch_input_shape = kwargs.pop("batch_input_shape", None)
        input_shape = kwargs.pop("input_shape", None)
        super().__init__(dtype=dtype, name=name, **kwargs)
        if batch_size is not None:
            arguments.whole(self._owner, "batch_size", batch_size)
        given = [
            (key, value)
            for key, value in (
                ("shape", shape),
                ("batch_shape", batch_shape),
                ("input_shape", input_shape),
                ("batch_input_shape", batch_input_shape),
            )
            if value is not None
        ]
        if len(given) != 1:
            raise ValueError(f"{self._owner} needs exactly one of shape and batch_shape.")
        key, value = given[0]
        check = arguments.without_batch if key.startswith("batch") else arguments.sizes
        known: Shape = (None, *check(self._owner, key, value))
        self._set_shapes([known], known)
        self._tried: _core.Graph | None = None  # calls behind this input, made with the first

    @property
    def batch_shape(self) -> tuple[int | None, ...]:
        """(None, *shape)."""
        return self.output_shape

    @property
    def shape(self) -> Shape:
        """(None, *shape)."""
        return self.output_shape

    @property
    def _origin(self) -> Origin:
        with building:
            if self._tried is None:
                self._tried = _core.Graph([int(n or 0) for n in self.shape[1:]], self.name)
            return Origin(self, (), False, self._tried, 0)

    @property
    def output(self) -> KerasTensor:
        """The input itself."""
        return self

    @property
    def input(self) -> KerasTensor:
        """The input itself."""
        return self

    def __call__(self, inputs: Any, training: bool | None = None) -> Any:
        """ValueError: an input takes nothing."""
        raise ValueError(f"{self._owner} is an input: it cannot be called, other layers take it.")

    def add_to(self, graph: _core.Graph, inputs: list[int], name: str | None = None) -> int:
        """The input is in the graph already."""
        return inputs[0]

    def get_config(self) -> dict[str, Any]:
        """Its shape, without `trainable`: an input has none in Keras."""
        return {
            "batch_input_shape": list(self.batch_shape),
            "dtype": self.dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
        }


def Input(
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    name: str | None = None,
    batch_shape: Any = None,
) -> InputLayer:
    """What a model takes: the first element of a `Sequential`, or what layers are called with.

    Args:
        shape: (height, width, channels) or (features,), all known.
        batch_size: Keras's fixed batch; tlcore takes batches of any size.
        dtype: None or "float32".
        name: its name.
        batch_shape: `shape` with the batch axis in front, instead of `shape`.

    Raises:
        ValueError: no shape, or one that is not of these forms.

    Source: `keras.Input`. The symbolic tensor that it gives is the `InputLayer` itself here.
    """
    return InputLayer(shape, batch_size, dtype, name, batch_shape)
