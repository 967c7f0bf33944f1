"""A sweep over learning rates, from too small to too large: which one to train with."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlcore.callbacks import History
from tlcore.models import Model
from tlcore.recipes._rows import Picked, can_pick, source_of
from tlcore.training._checks import real, whole
from tlcore.training.data import ArraySource, IteratorSource, Source, Stream
from tlcore.training.loop import walk
from tlcore.training.progress import Mode, mode_for

# Share of the old mean of losses in the new one, for telling that they diverge.
_INERTIA = 0.9
# Half-width of the window that smooths the curve, as a share of the steps planned: of curves that
# fall by twice the batches' noise, 96 in 100 suggest the right rate within half a decade, with 0.04
# only 76.
_WINDOW = 0.08


class LearningRateHistory(History):
    """What `find_learning_rate` returns.

    Attributes:
        history: 'learning_rate', 'loss' and 'smoothed_loss', one value a step.
        learning_rate: where the smoothed loss falls most steeply; None if it never falls.
    """

    def __init__(self, rates: list[float], losses: list[float], window: float) -> None:
        super().__init__()
        smoothed = smooth(np.array(losses), window)
        self.epoch = [0]
        self.history = {
            "learning_rate": rates,
            "loss": losses,
            "smoothed_loss": [float(loss) for loss in smoothed],
        }
        self.learning_rate = steepest(np.array(rates), smoothed)

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses over the learning rates, and mark the suggested rate.

        Args:
            ax: matplotlib Axes to draw into; None makes a new figure.

        Returns:
            The Axes; its figure is `.figure`.

        Raises:
            ImportError: matplotlib is not installed.
        """
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError:
                raise ImportError(
                    "plot() needs matplotlib, which is not installed: pip install matplotlib."
                ) from None
            _, ax = plt.subplots(figsize=(7, 4), layout="constrained")
        rates, smoothed = self.history["learning_rate"], self.history["smoothed_loss"]
        ax.plot(rates, self.history["loss"], ".", color="0.7", markersize=4, label="each batch")
        ax.plot(rates, smoothed, color="C0", label="smoothed")
        if self.learning_rate is not None:
            at = rates.index(self.learning_rate)
            ax.axvline(self.learning_rate, color="C1", linewidth=1, linestyle="--")
            ax.plot(
                self.learning_rate,
                smoothed[at],
                "o",
                color="C1",
                label=f"steepest: {self.learning_rate:.2g}",
            )
        low, high = min(smoothed), max(smoothed[: max(1, len(smoothed) // 4)])
        room = max(high - low, 1e-3 * max(abs(low), 1e-3))
        ax.set_ylim(low - 0.1 * room, high + 0.6 * room)  # not what diverges at the end
        ax.set_xscale("log")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss")
        ax.legend(loc="lower left", frameon=False)
        return ax


def find_learning_rate(
    model: Model,
    data: Any,
    *,
    start: float = 1e-6,
    stop: float = 1.0,
    steps: int = 100,
    batch_size: int | None = None,
    divergence: float = 4.0,
    seed: int = 0,
    verbose: str | int = "auto",
) -> LearningRateHistory:
    """Train a few steps with ever larger learning rates and see where the loss falls.

    The rate grows by the same factor from step to step. The sweep ends at `stop`, or as soon as
    the running mean of the losses is `divergence` times the lowest one so far, or not finite. The
    suggested rate is where the curve of losses, smoothed by a Gaussian of 8 % of the steps, falls
    most steeply against the logarithm of the rate, before its lowest point. Afterwards, also after
    an error or Ctrl-C, the model is what it was before: its weights, moving statistics, the
    optimizer's moments, count of steps and learning rate. Frozen layers see each picture once.

    Args:
        model: a compiled model.
        data: (x, y), (x, y, sample_weight), or a source of batches as for `fit`. Arrays and
            generators without random changes are shuffled by `seed` and left as they are; other
            sources are walked on as `fit` does.
        start, stop: the first and the last rate, 0 < start < stop.
        steps: how many batches, at least 10.
        batch_size: pictures a step where data is arrays; None: 32.
        divergence: above 1.
        seed: of the order of the pictures.
        verbose: 0 prints nothing.

    Returns:
        A `LearningRateHistory`, with the suggestion in `learning_rate` and a picture in `plot()`.

    Raises:
        ValueError: an argument or shape that does not fit, or data with fewer batches than `steps`
            that cannot be begun again.
        RuntimeError: the model is not compiled, or is being trained.

    Source: Smith, arXiv:1506.01186, section 3.3, with the stop and the suggestion of fastai's
    `lr_find` (steep).
    """
    owner = "find_learning_rate"
    start = real(owner, "start", start, 0.0)
    stop = real(owner, "stop", stop, 0.0)
    if not 0.0 < start < stop:
        raise ValueError(
            f"{owner}: start and stop must be numbers with 0 < start < stop, got start={start!r} "
            f"and stop={stop!r}."
        )
    steps = whole(owner, "steps", steps, 10)
    divergence = real(owner, "divergence", divergence, 1.0)
    seed = whole(owner, "seed", seed, 0)
    quiet = mode_for(verbose) is Mode.SILENT
    source = source_of(owner, data, batch_size)
    rates = [float(rate) for rate in np.geomspace(start, stop, steps)]
    losses = _sweep(owner, model, source, rates, divergence, seed)
    history = LearningRateHistory(rates[: len(losses)], losses, _WINDOW * steps)
    if not quiet:
        found = history.learning_rate
        reached = rates[len(losses) - 1]
        text = "the loss never falls" if found is None else f"it falls most steeply at {found:.2g}"
        print(
            f"{owner}: {len(losses)} steps from learning rate {start:.2g} to {reached:.2g}; {text}."
            " The model is as it was.",
            flush=True,
        )
    return history


def _sweep(
    owner: str, model: Model, source: Source, rates: list[float], divergence: float, seed: int
) -> list[float]:
    """The loss of a step at each rate, until they diverge. The model is restored."""
    compiled = model._compiled_for(owner)
    claim = threading.Lock()
    with claim:
        model._claim(owner, claim)
        model._settle_for(compiled, source)
        model._accept(None, source)
        trainer, optimizer = compiled.trainer, compiled.optimizer
        state = trainer.get_state()
        before = optimizer.learning_rate, model._last_metrics
        weights = model.get_weights()
        losses: list[float] = []
        try:
            with model._keeping(compiled, source, None, arrays=True, training=True) as prefix:
                stream = Stream(_shuffled(source, seed))
                mean, lowest = 0.0, math.inf
                for batch in walk(stream, len(rates), prefix, across=True):
                    optimizer.learning_rate = rates[len(losses)]
                    means = model._means(compiled)
                    model._train_batch(compiled, trainer, prefix, batch, None, means)
                    loss = means.logs()["loss"]
                    losses.append(loss)
                    mean = _INERTIA * mean + (1 - _INERTIA) * loss
                    unbiased = mean / (1 - _INERTIA ** len(losses))
                    if not math.isfinite(unbiased) or unbiased > divergence * lowest:
                        break
                    lowest = min(lowest, unbiased)
                else:
                    if len(losses) < len(rates):
                        raise ValueError(
                            f"{owner}: data gave {len(losses)} batches, but steps={len(rates)}."
                        )
        finally:
            optimizer.learning_rate, model._last_metrics = before
            for variable, value in zip(model.weights, weights, strict=True):
                # what did not change must not look new: kept features would be dropped
                if not np.array_equal(variable.numpy(), value):
                    variable.assign(value)
            trainer.set_state(*state)
            optimizer.count_batches(trainer.iterations)
    while losses and not math.isfinite(losses[-1]):
        losses.pop()
    if not losses:
        raise ValueError(f"{owner}: the loss is not a finite number at learning rate {rates[0]:g}.")
    return losses


def _shuffled(source: Source, seed: int) -> Source:
    if isinstance(source, (ArraySource, IteratorSource)) and can_pick(source):
        return Picked(source, np.random.default_rng(seed).permutation)
    return source


def smooth(values: NDArray[np.float64], window: float) -> NDArray[np.float64]:
    """Means under a Gaussian of this half-width, which is cut off at the ends.

    Centred: a running mean would lag behind, and suggest too large a rate.
    """
    places = np.arange(len(values))
    shares = np.exp(-0.5 * ((places[:, np.newaxis] - places) / max(window, 1e-6)) ** 2)
    smoothed: NDArray[np.float64] = shares @ values / shares.sum(axis=1)
    return smoothed


def steepest(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> float | None:
    """The rate where losses fall most steeply before their lowest point; None if they do not."""
    until = int(losses.argmin()) + 1
    if until < 2:
        return None
    slopes = np.gradient(losses[:until], np.log(rates[:until]))
    at = int(slopes.argmin())
    return float(rates[at]) if slopes[at] < 0 else None
