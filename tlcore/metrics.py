"""Accuracies under Keras's names, and how 'acc' is resolved from shapes as Keras 3 does.

Averages are over samples and over the batches of one epoch. Weights do not count: Keras gives
them to `weighted_metrics` only, which tlcore does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tlcore.training._checks import listed, real, refuse_unless_neutral

__all__ = [
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "Metric",
    "SparseCategoricalAccuracy",
    "deserialize",
    "get",
    "serialize",
]

AUTO_NAMES = ("accuracy", "acc")

Identifier: TypeAlias = "str | Metric"


class Metric:
    """A running share of right answers. `direction` says which way is better."""

    default_name: ClassVar[str]
    direction: ClassVar[str] = "up"

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        if not hasattr(type(self), "default_name"):
            raise ValueError(
                f"{type(self).__name__} is not a metric that tlcore has; "
                f"use {listed(cls.__name__ for cls in _CLASSES)}."
            )
        refuse_unless_neutral(type(self).__name__, {"dtype": dtype}, {"dtype": (None, "float32")})
        self.name = name or self.default_name
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all samples."""
        self._right = 0
        self._count = 0

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike) -> None:
        """Add a batch: y_pred (n, outputs), y_true (n, outputs), (n, 1) or (n,)."""
        right = self._compare(np.asarray(y_true), np.asarray(y_pred))
        self._right += int(np.count_nonzero(right))
        self._count += right.size

    def result(self) -> float:
        """The mean so far; 0.0 before the first sample, as in Keras."""
        return self._right / self._count if self._count else 0.0

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal metric."""
        return {"name": self.name, "dtype": "float32"}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Metric:
        """The inverse of `get_config`."""
        return cls(**config)

    def _compare(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[np.bool_]:
        """What is right: for each sample, or for each of its outputs."""
        raise NotImplementedError


class BinaryAccuracy(Metric):
    """Share of outputs on the right side of `threshold`, each output counted for itself."""

    default_name = "binary_accuracy"

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5) -> None:
        super().__init__(name, dtype)
        self.threshold = real("BinaryAccuracy", "threshold", threshold, 0.0, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}

    def _compare(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[np.bool_]:
        if y_true.size != y_pred.size:
            raise ValueError(
                f"The metric {self.name!r} takes targets of shape (None, {y_pred.shape[-1]}), "
                f"got {y_true.shape}."
            )
        return np.asarray((y_pred > self.threshold) == y_true.reshape(y_pred.shape))


class CategoricalAccuracy(Metric):
    """Share of samples whose largest output is that of the class (y one-hot)."""

    default_name = "categorical_accuracy"

    def _compare(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[np.bool_]:
        if y_true.shape != y_pred.shape:
            raise ValueError(
                f"The metric {self.name!r} takes one-hot targets of shape (None, "
                f"{y_pred.shape[-1]}), got {y_true.shape}."
            )
        return np.asarray(y_true.argmax(axis=-1) == y_pred.argmax(axis=-1))


class SparseCategoricalAccuracy(Metric):
    """Share of samples whose largest output is that of the class (y holds class numbers)."""

    default_name = "sparse_categorical_accuracy"

    def _compare(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[np.bool_]:
        if y_true.size != len(y_pred):
            raise ValueError(
                f"The metric {self.name!r} takes class numbers of shape (None,), got "
                f"{y_true.shape}."
            )
        return np.asarray(y_true.reshape(-1) == y_pred.argmax(axis=-1))


_CLASSES = (BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy)
_BY_NAME: dict[str, type[Metric]] = {
    **{cls.default_name: cls for cls in _CLASSES},
    **{cls.__name__: cls for cls in _CLASSES},
}


def get(identifier: object) -> Identifier:
    """Check a metric as `compile` takes it: 'acc' and 'accuracy' stay names until data comes.

    Raises ValueError for a metric that tlcore does not have.
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        if identifier.lower() in AUTO_NAMES or identifier in _BY_NAME:
            return identifier
    elif isinstance(identifier, Mapping):
        return deserialize(identifier)
    raise ValueError(
        f"metrics={identifier!r} is not a metric that tlcore has; use "
        f"{listed((*AUTO_NAMES, *(cls.default_name for cls in _CLASSES)))}."
    )


def resolve(identifier: Identifier, target_shape: tuple[int, ...], outputs: int) -> Metric:
    """A fresh metric. 'acc' and 'accuracy' become what the shapes say, as in Keras 3.

    The name stays as it was typed. Source: keras/src/trainers/compile_utils.py, get_metric.
    """
    if isinstance(identifier, Metric):
        return type(identifier).from_config(identifier.get_config())
    if identifier.lower() not in AUTO_NAMES:
        return _BY_NAME[identifier](name=identifier)
    if outputs == 1:
        return BinaryAccuracy(name=identifier)
    if len(target_shape) < 2 or target_shape[-1] == 1:
        return SparseCategoricalAccuracy(name=identifier)
    return CategoricalAccuracy(name=identifier)


def name_of(identifier: Identifier) -> str:
    """The name in the history."""
    return identifier if isinstance(identifier, str) else identifier.name


def serialize(identifier: Identifier) -> str | dict[str, Any]:
    """A name if that says all, otherwise a config that every Keras reads."""
    if isinstance(identifier, str):
        return identifier
    if identifier.get_config() == type(identifier)().get_config():
        return identifier.default_name
    return {"class_name": type(identifier).__name__, "config": identifier.get_config()}


def deserialize(config: Mapping[str, Any]) -> Identifier:
    """The metric of a config that tlcore, Keras 3 or tf-keras wrote."""
    name = str(config.get("class_name", "")).rpartition(">")[2]
    inner = config.get("config")
    if name == "function" and isinstance(inner, str):
        return get(inner)
    if isinstance(inner, Mapping):
        options = dict(inner)
        if name == "MeanMetricWrapper":  # tf-keras writes its resolved 'acc' so
            name = str(options.pop("fn", ""))
        options.pop("fn", None)
        if name in _BY_NAME:
            if options.get("name") in AUTO_NAMES:
                return str(options["name"])
            return _BY_NAME[name].from_config(options)
    raise ValueError(
        f"The metric {config.get('class_name', dict(config))!r} is not one that tlcore has; it "
        f"has {listed(cls.__name__ for cls in _CLASSES)}."
    )
