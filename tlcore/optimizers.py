"""SGD and Adam with Keras's names, defaults and update rules.

An optimizer here holds hyper-parameters; its moments live in the core, beside the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlcore.training._checks import listed, real, refuse_unless_neutral, whole
from tlcore.utils.notes import note

__all__ = ["SGD", "Adam", "Optimizer", "deserialize", "get", "serialize"]

_OFF: tuple[Any, ...] = (None, False, 0, 0.0)
# What the optimizers of Keras 2, tf-keras and Keras 3 can be told besides; all off by default.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "weight_decay": _OFF,
    "clipnorm": (None,),
    "clipvalue": (None,),
    "global_clipnorm": (None,),
    "loss_scale_factor": (None,),
    "decay": (0.0, 0, None),
    "amsgrad": (False, None),
    "adaptive_epsilon": (False, None),
}
# These have no effect on what is computed.
_WITHOUT_EFFECT = ("jit_compile", "is_legacy_optimizer")


class Optimizer:
    """What SGD and Adam share.

    `learning_rate` may be set at any time and holds from the next batch on; `lr` is its old name.

    Args:
        gradient_accumulation_steps: None, or a number of batches, at least 2, whose mean gradient
            makes one step. A shorter last batch counts as much as the others.
        use_ema: whether to keep moving averages of the weights, `average = ema_momentum*average +
            (1-ema_momentum)*weight` after every batch. `fit` ends with the averages as weights.
            In its middle, after an interruption and after `train_on_batch` the model has the
            weights, and files hold the averages beside them.
        ema_momentum: from 0 to 1. As in Keras the average is the weight itself as long as
            `iterations` is 0.
        ema_overwrite_frequency: None, or every how many steps the weights become their averages.

    Attributes:
        iterations: steps so far: batches, or whole groups of `gradient_accumulation_steps`.

    Source: keras/src/optimizers/base_optimizer.py.
    """

    def __init__(self, learning_rate: float, name: str | None, options: dict[str, Any]) -> None:
        owner = type(self).__name__
        self._read_accumulation(options.pop("gradient_accumulation_steps", None))
        self._read_averages(
            options.pop("use_ema", False),
            options.pop("ema_momentum", 0.99),
            options.pop("ema_overwrite_frequency", None),
        )
        is_old_name = "lr" in options
        learning_rate = options.pop("lr", learning_rate)
        for option in _WITHOUT_EFFECT:
            options.pop(option, None)
        refuse_unless_neutral(owner, options, _NEUTRAL)
        self.name = name or owner.lower()
        self._batches = 0
        self.learning_rate = learning_rate
        if is_old_name:
            note(
                f"{owner}(lr={learning_rate}) is applied as learning_rate={learning_rate}; "
                "Keras's name for it today is learning_rate.",
                key=("optimizer lr", owner),
            )

    def _read_accumulation(self, steps: Any) -> None:
        if steps is not None and steps != 0:
            steps = whole(type(self).__name__, "gradient_accumulation_steps", steps, 2)
        self.gradient_accumulation_steps: int | None = steps or None

    def _read_averages(self, use_ema: Any, momentum: Any, frequency: Any) -> None:
        owner = type(self).__name__
        if use_ema not in (True, False, None):
            raise ValueError(f"{owner}: use_ema must be True or False, got {use_ema!r}.")
        self.use_ema = bool(use_ema)
        if self.use_ema:  # Keras looks at the others only then
            momentum = real(owner, "ema_momentum", momentum, 0.0, 1.0)
            if frequency is not None and frequency != 0:
                frequency = whole(owner, "ema_overwrite_frequency", frequency, 1)
        self.ema_momentum: float = momentum
        self.ema_overwrite_frequency: int | None = frequency or None

    @property
    def iterations(self) -> int:
        """Steps so far, as Keras counts them: accumulated batches make one together."""
        return self._batches // (self.gradient_accumulation_steps or 1)

    def count_batches(self, batches: int) -> None:
        """The core has trained so many batches by now; tlcore itself calls this."""
        self._batches = batches

    @property
    def learning_rate(self) -> float:
        """The step size, a number of at least 0."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        if callable(value) or isinstance(value, Mapping):
            raise ValueError(
                f"{type(self).__name__}: learning_rate must be a number, got {value!r}; "
                "learning-rate schedules are not supported."
            )
        self._learning_rate = real(type(self).__name__, "learning_rate", value, 0.0)

    @property
    def lr(self) -> float:
        """The old name of `learning_rate`."""
        return self.learning_rate

    @lr.setter
    def lr(self, value: float) -> None:
        self.learning_rate = value

    def _rule(self) -> dict[str, Any]:
        """The update rule, as the core wants to know it."""
        raise NotImplementedError

    def rule_arrays(self) -> list[str]:
        """What the update rule keeps for each weight, as tf-keras names it."""
        raise NotImplementedError

    def _arguments(self) -> dict[str, Any]:
        """The arguments of the update rule."""
        raise NotImplementedError

    def core_config(self) -> dict[str, Any]:
        """What the core needs to know, without the learning rate."""
        return {
            **self._rule(),
            "gradient_accumulation_steps": self.gradient_accumulation_steps or 0,
            "use_ema": self.use_ema,
            **(
                {
                    "ema_momentum": self.ema_momentum,
                    "ema_overwrite_frequency": self.ema_overwrite_frequency or 0,
                }
                if self.use_ema
                else {}
            ),
        }

    def step_settings(self) -> dict[str, float]:
        """What the core is told anew with every batch."""
        return {"learning_rate": self.learning_rate}

    def core_arrays(self) -> list[str]:
        """What the core keeps for each weight, in its order."""
        return [
            *self.rule_arrays(),
            *(["gradient_accumulator"] if (self.gradient_accumulation_steps or 0) > 1 else []),
            *(["average"] if self.use_ema else []),
        ]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal optimizer; Keras 3 and tf-keras read them too.

        Options that are off are left out: not every Keras knows them.
        """
        config = {"name": self.name, "learning_rate": self.learning_rate, **self._arguments()}
        if self.gradient_accumulation_steps:
            config["gradient_accumulation_steps"] = self.gradient_accumulation_steps
        if self.use_ema:
            config["use_ema"] = True
            config["ema_momentum"] = self.ema_momentum
            config["ema_overwrite_frequency"] = self.ema_overwrite_frequency
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Optimizer:
        """The inverse of `get_config`; takes the configs of every Keras.

        ValueError names an option that tlcore does not have.
        """
        return cls(**config)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items() if k != "name")
        return f"{type(self).__name__}({arguments})"


class SGD(Optimizer):
    """Gradient descent: `m = momentum*m - lr*g; w += m`, or `w += momentum*m - lr*g` (nesterov).

    `momentum` may be set at any time and holds from the next batch on, but an SGD with momentum
    stays one, and so does one without.
    Also takes `gradient_accumulation_steps`, `use_ema`, `ema_momentum` and
    `ema_overwrite_frequency`; see `Optimizer`. ValueError for options that tlcore does not have
    (weight decay, clipping). Source: keras/src/optimizers/sgd.py.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, name, options)
        self._momentum = real("SGD", "momentum", momentum, 0.0, 1.0)
        self.nesterov = bool(nesterov)

    @property
    def momentum(self) -> float:
        """The share of the last move in the next one, from 0 to 1."""
        return self._momentum

    @momentum.setter
    def momentum(self, value: float) -> None:
        momentum = real("SGD", "momentum", value, 0.0, 1.0)
        if (momentum > 0) != (self._momentum > 0):  # what the core keeps for each weight is settled
            raise ValueError(
                f"SGD: momentum cannot go from {self._momentum:g} to {momentum:g}: make another "
                "SGD and compile with it."
            )
        self._momentum = momentum

    def _rule(self) -> dict[str, Any]:
        return {"name": "sgd", "momentum": self.momentum, "nesterov": self.nesterov}

    def step_settings(self) -> dict[str, float]:
        return {**super().step_settings(), "momentum": self.momentum}

    def rule_arrays(self) -> list[str]:
        return ["momentum"] if self.momentum else []

    def _arguments(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "nesterov": self.nesterov}


class Adam(Optimizer):
    """Adam as Keras computes it: `w -= m*a/(sqrt(v)+epsilon)`, a = lr*sqrt(1-b2^t)/(1-b1^t).

    Also takes `gradient_accumulation_steps`, `use_ema`, `ema_momentum` and
    `ema_overwrite_frequency`; see `Optimizer`. ValueError for options that tlcore does not have
    (amsgrad, weight decay, clipping). Source: keras/src/optimizers/adam.py.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = 1e-7,
        amsgrad: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, name, {**options, "amsgrad": amsgrad})
        self.beta_1 = real("Adam", "beta_1", beta_1, 0.0, 1.0, open_high=True)
        self.beta_2 = real("Adam", "beta_2", beta_2, 0.0, 1.0, open_high=True)
        # Keras 2 wrote None for its default.
        self.epsilon = real("Adam", "epsilon", 1e-7 if epsilon is None else epsilon, 0.0)
        self.amsgrad = False

    def _rule(self) -> dict[str, Any]:
        return {
            "name": "adam",
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }

    def rule_arrays(self) -> list[str]:
        return ["m", "v"]

    def _arguments(self) -> dict[str, Any]:
        return {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
        }


_CLASSES: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}


def get(identifier: object) -> Optimizer:
    """The optimizer for a name, a config or an Optimizer.

    Raises ValueError for one that tlcore does not have.
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str) and identifier.lower() in _CLASSES:
        # The subclasses have defaults for everything.
        return _CLASSES[identifier.lower()].from_config({})
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    raise ValueError(
        f"optimizer={identifier!r} is not one that tlcore has; use {listed(_CLASSES)} or a "
        "tlcore.optimizers.SGD or Adam."
    )


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """{"class_name", "config"}, which every Keras reads."""
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def deserialize(config: Mapping[str, Any]) -> Optimizer:
    """The optimizer of a config that tlcore, Keras 3, tf-keras or Keras 2 wrote."""
    name = str(config.get("class_name", "")).rpartition(">")[2]
    inner = config.get("config")
    if name.lower() not in _CLASSES or not isinstance(inner, Mapping):
        raise ValueError(
            f"The optimizer {config.get('class_name', dict(config))!r} is not one that tlcore "
            f"has; it has {listed(cls.__name__ for cls in _CLASSES.values())}."
        )
    options = dict(inner)
    if "lr" in options:  # Keras 2.2 wrote it so; nobody typed it, so nothing is said
        options["learning_rate"] = options.pop("lr")
    return _CLASSES[name.lower()].from_config(options)
