"""A linear probe: the best last layer on top of a frozen base, found without steps of batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlcore.callbacks import History
from tlcore.layers import Dense, GlobalAveragePooling2D
from tlcore.models import Model, Sequential
from tlcore.recipes._head import Examples, cross_validate, examples_of, head_of, scores, solve
from tlcore.recipes._rows import source_of
from tlcore.training._checks import real, whole
from tlcore.training.arguments import validation_source
from tlcore.training.data import ArraySource, IteratorSource, Source
from tlcore.training.progress import Mode, mode_for
from tlcore.utils.notes import note

# Half decades; on photos the best penalty lies well inside.
GRID = tuple(float(10.0 ** (1 - half / 2)) for half in range(13))


_WIDE_BATCH = 256  # rows of arrays that go through the base at once


class ProbeHistory(History):
    """What `linear_probe` returns.

    Attributes:
        history: 'l2', 'cv_loss' and 'cv_accuracy' hold a value for each penalty that was tried
            (no 'cv_' without cross-validation); 'loss' and 'accuracy' one value, of the head on
            the data; 'val_loss' and 'val_accuracy' one, with validation_data.
        model: the compiled model with the head that was found.
        l2: the penalty that was chosen.
    """

    def __init__(self, model: Model, l2: float) -> None:
        super().__init__()
        self.set_model(model)
        self.l2 = l2


def linear_probe(
    base: Model,
    data: Any,
    *,
    validation_data: Any = None,
    l2: float | Sequence[float] | None = None,
    folds: int = 5,
    seed: int = 0,
    batch_size: int | None = None,
    verbose: str | int = "auto",
) -> ProbeHistory:
    """Fit a softmax layer on the features of a frozen base: its best weights, by L-BFGS.

    Each picture goes through the base once. The strength of the L2 penalty is the one with the
    lowest mean loss under stratified cross-validation: a proper score says more of few pictures
    than their accuracy. The result depends on data and `seed` alone.

    Args:
        base: a built model whose output is (height, width, channels), over which is averaged, or
            (features,). It is frozen (`base.trainable` is False afterwards).
        data: (x, y), (x, y, sample_weight), an iterator of `ImageDataGenerator`, or any source of
            batches that has an end; y holds class numbers (n,) or one-hot rows (n, classes). Of
            augmented pictures one version each is taken.
        validation_data: as data; scored, never learned from.
        l2: the penalty, at least 0, or several to choose from; None: 13 from 10 down to 1e-5.
            What is minimised is the mean loss + l2 / 2 * the sum of squares of the kernel, as
            scikit-learn's LogisticRegression with C = 1 / (l2 * n).
        folds: parts for the cross-validation, at least 2.
        seed: deals the pictures to the folds.
        batch_size: pictures a step where data is arrays; None: 32.
        verbose: 0 prints nothing.

    Returns:
        A `ProbeHistory`; its `model` is a compiled `Sequential([base, GlobalAveragePooling2D(),
        Dense(classes, activation="softmax")])`, ready to evaluate, predict, save and train on.

    Raises:
        ValueError: an argument or shape that does not fit, fewer than two classes, a class with
            fewer than two pictures where there is something to choose, a Python generator.

    Sources: Kornblith, Shlens, Le, arXiv:1805.08974 (L-BFGS and a grid of penalties on fixed
    features); Nocedal, Wright (2006) for L-BFGS.
    """
    owner = "linear_probe"
    grid = checked_grid(owner, l2)
    folds = whole(owner, "folds", folds, 2)
    seed = whole(owner, "seed", seed, 0)
    quiet = mode_for(verbose) is Mode.SILENT
    if not isinstance(base, Model) or not base.built:
        raise ValueError(f"{owner}: base must be a model whose input shape is known, got {base!r}.")
    rank = len(base.output_shape)
    if rank not in (2, 4):
        raise ValueError(
            f"{owner}: base must give (None, height, width, channels) or (None, features), got "
            f"{base.output_shape}."
        )
    source = source_of(owner, data, batch_size)
    if isinstance(source, ArraySource):
        source.widen(_WIDE_BATCH)
    base.trainable = False
    pooling = [GlobalAveragePooling2D()] if rank == 4 else []
    # How many classes there are shows when the targets have been seen, which for some sources
    # means that the pictures have been, too.
    model = Sequential([base, *pooling, Dense(2, activation="softmax", name="any_classes")])
    model.compile("adam", loss="sparse_categorical_crossentropy")
    accept(model, source, validation_data, batch_size)
    examples = examples_of(owner, model, source)
    model.pop()
    model.add(Dense(_classes(source, examples), activation="softmax"))
    kind = "categorical" if examples.columns else "sparse_categorical"
    model.compile("adam", loss=f"{kind}_crossentropy", metrics=["accuracy"])
    return fit_head(
        owner, model, examples, validation_data, grid, folds, seed, batch_size, quiet=quiet
    )


def accept(model: Model, source: Source, validation_data: Any, batch_size: int | None) -> None:
    """Check the data's shapes and value ranges; the model learns its classes, as in `fit`."""
    validation = None if validation_data is None else validation_source(validation_data, batch_size)
    model._build_from(source)
    model._accept(source, validation)


def fit_head(
    owner: str,
    model: Model,
    examples: Examples,
    validation_data: Any,
    grid: Sequence[float],
    folds: int,
    seed: int,
    batch_size: int | None,
    *,
    quiet: bool,
) -> ProbeHistory:
    """Put the best weights into the last layer of a compiled model."""
    head = head_of(owner, model)
    _check_classes(owner, examples, head, choosing=len(grid) > 1)
    found: dict[str, list[Any]] = {"l2": list(grid)}
    best = 0
    if len(grid) > 1:
        tried = cross_validate(examples, head.units, head.activation, grid, folds, seed)
        best = int(np.argmin([one.loss for one in tried]))
        found["cv_loss"] = [one.loss for one in tried]
        found["cv_accuracy"] = [one.accuracy for one in tried]
    solution = solve(examples, head.units, head.activation, grid[best])
    head.set_weights([solution.kernel.astype(np.float32), solution.bias.astype(np.float32)])

    history = ProbeHistory(model, grid[best])
    history.epoch = [0]
    now = scores(solution.probabilities, examples.labels, head.activation, examples.weights)
    found["loss"], found["accuracy"] = [now.loss], [now.accuracy]
    if validation_data is not None:
        tested = evaluate_on(model, validation_data, batch_size)
        found |= {f"val_{name}": [value] for name, value in tested.items()}
    history.history = found
    model.history = history
    if not quiet:
        _tell(owner, history, examples, best, folds)
    if not solution.converged:
        note(f"{owner}: the head for l2={grid[best]:g} was still improving when the search ended.")
    return history


def evaluate_on(model: Model, data: Any, batch_size: int | None) -> dict[str, float]:
    """Loss and metrics of `model` on what a recipe takes as validation_data."""
    parts = data if isinstance(data, (tuple, list)) else (data,)
    x, y, sample_weight = (*parts, None, None)[:3]
    tested = model.evaluate(
        x,
        y,
        batch_size=batch_size if len(parts) > 1 else None,
        sample_weight=sample_weight,
        verbose=0,
        return_dict=True,
    )
    assert isinstance(tested, dict)
    return tested


def checked_grid(owner: str, l2: float | Sequence[float] | None) -> list[float]:
    if l2 is None:
        return list(GRID)
    several = list(l2) if isinstance(l2, (list, tuple, np.ndarray)) else [l2]
    if not several:
        raise ValueError(f"{owner}: l2 must be a number or several, got {l2!r}.")
    return list(dict.fromkeys(real(owner, "l2", one, 0.0) for one in several))


def _classes(source: Source, examples: Examples) -> int:
    """How many classes the data has: those of its folders, its columns or its numbers."""
    if examples.columns is not None:
        return examples.columns
    named = source.iterator.class_indices if isinstance(source, IteratorSource) else None
    return max(2, len(named or ()), int(examples.labels.max()) + 1)


def _check_classes(owner: str, examples: Examples, head: Dense, *, choosing: bool) -> None:
    classes = max(2, head.units)
    if examples.columns is not None and examples.columns != head.units:
        raise ValueError(
            f"{owner}: the targets have {examples.columns} columns, but the last layer, "
            f"{head.name!r}, has {head.units} units."
        )
    if examples.labels.max() >= classes:
        raise ValueError(
            f"{owner}: the targets hold class {examples.labels.max()}, but the last layer, "
            f"{head.name!r}, tells {classes} classes apart, from 0 on."
        )
    learned = examples.labels if examples.weights is None else examples.labels[examples.weights > 0]
    present, counts = np.unique(learned, return_counts=True)
    if len(present) < 2:
        raise ValueError(f"{owner}: data must hold at least two classes, got {len(present)}.")
    if choosing and counts.min() < 2:
        raise ValueError(
            f"{owner}: class {present[counts.argmin()]} has a single picture, so none can be held "
            "out to choose l2 by; give l2 as one number."
        )


def _tell(owner: str, history: ProbeHistory, examples: Examples, best: int, folds: int) -> None:
    rows, width = examples.features.shape
    found = history.history
    text = f"{owner}: the last layer is fitted to {width} features of {rows} pictures, "
    if "cv_loss" in found:
        text += (
            f"l2={history.l2:.3g} of {len(found['l2'])} by {folds}-fold cross-validation "
            f"(accuracy {found['cv_accuracy'][best]:.4f}, loss {found['cv_loss'][best]:.4f})."
        )
    else:
        text += f"l2={history.l2:.3g}."
    print(text, flush=True)
    text = f"{owner}: accuracy {found['accuracy'][0]:.4f}, loss {found['loss'][0]:.4f}"
    if "val_loss" in found:
        accuracy = next(name for name in found if name.startswith("val_") and name != "val_loss")
        text += f", {accuracy} {found[accuracy][0]:.4f}, val_loss {found['val_loss'][0]:.4f}"
    print(f"{text}.", flush=True)
