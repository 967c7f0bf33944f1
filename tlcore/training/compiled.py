"""What `compile` settles: optimizer, loss, metrics, and where training starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tlcore import _core, losses, metrics, optimizers
from tlcore.utils.locks import building
from tlcore.utils.memory import free_memory
from tlcore.utils.seeds import next_seed

if TYPE_CHECKING:
    from tlcore.layers import Variable
    from tlcore.layers.layer import FloatArray
    from tlcore.models import Model


_MOST_FLIPS = 2  # of layers: up to four features for a picture
_IN_FRONT_OF_FLIPS = {"rescaling", "resizing", "center_crop", "random_flip"}


class OptimizerState(NamedTuple):
    """What an optimizer keeps beside the weights, between two batches.

    Attributes:
        batches: trained so far, also those whose gradients are still being accumulated.
        arrays: for each weight that trains or has trained before, the names of `core_arrays` to
            float32 values of the weight's shape. What is not there starts anew.
    """

    batches: int
    arrays: dict[Variable, dict[str, FloatArray]]


class Compiled:
    """The settings of one `compile`. The network is looked at when it is first needed.

    Flags, cut and the core's trainer are those of the moment when the network was first seen:
    normally `compile`, for a model without an input shape the first data. What happens to
    `trainable` afterwards changes nothing.
    """

    def __init__(
        self,
        optimizer: optimizers.Optimizer,
        loss: losses.Loss | None,
        identifiers: list[metrics.Identifier],
        seed: int | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.loss = loss
        self.metrics = identifiers
        self.network: _core.Network | None = None
        self.cut = 0  # where training begins
        self.changes: list[int] = []  # nodes in front of it that change pictures at random
        self.flags: list[bool] = []
        self.input_shape: tuple[int, ...] = ()
        self.output_shape: tuple[int, ...] = ()
        self.nodes: list[_core.Node] = []
        self._blocks: list[_core.Parameters] = []
        self._trainer: _core.Trainer | None = None
        self._fitting = 0  # rows of the largest batch that is known to fit into memory
        self._state = OptimizerState(0, {})  # of what rests, and until a trainer exists of all
        self._arrays: list[str] = []  # what the trainer keeps for each weight
        self._trains: list[Variable] = []  # in the order of the trainer's arrays
        self._multipliers: list[float] = []
        self._momentums: list[float] = []
        self.seed = next_seed() if seed is None else seed  # of dropout
        self._trained: set[int] = set()
        self.said_small_batch = False
        self._shared: str | None = None

    def settle(self, model: Model) -> None:
        """Look at the network: which parameters train, and where the cut is."""
        with building:
            network = model.network
            if self.network is network:
                return
            if self.network is not None:
                raise RuntimeError("The layers of the model have changed; call compile() again.")
            self.flags = list(model.parameter_flags())
            self.cut = network.cut(self.flags)
            nodes = model.graph.nodes
            self.changes = random_pictures(nodes, self.cut)
            self.input_shape = tuple(nodes[0]["output_shape"])
            self.output_shape = tuple(nodes[-1]["output_shape"])
            self.nodes = nodes
            self._blocks = [variable.parameters for variable in model._tensors()]
            self._shared = _trained_twice(model, self.flags)
            self._trains = [
                variable
                for variable, trains in zip(model._tensors(), self.flags, strict=True)
                if trains
            ]
            self._trained = {id(variable.parameters) for variable in self._trains}
            self._multipliers = model.parameter_multipliers()
            self._momentums = model.parameter_momentums()
            self.network = network  # last: from now on other threads take what is settled

    @property
    def only_flips(self) -> bool:
        """Whether fit changes pictures in so few ways that the features of each can be kept.

        What stands in front of the flips computes the same, to the bit, whether a program ends
        there or goes on: so pictures that were not flipped share their features with validation.
        """
        return 0 < len(self.changes) <= _MOST_FLIPS and all(
            node["op"] in _IN_FRONT_OF_FLIPS for node in self.nodes[1 : self.changes[-1] + 1]
        )

    def parameters_until(self, node: int) -> list[_core.Parameters]:
        """The blocks that hold the weights of this node and of those before it, each once."""
        count = sum(len(one["parameters"]) for one in self.nodes[: node + 1])
        return list({id(block): block for block in self._blocks[:count]}.values())

    @property
    def prefix(self) -> tuple[list[_core.Node], list[_core.Parameters]]:
        """What makes the values at the cut: equal for models whose layers up to there are."""
        return self.nodes[: self.cut + 1], self.parameters_until(self.cut)

    def trains_in(self, block: _core.Parameters) -> bool:
        """Whether a training step changes weights of this block."""
        return id(block) in self._trained

    @property
    def checked_loss(self) -> losses.Loss:
        """The loss; ValueError if there is none."""
        if self.loss is None:
            raise ValueError("The model has no loss; pass one to compile().")
        return self.loss

    @property
    def outputs(self) -> int:
        """How many numbers the model gives for a picture; ValueError if not a row of them."""
        if len(self.output_shape) != 1:
            raise ValueError(
                f"The model's output has shape (None, {', '.join(map(str, self.output_shape))}), "
                "but a loss takes (None, classes); add GlobalAveragePooling2D or Flatten and a "
                "Dense layer."
            )
        return self.output_shape[0]

    def inherit(self, older: Compiled | None) -> None:
        """Go on with the state of `older` if the optimizer is the same.

        Weights that train in both keep their arrays, those that train anew begin at zero (their
        averages at the weights), and those that train no more keep theirs until they do again.
        """
        if older is not None and older.optimizer is self.optimizer:
            self.restore(older.state())

    def restore(self, state: OptimizerState) -> None:
        """Go on with `state`; only before the trainer exists."""
        assert self._trainer is None
        self._state = state
        self.optimizer.count_batches(state.batches)

    def state(self) -> OptimizerState:
        """What the optimizer keeps of all weights; the arrays are copies, or never change."""
        trainer = self._trainer
        if trainer is None:
            return self._state
        batches, slots = trainer.get_state()
        arrays = dict(self._state.arrays)
        width = len(self._arrays)
        for i, variable in enumerate(self._trains):
            own = slots[i * width : (i + 1) * width]
            arrays[variable] = dict(zip(self._arrays, own, strict=True))
        return OptimizerState(batches, arrays)

    def listed_state(self) -> tuple[int, list[FloatArray]]:
        """Batches and arrays of the weights that train, in the core's order; (0, []) if none."""
        if self._trainer is not None:
            return self._trainer.get_state()
        batches, arrays = self._state
        if batches == 0:
            return 0, []
        return batches, [
            arrays[variable][name].copy()
            if name in arrays.get(variable, {})
            else variable.numpy()
            if name == "average"
            else np.zeros(variable.shape, np.float32)
            for variable in self._trains
            for name in self.optimizer.core_arrays()
        ]

    @classmethod
    def for_inference(cls, model: Model) -> Compiled:
        """The settings of a model that only predicts: no loss, nothing trains, no cut."""
        settings = cls(optimizers.SGD(), None, [], seed=0)
        settings.network = model.network
        settings.nodes = model.graph.nodes
        settings.input_shape = tuple(settings.nodes[0]["output_shape"])
        return settings

    @property
    def trainer(self) -> _core.Trainer:
        """The core's trainer."""
        with building:
            if self._trainer is None:
                trainer = self._make()
                self._arrays = self.optimizer.core_arrays()
                batches, slots = self.listed_state()
                if batches:
                    trainer.set_state(batches, slots)
                self.optimizer.count_batches(batches)
                self._trainer = trainer
            return self._trainer

    @property
    def keeps_averages(self) -> bool:
        """Whether training ends with the moving averages as weights."""
        return "average" in self._arrays

    def check_places(self) -> None:
        """ValueError if a weight that trains is used in two places."""
        if self._shared is not None:
            raise ValueError(
                f"The weight {self._shared!r} trains, and its layer is called twice: tlcore trains "
                "a layer in one place only. Set its trainable to False, or use two layers."
            )

    def check_memory(self, rows: int) -> None:
        """MemoryError if training with batches of so many rows needs more than there is."""
        if rows <= self._fitting:
            return
        needed, free = self.trainer.memory(rows), free_memory()
        if needed <= free:
            self._fitting = rows
            return
        fits, too_many = 0, rows
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            fits, too_many = (
                (middle, too_many) if self.trainer.memory(middle) <= free else (fits, middle)
            )
        remedy = f"batch_size={fits} would fit" if fits else "not even one picture would fit"
        raise MemoryError(
            f"Training with batches of {rows} needs {_gigabytes(needed)} of memory, but "
            f"{_gigabytes(free)} are free; {remedy}."
        )

    def training_memory(self, rows: int) -> int:
        """Bytes at the peak of training with batches of so many rows."""
        assert self.network is not None
        prefix = self.network.memory(0, self.cut)
        trained = sum(math.prod(variable.shape) for variable in self._trains)
        return (
            prefix["parameters"]
            + prefix["packed"]
            + _core.get_num_threads() * prefix["executor"]
            + self.trainer.memory(rows)
            + 4 * trained * len(self.optimizer.core_arrays())
        )

    @property
    def norms_that_train(self) -> list[str]:
        """Names of the batch norms that take statistics of the batch."""
        names = []
        first = 0
        for node in self.nodes:
            count = len(node["parameters"])
            if node["op"] == "batch_normalization" and not node["inference"] and self.flags[first]:
                names.append(node["name"])
            first += count
        return names

    def _make(self) -> _core.Trainer:
        loss = self.checked_loss
        _ = self.outputs
        assert self.network is not None
        return _core.Trainer(
            self.network,
            self.cut,
            self.flags,
            loss.core_name,
            loss.from_logits,
            self.optimizer.core_config(),
            self.seed,
            self._multipliers,
            self._momentums,
        )

    def get_config(self) -> dict[str, Any]:
        """What a file keeps, as Keras 2, tf-keras and Keras 3 read it."""
        return {
            "loss": None if self.loss is None else losses.serialize(self.loss),
            "metrics": [metrics.serialize(identifier) for identifier in self.metrics],
            "weighted_metrics": None,
            "loss_weights": None,
            "optimizer_config": optimizers.serialize(self.optimizer),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], seed: int | None = None) -> Compiled:
        """The settings that tlcore, Keras 3 or tf-keras wrote into a file; `seed` is dropout's.

        Raises ValueError for a loss, metric or optimizer that tlcore does not have.
        """
        optimizer = config.get("optimizer_config", config.get("optimizer"))
        loss = config.get("loss")
        if isinstance(loss, Mapping) and "class_name" not in loss and len(loss) == 1:
            (loss,) = loss.values()  # {output layer: loss}
        for name in ("weighted_metrics", "loss_weights"):
            if config.get(name):
                raise ValueError(f"compile() does not support {name}={config[name]!r}.")
        return cls(
            optimizers.get(optimizer),
            None if loss is None else losses.get(loss),
            metric_list(config.get("metrics")),
            seed,
        )


def random_pictures(nodes: Sequence[_core.Node], cut: int) -> list[int]:
    """The nodes that change pictures at random while training.

    Raises:
        ValueError: one that has a way around it, or that stands behind a layer that trains.
    """
    found = [
        i
        for i, node in enumerate(nodes)
        if node["op"].startswith("random_") and not node["inference"]
    ]
    for i in found:
        around = any(source < i for node in nodes[i + 1 :] for source in node["inputs"])
        if i > cut or around:
            raise ValueError(
                f"The layer {nodes[i]['name']!r} changes pictures at random, and "
                + (
                    "other layers take these as they were before: all of the model must stand "
                    "behind it."
                    if around
                    else "stands behind a layer that trains or drops out: put it in front."
                )
            )
    return found


def _trained_twice(model: Model, flags: Sequence[bool]) -> str | None:
    """The path of a weight that trains in two places; None if there is none."""
    seen: set[Variable] = set()
    for variable, trains in zip(model._tensors(), flags, strict=True):
        if trains and variable in seen:
            return variable.path
        seen.add(variable)
    return None


def _gigabytes(count: int) -> str:
    return f"{count / (1 << 30):.3g} GiB"


def metric_list(given: Any) -> list[metrics.Identifier]:
    """The metrics of `compile(metrics=...)`, checked, each name once."""
    if given is None:
        return []
    if isinstance(given, Mapping) and "class_name" not in given and len(given) == 1:
        (given,) = given.values()  # {output layer: metrics}
    if not isinstance(given, (list, tuple)):
        raise ValueError(f"metrics must be a list such as ['acc'], got {given!r}.")
    found: dict[str, metrics.Identifier] = {}
    for entry in given:
        for one in entry if isinstance(entry, (list, tuple)) else (entry,):
            identifier = metrics.get(one)
            found.setdefault(metrics.name_of(identifier), identifier)
    if "loss" in found:
        raise ValueError("metrics must not hold one that is named 'loss'.")
    return list(found.values())
