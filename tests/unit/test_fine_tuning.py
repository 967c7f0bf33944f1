"""Convolutions and batch norms that train, through the facade: what changes, memory, notes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tlcore
from tlcore import applications, layers
from tlcore.models import Sequential
from tlcore.training import compiled as compiled_module
from tlcore.utils import notes, set_random_seed

SIZE = 32


def make_model(trainable_from: str | None = None, classes: int = 3) -> Sequential:
    set_random_seed(1)
    base = applications.MobileNetV2((SIZE, SIZE, 3), 0.35, include_top=False, weights=None)
    if trainable_from is not None:
        reached = False
        for layer in base.layers:
            reached = reached or layer.name == trainable_from
            layer.trainable = reached
    return Sequential(
        [base, layers.GlobalAveragePooling2D(), layers.Dense(classes, activation="softmax")]
    )


def pictures(count: int = 32, classes: int = 3) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    y = np.arange(count) % classes
    x = random.normal(0, 0.3, (count, SIZE, SIZE, 3)) + (y / classes)[:, None, None, None]
    return x.astype(np.float32), y


def freeze_norms(model: Sequential) -> None:
    for layer in model.layers[0].layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def changed(before: list[Any], model: Sequential) -> set[str]:
    return {
        variable.path
        for variable, old in zip(model.weights, before, strict=True)
        if not np.array_equal(variable.numpy(), old)
    }


def test_everything_trains_and_the_loss_falls() -> None:
    model = make_model()
    x, y = pictures()
    model.compile(tlcore.optimizers.SGD(0.02), "sparse_categorical_crossentropy")
    before = model.get_weights()
    history = model.fit(x, y, epochs=12, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    # Of the betas before a batch norm only rounding is left as a gradient.
    still = {v.path for v in model.weights} - changed(before, model)
    assert all("beta" in path for path in still)


def test_only_the_layers_from_the_cut_on_change() -> None:
    model = make_model("block_14_expand")
    x, y = pictures()
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(x, y, epochs=1, verbose=0)
    names = {path.split("/")[0] for path in changed(before, model)}
    assert "block_14_expand" in names and "block_14_expand_BN" in names and "Conv_1" in names
    assert not any(name.startswith(("Conv1", "block_13", "block_1_")) for name in names)


def test_trainable_counts_from_the_next_compile_on() -> None:
    model = make_model("block_16_expand")
    x, y = pictures()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.layers[0].trainable = False
    before = model.get_weights()
    model.train_on_batch(x, y)
    assert any("block_16" in path for path in changed(before, model))
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.train_on_batch(x, y)
    assert {path.split("/")[0] for path in changed(before, model)} == {model.layers[-1].name}


def test_frozen_norms_keep_their_statistics_while_convolutions_train() -> None:
    model = make_model()
    freeze_norms(model)
    for variable in model.weights:  # or the signal of a fresh network dies on its way
        if variable.name == "gamma":
            variable.assign(np.full(variable.shape, 3.0))
    x, y = pictures()
    model.compile(tlcore.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    before = model.get_weights()
    model.fit(x, y, epochs=1, verbose=0)
    paths = changed(before, model)
    assert "Conv1/kernel" in paths and "block_5_depthwise/depthwise_kernel" in paths
    assert not any("_BN/" in path or "bn_" in path for path in paths)


def test_moving_statistics_move_towards_those_of_the_batch() -> None:
    set_random_seed(2)
    norm = layers.BatchNormalization(momentum=0.75, epsilon=1e-3)
    model = Sequential([layers.Input((4,)), norm, layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).normal(3, 2, (20, 4)).astype(np.float32)
    model.train_on_batch(x, np.arange(20) % 2)
    _, _, mean, variance = (weight.numpy() for weight in norm.weights)
    np.testing.assert_allclose(mean, 0.25 * x.mean(axis=0), rtol=1e-5)
    # biased, as in Keras 3
    np.testing.assert_allclose(variance, 0.75 + 0.25 * x.var(axis=0), rtol=1e-5)


@pytest.mark.parametrize("frozen", [True, False])
def test_kept_features_of_a_moved_cut_change_nothing_but_the_work(frozen: bool) -> None:
    x, y = pictures(48)
    weights = []
    for keep in (None, False):
        model = make_model("block_13_expand")
        if frozen:
            freeze_norms(model)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=3, batch_size=16, shuffle=False, verbose=0, keep_features=keep)
        assert model.prefix_runs == (48 if keep is None else 3 * 48)
        weights.append(model.get_weights())
    for kept, computed in zip(*weights, strict=True):
        np.testing.assert_array_equal(kept, computed)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_same_seed_gives_the_same_bits(frozen: bool) -> None:
    x, y = pictures(40)
    runs = []
    for _ in range(2):
        model = make_model()
        if frozen:
            freeze_norms(model)
        model.compile("adam", "sparse_categorical_crossentropy")
        model.fit(x, y, epochs=2, batch_size=16, shuffle=False, verbose=0)
        runs.append(model.get_weights())
    for one, two in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, two)


def test_small_batches_of_a_training_norm_are_noted_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes.reset_notes()
    x, y = pictures(12)
    model = make_model("block_16_expand")
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=2, batch_size=4, verbose=0)
    said = capsys.readouterr().err
    assert said.count("batches of 4, fewer than 16") == 1 and "'block_16_expand_BN'" in said
    freeze_norms(model)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, batch_size=4, verbose=0)
    assert "fewer than 16" not in capsys.readouterr().err


def test_a_last_batch_that_is_smaller_is_no_reason_for_a_note(
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes.reset_notes()
    x, y = pictures(20)
    model = make_model("block_16_expand")
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, batch_size=16, verbose=0)
    assert "fewer than 16" not in capsys.readouterr().err


def test_young_moving_statistics_are_noted(capsys: pytest.CaptureFixture[str]) -> None:
    notes.reset_notes()
    x, y = pictures(16)
    model = make_model("block_16_expand")
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=2, batch_size=16, verbose=0)
    assert "after 2 steps 100% of that is left" in capsys.readouterr().err
    model.fit(x, y, epochs=2, batch_size=16, verbose=0)  # they have moved: who knows from where
    assert "moving statistics" not in capsys.readouterr().err


def test_momentum_counts_from_the_next_compile_on() -> None:
    norm = layers.BatchNormalization(momentum=0.99)
    model = Sequential([layers.Input((4,)), norm, layers.Dense(2, activation="softmax")])
    x = np.random.default_rng(0).normal(3, 2, (20, 4)).astype(np.float32)
    norm.momentum = 0.5
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.train_on_batch(x, np.arange(20) % 2)
    np.testing.assert_allclose(norm.weights[2].numpy(), 0.5 * x.mean(axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="momentum must be a number from 0 to 1"):
        norm.momentum = 1.5


def test_a_batch_that_does_not_fit_is_refused_with_one_that_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = pictures(40)
    model = make_model()
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    free = model._compiled.trainer.memory(24)  # type: ignore[union-attr]
    monkeypatch.setattr(compiled_module, "free_memory", lambda: free)
    with pytest.raises(MemoryError, match=r"batches of 40 needs .*; batch_size=\d+ would fit") as e:
        model.fit(x, y, batch_size=40, verbose=0)
    assert not changed(before, model)
    fits = int(str(e.value).split("batch_size=")[1].split()[0])
    assert 24 <= fits < 40
    model.fit(x, y, batch_size=fits, verbose=0)
    monkeypatch.setattr(compiled_module, "free_memory", lambda: 1000)
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(MemoryError, match="not even one picture would fit"):
        model.train_on_batch(x[:2], y[:2])


def test_summary_tells_the_peak_of_training() -> None:
    model = make_model()
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "Peak memory of training" not in lines[0]
    model.compile("adam", "sparse_categorical_crossentropy")
    for batch_size in (8, 64):
        lines.clear()
        model.summary(print_fn=lines.append, batch_size=batch_size)
        assert f"Peak memory of training, batches of {batch_size}: " in lines[0]
    small, large = (model.training_memory(rows) for rows in (8, 64))
    assert small is not None and large is not None and 10_000_000 < small < large


def test_layers_of_other_networks_train() -> None:
    """A small network from nothing, of the layers that MobileNetV2 does not have."""
    set_random_seed(3)
    x, y = pictures(48)
    model = Sequential(
        [
            layers.Input((SIZE, SIZE, 3)),
            layers.Conv2D(8, 5, strides=2, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.SeparableConv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.Activation("silu"),
            layers.SpatialDropout2D(0.1),
            layers.AveragePooling2D(2, padding="same"),
            layers.Conv2D(16, (1, 3), activation="gelu"),
            layers.Flatten(),
            layers.Dense(16, activation="tanh"),
            layers.Dropout(0.1),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(tlcore.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["acc"])
    before = model.get_weights()
    model.fit(x, y, epochs=15, batch_size=16, verbose=0)
    assert len(changed(before, model)) == len(model.weights)
    _, accuracy = model.evaluate(x, y, verbose=0)  # type: ignore[misc]
    assert accuracy >= 0.9
