"""What `compile` settles: optimizer, loss, metrics, and where training starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tlcore import _core, losses, metrics, optimizers
from tlcore.utils.locks import building
from tlcore.utils.seeds import next_seed

if TYPE_CHECKING:
    from tlcore.layers import Variable
    from tlcore.models import Model


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
        self.cut = 0
        self.flags: list[bool] = []
        self.input_shape: tuple[int, ...] = ()
        self.output_shape: tuple[int, ...] = ()
        self.nodes: list[_core.Node] = []
        self._blocks: list[_core.Parameters] = []
        self._trainer: _core.Trainer | None = None
        self._scorer: _core.Trainer | None = None
        self._inherited: Compiled | None = None
        self._seed = next_seed() if seed is None else seed
        self._trained: set[int] = set()
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
            self.input_shape = tuple(nodes[0]["output_shape"])
            self.output_shape = tuple(nodes[-1]["output_shape"])
            self.nodes = nodes
            self._blocks = [variable.parameters for variable in model._tensors()]
            self._shared = _trained_twice(model, self.flags)
            self._trained = {
                id(variable.parameters)
                for variable, trains in zip(model._tensors(), self.flags, strict=True)
                if trains
            }
            self.network = network  # last: from now on other threads take what is settled

    def parameters_until(self, node: int) -> list[_core.Parameters]:
        """The blocks that hold the weights of this node and of those before it, each once."""
        count = sum(len(one["parameters"]) for one in self.nodes[: node + 1])
        return list({id(block): block for block in self._blocks[:count]}.values())

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
        """Go on with the moments of `older`, if optimizer and trained parameters are the same."""
        if older is not None and older.optimizer is self.optimizer:
            self._inherited = older if older.has_trained else older._inherited

    @classmethod
    def for_inference(cls, model: Model) -> Compiled:
        """The settings of a model that only predicts: no loss, nothing trains, no cut."""
        settings = cls(optimizers.SGD(), None, [], seed=0)
        settings.network = model.network
        settings.nodes = model.graph.nodes
        settings.input_shape = tuple(settings.nodes[0]["output_shape"])
        return settings

    @property
    def has_trained(self) -> bool:
        """Whether the core's trainer exists."""
        return self._trainer is not None

    @property
    def trainer(self) -> _core.Trainer:
        """The core's trainer. ValueError if it cannot train what is unfrozen."""
        with building:
            if self._trainer is None:
                trainer = self._make(self.cut, self.flags)
                older = self._inherited
                if older is not None and older._trainer is not None and older.flags == self.flags:
                    trainer.set_state(*older._trainer.get_state())
                self._inherited = None
                self.optimizer.iterations = trainer.iterations
                self._trainer = trainer
            return self._trainer

    def make_scorer(self) -> tuple[_core.Trainer, int]:
        """What computes the loss without training, and the node where it starts."""
        try:
            return self.trainer, self.cut
        except ValueError:
            # Unfrozen convolutions cannot be trained, but they can be evaluated.
            frozen = [False] * len(self.flags)
            assert self.network is not None
            cut = self.network.cut(frozen)
            with building:
                if self._scorer is None:
                    self._scorer = self._make(cut, frozen)
                return self._scorer, cut

    def _make(self, cut: int, flags: list[bool]) -> _core.Trainer:
        loss = self.checked_loss
        _ = self.outputs
        if self._shared is not None and any(flags):
            raise ValueError(
                f"The weight {self._shared!r} trains, and its layer is called twice: tlcore trains "
                "a layer in one place only. Set its trainable to False, or use two layers."
            )
        assert self.network is not None
        return _core.Trainer(
            self.network,
            cut,
            flags,
            loss.core_name,
            loss.from_logits,
            self.optimizer.core_config(),
            self._seed,
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
    def from_config(cls, config: Mapping[str, Any]) -> Compiled:
        """The settings that tlcore, Keras 3 or tf-keras wrote into a file.

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
        )


def _trained_twice(model: Model, flags: Sequence[bool]) -> str | None:
    """The path of a weight that trains in two places; None if there is none."""
    seen: set[Variable] = set()
    for variable, trains in zip(model._tensors(), flags, strict=True):
        if trains and variable in seen:
            return variable.path
        seen.add(variable)
    return None


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
