"""The last Dense layer of a model as a logistic regression on what is in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from tlcore import _core
from tlcore.layers import Dense, Layer
from tlcore.models import Model
from tlcore.recipes._rows import Labels, can_pick, class_numbers, one_pass
from tlcore.training.data import IteratorSource, Source, Stream, as_array
from tlcore.training.loop import walk
from tlcore.utils.notes import note

FloatArray = NDArray[np.float32]
Doubles = NDArray[np.float64]

# Of the gradient: folds need to tell penalties apart, the head itself is as exact as float32.
_FOLD_TOLERANCE = 1e-6
_HEAD_TOLERANCE = 1e-8
_ITERATIONS = 2000
_TINY = np.finfo(np.float64).tiny


class Examples(NamedTuple):
    """What a head learns from."""

    features: FloatArray  # (n, width)
    labels: Labels  # (n,)
    weights: FloatArray | None  # (n,)
    columns: int | None  # of one-hot targets


class Solution(NamedTuple):
    """A head's weights, and what they give."""

    kernel: Doubles  # (width, units)
    bias: Doubles  # (units,)
    probabilities: Doubles  # (n, units)
    converged: bool


class Scores(NamedTuple):
    """Means over examples."""

    loss: float
    accuracy: float


def is_head(layer: Layer) -> TypeGuard[Dense]:
    """Whether `layer` gives scores of classes out of what is in front of it."""
    return isinstance(layer, Dense) and layer.activation in ("softmax", "sigmoid")


def head_of(owner: str, model: Model) -> Dense:
    """The last layer of `model`; ValueError unless it is a Dense that can be fitted."""
    head = model.layers[-1] if model.layers else None
    if head is None or not is_head(head):
        raise ValueError(
            f"{owner}: the model must end in a Dense layer with softmax or sigmoid, got {head!r}."
        )
    if not head.use_bias:
        raise ValueError(f"{owner}: the last layer, {head.name!r}, must have a bias.")
    return head


def examples_of(owner: str, model: Model, source: Source) -> Examples:
    """The values in front of the last Dense layer of a compiled model, and their classes.

    Each picture goes through the frozen layers once, and none for which features are kept.
    """
    if isinstance(source, IteratorSource) and not can_pick(source):
        note(f"{owner} takes each picture once, though the generator may change it.")
    compiled = model._compiled_for(owner)
    model._settle_for(compiled, source)
    node = max(i for i, one in enumerate(compiled.nodes) if one["op"] == "dense")
    before = compiled.nodes[node]["inputs"][0]
    features, targets, weights = [], [], []
    with model._keeping(compiled, source, None, arrays=False) as prefix:
        stream = Stream(one_pass(owner, source))
        for batch in walk(stream, stream.source.num_batches, prefix, across=False):
            values = prefix.features(batch)
            if before != compiled.cut:  # a dropout, or layers that were trained before
                values = model.network.run(values, compiled.cut, before)
            if batch.y is None:
                raise ValueError(
                    f"{owner}: data holds no targets: it must give (x, y) (class_mode other than "
                    "None)."
                )
            features.append(values.reshape(len(values), -1))
            targets.append(as_array("y", batch.y))
            if batch.sample_weight is not None:
                weights.append(as_array("sample_weight", batch.sample_weight))
    if not features:
        raise ValueError(f"{owner}: data gave no batch.")
    labels, columns = class_numbers(owner, np.concatenate(targets))
    return Examples(
        np.concatenate(features),
        labels,
        np.concatenate(weights).astype(np.float32) if weights else None,
        columns,
    )


def solve(
    examples: Examples,
    units: int,
    activation: str,
    l2: float,
    *,
    weights: FloatArray | None = None,
    start: Solution | None = None,
    tolerance: float = _HEAD_TOLERANCE,
) -> Solution:
    """The best weights of softmax, or of one sigmoid a unit, under the penalty `l2`."""
    weights = examples.weights if weights is None else weights
    if activation == "softmax" or units == 1:
        questions = [(examples.labels, units)]
    else:
        questions = [((examples.labels == unit).astype(np.int64), 1) for unit in range(units)]
    answers = []
    for unit, (labels, outputs) in enumerate(questions):
        places = slice(None) if len(questions) == 1 else slice(unit, unit + 1)
        answers.append(
            _core.logistic_regression(
                examples.features,
                labels,
                outputs,
                l2,
                sample_weight=weights,
                start=None
                if start is None
                else np.vstack([start.kernel[:, places], start.bias[places]]),
                tolerance=tolerance,
                max_iterations=_ITERATIONS,
            )
        )
    return Solution(
        np.hstack([answer["weights"] for answer in answers]),
        np.hstack([answer["bias"] for answer in answers]),
        np.hstack([answer["probabilities"] for answer in answers]),
        all(answer["converged"] for answer in answers),
    )


def scores(
    probabilities: Doubles, labels: Labels, activation: str, weights: FloatArray | None
) -> Scores:
    """Mean cross-entropy as the model's loss has it, and the share of right answers."""
    rows = np.arange(len(labels))
    if activation == "softmax":
        losses = -np.log(np.maximum(probabilities[rows, labels], _TINY))
        right = probabilities.argmax(axis=1) == labels
    else:
        units = probabilities.shape[1]
        truth = labels[:, np.newaxis] == (1 if units == 1 else np.arange(units))
        answers = np.where(truth, probabilities, 1 - probabilities)
        losses = -np.log(np.maximum(answers, _TINY)).mean(axis=1)
        right = (
            (probabilities[:, 0] > 0.5) == (labels == 1)
            if units == 1
            else probabilities.argmax(axis=1) == labels
        )
    return Scores(
        float(np.average(losses, weights=weights)), float(np.average(right, weights=weights))
    )


def deal(labels: Labels, folds: int, seed: int) -> NDArray[np.intp]:
    """The fold of each row: of every class as many in each as can be, at random from `seed`."""
    random = np.random.default_rng(seed)
    fold = np.empty(len(labels), np.intp)
    next_fold = 0
    for one in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == one))
        fold[rows] = (next_fold + np.arange(len(rows))) % folds
        next_fold += len(rows)
    return fold


def cross_validate(
    examples: Examples,
    units: int,
    activation: str,
    grid: Sequence[float],
    folds: int,
    seed: int,
) -> list[Scores]:
    """For each penalty the scores on rows that were held out, each row once."""
    fold = deal(examples.labels, folds, seed)
    given = np.ones(len(fold), np.float32) if examples.weights is None else examples.weights
    held_out = {l2: np.empty((len(fold), units)) for l2 in grid}
    for one in range(folds):
        solution = None
        rest = np.where(fold == one, np.float32(0), given)
        for l2 in sorted(grid, reverse=True):  # from the strongest on, each begins near the next
            solution = solve(
                examples,
                units,
                activation,
                l2,
                weights=rest,
                start=solution,
                tolerance=_FOLD_TOLERANCE,
            )
            held_out[l2][fold == one] = solution.probabilities[fold == one]
    return [scores(held_out[l2], examples.labels, activation, examples.weights) for l2 in grid]
