"""What layers for pictures share: called with arrays they run, outside of any model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tlcore import _core
from tlcore.layers import _arguments as arguments
from tlcore.layers import _symbolic
from tlcore.layers._arguments import CHANNELS_LAST, NOTHING, Only
from tlcore.layers.layer import FloatArray, Layer
from tlcore.utils.seeds import next_seed


class PictureLayer(Layer):
    """A layer without weights that changes pictures."""

    _neutral: ClassVar[Mapping[str, Only]] = {
        "data_format": CHANNELS_LAST,
        "bounding_box_format": NOTHING,
    }
    # Whether what comes out has the range of values that went in.
    _keeps_range: ClassVar[bool] = True

    def __call__(self, inputs: Any, training: bool | None = None) -> Any:
        """A symbolic tensor of a symbolic tensor, as every layer; changed pictures of pictures.

        Args:
            inputs: what `tlcore.Input(shape)` or another call gave, or an array of numbers:
                (height, width, channels) or (batch, height, width, channels).
            training: of a random layer called with an array, False returns it unchanged (None is
                True here, as in Keras); for symbolic tensors see `Layer.__call__`.

        Returns:
            The symbolic tensor, or a new float32 array of as many axes.

        Raises:
            ValueError: an array of another rank or without numbers, or see `Layer.__call__`.

        Source: keras/src/layers/preprocessing/image_preprocessing/
        base_image_preprocessing_layer.py, call.
        """
        tensors = _symbolic.given(self._owner, inputs)
        if tensors is not None:
            return _symbolic.called(self, tensors, training)
        return self.changed(inputs, training is None or training)

    def changed(self, inputs: Any, training: bool) -> FloatArray:
        """What the layer makes of an array of pictures; see `__call__`."""
        pictures = np.asarray(inputs)
        if pictures.dtype.kind not in "biuf" or not self._takes_rank(pictures.ndim):
            raise ValueError(
                f"{self._owner} takes symbolic tensors and arrays of numbers of shape (height, "
                "width, channels) or (batch, height, width, channels), got "
                + (
                    f"an array of {pictures.dtype} and shape {pictures.shape}."
                    if isinstance(inputs, np.ndarray)
                    else f"a {type(inputs).__name__}."
                )
            )
        batch = pictures.astype(np.float32, copy=False)
        alone = pictures.ndim == 3
        made = self._run(batch[np.newaxis] if alone else batch, training)
        return made[0] if alone else made

    def _takes_rank(self, rank: int) -> bool:
        return rank in (3, 4)

    def _run(self, batch: FloatArray, training: bool) -> FloatArray:
        graph = _core.Graph(batch.shape[1:])
        self.add_to(graph, [0])
        return _core.Network(graph, []).run(batch)


class RandomLayer(PictureLayer):
    """A layer that changes pictures at random, in training only.

    What it draws for a picture follows from a seed, the count of the batches trained so far and
    the picture's place in the batch. The seed is `seed`; without one it is the model's, which comes
    from `tlcore.utils.set_random_seed`.
    """

    _takes_training = True
    _op: ClassVar[str]

    def __init__(self, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = None if seed is None else arguments.whole(self._owner, "seed", seed, 0)
        self._own_seed = seed
        self._calls = 0  # with arrays

    def _attributes(self) -> dict[str, Any]:
        """What the core's node has besides the seed."""
        raise NotImplementedError

    def add_to(
        self,
        graph: _core.Graph,
        inputs: list[int],
        name: str | None = None,
        *,
        inference: bool = False,
    ) -> int:
        """One node."""
        return graph.add(
            self._op,
            name or self.name,
            inputs,
            inference=inference,
            seed=self.seed,
            **self._attributes(),
        )

    def _run(self, batch: FloatArray, training: bool) -> FloatArray:
        graph = _core.Graph(batch.shape[1:])
        node = self.add_to(graph, [0], inference=not training)
        network = _core.Network(graph, [])
        if not training:
            return network.run(batch)
        if self._own_seed is None:
            self._own_seed = next_seed()
        drawn = network.draw(node, self._own_seed, self._calls, len(batch))
        self._calls += 1
        return network.change(batch, node, drawn)

    def get_config(self) -> dict[str, Any]:
        """See `Layer.get_config`."""
        return {**super().get_config(), "data_format": "channels_last", "seed": self.seed}
