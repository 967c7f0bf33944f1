"""The losses that the core can train with, under Keras's names.

A loss here is a description: which loss, and whether the model's outputs are logits. The core
computes it, from the logits of a sigmoid or softmax output, as TensorFlow does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tlcore.training._checks import listed, refuse_unless_neutral

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "SparseCategoricalCrossentropy",
    "deserialize",
    "get",
    "serialize",
]

Targets: TypeAlias = NDArray[Any]

_REDUCTIONS = ("sum_over_batch_size", "mean", "auto")
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "label_smoothing": (0.0, 0, None),
    "axis": (-1,),
    "ignore_class": (None,),
    "dtype": (None, "float32"),
    "fn": (),
}


class Loss:
    """What the three losses share. Not to be made directly: tlcore has no custom losses."""

    core_name: ClassVar[str]

    def __init__(
        self,
        from_logits: bool = False,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        **options: Any,
    ) -> None:
        owner = type(self).__name__
        if not hasattr(type(self), "core_name"):
            raise ValueError(
                f"{owner} is not a loss that tlcore can train with; "
                f"use {listed(cls.__name__ for cls in _CLASSES)}."
            )
        if reduction not in _REDUCTIONS:
            raise ValueError(
                f"{owner} does not support reduction={reduction!r}; only "
                "'sum_over_batch_size' works."
            )
        refuse_unless_neutral(owner, options, _NEUTRAL)
        self.from_logits = bool(from_logits)
        self.reduction = "sum_over_batch_size"
        self.name = name or self.core_name

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal loss."""
        return {
            "name": self.name,
            "reduction": self.reduction,
            "from_logits": self.from_logits,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Loss:
        """The inverse of `get_config`; takes the configs of Keras 3 and tf-keras too."""
        return cls(**config)

    def prepare(self, y: Any, outputs: int) -> Targets:
        """Check one batch of targets against a model with `outputs` outputs.

        Returns float32 of shape (n, outputs), or int32 of shape (n,) for the sparse loss.
        Raises ValueError with a sentence that names what was given and what is allowed.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}(from_logits={self.from_logits})"


class BinaryCrossentropy(Loss):
    """One yes-or-no question for each output: targets (n, outputs), or (n,) for one output.

    Targets lie in [0, 1]. `label_smoothing` other than 0 raises ValueError.
    Source: keras/src/losses/losses.py, binary_crossentropy (mean over the last axis).
    """

    core_name = "binary_crossentropy"

    def prepare(self, y: Any, outputs: int) -> Targets:
        targets = _as_floats(y)
        if targets.ndim == 1 and outputs == 1:
            targets = targets[:, np.newaxis]
        if targets.ndim != 2 or targets.shape[1] != outputs:
            raise ValueError(_misfit("binary_crossentropy", targets, outputs))
        _refuse_outside_unit("binary_crossentropy", targets)
        return targets


class CategoricalCrossentropy(Loss):
    """One class out of many: targets (n, outputs), one-hot or probabilities.

    `label_smoothing` other than 0 raises ValueError.
    Source: keras/src/losses/losses.py, categorical_crossentropy.
    """

    core_name = "categorical_crossentropy"

    def prepare(self, y: Any, outputs: int) -> Targets:
        targets = _as_floats(y)
        _refuse_one_output("categorical_crossentropy", outputs)
        if targets.ndim != 2 or targets.shape[1] != outputs:
            raise ValueError(_misfit("categorical_crossentropy", targets, outputs))
        _refuse_outside_unit("categorical_crossentropy", targets)
        return targets


class SparseCategoricalCrossentropy(Loss):
    """One class out of many: targets (n,) or (n, 1) hold the class's number, 0..outputs-1.

    Source: keras/src/losses/losses.py, sparse_categorical_crossentropy.
    """

    core_name = "sparse_categorical_crossentropy"

    def prepare(self, y: Any, outputs: int) -> Targets:
        targets = _as_floats(y)
        _refuse_one_output("sparse_categorical_crossentropy", outputs)
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        if targets.ndim != 1:
            raise ValueError(_misfit("sparse_categorical_crossentropy", targets, outputs))
        classes = targets.astype(np.int32)
        wrong = (classes != targets) | (classes < 0) | (classes >= outputs)
        if wrong.any():
            raise ValueError(
                f"y holds {targets[wrong][0]:g}, but with sparse_categorical_crossentropy and "
                f"{outputs} outputs it may hold the whole numbers 0 to {outputs - 1}."
            )
        return classes


_CLASSES = (BinaryCrossentropy, CategoricalCrossentropy, SparseCategoricalCrossentropy)
_BY_NAME: dict[str, type[Loss]] = {
    **{cls.core_name: cls for cls in _CLASSES},
    **{cls.__name__: cls for cls in _CLASSES},
    "bce": BinaryCrossentropy,
    "BCE": BinaryCrossentropy,
}


def get(identifier: object) -> Loss:
    """The loss for a name, a config or a Loss.

    Raises ValueError for a loss that tlcore does not have.
    """
    if isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if isinstance(identifier, (list, tuple)) and len(identifier) == 1:
        return get(identifier[0])
    raise ValueError(
        f"loss={identifier!r} is not a loss that tlcore has; "
        f"use {listed(cls.core_name for cls in _CLASSES)} or the class of that name in "
        "tlcore.losses."
    )


def serialize(loss: Loss) -> str | dict[str, Any]:
    """A name if the loss has only defaults, otherwise a config that every Keras reads."""
    if not loss.from_logits and loss.name == loss.core_name:
        return loss.core_name
    return {"class_name": type(loss).__name__, "config": loss.get_config()}


def deserialize(config: Mapping[str, Any]) -> Loss:
    """The loss of a config that tlcore, Keras 3 or tf-keras wrote."""
    name = str(config.get("class_name", "")).rpartition(">")[2]
    inner = config.get("config")
    if name == "function" and isinstance(inner, str):
        return get(inner)
    if name not in _BY_NAME or not isinstance(inner, Mapping):
        raise ValueError(
            f"The loss {config.get('class_name', dict(config))!r} is not one that tlcore has; "
            f"it has {listed(cls.__name__ for cls in _CLASSES)}."
        )
    options = {key: value for key, value in inner.items() if key != "fn"}
    return _BY_NAME[name].from_config(options)


def _as_floats(y: Any) -> NDArray[np.float32]:
    try:
        targets = np.asarray(y, dtype=np.float32)
    except (TypeError, ValueError):
        kind = getattr(y, "dtype", type(y).__name__)
        raise ValueError(f"y must hold numbers, got {kind}.") from None
    if targets.ndim == 0:
        raise ValueError(f"y must be an array with one row an image, got the number {y!r}.")
    if not np.isfinite(targets).all():
        raise ValueError("y holds NaN or infinity; every target must be a finite number.")
    return targets


def _refuse_one_output(loss: str, outputs: int) -> None:
    if outputs == 1:
        raise ValueError(
            f"{loss} needs at least 2 outputs but the model has 1; end it with Dense(classes), "
            "or train one output with binary_crossentropy."
        )


def _refuse_outside_unit(loss: str, targets: NDArray[np.float32]) -> None:
    if targets.size and (targets.min() < 0.0 or targets.max() > 1.0):
        worst = targets.max() if targets.max() > 1.0 else targets.min()
        raise ValueError(f"y holds {worst:g}, but {loss} takes targets from 0 to 1.")


def _misfit(loss: str, targets: Targets, outputs: int) -> str:
    """One sentence on targets whose shape does not fit the outputs."""
    shape = _shape(targets)
    takes = f"(None, {outputs})"
    if loss == "sparse_categorical_crossentropy":
        if targets.ndim == 2:
            return (
                f"y has shape {shape}, but {loss} takes class numbers of shape (None,); use "
                "categorical_crossentropy for one-hot targets, or class_mode='sparse'."
            )
        return f"y has shape {shape}, but {loss} takes class numbers of shape (None,)."
    if targets.ndim == 1 or (targets.ndim == 2 and targets.shape[1] == 1):
        if loss == "categorical_crossentropy":
            return (
                f"y has shape {shape}, but {loss} with {outputs} outputs takes one-hot targets of "
                f"shape {takes}; use class_mode='categorical', utils.to_categorical(y, {outputs}) "
                "or the loss sparse_categorical_crossentropy."
            )
        return (
            f"y has shape {shape}, but {loss} with {outputs} outputs takes targets of shape "
            f"{takes}; end the model with Dense(1) for one yes-or-no target an image."
        )
    if targets.ndim == 2:
        return (
            f"y has {targets.shape[1]} classes (shape {shape}), but the model has {outputs} "
            f"output{'' if outputs == 1 else 's'}; end it with Dense({targets.shape[1]})."
        )
    return f"y has shape {shape}, but {loss} takes targets of shape {takes}."


def _shape(targets: Targets) -> str:
    inner = "".join(f", {size}" for size in targets.shape[1:])
    return f"(None{inner or ','})"
