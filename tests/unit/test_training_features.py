"""What crosses the cut is computed once where that is safe, and changes no number anywhere."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlcore import applications, layers
from tlcore.models import Sequential
from tlcore.preprocessing.image import DirectoryIterator, ImageDataGenerator
from tlcore.training.kept_features import KeptFeatures, ScopedKey
from tlcore.utils import memory, notes, set_random_seed

SIZE = 32
COUNTS = {"kite": 9, "surf": 8, "wind": 10}
TOTAL = sum(COUNTS.values())


@pytest.fixture(autouse=True)
def forgotten_notes() -> None:
    notes.reset_notes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.RandomState(0)
    for place, (name, count) in enumerate(COUNTS.items()):
        (root / name).mkdir()
        for i in range(count):
            pixels = random.randint(0, 200, (40, 36, 3)).astype(np.uint8)
            pixels[..., place] += 50
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def flow(folder: Path, batch_size: int = 5, **options: Any) -> DirectoryIterator:
    generator = ImageDataGenerator(rescale=1 / 255, **options)
    return generator.flow_from_directory(
        folder, target_size=(SIZE, SIZE), batch_size=batch_size, seed=3
    )


@pytest.fixture(scope="module")
def frozen_base() -> Any:
    """A small MobileNetV2 with random weights and statistics."""
    set_random_seed(1)
    base = applications.MobileNetV2((SIZE, SIZE, 3), 0.35, include_top=False, weights=None)
    random = np.random.RandomState(2)
    for layer in base.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    random.uniform(0.5, 1.5, gamma.shape),
                    random.normal(0, 0.1, beta.shape),
                    random.normal(0, 0.1, mean.shape),
                    random.uniform(0.5, 1.5, variance.shape),
                ]
            )
    base.trainable = False
    return base


def make_model(base: Any, dropout: float = 0.0) -> Sequential:
    set_random_seed(4)
    model = Sequential(
        [
            base,
            layers.GlobalAveragePooling2D(),
            layers.Dropout(dropout),
            layers.Dense(8, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    return model


def pictures(count: int = 21) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(5)
    x = random.uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)
    return x, np.eye(3, dtype=np.float32)[random.randint(0, 3, count)]


@pytest.mark.parametrize("batch_size", [1, 4, 13, 32])  # 27 = 2 * 13 + 1: a last batch of one
def test_keeping_changes_no_bit(folder: Path, frozen_base: Any, batch_size: int) -> None:
    results = []
    for keep in (None, False):
        model = make_model(frozen_base, dropout=0.3)
        history = model.fit(
            flow(folder, batch_size),
            epochs=3,
            verbose=0,
            validation_data=flow(folder, 7),
            keep_features=keep,
        )
        results.append((history.history, model.get_weights(), model.prefix_runs))
    kept, computed = results
    assert kept[0] == computed[0]
    for ours, theirs in zip(kept[1], computed[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert kept[2] == TOTAL  # the validation pictures are the same files
    assert computed[2] == 2 * 3 * TOTAL


def test_later_calls_reuse_features(folder: Path, frozen_base: Any) -> None:
    model = make_model(frozen_base)
    model.fit(flow(folder), epochs=1, verbose=0)
    assert model.prefix_runs == TOTAL
    assert model.evaluate(flow(folder, 4), verbose=0) == pytest.approx(
        model.evaluate(flow(folder, 4), verbose=0, keep_features=False), abs=0
    )
    assert model.prefix_runs == 2 * TOTAL
    other = flow(folder, 6)
    scores = model.predict(other, verbose=0)
    assert scores.shape == (TOTAL, 3)
    model.fit(flow(folder), epochs=1, verbose=0)
    assert model.prefix_runs == 2 * TOTAL


def test_predict_gives_the_same_with_and_without(folder: Path, frozen_base: Any) -> None:
    model = make_model(frozen_base)
    first = model.predict(flow(folder, 6), verbose=0)
    second = model.predict(flow(folder, 6), verbose=0)
    third = model.predict(flow(folder, 6), verbose=0, keep_features=False)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, third)
    assert model.prefix_runs == 2 * TOTAL


def test_weights_of_the_prefix_drop_features_those_of_the_head_do_not(
    folder: Path, frozen_base: Any
) -> None:
    model = make_model(frozen_base)
    model.fit(flow(folder), epochs=1, verbose=0)
    head = model.layers[-1]
    head.set_weights([np.zeros_like(w) for w in head.get_weights()])
    model.evaluate(flow(folder), verbose=0)
    assert model.prefix_runs == TOTAL
    frozen_base.set_weights(frozen_base.get_weights())
    model.evaluate(flow(folder), verbose=0)
    assert model.prefix_runs == 2 * TOTAL


def test_a_moved_cut_drops_features(folder: Path, frozen_base: Any) -> None:
    model = make_model(frozen_base)
    model.fit(flow(folder), epochs=1, verbose=0)
    model.layers[3].trainable = False  # the cut moves behind the first dense layer
    model.evaluate(flow(folder), verbose=0)
    assert model.prefix_runs == TOTAL, "trainable counts from the next compile on"
    model.compile("adam", "categorical_crossentropy")
    model.evaluate(flow(folder), verbose=0)
    assert model.prefix_runs == 2 * TOTAL


def test_trained_and_frozen_weights_in_one_block(folder: Path) -> None:
    """MobileNetV2 with its own top: every step raises the version that the features depend on."""
    set_random_seed(1)
    model = applications.MobileNetV2((SIZE, SIZE, 3), 0.35, weights=None, classes=3)
    for layer in model.layers[:-1]:
        layer.trainable = False
    model.compile("adam", "categorical_crossentropy")
    model.fit(flow(folder), epochs=3, verbose=0)
    assert model.prefix_runs == TOTAL
    model.evaluate(flow(folder), verbose=0)
    assert model.prefix_runs == TOTAL


def test_a_changed_file_is_read_again(folder: Path, frozen_base: Any, tmp_path: Path) -> None:
    for name in COUNTS:
        (tmp_path / name).mkdir()
        Image.open(folder / name / "0.png").save(tmp_path / name / "0.png")
    model = make_model(frozen_base)
    model.fit(flow(tmp_path), epochs=2, verbose=0)
    assert model.prefix_runs == 3
    Image.open(folder / "surf" / "1.png").save(tmp_path / "surf" / "0.png")
    os.utime(tmp_path / "surf" / "0.png", (time.time() + 5, time.time() + 5))
    model.fit(flow(tmp_path), epochs=2, verbose=0)
    assert model.prefix_runs == 4


def test_arrays_are_kept_within_one_fit_only(frozen_base: Any) -> None:
    model = make_model(frozen_base)
    x, y = pictures()
    model.fit(x, y, epochs=3, validation_split=0.25, verbose=0)
    assert model.prefix_runs == 21
    assert len(model._kept) == 0
    model.fit(x, y, epochs=3, verbose=0)
    assert model.prefix_runs == 42
    model.predict(x, verbose=0)
    model.predict(x, verbose=0)
    assert model.prefix_runs == 84


def test_an_array_that_changes_in_place_is_never_stale(frozen_base: Any) -> None:
    model = make_model(frozen_base)
    x, y = pictures()
    flown = ImageDataGenerator().flow(x, y, batch_size=5, shuffle=False)
    model.fit(flown, verbose=0)
    model.evaluate(flown, verbose=0)
    x *= -1
    runs = model.prefix_runs
    after = model.evaluate(flown, verbose=0)
    assert model.prefix_runs == runs + len(x)
    assert after == model.evaluate(flown, verbose=0, keep_features=False)


def test_a_reader_that_no_longer_holds_is_forgotten(folder: Path, frozen_base: Any) -> None:
    model = make_model(frozen_base)
    model.fit(flow(folder), verbose=0)
    assert model.reader is not None
    own = ImageDataGenerator(preprocessing_function=lambda x: x / 100)
    model.fit(
        own.flow_from_directory(folder, target_size=flow(folder).target_size), verbose=0, epochs=1
    )
    assert model.reader is None
    with pytest.raises(ValueError, match=r"model\.reader.*preprocessing_function"):
        model.predict_image(next(folder.glob("*/*")))


def test_what_is_not_pure_streams_unless_asked(folder: Path, frozen_base: Any) -> None:
    def double(x: np.ndarray) -> np.ndarray:
        return 2 * x

    model = make_model(frozen_base)
    model.fit(flow(folder, preprocessing_function=double), epochs=2, verbose=0)
    assert model.prefix_runs == 2 * TOTAL
    model.fit(flow(folder, preprocessing_function=double), epochs=2, verbose=0, keep_features=True)
    assert model.prefix_runs == 3 * TOTAL
    assert len(model._kept) == 0, "nothing of it may answer a later call"

    class Batches:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
            x, y = pictures()
            return x[7 * i : 7 * i + 7], y[7 * i : 7 * i + 7]

    before = model.prefix_runs
    model.fit(Batches(), epochs=3, verbose=0)
    assert model.prefix_runs == before + 63
    model.fit(Batches(), epochs=3, verbose=0, keep_features=True)
    assert model.prefix_runs == before + 84

    def forever() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            yield pictures(4)

    with pytest.raises(ValueError, match="keep_features=True needs data"):
        model.fit(forever(), steps_per_epoch=1, verbose=0, keep_features=True)


def test_fit_says_once_that_it_keeps(
    folder: Path, frozen_base: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_model(frozen_base)
    model.fit(flow(folder), epochs=1, verbose=0)
    model.fit(flow(folder), epochs=1, verbose=0)
    said = [line for line in capsys.readouterr().err.splitlines() if "keeps" in line]
    assert len(said) == 1 and "keep_features=False" in said[0] and "1280" in said[0]
    make_model(frozen_base).fit(flow(folder), epochs=1, verbose=0, keep_features=False)
    assert "keeps" not in capsys.readouterr().err


def test_what_does_not_fit_is_computed_again(folder: Path, frozen_base: Any) -> None:
    results = []
    for budget in (None, 10 * (1280 * 4 + 400), 0):
        model = make_model(frozen_base)
        model._kept = KeptFeatures(budget)
        history = model.fit(flow(folder), epochs=3, verbose=0).history
        results.append((history, model.prefix_runs))
    assert [runs for _, runs in results] == [TOTAL, TOTAL + 2 * (TOTAL - 10), 3 * TOTAL]
    assert results[0][0] == results[1][0] == results[2][0]


def test_store_makes_room_for_a_later_call() -> None:
    row = np.zeros((1, 25), np.float32)
    kept = KeptFeatures(3 * (100 + 400))
    kept.renew("stamp")
    kept.begin()
    for key in "abcd":
        kept.add("stamp", [key], row)
    assert kept.missing("abcd") == [3] and kept.nbytes == 1500
    kept.begin()
    kept.take("stamp", "b", row)
    kept.add("stamp", "d", row)
    kept.add("stamp", "e", row)
    assert kept.missing("abcde") == [0, 2]
    kept.add("stamp", "f", row)
    assert kept.missing("bdef") == [3], "those of this call stay"


def test_store_drops_by_stamp_and_scope() -> None:
    kept = KeptFeatures(10_000)
    scope = object()
    kept.renew(1)
    kept.add(1, ["a", ScopedKey(scope, 0), ScopedKey(object(), 0)], np.ones((3, 2), np.float32))
    kept.add(2, ["late"], np.ones((1, 2), np.float32))
    assert len(kept) == 3
    kept.forget(scope)
    assert len(kept) == 2
    kept.restamp(1, 5)
    kept.renew(5)
    assert len(kept) == 2
    kept.renew(6)
    assert len(kept) == 0 and kept.nbytes == 0


def test_budget_heeds_control_groups(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    root = tmp_path / "root"
    (root / "user" / "app").mkdir(parents=True)
    (root / "memory" / "old").mkdir(parents=True)
    (root / "user" / "app" / "memory.max").write_text("max\n")
    (root / "user" / "memory.max").write_text("4000\n")
    (root / "memory" / "old" / "memory.limit_in_bytes").write_text("3000\n")
    membership.write_text("0::/user/app\n5:cpu,memory:/old\n")
    assert sorted(memory._cgroup_limits(membership, root)) == [3000, 4000]
    assert memory._cgroup_limits(tmp_path / "missing", root) == []
    assert 0 < memory.store_budget() <= 1 << 30
    assert memory.store_budget() <= memory.memory_limit() // 4
