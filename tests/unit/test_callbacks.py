"""EarlyStopping, ModelCheckpoint and the list that calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlcore import callbacks, layers
from tlcore.models import Sequential


class FakeMetric:
    def __init__(self, name: str) -> None:
        self.name = name
        self.direction = "up"


class FakeVariable:
    def __init__(self, model: FakeModel) -> None:
        self.model = model

    def numpy(self) -> np.ndarray:
        return self.model.value

    def assign(self, value: np.ndarray) -> None:
        self.model.value = value
        self.model.assigned += 1


class FakeModel:
    """Counts up its only weight with every epoch."""

    def __init__(self) -> None:
        self.stop_training = False
        self.metrics = [FakeMetric("acc")]
        self.value = np.zeros(1)
        self.assigned = 0
        self.weights = [FakeVariable(self)]
        self.saved: list[str] = []

    def get_weights(self) -> list[np.ndarray]:
        return [self.value.copy()]

    def save(self, path: str) -> None:
        self.saved.append(f"model {Path(path).name}")

    def save_weights(self, path: str) -> None:
        self.saved.append(f"weights {Path(path).name}")


def run(callback: callbacks.Callback, values: list[float], name: str = "val_loss") -> FakeModel:
    """Lets `fit` pass with these values of the monitored quantity, one an epoch."""
    model = FakeModel()
    listeners = callbacks.CallbackList([callback], model=model)  # type: ignore[arg-type]
    listeners.on_train_begin()
    for epoch, value in enumerate(values):
        listeners.on_epoch_begin(epoch)
        model.value = np.array([float(epoch + 1)])
        listeners.on_train_batch_end(0, {"loss": value})
        listeners.on_train_batch_end(1, {"loss": value})
        listeners.on_epoch_end(epoch, {name: value})
        if model.stop_training:
            break
    listeners.on_train_end()
    return model


# --- EarlyStopping -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({}, [1.0, 0.9, 0.95, 0.1], 3),
        ({}, [1.0, 1.0], 2),
        ({"patience": 2}, [1.0, 1.1, 1.2, 0.1], 3),
        ({"patience": 2}, [1.0, 1.1, 0.9, 1.1, 1.2], 5),
        ({"min_delta": 0.2}, [1.0, 0.9, 0.5], 2),
        ({"min_delta": -0.2, "patience": 1}, [1.0, 0.7, 0.6, 0.5], 3),
        ({"mode": "max"}, [1.0, 1.1, 1.05], 3),
        ({"baseline": 0.5}, [1.0, 0.9, 0.8], 3),
        ({"baseline": 0.5, "patience": 2}, [1.0, 0.4, 0.45, 0.45, 0.3], 4),
        ({"start_from_epoch": 2}, [1.0, 2.0, 3.0, 4.0], 4),
    ],
)
def test_early_stopping_stops_as_in_keras(
    options: dict[str, Any], values: list[float], epochs: int
) -> None:
    """The expected numbers of epochs were counted with Keras 3.15."""
    callback = callbacks.EarlyStopping(**options)
    model = run(callback, values)
    assert model.value[0] == epochs


def test_early_stopping_restores_even_if_it_did_not_stop(
    capsys: pytest.CaptureFixture[str],
) -> None:
    callback = callbacks.EarlyStopping(patience=5, restore_best_weights=True, verbose=1)
    model = run(callback, [1.0, 0.5, 0.8])
    assert model.value[0] == 2 and model.assigned == 1
    said = "Restoring model weights from the end of the best epoch: 2.\n"
    assert capsys.readouterr().out == said
    callback = callbacks.EarlyStopping(patience=1, restore_best_weights=True, verbose=1)
    assert run(callback, [1.0, 0.5, 0.8, 0.7]).value[0] == 2
    assert capsys.readouterr().out == "Epoch 3: early stopping\n" + said
    assert run(callback, [1.0, 0.5]).assigned == 0, "the best weights are those that are there"


def test_direction_is_known_of_the_models_metrics() -> None:
    assert run(callbacks.EarlyStopping("val_acc"), [0.5, 0.6, 0.55], "val_acc").value[0] == 3
    with pytest.raises(ValueError, match="pass mode='max' or mode='min'"):
        run(callbacks.EarlyStopping("val_f1"), [0.5], "val_f1")
    run(callbacks.EarlyStopping("val_f1", mode="max"), [0.5], "val_f1")
    with pytest.warns(UserWarning, match="val_loss"):
        run(callbacks.EarlyStopping(), [0.5], "loss")


@pytest.mark.parametrize(
    "options", [{"mode": "least"}, {"patience": -1}, {"patience": 1.5}, {"min_delta": np.nan}]
)
def test_early_stopping_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        callbacks.EarlyStopping(**options)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="period"):
        callbacks.ModelCheckpoint("a.h5", period=2)  # type: ignore[call-arg]


# --- ModelCheckpoint ---------------------------------------------------------------------------


def test_checkpoint_saves_every_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "{epoch:02d}-{val_loss:.2f}.h5"
    model = run(callbacks.ModelCheckpoint(path, verbose=1), [1.0, 0.5])
    assert model.saved == ["model 01-1.00.h5", "model 02-0.50.h5"]
    assert (tmp_path / "new").is_dir()
    first = tmp_path / "new" / "01-1.00.h5"
    assert capsys.readouterr().out.startswith(
        f"\nEpoch 1: saving model to {first}\n\nEpoch 1: finished saving model to {first}\n"
    )


def test_checkpoint_saves_the_best_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "best.weights.h5"
    callback = callbacks.ModelCheckpoint(
        path, save_best_only=True, save_weights_only=True, verbose=1
    )
    assert len(run(callback, [1.0, 1.2, 0.5]).saved) == 2
    out = capsys.readouterr().out
    assert f"Epoch 1: val_loss improved from None to 1.00000, saving model to {path}" in out
    assert "Epoch 2: val_loss did not improve from 1.00000" in out
    callback = callbacks.ModelCheckpoint(
        path, "val_acc", save_best_only=True, save_weights_only=True, initial_value_threshold=0.8
    )
    assert len(run(callback, [0.7, 0.9, 0.85], "val_acc").saved) == 1
    callback = callbacks.ModelCheckpoint(path, save_best_only=True, save_weights_only=True)
    with pytest.warns(UserWarning, match="Can save best model only with val_loss"):
        assert len(run(callback, [1.0], "loss").saved) == 1


def test_checkpoint_saves_after_so_many_batches(tmp_path: Path) -> None:
    path = tmp_path / "{epoch}-{batch}.h5"
    model = run(callbacks.ModelCheckpoint(path, save_freq=3), [1.0] * 4)
    assert model.saved == ["model 2-1.h5", "model 3-2.h5"]


def test_checkpoint_refuses(tmp_path: Path) -> None:
    for path, options, message in (
        ("a.hdf5", {}, r"end in \.h5"),
        ("a.keras", {}, r"end in \.h5"),
        ("a.h5", {"save_weights_only": True}, r"end in \.weights\.h5"),
        ("a.h5", {"save_freq": 0}, "save_freq"),
        ("a.h5", {"save_freq": "batch"}, "save_freq"),
        ("a.h5", {"mode": "best"}, "mode"),
    ):
        with pytest.raises(ValueError, match=message):
            callbacks.ModelCheckpoint(path, **options)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="val_acc"):
        run(callbacks.ModelCheckpoint(tmp_path / "{val_acc}.h5"), [1.0])
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.h5"):
        run(callbacks.ModelCheckpoint(tmp_path / "folder.h5"), [1.0])


# --- together with fit -------------------------------------------------------------------------


def test_callbacks_in_fit(tmp_path: Path) -> None:
    model = Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    random = np.random.RandomState(0)
    x, y = random.rand(12, 4), np.eye(3)[random.randint(0, 3, 12)]
    history = model.fit(
        x,
        y,
        epochs=30,
        validation_data=(x, y),
        verbose=0,
        callbacks=[
            callbacks.EarlyStopping("val_acc", patience=0, restore_best_weights=True),
        ],
    )
    assert 1 < len(history.epoch) < 30
    assert model.evaluate(x, y, verbose=0, return_dict=True)["acc"] == max(
        history.history["val_acc"]
    )


def test_list_refuses_what_is_no_callback() -> None:
    with pytest.raises(TypeError, match="callbacks must hold"):
        callbacks.CallbackList(["a callback"])  # type: ignore[list-item]


def test_old_hook_names_are_called() -> None:
    calls: list[str] = []

    class Old(callbacks.Callback):
        def on_batch_begin(self, batch: int, logs: Any = None) -> None:
            calls.append(f"begin {batch}")

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            calls.append(f"end {batch} {list(logs)}")

    listeners = callbacks.CallbackList(Old())
    listeners.on_train_batch_begin(0)
    listeners.on_train_batch_end(0, {"loss": 1.0, "acc": 0.5})
    assert calls == ["begin 0", "end 0 ['acc', 'loss']"]
