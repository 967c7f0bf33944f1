"""Recipes: the head by L-BFGS, the sweep of learning rates, one cycle, fine-tuning."""

from __future__ import annotations

import copy
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tlcore
from tlcore import _core, callbacks, layers, optimizers, recipes
from tlcore.models import Model, Sequential
from tlcore.preprocessing.image import DirectoryIterator, ImageDataGenerator
from tlcore.recipes import _fine_tune, _head, _learning_rate
from tlcore.utils import notes, set_random_seed

SIDE = 8


@pytest.fixture(autouse=True)
def forgotten_notes() -> None:
    notes.reset_notes()


@pytest.fixture
def threads() -> Iterator[None]:
    before = _core.get_num_threads()
    yield
    _core.set_num_threads(before)


def pictures(count: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stripes across, along or aslant, at any place and brightness, in noise."""
    random = np.random.default_rng(seed)
    y = np.arange(count) % 3
    rows, cols = np.mgrid[:SIDE, :SIDE]
    x = np.empty((count, SIDE, SIDE, 3), np.float32)
    for picture, kind in zip(x, y, strict=True):
        along = (rows, cols, rows + cols)[kind]
        wave = np.sin(along * 2 * np.pi / 3 + random.uniform(0, 6))
        picture[:] = wave[..., None] * random.uniform(0.3, 1, 3)
        picture += random.normal(0, 0.6, picture.shape)
    return x, y


def make_base(rank: int = 4) -> Sequential:
    """Two convolutions with batch normalization, as a base that knows nothing."""
    set_random_seed(5)
    return Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Conv2D(8, 3, padding="same", use_bias=False, name="block_1_conv"),
            layers.BatchNormalization(name="block_1_BN"),
            layers.ReLU(6.0, name="block_1_relu"),
            layers.Conv2D(12, 3, padding="same", use_bias=False, name="block_2_conv"),
            layers.BatchNormalization(name="block_2_BN"),
            layers.ReLU(6.0, name="block_2_relu"),
            *([layers.GlobalAveragePooling2D()] if rank == 2 else []),
        ]
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    x, y = pictures(24)
    for i, (picture, kind) in enumerate(zip(x, y, strict=True)):
        (tmp_path / f"kind{kind}").mkdir(exist_ok=True)
        pixels = np.clip(picture * 60 + 128, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"kind{kind}" / f"{i}.png")
    return tmp_path


def as_it_is(picture: np.ndarray) -> np.ndarray:
    """A function that tlcore does not know: who can tell what it does the next time?"""
    return picture


def read(folder: Path, class_mode: str = "categorical", **options: Any) -> DirectoryIterator:
    return ImageDataGenerator(rescale=1 / 127.5, **options).flow_from_directory(
        folder, (SIDE, SIDE), class_mode=class_mode, batch_size=7, seed=3
    )


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# --- logistic regression in the core -------------------------------------------------------------


def regression_data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.RandomState(3)
    x = random.standard_normal((60, 7)).astype(np.float32) + 1.5
    y = np.arange(60) % 3
    x[:, 0] += y
    x[:, 1] -= 0.7 * (y == 1)
    return x, y, random.uniform(0.2, 2, 60)


# scikit-learn 1.9.1, LogisticRegression(C=1 / (l2 * weights.sum()), tol=1e-10).predict_proba of
# the first rows; the third of each: of class 1 against the others.
SKLEARN = {
    0.3: (
        [0.2502699, 0.3037561, 0.445974, 0.2990416, 0.5024244, 0.198534],
        [0.2470883, 0.3127451, 0.4401666, 0.3142793, 0.4864035, 0.1993171],
        [0.2898454, 0.4528164, 0.3131554, 0.2222778],
    ),
    0.01: (
        [0.1590666, 0.2927896, 0.5481438, 0.2040649, 0.6970868, 0.09884838],
        [0.1701822, 0.3209966, 0.5088212, 0.2654754, 0.6332054, 0.1013192],
        [0.1928404, 0.6155506, 0.2291549, 0.08733317],
    ),
}


@pytest.mark.parametrize("l2", SKLEARN)
def test_logistic_regression_gives_what_scikit_learn_gives(l2: float) -> None:
    x, y, weights = regression_data()
    plain, weighed, binary = SKLEARN[l2]
    found = _core.logistic_regression(x, y, 3, l2, tolerance=1e-8)
    np.testing.assert_allclose(found["probabilities"][:2].ravel(), plain, atol=1e-6)
    found = _core.logistic_regression(x, y, 3, l2, sample_weight=weights, tolerance=1e-8)
    np.testing.assert_allclose(found["probabilities"][:2].ravel(), weighed, atol=1e-6)
    one = (y == 1).astype(np.uint8)
    found = _core.logistic_regression(x, one, 1, l2, tolerance=1e-8)
    np.testing.assert_allclose(found["probabilities"][:4].ravel(), binary, atol=1e-6)
    scores = x @ found["weights"] + found["bias"]
    np.testing.assert_allclose(found["probabilities"], 1 / (1 + np.exp(-scores)), atol=1e-6)
    assert found["converged"] and found["iterations"] > 3


def test_logistic_regression_says_that_it_ran_out_of_steps() -> None:
    x, y, _ = regression_data()
    found = _core.logistic_regression(x, y, 3, 1e-3, max_iterations=2)
    assert not found["converged"] and found["iterations"] == 2


def test_logistic_regression_can_be_interrupted() -> None:
    class AlarmError(Exception):
        pass

    def ring(*_: object) -> None:
        raise AlarmError

    random = np.random.default_rng(0)
    x = random.normal(size=(20000, 300)).astype(np.float32)  # without an end it would take minutes
    y = random.integers(0, 100, 20000)
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(AlarmError):
            _core.logistic_regression(x, y, 100, 0.0, tolerance=1e-300, max_iterations=10**9)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- linear_probe --------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [4, 2])
def test_probe_makes_a_model_that_is_ready(rank: int, capsys: pytest.CaptureFixture[str]) -> None:
    base = make_base(rank)
    data, held_out = pictures(60), pictures(30, seed=1)
    history = recipes.linear_probe(base, data, validation_data=held_out)
    model = history.model
    assert isinstance(history, callbacks.History) and model.history is history
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["Sequential", *["GlobalAveragePooling2D"][: rank // 4], "Dense"]
    assert model.layers[0] is base and not base.trainable
    assert model.layers[-1].units == 3 and model.layers[-1].activation == "softmax"

    found = history.history
    assert (
        found["l2"][0] == 10 and found["l2"][-1] == pytest.approx(1e-5) and len(found["l2"]) == 13
    )
    assert history.l2 == found["l2"][int(np.argmin(found["cv_loss"]))]
    assert max(found["cv_accuracy"]) > 0.6
    for name, (x, y) in (("", data), ("val_", held_out)):
        scores = model.evaluate(x, y, verbose=0, return_dict=True)
        assert found[f"{name}loss"] == [pytest.approx(scores["loss"], abs=1e-5)]
        assert found[f"{name}accuracy"] == [scores["accuracy"]]
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and "12 features of 60 pictures" in said[0] and "5-fold" in said[0]
    assert f"val_accuracy {found['val_accuracy'][0]:.4f}" in said[1]


def test_the_probe_is_the_lowest_point(threads: None) -> None:
    x, y = pictures(60)
    model = recipes.linear_probe(make_base(), (x, y), l2=0.01, verbose=0).model
    kernel, bias = model.layers[-1].get_weights()
    base = make_base(2)
    features = base.predict(x, verbose=0)

    def value(kernel: np.ndarray, bias: np.ndarray) -> float:
        scores = features.astype(float) @ kernel + bias
        scores -= scores.max(axis=1, keepdims=True)
        right = scores[np.arange(60), y] - np.log(np.exp(scores).sum(axis=1))
        return float(-right.mean() + 0.005 * (kernel.astype(float) ** 2).sum())

    lowest = value(kernel, bias)
    random = np.random.default_rng(0)
    for _ in range(20):
        step = random.normal(size=kernel.shape) * 1e-2
        assert value(kernel + step, bias + random.normal(size=3) * 1e-2) > lowest


def test_probe_depends_on_nothing_but_data_and_seed(threads: None) -> None:
    x, y = pictures(60)
    first = recipes.linear_probe(make_base(), (x, y), verbose=0)
    bases = [make_base(), make_base()]
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    for count, base in zip((1, 3), bases, strict=True):
        _core.set_num_threads(count)
        again = recipes.linear_probe(base, (x, y), batch_size=5, verbose=0)
        assert again.history == first.history
        assert same(again.model.get_weights(), first.model.get_weights())
    assert np.array_equal(np.random.get_state()[1], state)
    other = recipes.linear_probe(make_base(), (x, y), seed=1, verbose=0)
    assert other.history["cv_loss"] != first.history["cv_loss"]


def test_kinds_of_targets_and_of_sources_give_the_same_head() -> None:
    x, y = pictures(60)
    expected = recipes.linear_probe(make_base(), (x, y), l2=0.1, verbose=0)
    assert "cv_loss" not in expected.history and expected.history["l2"] == [0.1]

    class Batches:
        def __len__(self) -> int:
            return 6

        def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
            return x[10 * i : 10 * i + 10], y[10 * i : 10 * i + 10, np.newaxis]

    for data in ((x, np.eye(3)[y]), (x, y[:, None].astype(np.float32)), Batches()):
        given = recipes.linear_probe(make_base(), data, l2=0.1, verbose=0)
        assert same(given.model.get_weights(), expected.model.get_weights())
    loss = recipes.linear_probe(make_base(), (x, np.eye(3)[y]), l2=0.1, verbose=0).model.loss
    assert type(loss).__name__ == "CategoricalCrossentropy"
    twice = np.concatenate([x, x[:20]]), np.concatenate([y, y[:20]])
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    more = recipes.linear_probe(make_base(), twice, l2=0.1, verbose=0)
    weighed = recipes.linear_probe(make_base(), (x, y, weights), l2=0.1, verbose=0)
    for one, other in zip(more.model.get_weights(), weighed.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert more.history["loss"][0] == pytest.approx(weighed.history["loss"][0], abs=1e-6)


def test_fit_finds_the_features_of_the_probe(folder: Path) -> None:
    data, twin = read(folder), read(folder)
    history = recipes.linear_probe(make_base(), data, verbose=0)
    model = history.model
    assert model.class_indices == {"kind0": 0, "kind1": 1, "kind2": 2}
    assert model.reader is not None
    model.fit(data, epochs=2, verbose=0)
    model.evaluate(data, verbose=0)
    assert model.prefix_runs == 0
    # and the generator is where it was: the probe has drawn nothing from it
    recipes.linear_probe(make_base(), twin, verbose=0)
    fresh = read(folder)
    for i in (0, 1):
        assert np.array_equal(twin.batch_indices(i), fresh.batch_indices(i))


def test_augmented_pictures_are_taken_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = recipes.linear_probe(
        make_base(), read(folder, preprocessing_function=as_it_is), verbose=0
    )
    assert "linear_probe takes each picture once" in capsys.readouterr().err
    assert len(history.history["cv_loss"]) == 13


def test_folds_hold_as_many_of_every_class() -> None:
    labels = np.array([0] * 10 + [1] * 7 + [2] * 3)
    fold = _head.deal(labels, 5, seed=0)
    assert np.bincount(fold).tolist() == [4, 4, 4, 4, 4]
    for one in range(3):
        counts = np.bincount(fold[labels == one], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert np.array_equal(fold, _head.deal(labels, 5, seed=0))
    assert not np.array_equal(fold, _head.deal(labels, 5, seed=1))


def test_held_out_rows_are_not_learned_from() -> None:
    """Labels that features say nothing of: who has seen a row knows it, who has not cannot."""
    random = np.random.default_rng(0)
    examples = _head.Examples(
        random.normal(size=(40, 100)).astype(np.float32), np.arange(40) % 2, None, None
    )
    (score,) = _head.cross_validate(examples, 2, "softmax", [1e-4], 5, 0)
    seen = _head.solve(examples, 2, "softmax", 1e-4)
    assert _head.scores(seen.probabilities, examples.labels, "softmax", None).accuracy == 1
    assert score.accuracy < 0.8 and score.loss > np.log(2)


X, Y = pictures(12)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: recipes.linear_probe("base", (X, Y)), "base must be a model whose input shape"),
        (lambda: recipes.linear_probe(make_base(), X), r"data must be \(x, y\) or a source"),
        (lambda: recipes.linear_probe(make_base(), (X,)), "got 1 parts"),
        (lambda: recipes.linear_probe(make_base(), (X[:, :4], Y)), "x has shape"),
        (lambda: recipes.linear_probe(make_base(), (X, Y), l2=-1), "l2 must be a number of at lea"),
        (
            lambda: recipes.linear_probe(make_base(), (X, Y), l2=[]),
            "l2 must be a number or several",
        ),
        (
            lambda: recipes.linear_probe(make_base(), (X, Y), folds=1),
            "folds must be a whole number",
        ),
        (lambda: recipes.linear_probe(make_base(), (X, Y), seed=-1), "seed must be a whole number"),
        (lambda: recipes.linear_probe(make_base(), (X, Y), verbose=3), "verbose must be"),
        (lambda: recipes.linear_probe(make_base(), (X, Y * 0)), "at least two classes, got 1"),
        (lambda: recipes.linear_probe(make_base(), (X, Y + 0.5)), "must hold class numbers"),
        (lambda: recipes.linear_probe(make_base(), (X, Y - 1)), "must hold class numbers"),
        (
            lambda: recipes.linear_probe(make_base(), (X, np.full((12, 3), 1 / 3))),
            "must hold a single 1 and zeros",
        ),
        (
            lambda: recipes.linear_probe(make_base(), (X, np.where(np.arange(12) == 5, 1, 0))),
            "class 1 has a single picture, so none can be held out",
        ),
        (lambda: recipes.linear_probe(make_base(), iter([(X, Y)])), "got a Python generator"),
        (
            lambda: recipes.linear_probe(Sequential([layers.Input((4,)), layers.Dense(2)]), (X, Y)),
            "x has shape",
        ),
    ],
)
def test_bad_arguments_of_the_probe_are_named(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


def test_a_generator_without_targets_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="data holds no targets"):
        recipes.linear_probe(make_base(), read(folder, class_mode=None))


# --- find_learning_rate --------------------------------------------------------------------------


def make_model(optimizer: Any = "adam", trainable: bool = True) -> Sequential:
    base = make_base()
    base.trainable = trainable
    model = Sequential(
        [
            base,
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.25),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["acc"])
    return model


def everything(model: Model) -> list[Any]:
    iterations, slots = model.optimizer_state()
    assert model.optimizer is not None
    settings = [model.optimizer.learning_rate, model.optimizer.iterations, iterations]
    return [*model.get_weights(), *slots, *settings]


@pytest.mark.parametrize("trained", [False, True])
def test_the_sweep_leaves_no_trace(trained: bool) -> None:
    x, y = pictures(60)
    models = [make_model(optimizers.Adam(0.01)) for _ in range(2)]
    for model in models:
        if trained:
            model.fit(x, y, epochs=1, shuffle=False, verbose=0)
    np.random.seed(2)
    state = np.random.get_state()[1].copy()
    before = everything(models[0])
    history = recipes.find_learning_rate(models[0], (x, y), steps=20, verbose=0)
    assert len(history.history["loss"]) == 20
    if trained:
        assert same(everything(models[0]), before)
    assert np.array_equal(np.random.get_state()[1], state)
    for model in models:
        model.fit(x, y, epochs=2, shuffle=False, verbose=0)
    assert same(everything(models[0]), everything(models[1]))


def test_the_sweep_restores_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pictures(60)
    model = make_model()
    model.fit(x, y, verbose=0)
    before = everything(model)
    train, calls = model._train_batch, []

    def failing(*args: Any) -> None:
        calls.append(1)
        train(*args)
        if len(calls) == 5:
            assert not same(everything(model), before)
            raise KeyboardInterrupt

    monkeypatch.setattr(model, "_train_batch", failing)
    with pytest.raises(KeyboardInterrupt):
        recipes.find_learning_rate(model, (x, y), verbose=0)
    assert same(everything(model), before)
    monkeypatch.undo()
    model.fit(x, y, verbose=0)  # it is free again


def test_the_sweep_goes_through_the_rates_and_stops_when_losses_diverge(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, y = pictures(60)
    model = make_model("sgd", trainable=False)
    history = recipes.find_learning_rate(model, (x, y), start=1e-5, stop=1e7, batch_size=30)
    rates = history.history["learning_rate"]
    assert rates[0] == pytest.approx(1e-5) and 20 < len(rates) < 100
    np.testing.assert_allclose(np.diff(np.log(rates)), np.log(1e12) / 99, rtol=1e-6)
    assert len(history.history["loss"]) == len(history.history["smoothed_loss"]) == len(rates)
    assert history.learning_rate in rates and 1e-4 < history.learning_rate < 100
    assert model.prefix_runs == 60  # each picture once, though 100 batches of 30 were trained
    said = capsys.readouterr().out
    assert f"{len(rates)} steps from learning rate 1e-05" in said
    assert f"{history.learning_rate:.2g}" in said
    again = recipes.find_learning_rate(model, (x, y), start=1e-5, stop=1e7, batch_size=30)
    assert again.history == history.history
    other = recipes.find_learning_rate(model, (x, y), start=1e-5, stop=1e7, batch_size=30, seed=1)
    assert other.history != history.history


def test_the_sweep_leaves_the_order_of_a_generator(folder: Path) -> None:
    data, fresh = read(folder, "sparse"), read(folder, "sparse")
    recipes.find_learning_rate(make_model(trainable=False), data, steps=12, verbose=0)
    assert np.array_equal(data.batch_indices(0), fresh.batch_indices(0))
    augmented = read(folder, "sparse", preprocessing_function=as_it_is)
    history = recipes.find_learning_rate(make_model(), augmented, steps=12, verbose=0)
    assert len(history.history["loss"]) == 12


def test_the_steepest_place_is_found_under_noise() -> None:
    rates = np.geomspace(1e-6, 1, 100)
    places = np.log10(rates)
    losses = 2 - 1.5 / (1 + np.exp(-4 * (places + 3))) + np.where(places > -1, 9 * (places + 1), 0)
    noisy = losses + np.random.default_rng(0).normal(0, 0.05, 100)
    found = _learning_rate.LearningRateHistory(list(rates), list(noisy), 4.0)
    assert abs(np.log10(found.learning_rate) + 3) < 0.3
    assert _learning_rate.steepest(rates, places + 7) is None
    flat = np.full(5, 2.0)
    np.testing.assert_allclose(_learning_rate.smooth(flat, 2.0), flat)


def test_plot_shows_curve_and_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rates = [float(rate) for rate in np.geomspace(1e-6, 1, 50)]
    losses = [2 - 1.5 / (1 + np.exp(-4 * (np.log10(rate) + 3))) for rate in rates]
    history = _learning_rate.LearningRateHistory(rates, losses, 2.0)
    ax = history.plot()
    assert ax.get_xscale() == "log" and ax.get_xlabel() == "learning rate"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert (
        labels[:2] == ["each batch", "smoothed"]
        and labels[2] == f"steepest: {history.learning_rate:.2g}"
    )
    assert np.array_equal(ax.lines[1].get_ydata(), history.history["smoothed_loss"])
    assert history.plot(ax) is ax
    plt.close(ax.figure)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        history.plot()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"start": 0}, "0 < start < stop, got start=0.0"),
        ({"start": 2.0}, "start=2.0 and stop=1.0"),
        ({"start": "low"}, "start must be a number"),
        ({"steps": 5}, "steps must be a whole number of at least 10"),
        ({"divergence": 0.5}, "divergence must be a number of at least 1"),
        ({"data": iter([(X, Y)] * 3)}, "data gave 3 batches, but steps=100"),
        ({"data": X}, r"data must be \(x, y\)"),
    ],
)
def test_bad_arguments_of_the_sweep_are_named(arguments: dict[str, Any], text: str) -> None:
    model = make_model(trainable=False)
    with pytest.raises(ValueError, match=text):
        recipes.find_learning_rate(**{"model": model, "data": (X, Y), **arguments})


def test_the_sweep_needs_a_compiled_model() -> None:
    with pytest.raises(RuntimeError, match=r"Call compile\(\) before find_learning_rate"):
        recipes.find_learning_rate(make_base(), (X, Y))


# --- OneCycle ------------------------------------------------------------------------------------

# torch.optim.lr_scheduler.OneCycleLR(SGD(momentum=0.9), max_lr=0.1, total_steps=...) of torch 2.13:
# with its defaults, and with pct_start=0.5, div_factor=10, final_div_factor=100, max_momentum=0.9,
# base_momentum=0.5.
TORCH: list[tuple[callbacks.OneCycle, list[tuple[float, float]]]] = [
    (
        callbacks.OneCycle(0.1, 10, momentum=(0.95, 0.85)),
        [
            (0.004, 0.95),
            (0.052, 0.9),
            (0.1, 0.85),
            (0.0950484632, 0.854951557),
            (0.0811745654, 0.86882551),
            (0.0611262022, 0.888873953),
            (0.0388741978, 0.911126047),
            (0.0188258346, 0.93117449),
            (0.0049519368, 0.945048443),
            (4e-07, 0.95),
        ],
    ),
    (
        callbacks.OneCycle(0.1, 7, 0.5, 10, 100, momentum=(0.9, 0.5)),
        [
            (0.01, 0.9),
            (0.0410942353, 0.761803399),
            (0.0914057647, 0.538196601),
            (0.095053395, 0.519806226),
            (0.0611649207, 0.655495813),
            (0.0189066844, 0.82469796),
            (0.0001, 0.9),
        ],
    ),
]


@pytest.mark.parametrize(("cycle", "expected"), TORCH)
def test_one_cycle_has_the_numbers_of_torch(
    cycle: callbacks.OneCycle, expected: list[tuple[float, float]]
) -> None:
    found = [(cycle.learning_rate_at(i), cycle.momentum_at(i)) for i in range(len(expected))]
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert cycle.learning_rate_at(len(expected) + 5) == pytest.approx(expected[-1][0])


def test_one_cycle_of_few_steps() -> None:
    for steps in (1, 2, 3):
        for warmup in (0.0, 0.3, 1.0):
            cycle = callbacks.OneCycle(0.1, steps, warmup)
            rates = [cycle.learning_rate_at(i) for i in range(steps)]
            assert all(0 < rate <= 0.1 for rate in rates) and max(rates) == pytest.approx(0.1)


class Recorder(callbacks.Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[float, float | None]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        optimizer = self.model.optimizer
        self.seen.append((optimizer.learning_rate, getattr(optimizer, "momentum", None)))


def test_one_cycle_in_fit_and_in_two_fits() -> None:
    x, y = pictures(60)
    recorder, cycle = Recorder(), callbacks.OneCycle(0.1, momentum=(0.95, 0.85))
    model = make_model(optimizers.SGD(0.5, momentum=0.9), trainable=False)
    history = model.fit(x, y, batch_size=12, epochs=2, verbose=0, callbacks=[cycle, recorder])
    np.testing.assert_allclose(recorder.seen, TORCH[0][1], rtol=1e-7)
    assert history.history["learning_rate"] == [recorder.seen[4][0], recorder.seen[9][0]]

    halves = Recorder()
    model = make_model(optimizers.SGD(0.5, momentum=0.9), trainable=False)
    for first in (0, 1):
        cycle = callbacks.OneCycle(0.1, 10, momentum=(0.95, 0.85))
        model.fit(
            x,
            y,
            batch_size=12,
            epochs=first + 1,
            initial_epoch=first,
            verbose=0,
            callbacks=[cycle, halves],
        )
    assert halves.seen == recorder.seen


def test_momentum_holds_from_the_next_batch_on() -> None:
    x, y = pictures(60)
    optimizer = optimizers.SGD(0.5, momentum=0.9)
    model = make_model(optimizer, trainable=False)
    start = model.get_weights()[-2]
    model.train_on_batch(x, y)
    first = model.get_weights()[-2]
    optimizer.learning_rate, optimizer.momentum = 0.0, 0.25
    model.train_on_batch(x, y)
    np.testing.assert_allclose(model.get_weights()[-2] - first, 0.25 * (first - start), rtol=2e-3)
    with pytest.raises(ValueError, match="momentum must be a number of at least 0 and at most 1"):
        optimizer.momentum = 1.5
    for before, after in ((0.5, 0.0), (0.0, 0.5)):
        optimizer = optimizers.SGD(0.5, momentum=before)
        with pytest.raises(ValueError, match=f"momentum cannot go from {before:g} to {after:g}"):
            optimizer.momentum = after
        assert optimizer.momentum == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"max_learning_rate": -1}, "max_learning_rate must be a number of at least 0"),
        ({"total_steps": 0}, "total_steps must be a whole number of at least 1"),
        ({"warmup": 1.5}, "warmup must be a number of at least 0 and at most 1"),
        ({"start_divisor": 0.5}, "start_divisor must be a number of at least 1"),
        ({"end_divisor": 0}, "end_divisor must be a number of at least 1"),
        ({"momentum": 0.9}, r"momentum must be \(most, least\), got 0.9"),
        ({"momentum": (0.8, 0.9)}, "momentum must be a number of at least 0 and at most 0.8"),
        ({"momentum": (0.8, 0.0)}, "momentum must stay above 0"),
    ],
)
def test_bad_arguments_of_one_cycle_are_named(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"OneCycle: {text}"):
        callbacks.OneCycle(**{"max_learning_rate": 0.1, **arguments})


def test_one_cycle_says_what_it_lacks() -> None:
    x, y = pictures(12)
    with pytest.raises(RuntimeError, match="known once fit has begun"):
        callbacks.OneCycle(0.1).learning_rate_at(0)
    model = make_model("adam", trainable=False)
    with pytest.raises(ValueError, match="needs an SGD that is compiled with a momentum"):
        model.fit(x, y, verbose=0, callbacks=callbacks.OneCycle(0.1, momentum=(0.9, 0.8)))
    with pytest.raises(ValueError, match="pass steps_per_epoch to fit"):
        model.fit(iter([(x, y)]), verbose=0, callbacks=callbacks.OneCycle(0.1))


# --- fine_tune -----------------------------------------------------------------------------------


def test_blocks_of_mobilenet_v2() -> None:
    base = tlcore.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None)
    blocks = _fine_tune.blocks_of(base, False)
    names = [block.name for block in blocks]
    units = [f"block_{i}" for i in range(1, 17)]
    assert names == ["Conv1", "expanded_conv", *units, "Conv_1"]
    assert [layer.name for layer in blocks[0].layers] == ["Conv1", "bn_Conv1"]
    assert len(blocks[1].layers) == 4 and {len(block.layers) for block in blocks[2:-1]} == {6}

    def chosen(unfreeze: Any) -> list[str]:
        return [block.name for block in _fine_tune.choose("fine_tune", blocks, unfreeze)]

    assert chosen(None) == ["block_13", "block_14", "block_15", "block_16", "Conv_1"]
    assert chosen(2) == ["block_16", "Conv_1"] == chosen("block_16_project_BN")
    assert chosen("all") == names == chosen("Conv1") == chosen(19)
    assert chosen("block_1") == names[2:]
    for unfreeze, text in (
        (
            "block_17",
            "unfreeze='block_17' is no block or layer with weights; the blocks are 'Conv1'",
        ),
        (20, "unfreeze=20 is more than the 19 blocks"),
        (0, "unfreeze must be a whole number of at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=text):
            chosen(unfreeze)


def test_rates_fall_with_depth_and_batch_norm_stays_frozen() -> None:
    model = make_model()
    blocks = _fine_tune.blocks_of(model, True)
    assert [block.name for block in blocks] == ["block_1", "block_2"]
    _fine_tune.release(model, blocks, 0.5)
    leaves = {layer.name: layer for layer in model._leaves() if layer.weights}
    rates = {name: layer.learning_rate_multiplier for name, layer in leaves.items()}
    *_, head = leaves
    assert (rates["block_1_conv"], rates["block_2_conv"], rates[head]) == (0.25, 0.5, 1.0)
    trains = [name for name, layer in leaves.items() if layer.trainable]
    assert trains == ["block_1_conv", "block_2_conv", head]
    _fine_tune.release(model, blocks[1:], 0.5)
    assert [name for name, layer in leaves.items() if layer.trainable] == trains[1:]
    model.compile("sgd", loss="sparse_categorical_crossentropy")
    assert model.trainable_variables[0].path == "block_2_conv/kernel"


def test_fine_tuning_learns_what_the_probe_cannot(capsys: pytest.CaptureFixture[str]) -> None:
    data, held_out = pictures(150), pictures(60, seed=1)
    base = make_base()
    norms = [w.numpy() for w in base.weights if "BN" in w.path]
    history = recipes.fine_tune(
        base,
        data,
        validation_data=held_out,
        epochs=12,
        unfreeze="all",
        learning_rate=0.01,
        verbose="auto",
    )
    found, probe, model = history.history, history.probe.history, history.model
    assert history.unfrozen == ["block_1", "block_2"]
    assert history.kept == int(np.argmin(found["val_loss"]))
    assert found["val_loss"][history.kept] < 0.8 * probe["val_loss"][0]
    tested = model.evaluate(*held_out, verbose=0, return_dict=True)
    assert tested["loss"] == pytest.approx(min(found["val_loss"]), abs=1e-6)
    assert same([w.numpy() for w in base.weights if "BN" in w.path], norms)
    assert len(found["learning_rate"]) == len(history.epoch) == 12
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith(
        "fine_tune: the last layer and 'block_1' to 'block_2' trained for 12"
    )
    assert f"kept is epoch {history.kept + 1}" in said[-1]


def test_the_probe_is_kept_where_fine_tuning_spoils_it() -> None:
    data, held_out = pictures(60), pictures(30, seed=1)
    probe = recipes.linear_probe(make_base(), data, validation_data=held_out, verbose=0)
    tuned = recipes.fine_tune(
        make_base(),
        data,
        validation_data=held_out,
        epochs=2,
        unfreeze="all",
        learning_rate=50.0,
        optimizer=optimizers.SGD(momentum=0.9),
        verbose=0,
    )
    assert tuned.kept is None and min(tuned.history["val_loss"]) > probe.history["val_loss"][0]
    assert same(tuned.model.get_weights(), probe.model.get_weights())
    alone = recipes.fine_tune(make_base(), data, epochs=2, unfreeze="all", verbose=0)
    assert alone.kept == 1 and "val_loss" not in alone.history


def test_fine_tuning_is_deterministic() -> None:
    data = pictures(60)
    runs = []
    for _ in range(2):
        set_random_seed(4)
        run = recipes.fine_tune(make_base(), data, epochs=2, unfreeze="all", verbose=0)
        runs.append(run.model.get_weights())
    assert same(*runs)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_model_is_trained_in_place(activation: str) -> None:
    x, y = pictures(60)
    model = Sequential(
        [
            make_base(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(6, activation="relu", name="hidden"),
            layers.Dropout(0.3),
            layers.Dense(3, activation=activation),
        ]
    )
    hidden = model.get_layer("hidden").get_weights()
    history = recipes.fine_tune(
        model, (x, np.eye(3)[y]), validation_data=(x, np.eye(3)[y]), unfreeze=1, epochs=1, verbose=0
    )
    assert history.model is model and history.unfrozen == ["hidden"]
    assert not same(model.get_layer("hidden").get_weights(), hidden) or history.kept is None
    kind = {"softmax": "categorical", "sigmoid": "binary"}[activation]
    assert model.loss.core_name == f"{kind}_crossentropy"
    probe = history.probe.history
    assert probe["loss"][0] == pytest.approx(probe["val_loss"][0], abs=1e-5)
    assert probe["accuracy"] == [pytest.approx(probe["val_accuracy"][0])]


def test_one_output_is_a_question_of_yes_or_no() -> None:
    x, y = pictures(60)
    y = (y == 2).astype(np.float32)
    model = Sequential(
        [make_base(), layers.GlobalMaxPooling2D(), layers.Dense(1, activation="sigmoid")]
    )
    history = recipes.fine_tune(model, (x, y), validation_data=(x, y), epochs=1, verbose=0)
    probe = history.probe.history
    assert probe["loss"][0] == pytest.approx(probe["val_loss"][0], abs=1e-5)
    assert probe["accuracy"] == probe["val_accuracy"] and probe["accuracy"][0] > 0.6


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"model_or_base": None}, "model_or_base must be a model"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
        ({"depth_factor": 0}, "depth_factor must be above 0"),
        ({"depth_factor": 2}, "depth_factor must be a number of at least 0 and at most 1"),
        ({"learning_rate": -1}, "learning_rate must be a number of at least 0"),
        ({"warmup": 3}, "warmup must be"),
        ({"unfreeze": "top"}, "unfreeze='top' is no block"),
        ({"optimizer": "lion"}, "optimizer='lion'"),
    ],
)
def test_bad_arguments_of_fine_tune_are_named_before_anything_is_done(
    arguments: dict[str, Any], text: str
) -> None:
    base = make_base()
    with pytest.raises(ValueError, match=text):
        recipes.fine_tune(**{"model_or_base": base, "data": (X, Y), **arguments})
    assert base.trainable


def test_a_head_that_does_not_fit_the_classes_is_named() -> None:
    model = Sequential(
        [make_base(), layers.GlobalAveragePooling2D(), layers.Dense(2, "softmax", name="two")]
    )
    with pytest.raises(ValueError, match="class 2, but the last layer, 'two', tells 2 classes"):
        recipes.fine_tune(model, (X, Y))
    with pytest.raises(ValueError, match="have 3 columns, but the last layer, 'two', has 2 units"):
        recipes.fine_tune(model, (X, np.eye(3)[Y]))
    bare = Sequential(
        [make_base(2), layers.Dense(3, activation="softmax", use_bias=False, name="bare")]
    )
    with pytest.raises(ValueError, match="the last layer, 'bare', must have a bias"):
        recipes.fine_tune(bare, (X, Y))


def test_recipes_survive_a_copy_of_their_model() -> None:
    history = recipes.linear_probe(make_base(), pictures(60), verbose=0)
    twin = copy.deepcopy(history.model)
    assert same(twin.get_weights(), history.model.get_weights())


# --- real photos ---------------------------------------------------------------------------------


def test_flowers(shared_data: Path) -> None:
    base = tlcore.applications.MobileNetV2(
        (224, 224, 3),
        alpha=0.35,
        include_top=False,
        weights=str(
            shared_data
            / "weights"
            / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
        ),
    )
    generator = ImageDataGenerator(
        preprocessing_function=tlcore.applications.mobilenet_v2.preprocess_input,
        validation_split=0.2,
    )
    train, held_out = (
        generator.flow_from_directory(
            shared_data / "photos" / "flowers", (224, 224), subset=subset, seed=1
        )
        for subset in ("training", "validation")
    )
    tuned = recipes.fine_tune(base, train, validation_data=held_out, epochs=2, verbose=0)
    probe = tuned.probe.history
    assert max(probe["cv_accuracy"]) > 0.8 and probe["val_accuracy"][0] > 0.8
    assert tuned.unfrozen[0] == "block_13"
    loss = tuned.model.evaluate(held_out, verbose=0, return_dict=True)["loss"]
    assert loss <= probe["val_loss"][0] + 1e-6
