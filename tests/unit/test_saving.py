"""Models and weights through files: what goes in comes out, and nothing is lost on the way."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tlcore.applications import MobileNetV2
from tlcore.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    InputLayer,
    ReLU,
)
from tlcore.models import Functional, Model, Sequential
from tlcore.optimizers import SGD, Adam
from tlcore.saving import _order, load_model, load_weights, save_model, save_weights
from tlcore.saving._files import write_file

GOLDEN = Path(__file__).parents[1] / "golden" / "files"
LIBRARIES = ("tf_keras", "keras")


def randomize(model: Any, seed: int = 0) -> None:
    random = np.random.RandomState(seed)
    for variable in model.weights:
        low = 0.5 if variable.name in ("gamma", "moving_variance") else -0.4
        variable.assign(random.uniform(low, low + 0.8, variable.shape))


def small_base(name: str = "base") -> Functional:
    """Conv1 -> bn -> relu -> [conv -> bn] + -> out."""
    layers = [
        InputLayer((8, 8, 3), name="picture"),
        Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="Conv1"),
        BatchNormalization(name="bn_Conv1"),
        ReLU(6.0, name="Conv1_relu"),
        Conv2D(4, 1, use_bias=False, name="project"),
        BatchNormalization(name="project_BN"),
        Add(name="add"),
    ]
    names = [layer.name for layer in layers]
    inbound = {after: [before] for before, after in pairwise(names)}
    inbound["add"] = ["Conv1_relu", "project_BN"]
    return Model.from_layers(name, layers, inbound, ["picture"], ["add"])


def small_model(name: str | None = None) -> Sequential:
    model = Sequential(
        [
            small_base(),
            GlobalAveragePooling2D(),
            Dense(5, activation="relu", name="hidden"),
            Dense(3, activation="sigmoid", name="scores"),
        ],
        name=name,
    )
    randomize(model)
    return model


@pytest.fixture
def pictures() -> np.ndarray[Any, Any]:
    return np.random.RandomState(3).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)


TARGETS = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]


def trained(optimizer: Any, pictures: np.ndarray[Any, Any]) -> Sequential:
    model = small_model()
    model.layers[0].trainable = False
    model.compile(loss="binary_crossentropy", optimizer=optimizer, metrics=["acc"])
    for _ in range(3):
        model.train_on_batch(pictures, TARGETS)
    return model


# --- tlcore to tlcore -----------------------------------------------------------------------------


def test_whole_model(tmp_path: Path, pictures: Any) -> None:
    model = small_model("mine")
    model.class_indices = {"daisy": 0, "rose": 1, "tulip": 2}
    model.input_range = (0.0, 1.0)
    model.reader = {
        "target_size": (8, 8),
        "color_mode": "rgb",
        "interpolation": "nearest",
        "keep_aspect_ratio": False,
        "rescale": np.float64(1 / 255),
        "preprocessing": None,
    }
    save_model(model, tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    assert isinstance(again, Sequential)
    assert again.name == "mine"
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    assert np.array_equal(again(pictures), model(pictures))
    assert again.class_indices == model.class_indices
    assert again.reader == model.reader
    assert again.input_range == (0.0, 1.0)
    assert not again.compiled


@pytest.mark.parametrize("optimizer", [Adam(0.005), SGD(0.1), SGD(0.1, momentum=0.9)], ids=repr)
def test_training_goes_on_exactly(tmp_path: Path, pictures: Any, optimizer: Any) -> None:
    model = trained(optimizer, pictures)
    save_model(model, tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    assert again.optimizer.get_config() == model.optimizer.get_config()
    assert again.optimizer.iterations == 3
    assert again.metrics_names == model.metrics_names
    for one in (model, again):
        one.train_on_batch(pictures, TARGETS)
    for ours, theirs in zip(model.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


def test_without_optimizer(tmp_path: Path, pictures: Any) -> None:
    model = trained("adam", pictures)
    save_model(model, tmp_path / "m.h5", include_optimizer=False)
    assert not load_model(tmp_path / "m.h5").compiled
    save_model(model, tmp_path / "m.h5")
    assert not load_model(tmp_path / "m.h5", compile=False).compiled


def test_state_is_kept_by_name_where_trainable_changed(tmp_path: Path, pictures: Any) -> None:
    model = trained("adam", pictures)
    batches, slots = model.optimizer_state()
    model.layers[2].trainable = False  # since compile(): its moments rest in the file
    save_model(model, tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        held = [name.decode() for name in file["optimizer_weights"].attrs["weight_names"]]
        rests = [name.decode() for name in file["tlcore_optimizer"].attrs["array_names"]]
    name = model.layers[2].name
    assert rests == [f"{name}/{weight}/{kind}" for weight in ("kernel", "bias") for kind in "mv"]
    assert not any(name in one for one in held)
    again = load_model(tmp_path / "m.h5")
    assert again.optimizer_state()[0] == batches
    again.layers[2].trainable = True
    again.compile(again.optimizer, again.loss)
    for ours, theirs in zip(again.optimizer_state()[1], slots, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("seed", range(4))
def test_flags_come_back(tmp_path: Path, pictures: Any, seed: int) -> None:
    model = small_model()
    random = np.random.RandomState(seed)
    base = model.layers[0]
    if seed % 2:
        base.trainable = False
    for layer in (*base.layers[1:], *model.layers[1:]):
        layer.trainable = bool(random.rand() < 0.5)
    save_model(model, tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    flags = {path: layer.trainable for path, layer in _order.all_layers(model)}
    assert {path: layer.trainable for path, layer in _order.all_layers(again)} == flags
    assert np.array_equal(again(pictures), model(pictures))


def test_frozen_around_trainable_is_written_as_frozen(tmp_path: Path) -> None:
    # tf-keras forgets the outer flag and Keras 3 the order; all frozen is the same to both.
    model = small_model()
    model.layers[0].trainable = False
    model.layers[0].layers[1].trainable = True
    save_model(model, tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        config = json.loads(file.attrs["model_config"])
        names = list(file["model_weights/base"].attrs["weight_names"])
    base = config["config"]["layers"][1]["config"]
    assert base["trainable"] is False
    assert not any(layer["config"].get("trainable") for layer in base["layers"])
    assert names[:3] == [b"Conv1/kernel:0", b"bn_Conv1/gamma:0", b"bn_Conv1/beta:0"]


def test_dialect(tmp_path: Path, pictures: Any) -> None:
    save_model(trained("adam", pictures), tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        text = file.attrs["model_config"]
        training = json.loads(file.attrs["training_config"])
        names = list(file["model_weights/base"].attrs["weight_names"])
        optimizer = list(file["optimizer_weights"].attrs["weight_names"])
    config = json.loads(text)
    source, base = config["config"]["layers"][:2]
    assert source["class_name"] == "InputLayer"
    assert source["config"]["batch_input_shape"] == [None, 8, 8, 3]
    assert base["class_name"] == "Functional"
    assert base["config"]["input_layers"] == ["picture", 0, 0]
    assert base["config"]["output_layers"] == ["add", 0, 0]
    inbound = {layer["name"]: layer["inbound_nodes"] for layer in base["config"]["layers"]}
    assert inbound["add"] == [[["Conv1_relu", 0, 0, {}], ["project_BN", 0, 0, {}]]]
    assert inbound["picture"] == []
    for key in ("module", "registered_name", "build_config", "DTypePolicy"):
        assert key not in text
    assert training["metrics"] == ["acc"]
    assert training["optimizer_config"]["class_name"] == "Adam"
    assert len(names) == 10
    assert [name.decode() for name in optimizer] == [
        "Adam/iter:0",
        *(f"Adam/{w}/m:0" for w in TRAINED),
        *(f"Adam/{w}/v:0" for w in TRAINED),
    ]


TRAINED = ("hidden/kernel", "hidden/bias", "scores/kernel", "scores/bias")


def test_order_of_trainable_and_frozen() -> None:
    model = small_model()
    base = model.layers[0]
    base.get_layer("Conv1").trainable = False
    flags = _order.effective_flags(model)
    assert [v.path for v in _order.legacy_weights(base, flags)] == [
        "bn_Conv1/gamma",
        "bn_Conv1/beta",
        "project/kernel",
        "project_BN/gamma",
        "project_BN/beta",
        "Conv1/kernel",
        "bn_Conv1/moving_mean",
        "bn_Conv1/moving_variance",
        "project_BN/moving_mean",
        "project_BN/moving_variance",
    ]


def test_branches_are_listed_as_keras_does() -> None:
    # Keras sorts by distance from the output: of two branches the longer begins first.
    layers = [
        InputLayer((4,), name="x"),
        Dense(4, name="short"),
        Dense(4, name="long_1"),
        Dense(4, name="long_2"),
        Add(name="sum"),
    ]
    inbound = {
        "short": ["x"],
        "long_1": ["x"],
        "long_2": ["long_1"],
        "sum": ["short", "long_2"],
    }
    model = Model.from_layers(None, layers, inbound, ["x"], ["sum"])
    names = [layer.name for layer in _order.keras_order(model)]
    assert names == ["x", "long_1", "short", "long_2", "sum"]


def test_same_names_in_two_models_inside(tmp_path: Path) -> None:
    def part(name: str) -> Sequential:
        return Sequential([Input((6,)), Dense(6, name="same")], name=name)

    model = Sequential([Sequential([part("a"), part("b")], name="both"), Dense(2, name="same")])
    randomize(model)
    x = np.random.RandomState(0).rand(3, 6).astype(np.float32)
    save_model(model, tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5")
    assert np.array_equal(again(x), model(x))


def test_long_lists_of_names_are_split(tmp_path: Path) -> None:
    name = "x" * 100
    model = Sequential([Input((1,)), *(Dense(1, name=f"{name}_{i}") for i in range(700))])
    save_weights(model, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5") as file:
        assert "layer_names" not in file.attrs
        assert len(file.attrs["layer_names0"]) + len(file.attrs["layer_names1"]) == 700
    before = model.get_weights()
    randomize(model)
    load_weights(model, tmp_path / "w.h5")
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))


@pytest.mark.parametrize("name", ["w.h5", "w.weights.h5", "m.h5"])
def test_weights_alone(tmp_path: Path, pictures: Any, name: str) -> None:
    model = small_model()
    model.class_indices = {"a": 0, "b": 1, "c": 2}
    for layer in model.layers[0].layers[1:3]:
        layer.trainable = False
    (save_model if name == "m.h5" else save_weights)(model, tmp_path / name)
    other = small_model()
    randomize(other, 9)
    load_weights(other, tmp_path / name)
    assert np.array_equal(other(pictures), model(pictures))
    assert other.class_indices == model.class_indices


def test_by_name(tmp_path: Path) -> None:
    model = small_model()
    save_weights(model, tmp_path / "w.h5")
    other = Sequential([small_base(), Flatten(), Dense(4, name="other")])
    randomize(other, 5)
    head = other.layers[-1].get_weights()
    with pytest.raises(ValueError, match="the file lacks 'other'; the model lacks 'hidden'"):
        other.load_weights(tmp_path / "w.h5")
    other.load_weights(tmp_path / "w.h5", by_name=True)
    assert np.array_equal(other.layers[0].get_weights()[0], model.layers[0].get_weights()[0])
    assert np.array_equal(other.layers[-1].get_weights()[0], head[0])


@pytest.mark.parametrize("frozen", [False, True])
def test_by_position_where_names_differ(tmp_path: Path, pictures: Any, frozen: bool) -> None:
    model = small_model()
    model.layers[0].trainable = not frozen
    save_weights(model, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        group = file["base"]
        for old in list(group):
            group.move(old, f"old_{old}")
        group.attrs["weight_names"] = [b"old_" + name for name in group.attrs["weight_names"]]
    other = small_model()
    other.layers[0].trainable = frozen  # the file's order is another one
    randomize(other, 4)
    load_weights(other, tmp_path / "w.h5")
    assert np.array_equal(other(pictures), model(pictures))


# --- files of Keras -------------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", ["frozen", "mixed", "functional"])
def test_files_of_keras(library: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = np.load(GOLDEN / f"expected_{library}.npz")
    model = load_model(GOLDEN / f"{library}_{name}.h5")
    assert np.abs(model(expected["x"]) - expected[name]).max() < 1e-6
    base = next(layer for layer in model.layers if layer.name == "base")
    flags = [layer.trainable for layer in base.layers[1:]]
    frozen = {"frozen": 9, "mixed": 4, "functional": 4}[name]
    assert flags == [False] * frozen + [True] * (9 - frozen)
    if name == "functional":
        batches, moments = model.optimizer_state()  # also of convolutions
        assert batches == 1 and [moment.shape for moment in moments] == [
            variable.shape for variable in model.trainable_weights
        ]
        assert all(moment.any() for moment in moments)
        assert not capsys.readouterr().err
        assert model.loss.from_logits
    if name == "frozen":
        assert model.metrics_names == ["loss", "acc"]
        assert model.optimizer.learning_rate == pytest.approx(0.005)
        iterations, moments = model.optimizer_state()
        assert iterations == 4
        found = np.concatenate([moment.ravel() for moment in moments])
        assert np.array_equal(found, expected["frozen_moments"])


@pytest.mark.parametrize(
    "name", ["tf_keras.weights.h5", "keras.weights.h5", "tf_keras_legacy_weights.h5"]
)
def test_weights_of_keras(name: str) -> None:
    library = "tf_keras" if name.startswith("tf") else "keras"
    expected = np.load(GOLDEN / f"expected_{library}.npz")
    model = load_model(GOLDEN / f"{library}_frozen.h5", compile=False)
    randomize(model)
    load_weights(model, GOLDEN / name)
    assert np.abs(model(expected["x"]) - expected["frozen"]).max() < 1e-6


def edited(path: Path, change: Callable[[dict[str, Any]], Any], source: str) -> Path:
    """A copy of a golden file with another model_config."""
    path.write_bytes((GOLDEN / source).read_bytes())
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        config = change(config) or config
        file.attrs["model_config"] = json.dumps(config)
    return path


def test_config_of_keras_2_2(tmp_path: Path) -> None:
    """Functional models were "Model", and a Sequential had neither name nor input layer."""

    def change(config: dict[str, Any]) -> dict[str, Any]:
        layers = config["config"]["layers"][1:]
        layers[0]["class_name"] = "Model"
        del layers[0]["config"]["trainable"]
        for layer in layers[0]["config"]["layers"]:
            for key in ("module", "registered_name", "build_config"):
                layer.pop(key, None)
            glorot = layer["config"].get("kernel_initializer")
            if glorot:
                glorot["class_name"] = "VarianceScaling"
                glorot["config"] = {
                    "scale": 1.0,
                    "mode": "fan_avg",
                    "distribution": "uniform",
                    "seed": None,
                }
        return {"class_name": "Sequential", "config": layers}

    expected = np.load(GOLDEN / "expected_tf_keras.npz")
    model = load_model(edited(tmp_path / "m.h5", change, "tf_keras_frozen.h5"), compile=False)
    assert np.abs(model(expected["x"]) - expected["frozen"]).max() < 1e-6


# --- writing, or not ------------------------------------------------------------------------------


def test_ending_and_overwrite(tmp_path: Path) -> None:
    model = small_model()
    with pytest.raises(ValueError, match=r"filepath must end in \.h5, got '.*m\.keras'"):
        save_model(model, tmp_path / "m.keras")
    save_model(model, tmp_path / "new" / "folder" / "m.h5")
    with pytest.raises(FileExistsError, match=r"m\.h5"):
        save_model(model, tmp_path / "new" / "folder" / "m.h5", overwrite=False)
    with pytest.raises(TypeError, match="filepath must be a string or a path, got int"):
        save_model(model, 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="input shape is unknown"):
        save_model(Sequential([Dense(2)]), tmp_path / "m.h5")
    with pytest.raises(ValueError, match="it is not built"):
        save_weights(Sequential([Dense(2)]), tmp_path / "m.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    save_model(model, tmp_path / "m.h5")
    before = (tmp_path / "m.h5").read_bytes()
    randomize(model, 8)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("os.fsync", "os.replace", "builtins.open"):
        with monkeypatch.context() as patch:
            patch.setattr(name, full)
            with pytest.raises(OSError, match=r"No space left on device: '.*m\.h5'"):
                save_model(model, tmp_path / "m.h5")
        assert (tmp_path / "m.h5").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["m.h5"]


def test_full_disk(tmp_path: Path) -> None:
    model = small_model()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"cannot write the file: .*m\.h5"):
            save_model(model, tmp_path / "m.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "x", b"1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=r"m\.h5"):
        save_model(small_model(), tmp_path / "m.h5")


def test_read_only_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.h5").write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match=r"it is read-only: '.*m\.h5'"):
        save_model(small_model(), tmp_path / "m.h5")
    assert (tmp_path / "m.h5").read_bytes() == b"old"


def test_targets_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        save_model(small_model(), tmp_path / "folder.h5")
    with pytest.raises(OSError, match="not a regular file"):
        write_file("/dev/null", b"")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="cannot write the file"):
        write_file(tmp_path / "file" / "x", b"")


def test_links_and_modes(tmp_path: Path) -> None:
    real = write_file(tmp_path / "real", b"1")
    real.chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_file(tmp_path / "link", [b"2", memoryview(b"3")])
    assert (tmp_path / "link").is_symlink()
    assert real.read_bytes() == b"23"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_mobilenet(tmp_path: Path) -> None:
    model = Sequential(
        [
            MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None),
            GlobalAveragePooling2D(),
            Dropout(0.1),
            Dense(3, activation="softmax"),
        ]
    )
    randomize(model)
    x = np.random.RandomState(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    model.save(tmp_path / "m.h5")
    assert np.array_equal(load_model(tmp_path / "m.h5")(x), model(x))
    with h5py.File(tmp_path / "m.h5") as file:
        assert len(file["model_weights/mobilenetv2_0.35_32"].attrs["weight_names"]) == 260


def test_names_of_digits_inside_a_model(tmp_path: Path) -> None:
    inner = Sequential([Input((4,)), Dense(3, name="1"), Dense(3, name="0")], name="2")
    save_model(Sequential([inner, Dense(2, name="3")]), tmp_path / "m.h5")
    assert [layer.name for layer in load_model(tmp_path / "m.h5").layers[0].layers] == ["1", "0"]


def test_the_flag_of_a_sequential_inside_is_kept(tmp_path: Path) -> None:
    inner = Sequential([Input((4,)), Dense(3, name="a")], name="inner")
    inner.trainable = False
    save_model(Sequential([inner, Dense(2)]), tmp_path / "m.h5")
    again = load_model(tmp_path / "m.h5").layers[0]
    assert not again.trainable
    assert not again.layers[0].trainable


def test_threads_save_and_load_at_the_same_time(tmp_path: Path, pictures: Any) -> None:
    models = [small_model(f"m{i}") for i in range(4)]
    expected = [model(pictures) for model in models]

    def work(i: int) -> bool:
        for _ in range(5):
            save_model(models[i], tmp_path / f"{i}.h5")
            if not np.array_equal(load_model(tmp_path / f"{i}.h5")(pictures), expected[i]):
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
