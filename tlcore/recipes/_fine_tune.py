"""Fine-tuning in two stages: the best head on frozen features, then the last blocks with it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlcore import optimizers
from tlcore.callbacks import Callback, History, OneCycle
from tlcore.layers import BatchNormalization, Layer
from tlcore.layers.layer import Variable
from tlcore.models import Model
from tlcore.recipes._head import examples_of, head_of, is_head
from tlcore.recipes._probe import ProbeHistory, accept, checked_grid, fit_head, linear_probe
from tlcore.recipes._rows import source_of
from tlcore.training._checks import real, whole
from tlcore.training.progress import Mode, mode_for

# Layers of one inverted residual, residual unit or the like: 'block_13_expand' is of 'block_13'.
_UNIT = re.compile(r"(.*?block_?\d+|expanded_conv)(?=_|$)")
_DEFAULT_SHARE = 4  # the last quarter of the blocks; of MobileNetV2 from block_13 on
_LEARNING_RATE = 3e-5  # 3e-4 spoils a head that fits; lower ones gain less where it does not


class Block(NamedTuple):
    """Layers with weights that belong together, in the order of the graph."""

    name: str
    layers: list[Layer]


class FineTuneHistory(History):
    """What `fine_tune` returns: the History of its `fit`, with 'learning_rate'.

    Attributes:
        model: the compiled model, with the weights that were kept.
        probe: the `ProbeHistory` of the first stage.
        kept: the epoch (from 0) whose weights the model has; None: those of the probe.
        unfrozen: names of the blocks that were trained with the head, from the input on.
    """

    def __init__(self, probe: ProbeHistory, unfrozen: list[str]) -> None:
        super().__init__()
        self.probe = probe
        self.unfrozen = unfrozen
        self.kept: int | None = None


def fine_tune(
    model_or_base: Model,
    data: Any,
    *,
    validation_data: Any = None,
    epochs: int = 5,
    unfreeze: int | str | None = None,
    learning_rate: float | None = None,
    depth_factor: float = 0.85,
    optimizer: Any = "adam",
    warmup: float = 0.3,
    l2: float | Sequence[float] | None = None,
    folds: int = 5,
    seed: int = 0,
    batch_size: int | None = None,
    callbacks: Callback | Sequence[Callback] | None = None,
    verbose: str | int = "auto",
) -> FineTuneHistory:
    """Fit the last layer to frozen features, then train it together with the last blocks.

    1. The last layer gets its best weights on the frozen features (`linear_probe`): from random
       ones the first steps would spoil the features that they pass through.
    2. The last blocks of layers are unfrozen, all but their batch normalizations, which keep their
       stored statistics and weights. The rate of a block is `depth_factor` times that of the block
       behind it, and rises and falls once over all batches (`callbacks.OneCycle`).
    3. With validation_data the weights of the epoch with the lowest val_loss are kept, or those of
       the probe if no epoch is better; without it those of the last epoch.

    Args:
        model_or_base: a base as for `linear_probe`, or a model whose last layer is a Dense with
            softmax or sigmoid, which is trained in place. `trainable` and
            `learning_rate_multiplier` of its layers are set, and it is compiled.
        data, validation_data, l2, folds, seed, batch_size: as for `linear_probe`.
        epochs: passes over the data in the second stage.
        unfreeze: how many of the last blocks, the name of the first block or layer to train, or
            "all"; None: the last quarter (of MobileNetV2 from 'block_13' on).
        learning_rate: of the last layer, at the top of the cycle; None: that of `optimizer` if it
            is an object, otherwise 3e-5.
        depth_factor: above 0, at most 1. 0.85 spreads over MobileNetV2's 19 blocks what ULMFiT's
            2.6 a layer spreads over 4.
        optimizer: as for `compile`. The momentum of an SGD that has one goes from 0.95 to 0.85 and
            back.
        warmup: the share of the batches in which the rate rises.
        callbacks: more callbacks for `fit`.
        verbose: 0 prints nothing.

    Returns:
        A `FineTuneHistory`.

    Raises:
        ValueError: an argument, shape or layer that does not fit.

    Sources: Kumar et al., arXiv:2202.10054 (probe first); Howard, Ruder, arXiv:1801.06146
    (rates by depth); Smith, Topin, arXiv:1708.07120 (one cycle).
    """
    owner = "fine_tune"
    epochs = whole(owner, "epochs", epochs, 1)
    depth_factor = real(owner, "depth_factor", depth_factor, 0.0, 1.0)
    if depth_factor == 0.0:
        raise ValueError(f"{owner}: depth_factor must be above 0, got {depth_factor!r}.")
    trainer = optimizers.get(optimizer)
    if learning_rate is None:
        given = isinstance(optimizer, optimizers.Optimizer)
        learning_rate = trainer.learning_rate if given else _LEARNING_RATE
    cycle = OneCycle(
        real(owner, "learning_rate", learning_rate, 0.0),
        warmup=warmup,
        momentum=(0.95, 0.85) if getattr(trainer, "momentum", 0.0) else None,
    )
    is_quiet = mode_for(verbose) is Mode.SILENT
    if not isinstance(model_or_base, Model) or not model_or_base.built:
        raise ValueError(
            f"{owner}: model_or_base must be a model whose input shape is known, got "
            f"{model_or_base!r}."
        )
    layers = model_or_base.layers
    is_model = bool(layers) and is_head(layers[-1])
    blocks = blocks_of(model_or_base, is_model)
    chosen = choose(owner, blocks, unfreeze)

    if is_model:
        probe = _probe_in_place(
            owner, model_or_base, data, validation_data, l2, folds, seed, batch_size, is_quiet
        )
    else:
        probe = linear_probe(
            model_or_base,
            data,
            validation_data=validation_data,
            l2=l2,
            folds=folds,
            seed=seed,
            batch_size=batch_size,
            verbose=verbose,
        )
    model = probe.model
    release(model, chosen, depth_factor)
    loss = model.loss
    model.compile(trainer, loss=loss, metrics=["accuracy"])
    history = FineTuneHistory(probe, [block.name for block in chosen])
    best = KeepBest(history, probe.history.get("val_loss", [None])[0])
    own: list[Callback] = [cycle, best]
    more = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
    parts = tuple(data) if isinstance(data, (tuple, list)) else (data,)
    x, y, sample_weight = (*parts, None, None)[:3]
    model.fit(
        x,
        y,
        sample_weight=sample_weight,
        batch_size=batch_size if y is not None else None,
        epochs=epochs,
        validation_data=validation_data,
        validation_batch_size=batch_size if isinstance(validation_data, (tuple, list)) else None,
        callbacks=[*own, *more, history],
        verbose=verbose,
    )
    if not is_quiet:
        _tell(owner, history, learning_rate)
    return history


def _probe_in_place(
    owner: str,
    model: Model,
    data: Any,
    validation_data: Any,
    l2: float | Sequence[float] | None,
    folds: int,
    seed: int,
    batch_size: int | None,
    is_quiet: bool,
) -> ProbeHistory:
    """`linear_probe` of everything in front of the model's own last layer."""
    head = head_of(owner, model)
    grid = checked_grid(owner, l2)
    folds = whole(owner, "folds", folds, 2)
    seed = whole(owner, "seed", seed, 0)
    source = source_of(owner, data, batch_size)
    for layer in model._leaves():
        layer.trainable = layer is head
    model.compile("adam", loss="sparse_categorical_crossentropy")
    accept(model, source, validation_data, batch_size)
    examples = examples_of(owner, model, source)
    if head.activation == "sigmoid":
        loss = "binary_crossentropy"
    else:
        loss = f"{'categorical' if examples.columns else 'sparse_categorical'}_crossentropy"
    model.compile("adam", loss=loss, metrics=["accuracy"])
    return fit_head(
        owner, model, examples, validation_data, grid, folds, seed, batch_size, quiet=is_quiet
    )


def blocks_of(model: Model, has_head: bool) -> list[Block]:
    """The blocks in front of the last layer, from the input on.

    Layers of one unit by their names are one block; elsewhere each layer with weights begins one,
    and batch normalizations belong to what is in front of them.
    """
    leaves = [layer for layer in model._leaves() if layer.weights]
    blocks: list[Block] = []
    for layer in leaves[:-1] if has_head else leaves:
        unit = _UNIT.match(layer.name)
        name = layer.name if unit is None else unit[1]
        follows = unit is None and isinstance(layer, BatchNormalization)
        if blocks and (follows or name == blocks[-1].name):
            blocks[-1].layers.append(layer)
        else:
            blocks.append(Block(name, [layer]))
    return blocks


def choose(owner: str, blocks: Sequence[Block], unfreeze: int | str | None) -> list[Block]:
    """The blocks to train; ValueError for a number or a name that there is not."""
    if not blocks:
        raise ValueError(f"{owner}: the model has no weights in front of its last layer.")
    if unfreeze is None:
        return list(blocks[len(blocks) - math.ceil(len(blocks) / _DEFAULT_SHARE) :])
    if unfreeze == "all":
        return list(blocks)
    if isinstance(unfreeze, str):
        for at, block in enumerate(blocks):
            if unfreeze == block.name or any(unfreeze == layer.name for layer in block.layers):
                return list(blocks[at:])
        raise ValueError(
            f"{owner}: unfreeze={unfreeze!r} is no block or layer with weights; the blocks are "
            f"{', '.join(repr(block.name) for block in blocks)}."
        )
    count = whole(owner, "unfreeze", unfreeze, 1)
    if count > len(blocks):
        raise ValueError(
            f"{owner}: unfreeze={count} is more than the {len(blocks)} blocks that the model has."
        )
    return list(blocks[-count:])


def release(model: Model, chosen: Sequence[Block], depth_factor: float) -> None:
    """Make the last layer and the chosen blocks trainable, each with its multiplier.

    Batch normalizations stay frozen, and so do layers outside the blocks.
    """
    rates: dict[Layer, float] = {model.layers[-1]: 1.0}
    for depth, block in enumerate(reversed(chosen), 1):
        for layer in block.layers:
            if not isinstance(layer, BatchNormalization):
                rates[layer] = depth_factor**depth
    model.trainable = True
    for layer in model._leaves():
        layer.trainable = layer in rates
        layer.learning_rate_multiplier = rates.get(layer, 1.0)


class KeepBest(Callback):
    """Keep the weights of the epoch with the lowest val_loss, if that is below the probe's.

    `start`: the probe's val_loss; None: there is no validation, and nothing is done.
    """

    def __init__(self, history: FineTuneHistory, start: float | None) -> None:
        self._history = history
        self._best = start
        self._weights: list[tuple[Variable, NDArray[np.float32]]] = []
        self._last: int | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._best is not None:
            self._remember()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._last = epoch
        value = (logs or {}).get("val_loss")
        if self._best is not None and value is not None and value < self._best:
            self._best = value
            self._history.kept = epoch
            self._remember()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._best is None:
            self._history.kept = self._last
        elif self._history.kept != self._last:
            for variable, value in self._weights:
                variable.assign(value)

    def _remember(self) -> None:
        model = self.model
        self._weights = [(one, one.numpy()) for one in model.trainable_variables]


def _tell(owner: str, history: FineTuneHistory, learning_rate: float) -> None:
    unfrozen, found = history.unfrozen, history.history
    where = f"{unfrozen[0]!r}" if len(unfrozen) == 1 else f"{unfrozen[0]!r} to {unfrozen[-1]!r}"
    text = (
        f"{owner}: the last layer and {where} trained for {len(history.epoch)} epochs in one cycle "
        f"up to a learning rate of {learning_rate:.2g}, batch normalization frozen; "
    )
    if "val_loss" not in found:
        text += "without validation_data nothing tells whether that is better than the probe."
    elif history.kept is None:
        text += "no epoch was better than the probe, whose weights are kept."
    else:
        text += (
            f"kept is epoch {history.kept + 1}, val_loss {found['val_loss'][history.kept]:.4f} "
            f"after the probe's {history.probe.history['val_loss'][0]:.4f}."
        )
    print(text, flush=True)
