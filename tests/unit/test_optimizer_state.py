"""What an optimizer keeps: multipliers of its rate, state across compile and files, resuming."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import children
import h5py
import numpy as np
import pytest
from PIL import Image

from tlcore import layers, optimizers
from tlcore.callbacks import ModelCheckpoint
from tlcore.models import Functional, Model, Sequential
from tlcore.preprocessing.image import ImageDataGenerator
from tlcore.saving import load_model
from tlcore.utils import set_random_seed

FEATURES, CLASSES, ROWS, BATCH = 6, 3, 20, 5
ADAM = {"learning_rate": 0.01}
EVERYTHING: dict[str, Any] = {
    "gradient_accumulation_steps": 3,
    "use_ema": True,
    "ema_momentum": 0.8,
    "ema_overwrite_frequency": 2,
}


def data() -> tuple[Any, Any]:
    random = np.random.RandomState(0)
    x = random.uniform(-1, 1, (ROWS, FEATURES)).astype(np.float32)
    return x, np.eye(CLASSES, dtype=np.float32)[random.randint(CLASSES, size=ROWS)]


def make(optimizer: Any, rate: float = 0.0) -> Sequential:
    set_random_seed(1)
    model = Sequential(
        [
            layers.Input((FEATURES,)),
            layers.Dense(5, activation="relu", name="first"),
            layers.Dropout(rate),
            layers.Dense(4, activation="relu", name="second"),
            layers.Dense(CLASSES, activation="softmax", name="scores"),
        ]
    )
    model.compile(optimizer, "categorical_crossentropy")
    return model


def steps(model: Any, count: int) -> None:
    x, y = data()
    for _ in range(count):
        model.train_on_batch(x, y)


def same(ours: Any, theirs: Any) -> None:
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def by_weight(model: Any) -> dict[str, dict[str, Any]]:
    """The whole state of the optimizer, by the weights' paths."""
    _, state = model.snapshot()
    return {variable.path: arrays for variable, arrays in state.arrays.items()}


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.Adam])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps must be a whole number"),
        ({"gradient_accumulation_steps": 2.5}, "at least 2, got 2.5"),
        ({"use_ema": "yes"}, "use_ema must be True or False"),
        ({"use_ema": True, "ema_momentum": 1.01}, "ema_momentum must be a number"),
        ({"use_ema": True, "ema_momentum": "much"}, "ema_momentum must be a number"),
        ({"use_ema": True, "ema_overwrite_frequency": -2}, "ema_overwrite_frequency must be"),
        ({"clipnorm": 1.0}, "does not support clipnorm=1.0"),
        ({"weight_decay": 0.01}, "does not support weight_decay=0.01"),
    ],
    ids=str,
)
def test_options_are_checked(kind: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)


@pytest.mark.parametrize("kind", [optimizers.SGD, optimizers.Adam])
def test_options_come_back(kind: Any) -> None:
    again = optimizers.deserialize(optimizers.serialize(kind(**EVERYTHING)))
    assert {name: getattr(again, name) for name in EVERYTHING} == EVERYTHING
    assert not set(EVERYTHING) & set(kind().get_config()), "not every Keras reads them"


def test_iterations_count_steps() -> None:
    model = make(optimizers.SGD(gradient_accumulation_steps=3))
    counted = []
    for _ in range(7):
        steps(model, 1)
        counted.append(model.optimizer.iterations)
    assert counted == [0, 0, 1, 1, 1, 2, 2]
    assert model.optimizer_state()[0] == 7


def test_accumulated_batches_make_the_step_of_one() -> None:
    x, y = data()
    together = make(optimizers.Adam(**ADAM))
    apart = make(optimizers.Adam(**ADAM, gradient_accumulation_steps=4))
    together.train_on_batch(x, y)
    for i in range(4):
        before = apart.get_weights()
        apart.train_on_batch(x[i * BATCH : (i + 1) * BATCH], y[i * BATCH : (i + 1) * BATCH])
        assert all(map(np.array_equal, before, apart.get_weights())) == (i < 3)
    for one, other in zip(together.get_weights(), apart.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_fit_ends_with_the_averages_and_train_on_batch_does_not() -> None:
    x, y = data()
    model = make(optimizers.SGD(0.5, use_ema=True, ema_momentum=0.9))
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    averages = model.optimizer_state()[1]
    same(model.get_weights(), averages)
    steps(model, 1)
    assert not np.array_equal(model.get_weights()[0], model.optimizer_state()[1][0])


# --- multipliers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [optimizers.SGD, optimizers.Adam])
def test_multipliers_scale_the_step(optimizer: Any) -> None:
    plain, scaled = make(optimizer(0.25)), make(optimizer(0.25))
    start = plain.get_weights()
    scaled.get_layer("first").learning_rate_multiplier = 0.5
    scaled.get_layer("second").learning_rate_multiplier = 0
    steps(scaled, 1)
    same(scaled.get_weights(), [*_after_one_step(plain)])  # counts from the next compile on
    scaled.set_weights(start)
    scaled.compile(optimizer(0.25), "categorical_crossentropy")
    steps(scaled, 1)
    moved = [after - before for before, after in zip(start, scaled.get_weights(), strict=True)]
    whole = [after - before for before, after in zip(start, plain.get_weights(), strict=True)]
    for factor, ours, theirs in zip((0.5, 0.5, 0, 0, 1, 1), moved, whole, strict=True):
        np.testing.assert_allclose(ours, factor * theirs, atol=1e-6)
    assert not moved[2].any() and np.abs(whole[2]).max() > 1e-4
    same(scaled.optimizer_state()[1], plain.optimizer_state()[1])  # the moments of all move alike


def _after_one_step(model: Sequential) -> list[Any]:
    steps(model, 1)
    return model.get_weights()


def test_a_model_sets_all_its_layers() -> None:
    inner = Sequential([layers.Input((FEATURES,)), layers.Dense(4, name="a")], name="inner")
    model = Sequential([inner, layers.Dense(CLASSES, name="b")])
    assert model.parameter_multipliers() == [1, 1, 1, 1]
    model.learning_rate_multiplier = 0.5
    inner.layers[0].learning_rate_multiplier = 0.25
    assert inner.learning_rate_multiplier == 0.5
    assert model.parameter_multipliers() == [0.25, 0.25, 0.5, 0.5]


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, 1e39, "fast", None, True])
def test_bad_multipliers_are_refused(value: Any) -> None:
    layer = layers.Dense(2, name="scores")
    with pytest.raises(ValueError, match="Dense 'scores': learning_rate_multiplier must be"):
        layer.learning_rate_multiplier = value
    assert layer.learning_rate_multiplier == 1


def test_multipliers_come_back_from_files(tmp_path: Path) -> None:
    model = make("adam")
    model.learning_rate_multiplier = 2
    model.get_layer("first").learning_rate_multiplier = 0.125
    model.save(tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    assert again.learning_rate_multiplier == 2
    assert again.parameter_multipliers() == model.parameter_multipliers()
    for one in (model, again):
        one.compile("sgd", "categorical_crossentropy")
        steps(one, 2)
    same(again.get_weights(), model.get_weights())
    make("adam").save(tmp_path / "plain.h5")
    with h5py.File(tmp_path / "plain.h5") as file:
        assert "tlcore_learning_rate_multiplier" not in file.attrs


def test_loading_weights_leaves_multipliers_and_flags_alone(tmp_path: Path) -> None:
    model = make("adam")
    model.get_layer("first").learning_rate_multiplier = 0.125
    model.trainable = False
    model.save(tmp_path / "m.h5")
    other = make("adam")
    other.load_weights(tmp_path / "m.h5")
    same(other.get_weights(), model.get_weights())
    assert other.parameter_multipliers() == [1] * 6
    assert other.trainable and all(layer.trainable for layer in other.layers)


# --- across compile -------------------------------------------------------------------------------


def test_state_is_kept_by_weight_across_compile() -> None:
    model = make(optimizers.Adam(**ADAM, **EVERYTHING))
    second = model.get_layer("second")
    second.trainable = False
    model.compile(model.optimizer, "categorical_crossentropy")
    steps(model, 4)
    before = by_weight(model)
    assert set(before) == {"first/kernel", "first/bias", "scores/kernel", "scores/bias"}

    second.trainable = True
    model.get_layer("first").trainable = False
    model.compile(model.optimizer, "categorical_crossentropy")
    assert model.optimizer_state()[0] == 4 and model.optimizer.iterations == 1
    weights = second.get_weights()
    steps(model, 1)
    after = by_weight(model)
    for weight in ("first/kernel", "first/bias"):  # frozen: rests
        same(after[weight].values(), before[weight].values())
    np.testing.assert_allclose(  # it began as the weight: 0.8 of it and 0.2 of it again
        after["second/kernel"]["average"], weights[0], rtol=1e-6
    )
    assert after["second/kernel"]["gradient_accumulator"].any()
    assert not after["second/kernel"]["m"].any()  # no step yet: the sums wait for the sixth batch

    model.get_layer("first").trainable = True
    model.compile(model.optimizer, "categorical_crossentropy")
    batches, slots = model.optimizer_state()
    assert batches == 5
    same(slots[:4], before["first/kernel"].values())
    same(slots[8:12], after["second/kernel"].values())


def test_freezing_and_unfreezing_at_once_changes_nothing() -> None:
    plain, frozen = (make(optimizers.Adam(**ADAM, **EVERYTHING)) for _ in range(2))
    for model in (plain, frozen):
        steps(model, 5)
    frozen.trainable = False
    frozen.compile(frozen.optimizer, "categorical_crossentropy")
    frozen.trainable = True
    frozen.compile(frozen.optimizer, "categorical_crossentropy")
    for model in (plain, frozen):
        steps(model, 5)
    same(frozen.get_weights(), plain.get_weights())
    same(frozen.optimizer_state()[1], plain.optimizer_state()[1])


def test_another_optimizer_starts_anew() -> None:
    model = make("adam")
    steps(model, 2)
    model.compile("adam", "categorical_crossentropy")
    assert model.optimizer_state() == (0, [])
    assert model.optimizer.iterations == 0


def test_what_came_between_compile_and_save_is_in_the_file(tmp_path: Path) -> None:
    model = make("adam")
    steps(model, 3)
    slots = model.optimizer_state()[1]
    model.compile(model.optimizer, "categorical_crossentropy")  # and no batch since
    model.save(tmp_path / "m.h5")
    batches, found = load_model(tmp_path / "m.h5").optimizer_state()
    assert batches == 3
    same(found, slots)


def test_set_optimizer_state_takes_everything() -> None:
    one, other = (make(optimizers.Adam(**ADAM, **EVERYTHING)) for _ in range(2))
    steps(one, 4)
    other.set_weights(one.get_weights())
    batches, slots = one.optimizer_state()
    assert len(slots) == 6 * 4
    other.set_optimizer_state(batches, slots)
    assert other.optimizer.iterations == one.optimizer.iterations == 1
    for model in (one, other):
        steps(model, 4)
    same(one.get_weights(), other.get_weights())
    with pytest.raises(ValueError, match="slots must hold 24 arrays"):
        other.set_optimizer_state(batches, slots[:-1])


# --- resuming -------------------------------------------------------------------------------------


def pictures(folder: Path) -> None:
    random = np.random.RandomState(0)
    for k in range(18):
        (folder / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        pixels = random.randint(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "ab"[k % 2] / f"{k}.png")


def flow(folder: Path) -> Any:
    return ImageDataGenerator(rescale=1 / 255).flow_from_directory(
        folder, target_size=(8, 8), batch_size=4, seed=3
    )


def picture_model(optimizer: Any) -> Functional:
    """Two branches with dropout; a reader of the file alone would list their layers otherwise."""
    set_random_seed(1)
    kinds = [
        layers.InputLayer((8, 8, 3), name="picture"),
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dropout(0.5, name="drop_a"),
        layers.Dropout(0.25, name="drop_b"),
        layers.Dense(6, activation="relu", name="a"),
        layers.Dense(6, activation="relu", name="b"),
        layers.Dense(6, activation="relu", name="c"),
        layers.Add(name="add"),
        layers.Dense(2, activation="softmax", name="scores"),
    ]
    feeds = {"pool": ["picture"], "drop_a": ["pool"], "drop_b": ["pool"], "a": ["drop_a"]}
    feeds |= {"b": ["drop_b"], "c": ["b"], "add": ["a", "c"], "scores": ["add"]}
    model = Model.from_layers(None, kinds, feeds, ["picture"], ["scores"])
    model.compile(optimizer, "categorical_crossentropy")
    return model


RESUME = """
import sys
import numpy as np
from pathlib import Path
from unit import test_optimizer_state as here
from tlcore.saving import load_model

kind, file, folder, out = sys.argv[1:]
model = load_model(file)
if kind == "arrays":
    x, y = here.data()
    model.fit(
        x, y, batch_size=here.BATCH, shuffle=False, epochs=5, initial_epoch=2, verbose=0
    )
else:
    train = here.flow(Path(folder))
    train.skip(2)
    model.fit(train, epochs=5, initial_epoch=2, verbose=0)
np.savez(out, *model.get_weights(), *model.optimizer_state()[1])
"""


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("kind", ["arrays", "pictures"])
def test_a_checkpoint_resumes_bit_for_bit(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    optimizer = optimizers.Adam(**ADAM, **options)
    checkpoint = ModelCheckpoint(tmp_path / "epoch{epoch}.h5")
    model: Any
    if kind == "arrays":
        x, y = data()
        model = make(optimizer, rate=0.3)
        model.fit(
            x, y, batch_size=BATCH, shuffle=False, epochs=5, verbose=0, callbacks=[checkpoint]
        )
    else:
        pictures(tmp_path / "pictures")
        model = picture_model(optimizer)
        model.fit(flow(tmp_path / "pictures"), epochs=5, verbose=0, callbacks=[checkpoint])
    arguments = [kind, tmp_path / "epoch2.h5", tmp_path / "pictures", tmp_path / "out.npz"]
    environment = children.uncounted()
    tests = str(Path(__file__).parents[1])
    environment["PYTHONPATH"] = f"{tests}:{environment['PYTHONPATH']}"
    subprocess.run(
        [sys.executable, "-c", RESUME, *map(str, arguments)], env=environment, check=True
    )
    with np.load(tmp_path / "out.npz") as found:
        same(found.values(), [*model.get_weights(), *model.optimizer_state()[1]])


def test_fit_draws_no_batch_but_those_it_trains_on(tmp_path: Path) -> None:
    pictures(tmp_path)
    train = flow(tmp_path)
    picture_model("sgd").fit(train, epochs=2, verbose=0)
    assert train.total_batches_seen == 2 * len(train)


def test_skip_makes_the_draws_of_passes(tmp_path: Path) -> None:
    pictures(tmp_path)
    walked, skipped = flow(tmp_path), flow(tmp_path)
    for _ in range(2):
        for i in range(len(walked)):
            walked.batch_indices(i)
        walked.on_epoch_end()
    skipped.skip(2)
    assert skipped.total_batches_seen == walked.total_batches_seen
    for i in range(len(walked)):
        np.testing.assert_array_equal(walked.batch_indices(i), skipped.batch_indices(i))
    with pytest.raises(ValueError, match="passes must be a whole number"):
        skipped.skip(-1)


# --- damaged files --------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = picture_model(optimizers.Adam(**ADAM, **EVERYTHING))
    model.train_on_batch(np.ones((2, 8, 8, 3), np.float32), np.eye(2, dtype=np.float32))
    model.learning_rate_multiplier = 0.5
    model.save(tmp_path / "m.h5")
    return tmp_path / "m.h5"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("learning_rate_multiplier", {"a": -1}, "does not give layers numbers"),
        ("learning_rate_multiplier", [1], "does not give layers numbers"),
        ("learning_rate_multiplier", {"a": 1e40}, "does not give layers numbers"),
        ("dropout_seed", -1, "tlcore_dropout_seed is no seed"),
        ("dropout_seed", "1", "tlcore_dropout_seed is no seed"),
        ("layer_order", {"": [1]}, "does not give models names"),
        ("layer_order", {"": ["a"]}, "tlcore_layer_order is not one of the model"),
        ("layer_order", [], "does not give models names"),
    ],
)
def test_damaged_extras_are_refused(saved: Path, key: str, value: Any, message: str) -> None:
    with h5py.File(saved, "r+") as file:
        assert f"tlcore_{key}" in file.attrs
        file.attrs[f"tlcore_{key}"] = json.dumps(value)
    with pytest.raises(ValueError, match=message):
        load_model(saved)


def test_an_order_that_runs_backwards_is_refused(saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        orders = json.loads(file.attrs["tlcore_layer_order"])
        file.attrs["tlcore_layer_order"] = json.dumps({"": orders[""][::-1]})
    with pytest.raises(ValueError, match="tlcore_layer_order is not one of the model"):
        load_model(saved)


def test_arrays_of_no_weight_are_refused(saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        group = file["tlcore_optimizer"]
        names = list(group.attrs["array_names"])
        group.attrs["array_names"] = [b"nowhere/kernel/m", *names[1:]]
    with pytest.raises(ValueError, match="'nowhere/kernel/m', which is of no weight"):
        load_model(saved)


def test_arrays_of_another_shape_are_refused(saved: Path) -> None:
    with h5py.File(saved, "r+") as file:
        group = file["tlcore_optimizer"]
        name = group.attrs["array_names"][0]
        del group[name]
        group[name] = np.zeros(7, np.float32)
    with pytest.raises(ValueError, match="of "):
        load_model(saved)
