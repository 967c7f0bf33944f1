"""SGD and Adam with Keras's names, defaults and update rules.

An optimizer here holds hyper-parameters; its moments live in the core, beside the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tlcore.training._checks import listed, real, refuse_unless_neutral
from tlcore.utils.notes import note

__all__ = ["SGD", "Adam", "Optimizer", "deserialize", "get", "serialize"]

_OFF: tuple[Any, ...] = (None, False, 0, 0.0)
# What the optimizers of Keras 2, tf-keras and Keras 3 can be told besides; all off by default.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "weight_decay": _OFF,
    "clipnorm": (None,),
    "clipvalue": (None,),
    "global_clipnorm": (None,),
    "use_ema": (False, None),
    "ema_overwrite_frequency": (None,),
    "loss_scale_factor": (None,),
    "gradient_accumulation_steps": (None,),
    "decay": (0.0, 0, None),
    "amsgrad": (False, None),
    "adaptive_epsilon": (False, None),
}
# These tell how the options above work and have no effect while those are off.
_WITHOUT_EFFECT = ("ema_momentum", "jit_compile", "is_legacy_optimizer")


class Optimizer:
    """What SGD and Adam share.

    `learning_rate` may be set at any time and holds from the next batch on; `lr` is its old name.
    `iterations` counts the batches that the optimizer has trained.
    """

    def __init__(self, learning_rate: float, name: str | None, options: dict[str, Any]) -> None:
        owner = type(self).__name__
        is_old_name = "lr" in options
        learning_rate = options.pop("lr", learning_rate)
        for option in _WITHOUT_EFFECT:
            options.pop(option, None)
        refuse_unless_neutral(owner, options, _NEUTRAL)
        self.name = name or owner.lower()
        self.iterations = 0
        self.learning_rate = learning_rate
        if is_old_name:
            note(
                f"{owner}(lr={learning_rate}) is applied as learning_rate={learning_rate}; "
                "Keras's name for it today is learning_rate.",
                key=("optimizer lr", owner),
            )

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

    def core_config(self) -> dict[str, Any]:
        """What the core needs to know, without the learning rate."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal optimizer; Keras 3 and tf-keras read them too."""
        raise NotImplementedError

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

    ValueError for options that tlcore does not have (weight decay, clipping, averages).
    Source: keras/src/optimizers/sgd.py.
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
        self.momentum = real("SGD", "momentum", momentum, 0.0, 1.0)
        self.nesterov = bool(nesterov)

    def core_config(self) -> dict[str, Any]:
        return {"name": "sgd", "momentum": self.momentum, "nesterov": self.nesterov}

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "nesterov": self.nesterov,
        }


class Adam(Optimizer):
    """Adam as Keras computes it: `w -= m*a/(sqrt(v)+epsilon)`, a = lr*sqrt(1-b2^t)/(1-b1^t).

    ValueError for options that tlcore does not have (amsgrad, weight decay, clipping, averages).
    Source: keras/src/optimizers/adam.py.
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

    def core_config(self) -> dict[str, Any]:
        return {
            "name": "adam",
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
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
