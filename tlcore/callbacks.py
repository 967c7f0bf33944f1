"""Callbacks with Keras's hooks, and those that tlcore has of its own.

A callback sees a `logs` dict and may set `model.stop_training`; nothing else reaches into the
loop of `fit`.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tlcore.training import progress
from tlcore.training._checks import real, whole

if TYPE_CHECKING:
    from tlcore.models import Model

__all__ = [
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "ModelCheckpoint",
    "OneCycle",
    "ProgbarLogger",
]

Logs: TypeAlias = "dict[str, Any] | None"


class Callback:
    """Base class. Override the hooks of interest; each does nothing here.

    `model` is the model that runs, `params` holds 'verbose', 'epochs' and 'steps'.
    """

    params: dict[str, Any] | None = None
    _model: Model | None = None

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before a run with its parameters."""
        self.params = params

    def set_model(self, model: Model) -> None:
        """Called before a run with the model."""
        self._model = model

    @property
    def model(self) -> Any:
        """The model that runs; None before the first run."""
        return self._model

    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """The old name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        """The old name of `on_train_batch_end`."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Before epoch `epoch` (from 0) of `fit`."""

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """After epoch `epoch` (from 0) of `fit`, validation included."""

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before training batch `batch` (from 0)."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After training batch `batch`; `logs` holds the means of the epoch so far."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before batch `batch` of `evaluate` or of validation."""

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After batch `batch` of `evaluate` or of validation."""

    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before batch `batch` of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After batch `batch` of `predict`; logs['outputs'] holds its outputs."""

    def on_train_begin(self, logs: Logs = None) -> None:
        """At the start of `fit`."""

    def on_train_end(self, logs: Logs = None) -> None:
        """At the end of `fit`."""

    def on_test_begin(self, logs: Logs = None) -> None:
        """At the start of `evaluate` or of validation."""

    def on_test_end(self, logs: Logs = None) -> None:
        """At the end of `evaluate` or of validation."""

    def on_predict_begin(self, logs: Logs = None) -> None:
        """At the start of `predict`."""

    def on_predict_end(self, logs: Logs = None) -> None:
        """At the end of `predict`."""


class CallbackList(Callback):
    """Several callbacks as one, called in their order, then the history and the display."""

    def __init__(
        self,
        callbacks: Callback | Iterable[Callback] | None = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Model | None = None,
        **params: Any,
    ) -> None:
        if callbacks is None:
            given: list[Callback] = []
        elif isinstance(callbacks, Callback):
            given = [callbacks]
        else:
            given = list(callbacks)
        for callback in given:
            if not isinstance(callback, Callback):
                raise TypeError(
                    "callbacks must hold tlcore.callbacks.Callback objects, got "
                    f"{type(callback).__name__}."
                )
        self.callbacks = given
        if add_history and not any(isinstance(callback, History) for callback in given):
            given.append(History())
        if add_progbar and not any(isinstance(callback, ProgbarLogger) for callback in given):
            given.append(ProgbarLogger())
        if model is not None:
            self.set_model(model)
        self.set_params(params)

    def __enter__(self) -> CallbackList:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """An error or Ctrl-C must not leave half a line on the screen."""
        for callback in self.callbacks:
            if kind is not None and isinstance(callback, ProgbarLogger):
                callback.leave()

    @property
    def history(self) -> History | None:
        """The History among the callbacks."""
        return next((one for one in self.callbacks if isinstance(one, History)), None)

    def append(self, callback: Callback) -> None:
        """Add one at the end."""
        self.callbacks.append(callback)

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model: Model) -> None:
        super().set_model(model)
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_batch_begin(batch, logs=_ordered(logs))

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_batch_end(batch, logs=_ordered(logs))

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_epoch_begin(epoch, _ordered(logs))

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = _ordered(logs)
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_train_batch_begin(batch, logs=_ordered(logs))

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        logs = _ordered(logs)
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_test_batch_begin(batch, logs=_ordered(logs))

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        logs = _ordered(logs)
        for callback in self.callbacks:
            callback.on_test_batch_end(batch, logs=logs)

    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_batch_begin(batch, logs=_ordered(logs))

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_batch_end(batch, logs=_ordered(logs))

    def on_train_begin(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_train_begin(_ordered(logs))

    def on_train_end(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_train_end(_ordered(logs))

    def on_test_begin(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_test_begin(_ordered(logs))

    def on_test_end(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_test_end(_ordered(logs))

    def on_predict_begin(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_begin(_ordered(logs))

    def on_predict_end(self, logs: Logs = None) -> None:
        for callback in self.callbacks:
            callback.on_predict_end(_ordered(logs))


class History(Callback):
    """What `fit` returns: `history` maps each name to its values, one an epoch; `epoch` lists them.

    Names are in Keras 3's (alphabetical) order: acc, loss, val_acc, val_loss.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class ProgbarLogger(Callback):
    """Shows the progress of a run; `fit`, `evaluate` and `predict` add it by themselves."""

    def __init__(self) -> None:
        self._in_fit = False
        self._bar: progress.Progbar | None = None
        self._step = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        self._in_fit = True
        mode, _ = self._mode()
        # In a file, a line an epoch is no clutter however short the epoch is.
        self._screen = progress.Screen(progress.QUIET_SECONDS if mode is progress.Mode.BAR else 0.0)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        mode, _ = self._mode()
        epochs = (self.params or {}).get("epochs", 1)
        title = f"Epoch {epoch + 1}/{epochs}" if epochs > 1 else ""
        in_one_line = mode is progress.Mode.FILE
        if title and not in_one_line and mode is not progress.Mode.SILENT:
            self._screen.show(f"{title}\n")
        self._open(mode, f"{title} - " if title and in_one_line else "")

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._update(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._finish(logs)

    def on_test_begin(self, logs: Logs = None) -> None:
        if not self._in_fit:
            self._open_alone()

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        if not self._in_fit:
            self._update(batch, logs)

    def on_test_end(self, logs: Logs = None) -> None:
        if not self._in_fit:
            self._finish(logs)

    def on_predict_begin(self, logs: Logs = None) -> None:
        self._open_alone()

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._update(batch, None)

    def on_predict_end(self, logs: Logs = None) -> None:
        self._finish(None)

    def leave(self) -> None:
        """The run ends before its time: end the line that it draws."""
        if self._bar is not None:
            self._bar.leave()

    def _mode(self) -> tuple[progress.Mode, object]:
        verbose = (self.params or {}).get("verbose", "auto")
        return progress.mode_for(verbose), verbose

    def _open_alone(self) -> None:
        """For evaluate and predict, which are called in loops: short ones stay silent."""
        mode, verbose = self._mode()
        self._screen = progress.Screen(0.0 if verbose == 2 else progress.QUIET_SECONDS)
        self._open(mode, "")

    def _open(self, mode: progress.Mode, head: str) -> None:
        self._step = 0
        self._bar = None
        if mode is not progress.Mode.SILENT:
            target = (self.params or {}).get("steps")
            self._bar = progress.Progbar(self._screen, mode, target, head)

    def _update(self, batch: int, logs: Logs) -> None:
        self._step = batch + 1
        if self._bar is not None:
            self._bar.update(self._step, logs or {})

    def _finish(self, logs: Logs) -> None:
        if self._bar is not None:
            self._bar.finish(self._step, logs or {})


class MonitorCallback(Callback):
    """What EarlyStopping and ModelCheckpoint share: is this value better than that one?"""

    def __init__(
        self, monitor: str, mode: str, baseline: float | None = None, min_delta: float = 0.0
    ) -> None:
        owner = type(self).__name__
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{owner}: mode must be 'auto', 'min' or 'max', got {mode!r}.")
        self.monitor = monitor
        self.mode = mode
        self.best = baseline
        self.min_delta = real(owner, "min_delta", abs(min_delta), 0.0)
        self._sign: float | None = None  # +1 if more is better, -1 if less is

    def _is_improvement(self, value: float, reference: float | None) -> bool:
        if reference is None:
            return True
        sign = self._direction()
        return sign * (value - sign * self.min_delta) > sign * reference

    def _direction(self) -> float:
        """Which way is better; known in 'auto' mode once the model's metrics exist."""
        if self._sign is None:
            self._sign = {"min": -1.0, "max": 1.0}.get(self.mode) or self._direction_of_metric()
        return self._sign

    def _direction_of_metric(self) -> float:
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return -1.0
        for metric in self.model.metrics:
            if metric.name == name:
                return 1.0 if metric.direction == "up" else -1.0
        raise ValueError(
            f"{type(self).__name__}: whether more or less of monitor={self.monitor!r} is better "
            "is not known; pass mode='max' or mode='min'."
        )


class EarlyStopping(MonitorCallback):
    """Stop `fit` when a value has stopped improving.

    Args:
        monitor: a name in the logs, such as 'val_loss' or 'val_acc'.
        min_delta: changes smaller than this are no improvement.
        patience: how many epochs without improvement are waited for.
        verbose: 1 says what was done.
        mode: 'min', 'max' or 'auto', which knows the loss and the model's metrics.
        baseline: a value that must be beaten too.
        restore_best_weights: put the best epoch's weights back when `fit` ends, also when it was
            not stopped early.
        start_from_epoch: epochs before this one are not looked at.

    Raises ValueError for other modes, and in 'auto' mode for a value that it does not know.
    Source: keras/src/callbacks/early_stopping.py.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience = whole("EarlyStopping", "patience", patience, 0)
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = whole("EarlyStopping", "start_from_epoch", start_from_epoch, 0)
        self._forget()

    def _forget(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_weights: list[NDArray[np.float32]] | None = None
        self.best_epoch = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        self._forget()
        self._sign = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._direction()
        current = self.get_monitor_value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._remember(epoch)
        self.wait += 1
        if self._is_improvement(current, self.best):
            self.best = current
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._remember(epoch)
            # A best value that does not beat the baseline does not reset the patience.
            if self.baseline is None or self._is_improvement(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping", flush=True)
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                print(
                    "Restoring model weights from the end of the best epoch: "
                    f"{self.best_epoch + 1}.",
                    flush=True,
                )
            self._restore(self.best_weights)

    def get_monitor_value(self, logs: Mapping[str, Any] | None) -> float | None:
        """The monitored value; a warning that lists the names if the logs lack it."""
        logs = logs or {}
        value = logs.get(self.monitor)
        if value is None:
            warnings.warn(
                f"Early stopping conditioned on metric `{self.monitor}` which is not available. "
                f"Available metrics are: {','.join(logs)}",
                stacklevel=2,
            )
        return value

    def _remember(self, epoch: int) -> None:
        self.best_epoch = epoch
        self.best_weights = self.model.get_weights()

    def _restore(self, best: list[NDArray[np.float32]]) -> None:
        """Write back only what differs: kept features outlive weights that did not change."""
        for variable, value in zip(self.model.weights, best, strict=True):
            if not np.array_equal(variable.numpy(), value):
                variable.assign(value)


class ModelCheckpoint(MonitorCallback):
    """Save the model, or its weights, after every epoch or every so many batches.

    Args:
        filepath: where to; may hold `{epoch}` (from 1), `{batch}` and names in the logs, such as
            '{epoch:02d}-{val_loss:.2f}.h5'. Ends in '.weights.h5' if only weights are saved,
            otherwise in '.h5'.
        monitor, mode: what decides which epoch is best, as in EarlyStopping.
        verbose: 1 says what was done.
        save_best_only: save only when the monitored value improved.
        save_weights_only: save with `save_weights` instead of `save`.
        save_freq: 'epoch', or a number of batches.
        initial_value_threshold: a value that the first save must beat.

    Raises ValueError for other file names, modes and frequencies, KeyError for a name in
    `filepath` that the logs lack, OSError where the file cannot be written.
    Source: keras/src/callbacks/model_checkpoint.py.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        if save_freq != "epoch":
            save_freq = whole("ModelCheckpoint", "save_freq", save_freq, 1)
        endings = (".weights.h5",) if save_weights_only else (".h5",)
        if not self.filepath.endswith(endings):
            kind = "save_weights_only=True" if save_weights_only else "a whole model"
            raise ValueError(
                f"ModelCheckpoint: filepath must end in {' or '.join(endings)} for {kind}, got "
                f"{self.filepath!r}."
            )
        self.save_freq = save_freq
        self._epoch = 0
        self._unsaved_batches = 0
        self._last_batch: int | None = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._sign = None

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self.save_freq == "epoch":
            return
        if self._last_batch is None or batch <= self._last_batch:  # a new epoch
            self._unsaved_batches += batch + 1
        else:
            self._unsaved_batches += batch - self._last_batch
        self._last_batch = batch
        if self._unsaved_batches >= int(self.save_freq):
            self._unsaved_batches = 0
            self._save(self._epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.save_best_only:
            self._direction()
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: dict[str, Any]) -> None:
        path = self._path(epoch, batch, logs)
        if not self._is_due(epoch, logs, path):
            return
        if os.path.isdir(path):
            raise IsADirectoryError(f"ModelCheckpoint: filepath {path!r} is a folder.")
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path)
        else:
            self.model.save(path)
        self._say(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    def _is_due(self, epoch: int, logs: dict[str, Any], path: str) -> bool:
        if not self.save_best_only:
            self._say(f"\nEpoch {epoch + 1}: saving model to {path}")
            return True
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(f"Can save best model only with {self.monitor} available.", stacklevel=2)
            return True
        before = "None" if self.best is None else f"{self.best:.5f}"
        if not self._is_improvement(current, self.best):
            self._say(f"\nEpoch {epoch + 1}: {self.monitor} did not improve from {before}")
            return False
        self._say(
            f"\nEpoch {epoch + 1}: {self.monitor} improved from {before} to {current:.5f}, "
            f"saving model to {path}"
        )
        self.best = current
        return True

    def _path(self, epoch: int, batch: int | None, logs: dict[str, Any]) -> str:
        names = {"epoch": epoch + 1, **logs}
        if batch is not None and "batch" not in logs:
            names["batch"] = batch + 1
        try:
            return self.filepath.format(**names)
        except KeyError as error:
            raise KeyError(
                f"ModelCheckpoint: filepath {self.filepath!r} asks for {error}, but the logs hold "
                f"{', '.join(logs) or 'nothing'}."
            ) from None

    def _say(self, text: str) -> None:
        if self.verbose > 0:
            print(text, flush=True)


class OneCycle(Callback):
    """One rise and one long fall of the learning rate, batch by batch, in half waves of a cosine.

    Args:
        max_learning_rate: the top of the rise.
        total_steps: batches of the whole cycle, after which the rate stays at its end; None: all
            of the `fit`.
        warmup: the share of the steps that rise, from 0 to 1.
        start_divisor: the first rate is max_learning_rate / start_divisor.
        end_divisor: the last rate is the first one / end_divisor.
        momentum: (most, least) of an SGD with momentum: it falls while the rate rises and rises
            while it falls; None leaves it alone.

    The rate of a step follows from its number alone, so that a `fit` with `initial_epoch` goes on
    where another one ended. The logs of each epoch hold the last 'learning_rate'. Afterwards the
    optimizer keeps the rate and the momentum of the end.

    Raises ValueError for numbers out of range, where nobody knows how many steps `fit` has and
    total_steps is None, and for momentum without an SGD that has one.
    Sources: Smith, Topin, arXiv:1708.07120; the numbers are those of
    `torch.optim.lr_scheduler.OneCycleLR` with its arguments pct_start, div_factor,
    final_div_factor and max_momentum, base_momentum.
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int | None = None,
        warmup: float = 0.3,
        start_divisor: float = 25.0,
        end_divisor: float = 1e4,
        momentum: tuple[float, float] | None = None,
    ) -> None:
        self.max_learning_rate = real("OneCycle", "max_learning_rate", max_learning_rate, 0.0)
        self.total_steps = (
            None if total_steps is None else whole("OneCycle", "total_steps", total_steps, 1)
        )
        self.warmup = real("OneCycle", "warmup", warmup, 0.0, 1.0)
        self.start_divisor = real("OneCycle", "start_divisor", start_divisor, 1.0)
        self.end_divisor = real("OneCycle", "end_divisor", end_divisor, 1.0)
        self.momentum = None
        if momentum is not None:
            if not isinstance(momentum, (tuple, list)) or len(momentum) != 2:
                raise ValueError(f"OneCycle: momentum must be (most, least), got {momentum!r}.")
            most = real("OneCycle", "momentum", momentum[0], 0.0, 1.0, open_high=True)
            least = real("OneCycle", "momentum", momentum[1], 0.0, most)
            if least == 0.0:
                raise ValueError(f"OneCycle: momentum must stay above 0, got {momentum!r}.")
            self.momentum = (most, least)
        self._steps = 0
        self._batches = 0
        self._epoch = 0

    def learning_rate_at(self, step: int) -> float:
        """The rate of step `step`, from 0. RuntimeError before the number of steps is known."""
        first = self.max_learning_rate / self.start_divisor
        return self._between(step, first, self.max_learning_rate, first / self.end_divisor)

    def momentum_at(self, step: int) -> float | None:
        """The momentum of step `step`; None if it is left alone."""
        if self.momentum is None:
            return None
        most, least = self.momentum
        return self._between(step, most, least, most)

    def _between(self, step: int, first: float, middle: float, last: float) -> float:
        steps = self.total_steps or self._steps
        if not steps:
            raise RuntimeError("OneCycle: the number of steps is known once fit has begun.")
        top = self.warmup * steps - 1
        if step <= top:
            return _half_wave(first, middle, step / top if top > 0 else 1.0)
        fall = steps - 1 - max(top, 0.0)
        return _half_wave(
            middle, last, min(1.0, (step - max(top, 0.0)) / fall) if fall > 0 else 0.0
        )

    def on_train_begin(self, logs: Logs = None) -> None:
        params = self.params or {}
        batches, epochs = params.get("steps"), params.get("epochs")
        if not batches and (self.total_steps is None or (epochs or 1) > 1):
            raise ValueError(
                "OneCycle: how many batches an epoch has is not known for this data; pass "
                "steps_per_epoch to fit."
            )
        self._batches = batches or 0
        self._steps = self._batches * (epochs or 1)
        optimizer = self.model.optimizer
        if self.momentum is not None and not getattr(optimizer, "momentum", 0.0):
            raise ValueError(
                f"OneCycle: momentum={self.momentum} needs an SGD that is compiled with a momentum "
                f"above 0, got {optimizer!r}."
            )

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        step = self._epoch * self._batches + batch
        self.model.optimizer.learning_rate = self.learning_rate_at(step)
        momentum = self.momentum_at(step)
        if momentum is not None:
            self.model.optimizer.momentum = momentum

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


def _half_wave(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))


def _ordered(logs: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy in alphabetical order, as Keras 3 hands logs to callbacks."""
    return dict(sorted((logs or {}).items()))
