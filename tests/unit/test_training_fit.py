"""fit, evaluate and predict: epochs and passes, histories, sources of batches, and errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlcore import callbacks, layers, losses, optimizers
from tlcore.models import Sequential
from tlcore.preprocessing.image import DirectoryIterator, ImageDataGenerator
from tlcore.utils import notes, set_random_seed

WIDTH = 6


@pytest.fixture(autouse=True)
def forgotten_notes() -> None:
    notes.reset_notes()


def make_model(outputs: int = 3, activation: str = "softmax", **options: Any) -> Sequential:
    set_random_seed(2)
    model = Sequential(
        [
            layers.Input((WIDTH,)),
            layers.Dense(5, activation="relu"),
            layers.Dense(outputs, activation=activation),
        ]
    )
    settings = {"loss": "categorical_crossentropy", "metrics": ["acc"], **options}
    model.compile(settings.pop("optimizer", "sgd"), **settings)
    return model


def data(count: int = 20, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(1)
    x = random.standard_normal((count, WIDTH)).astype(np.float32)
    return x, np.eye(classes, dtype=np.float32)[random.randint(0, classes, count)]


class Batches:
    """A Keras-like Sequence of 4 batches of 5 that records what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(i)
        x, y = data()
        return x[5 * i : 5 * i + 5], y[5 * i : 5 * i + 5]

    def on_epoch_end(self) -> None:
        self.asked.append("end")


def generate(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for i in range(count):
        yield Batches()[i % 4]


class Recorder(callbacks.Callback):
    """Writes down which hooks are called, with which batch and epoch."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name.startswith("on_") and name not in ("on_batch_begin", "on_batch_end"):

            def record(*args: Any, **kwargs: Any) -> None:
                numbers = [str(one) for one in args if isinstance(one, int)]
                self.calls.append(" ".join([name.removeprefix("on_"), *numbers]))
                value(*args, **kwargs)

            return record
        return value


# --- histories and scores ----------------------------------------------------------------------


def test_history_is_in_keras_order_and_named_as_typed() -> None:
    model = make_model(metrics=["acc"])
    history = model.fit(*data(), epochs=2, validation_data=data(7), verbose=0)
    assert list(history.history) == ["acc", "loss", "val_acc", "val_loss"]
    assert history.epoch == [0, 1] and model.history is history
    assert all(type(value) is float for values in history.history.values() for value in values)


def test_both_accuracies_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    model = make_model(activation="sigmoid", loss="binary_crossentropy")
    x, y = data()
    seen: list[set[str]] = []

    class Logs(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(set(logs))

    history = model.fit(x, y, verbose=0, validation_data=(x, y), callbacks=Logs()).history
    assert list(history) == [
        "acc",
        "binary_acc",
        "loss",
        "val_acc",
        "val_binary_acc",
        "val_loss",
    ]
    assert seen[0] == {"acc", "binary_acc", "loss"}
    outputs = model.predict(x, verbose=0)
    assert history["val_acc"] == [np.mean(outputs.argmax(1) == y.argmax(1))]
    assert history["val_binary_acc"] == [np.mean((outputs > 0.5) == y)]
    said = [line for line in capsys.readouterr().err.splitlines() if "binary_acc" in line]
    assert len(said) == 1 and "largest output" in said[0] and "Keras up to 2.3" in said[0]

    scores = model.evaluate(x, y, verbose=0)
    assert model.metrics_names == ["loss", "acc"]
    assert isinstance(scores, list) and len(scores) == 2  # loss, acc = model.evaluate(...)
    named = model.evaluate(x, y, verbose=0, return_dict=True)
    assert isinstance(named, dict) and list(named) == ["acc", "binary_acc", "loss"]
    assert [named["loss"], named["acc"]] == scores


@pytest.mark.parametrize(
    ("outputs", "loss", "y", "same_as"),
    [
        (1, "binary_crossentropy", np.arange(20) % 2, "binary_accuracy"),
        (1, "binary_crossentropy", np.arange(20)[:, None] % 2, "binary_accuracy"),
        (3, "sparse_categorical_crossentropy", np.arange(20) % 3, "sparse_categorical_accuracy"),
        (3, "sparse_categorical_crossentropy", np.arange(20)[:, None] % 3, None),
        (3, "categorical_crossentropy", data()[1], "categorical_accuracy"),
        (3, "binary_crossentropy", data()[1], "categorical_accuracy"),
    ],
)
def test_accuracy_is_resolved_from_shapes(
    outputs: int, loss: str, y: np.ndarray, same_as: str | None
) -> None:
    names = ["accuracy", *([same_as] if same_as else [])]
    model = make_model(outputs, "sigmoid", loss=loss, metrics=names)
    history = model.fit(data()[0], y, verbose=0).history
    assert "accuracy" in history
    if same_as:
        assert history[same_as] == history["accuracy"]
    assert ("binary_accuracy" in history) == (outputs == 1 or loss.startswith("binary"))


def test_evaluate_without_metrics_is_the_loss() -> None:
    model = make_model(metrics=None)
    x, y = data()
    loss = model.evaluate(x, y, verbose=0)
    assert isinstance(loss, float)
    assert loss == pytest.approx(model.test_on_batch(x, y))
    assert model.evaluate(x, y, batch_size=3, verbose=0) == pytest.approx(loss)


def test_weights_of_samples_divide_by_the_batch() -> None:
    model = make_model(metrics=None)
    x, y = data(4)
    singles = np.array([model.evaluate(x[i : i + 1], y[i : i + 1], verbose=0) for i in range(4)])
    weights = np.array([2.0, 0.0, 1.0, 0.5])
    expected = pytest.approx((weights * singles).sum() / 4, rel=1e-6)
    assert model.evaluate(x, y, sample_weight=weights, verbose=0) == expected
    assert model.evaluate(x, y, sample_weight=weights[:, None], verbose=0) == expected
    classes = y.argmax(1)
    by_class = {0: 3.0, 2: 0.0}
    expected = (np.array([by_class.get(c, 1.0) for c in classes]) * singles).sum() / 4
    assert model.train_on_batch(x, y, class_weight=by_class) == pytest.approx(expected, rel=1e-6)


# --- epochs, steps and passes ------------------------------------------------------------------


def test_steps_beyond_a_pass_go_on_into_the_next() -> None:
    batches = Batches()
    make_model().fit(batches, steps_per_epoch=6, epochs=2, verbose=0)
    assert batches.asked == [0, 1, 2, 3, "end", 0, 1, 2, 3, "end", 0, 1, 2, 3, "end"]
    batches = Batches()
    make_model().fit(batches, steps_per_epoch=3, epochs=2, verbose=0)
    assert batches.asked == [0, 1, 2, 3, "end", 0, 1]
    batches = Batches()
    make_model().fit(batches, epochs=2, verbose=0)
    assert batches.asked == [0, 1, 2, 3, "end"] * 2


def test_arrays_are_shuffled_by_numpy_and_go_on_too() -> None:
    x, y = data()
    runs = []
    for _ in range(2):
        np.random.seed(3)
        model = make_model()
        np.random.seed(3)
        model.fit(x, y, batch_size=8, steps_per_epoch=5, epochs=2, verbose=0)
        assert model.optimizer is not None and model.optimizer.iterations == 10
        runs.append(model.get_weights())
    for ours, theirs in zip(*runs, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    model = make_model()
    model.fit(x, y, batch_size=8, steps_per_epoch=5, epochs=2, verbose=0, shuffle=False)
    assert not np.array_equal(model.get_weights()[0], runs[0][0])


def test_validation_stops_after_one_pass_and_says_so_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    batches = Batches()
    model = make_model()
    model.fit(*data(), epochs=2, verbose=0, validation_data=batches, validation_steps=9)
    assert batches.asked == [0, 1, 2, 3, "end"] * 2
    assert capsys.readouterr().err.count("one pass of 4 batches") == 1
    batches = Batches()
    model.fit(*data(), epochs=2, verbose=0, validation_data=batches, validation_steps=2)
    assert batches.asked == [0, 1, 0, 1]
    batches = Batches()
    model.evaluate(batches, steps=7, verbose=0)
    assert batches.asked == [0, 1, 2, 3, "end"]


def test_no_steps_at_all_means_a_whole_pass(capsys: pytest.CaptureFixture[str]) -> None:
    batches = Batches()
    make_model().fit(batches, steps_per_epoch=0, verbose=0)
    assert batches.asked == [0, 1, 2, 3, "end"]
    assert "steps_per_epoch=0" in capsys.readouterr().err


def test_epochs_and_validation_frequency() -> None:
    recorder = Recorder()
    history = make_model().fit(
        *data(8),
        batch_size=4,
        initial_epoch=2,
        epochs=5,
        validation_data=data(4),
        validation_freq=2,
        callbacks=[recorder],
        verbose=0,
    )
    assert history.epoch == [2, 3, 4] and len(history.history["val_loss"]) == 1
    steps = [f"train_batch_{what} {batch}" for batch in (0, 1) for what in ("begin", "end")]
    test = ["test_begin", "test_batch_begin 0", "test_batch_end 0", "test_end"]
    assert recorder.calls == [
        "train_begin",
        *("epoch_begin 2", *steps, "epoch_end 2"),
        *("epoch_begin 3", *steps, *test, "epoch_end 3"),
        *("epoch_begin 4", *steps, "epoch_end 4"),
        "train_end",
    ]
    history = make_model().fit(
        *data(8), epochs=4, validation_data=data(4), validation_freq=[1, 4], verbose=0
    )
    assert len(history.history["val_loss"]) == 2


def test_hooks_of_evaluate_and_predict() -> None:
    model = make_model()
    recorder = Recorder()
    model.evaluate(*data(4), batch_size=4, callbacks=[recorder], verbose=0)
    model.predict(data(4)[0], batch_size=4, callbacks=[recorder], verbose=0)
    assert recorder.calls == [
        *("test_begin", "test_batch_begin 0", "test_batch_end 0", "test_end"),
        *("predict_begin", "predict_batch_begin 0", "predict_batch_end 0", "predict_end"),
    ]


def test_generators_end_training_when_they_run_out(capsys: pytest.CaptureFixture[str]) -> None:
    history = make_model().fit(generate(5), steps_per_epoch=2, epochs=9, verbose=0)
    assert history.epoch == [0, 1, 2]
    assert "after 1 of 2 steps" in capsys.readouterr().err
    history = make_model().fit(generate(4), epochs=3, verbose=0)
    assert history.epoch == [0]
    assert "no more batches" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no batch"):
        make_model().fit(generate(0), verbose=0)
    with pytest.raises(ValueError, match="no batch"):
        make_model().evaluate(generate(0), verbose=0)


def test_all_sources_give_the_same_numbers() -> None:
    class Loader:
        """Iterable again and again, as torch's DataLoader."""

        def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            return generate(4)

    x, y = data()
    reference = make_model().fit(
        x, y, batch_size=5, epochs=2, shuffle=False, verbose=0, validation_data=(x, y)
    )
    for train, validate in (
        (Batches(), Batches()),
        (Loader(), Loader()),
        (generate(8), generate(8)),
    ):
        endless = isinstance(train, Iterator)
        history = make_model().fit(
            train,
            epochs=2,
            steps_per_epoch=4 if endless else None,
            verbose=0,
            validation_data=validate,
            validation_steps=4 if endless else None,
        )
        assert history.history["loss"] == reference.history["loss"]
        assert history.history["val_loss"] == pytest.approx(reference.history["val_loss"])
    model = make_model()
    np.testing.assert_array_equal(model.predict(Batches(), verbose=0), model.predict(x, verbose=0))
    np.testing.assert_array_equal(model.predict(x.tolist(), verbose=0), model(x))
    np.testing.assert_array_equal(model.predict([x], verbose=0), model.predict_on_batch(x))


def test_old_generator_forms() -> None:
    model = make_model()
    history = model.fit_generator(
        generate(50), 3, 2, verbose=0, validation_data=data(6), max_queue_size=3, workers=4
    )
    assert list(history.history) == ["acc", "loss", "val_acc", "val_loss"]
    assert model.evaluate_generator(Batches(), workers=2) == model.evaluate(Batches(), verbose=0)
    np.testing.assert_array_equal(
        model.predict_generator(Batches(), steps=2), model.predict(data()[0][:10], verbose=0)
    )


def test_a_model_without_input_shape_is_built_by_its_first_data() -> None:
    for source in (data(), (Batches(),), (generate(4),)):
        model = Sequential([layers.Dense(3, activation="softmax")])
        model.compile("sgd", "categorical_crossentropy")
        history = model.fit(*source, verbose=0)
        assert model.built and len(history.history["loss"]) == 1
    model = Sequential([layers.Dense(3)])
    assert model.predict(data()[0], verbose=0).shape == (20, 3)


# --- compile -----------------------------------------------------------------------------------


def test_compile_takes_the_learning_rate_of_old_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for _ in range(2):
        model = make_model(optimizer="adam", lr=0.005)
    assert isinstance(model.optimizer, optimizers.Adam)
    assert model.optimizer.learning_rate == 0.005
    said = [line for line in capsys.readouterr().err.splitlines() if "lr=0.005" in line]
    assert len(said) == 1
    by_name = make_model(optimizer=optimizers.Adam(0.005))
    for one in (model, by_name):
        one.fit(*data(), shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], by_name.get_weights()[0])


def test_learning_rate_may_change_between_batches() -> None:
    model = make_model()
    x, y = data()
    model.train_on_batch(x, y)
    before = model.get_weights()
    assert model.optimizer is not None
    model.optimizer.learning_rate = 0.0
    model.train_on_batch(x, y)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_trainable_counts_from_the_next_compile() -> None:
    model = make_model()
    x, y = data()
    first = model.layers[0]
    first.trainable = False
    before = first.get_weights()
    model.fit(x, y, verbose=0)
    assert not np.array_equal(first.get_weights()[0], before[0])
    model.compile("sgd", "categorical_crossentropy")
    before = first.get_weights()
    model.fit(x, y, verbose=0)
    np.testing.assert_array_equal(first.get_weights()[0], before[0])
    model.trainable = False
    model.compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match="no trainable weights"):
        model.fit(x, y, verbose=0)
    assert isinstance(model.evaluate(x, y, verbose=0), float)


def test_moments_live_as_long_as_the_optimizer() -> None:
    x, y = data()
    model = make_model(optimizer="adam")
    assert model.optimizer_state() == (0, [])
    model.fit(x, y, epochs=3, verbose=0)
    iterations, slots = model.optimizer_state()
    assert iterations == 3 and [s.shape for s in slots[:3]] == [(6, 5), (6, 5), (5,)]
    model.compile(model.optimizer, "categorical_crossentropy")
    model.train_on_batch(x, y)
    assert model.optimizer_state()[0] == 4
    model.compile("adam", "categorical_crossentropy")
    model.train_on_batch(x, y)
    assert model.optimizer_state()[0] == 1
    model.set_optimizer_state(iterations, slots)
    assert model.optimizer is not None and model.optimizer.iterations == 3
    for ours, theirs in zip(model.optimizer_state()[1], slots, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    model.layers[0].trainable = False
    model.compile(model.optimizer, "categorical_crossentropy")
    model.train_on_batch(x, y)
    assert model.optimizer_state()[0] == 4


def test_settings_survive_a_file() -> None:
    model = make_model(
        activation="linear",
        loss=losses.CategoricalCrossentropy(from_logits=True),
        optimizer=optimizers.SGD(0.1, momentum=0.9),
    )
    other = make_model()
    config = model.compile_config()
    assert config is not None
    other.compile_from_config(config)
    assert other.compile_config() == config
    assert other.loss is not None and other.loss.from_logits
    assert Sequential([layers.Dense(1)]).compile_config() is None


# --- who may do what, when ---------------------------------------------------------------------


def test_only_one_thread_trains() -> None:
    model = make_model()
    x, y = data()
    refused: list[str] = []

    class Meanwhile(callbacks.Callback):
        def attempt(self) -> None:
            for verb in (
                lambda: model.fit(x, y, verbose=0),
                lambda: model.train_on_batch(x, y),
                lambda: model.compile("sgd", "categorical_crossentropy"),
            ):
                with pytest.raises(RuntimeError, match="is being trained"):
                    verb()
                refused.append("yes")

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            thread = threading.Thread(target=self.attempt)
            thread.start()
            thread.join()
            assert len(model.predict(x, verbose=0)) == 20
            model.evaluate(x, y, verbose=0)

    model.fit(x, y, verbose=0, callbacks=[Meanwhile()])
    assert refused == ["yes"] * 3
    model.fit(x, y, verbose=0)


def test_an_interrupted_fit_leaves_the_last_batch() -> None:
    x, y = data()

    class Interrupt(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 1:
                self.weights = self.model.get_weights()
                raise KeyboardInterrupt

    interrupt = Interrupt()
    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=5, shuffle=False, verbose=0, callbacks=[interrupt])
    reference = make_model()
    reference.fit(x[:10], y[:10], batch_size=5, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    model.fit(x, y, verbose=0)


def test_callbacks_stop_each_verb() -> None:
    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_training = batch == 1

        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_evaluating = True

        def on_predict_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.stop_predicting = True

    model = make_model()
    x, y = data()
    history = model.fit(x, y, batch_size=5, epochs=4, verbose=0, callbacks=Stop())
    assert history.epoch == [0]
    assert model.optimizer is not None and model.optimizer.iterations == 2
    assert len(model.predict(x, batch_size=5, verbose=0, callbacks=[Stop()])) == 5
    recorder = Recorder()
    model.evaluate(x, y, batch_size=5, verbose=0, callbacks=[Stop(), recorder])
    assert (
        recorder.calls.count("test_batch_end 0") == 1 and "test_batch_end 1" not in recorder.calls
    )


def test_predict_from_four_threads_is_predict_from_one() -> None:
    model = make_model()
    x = data(200)[0]
    expected = model.predict(x, verbose=0)
    results: list[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda: results.append(model.predict(x, batch_size=7, verbose=0)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, expected)


# --- what is refused ---------------------------------------------------------------------------

X, Y = data()
WITH_NAN = np.where(np.arange(20)[:, None] == 3, np.nan, X)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit(WITH_NAN, Y, verbose=0, shuffle=False), "x holds NaN or infinity .in ima"),
        (lambda m: m.fit(X, np.where(Y > 0, np.nan, Y), verbose=0), "y holds NaN"),
        (lambda m: m.fit(X[:, :4], Y, verbose=0), r"\(20, 4\), but the model takes \(None, 6\)"),
        (lambda m: m.predict(X[0], verbose=0), "add the axis of the batch"),
        (lambda m: m.fit(X, Y[:9], verbose=0), "x has 20 images but y has 9 rows"),
        (lambda m: m.fit(X, np.eye(4)[[0] * 20], verbose=0), r"4 classes .* Dense\(4\)"),
        (lambda m: m.fit(X, Y.argmax(1), verbose=0), "takes one-hot targets"),
        (lambda m: m.fit(X, Y * 2, verbose=0), "takes targets from 0 to 1"),
        (lambda m: m.fit(X, verbose=0), "y is missing"),
        (lambda m: m.fit(X[:0], Y[:0], verbose=0), "x holds no images"),
        (lambda m: m.fit(X.astype(str), Y, verbose=0), "x must hold numbers"),
        (lambda m: m.fit(X, Y, verbose=2.5), "verbose must be"),
        (lambda m: m.fit(X, Y, epochs=1.5, verbose=0), "epochs must be a whole number"),
        (lambda m: m.fit(X, Y, batch_size=0, verbose=0), "batch_size must be a whole number"),
        (lambda m: m.fit(X, Y, steps_per_epoch=1.3, verbose=0), "steps_per_epoch must be a whole"),
        (lambda m: m.fit(X, Y, shuffle="yes", verbose=0), "shuffle must be"),
        (lambda m: m.fit(X, Y, validation_split=1.5, verbose=0), "between 0 and 1"),
        (lambda m: m.fit(X[:1], Y[:1], validation_split=0.5, verbose=0), "leaves none to train"),
        (lambda m: m.fit(Batches(), validation_split=0.5, verbose=0), "works for arrays only"),
        (lambda m: m.fit(X, Y, validation_data=X, verbose=0), r"must be \(x, y\)"),
        (
            lambda m: m.fit(X, Y, validation_data=(X, Y), validation_freq=0, verbose=0),
            "validation_freq must be",
        ),
        (lambda m: m.fit(X, Y, class_weight={3: 1.0}, verbose=0), "key 3, but its keys are"),
        (
            lambda m: m.fit(X, Y, class_weight={0: np.nan}, verbose=0),
            "gives class 0 the weight nan",
        ),
        (lambda m: m.fit(X, Y, class_weight=[1, 2, 3], verbose=0), "must be a dict"),
        (
            lambda m: m.fit(X, Y, class_weight={0: 1.0}, sample_weight=np.ones(20), verbose=0),
            "cannot be given at the same time",
        ),
        (lambda m: m.fit(X, Y, sample_weight=np.ones(3), verbose=0), "sample_weight has 3 rows"),
        (lambda m: m.fit(X, Y, sample_weight=np.ones((20, 3)), verbose=0), "one number for each"),
        (lambda m: m.fit(X, Y, sample_weight=X[:, 0] * np.inf, verbose=0), "finite numbers"),
        (lambda m: m.fit(Batches(), Y, verbose=0), "y must be left out"),
        (lambda m: m.fit((b for b in [(X, Y, None, 1)]), verbose=0), "got a tuple of 4"),
        (lambda m: m.compile("rmsprop", "categorical_crossentropy"), "'sgd' and 'adam'"),
        (lambda m: m.compile("sgd", "mse"), "loss='mse' is not a loss"),
        (lambda m: m.compile("sgd", "bce", metrics=["auc"]), "'auc' is not a metric"),
        (lambda m: m.compile("sgd", "bce", metrics="acc"), "metrics must be a list"),
        (lambda m: m.compile("sgd", "bce", loss_weights=[1.0]), "loss_weights"),
        (lambda m: m.compile("sgd", "bce", weighted_metrics=["acc"]), "weighted_metrics"),
        (lambda m: m.compile("sgd", "bce", lr=-1.0), "lr must be a number"),
        (lambda m: m.predict_image("x.jpg"), "needs model.class_indices"),
    ],
)
def test_refused_with_a_sentence(call: Callable[[Sequential], Any], message: str) -> None:
    model = make_model()
    with pytest.raises(ValueError, match=message):
        call(model)
    model.compile("sgd", "categorical_crossentropy")
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize("x", [None, {"a": X}, "photos", 3, lambda: 3])
def test_what_is_no_data_is_a_type_error(x: Any) -> None:
    with pytest.raises(TypeError, match="x must be"):
        make_model().fit(x, verbose=0)


def test_states_are_refused_with_a_sentence() -> None:
    model = Sequential([layers.Input((6,)), layers.Dense(3)])
    with pytest.raises(RuntimeError, match=r"compile\(\) before fit"):
        model.fit(X, Y)
    model.compile("sgd")
    with pytest.raises(ValueError, match="has no loss"):
        model.fit(X, Y)
    model.compile("sgd", "categorical_crossentropy")
    model.add(layers.Dense(3))
    with pytest.raises(RuntimeError, match="have changed"):
        model.fit(X, Y)
    assert model.predict(X, verbose=0).shape == (20, 3)
    one = make_model(1, "sigmoid")
    with pytest.raises(ValueError, match="at least 2 outputs"):
        one.fit(X, Y[:, :1], verbose=0)
    flat = Sequential([layers.Input((4, 4, 3)), layers.Dense(3)])
    flat.compile("sgd", "categorical_crossentropy")
    with pytest.raises(ValueError, match="GlobalAveragePooling2D or Flatten"):
        flat.fit(np.zeros((2, 4, 4, 3)), Y[:2])


# --- pictures ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.RandomState(0)
    for name in ("boat", "kite", "surf"):
        (root / name).mkdir()
        for i in range(3):
            pixels = random.randint(0, 255, (20, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def flow(folder: Path, generator: ImageDataGenerator, **options: Any) -> DirectoryIterator:
    return generator.flow_from_directory(folder, target_size=(12, 12), batch_size=2, **options)


def picture_model(outputs: int = 3, loss: str = "categorical_crossentropy") -> Sequential:
    set_random_seed(1)
    activation = "sigmoid" if loss == "binary_crossentropy" else "softmax"
    model = Sequential(
        [layers.Input((12, 12, 3)), layers.Flatten(), layers.Dense(outputs, activation=activation)]
    )
    model.compile("adam", loss, metrics=["acc"])
    return model


@pytest.mark.parametrize("own", [False, True])
def test_fit_learns_class_names_and_how_pictures_are_read(folder: Path, own: bool) -> None:
    if own:
        from tlcore.applications.mobilenet_v2 import preprocess_input

        generator = ImageDataGenerator(preprocessing_function=preprocess_input)
    else:
        generator = ImageDataGenerator(rescale=1 / 255)
    iterator = flow(folder, generator, shuffle=False, interpolation="bilinear")
    model = picture_model()
    model.fit(iterator, verbose=0)
    assert model.class_indices == {"boat": 0, "kite": 1, "surf": 2}
    scores = model.predict(flow(folder, generator, shuffle=False, interpolation="bilinear"))
    for row, path in zip(scores, iterator.filepaths, strict=True):
        answer = model.predict_image(path)
        assert list(answer.values()) == sorted(answer.values(), reverse=True)
        for name, place in model.class_indices.items():
            assert answer[name] == float(row[place])
    assert model.predict_image(path, top=1) == dict(list(answer.items())[:1])
    with pytest.raises(ValueError, match="top must be"):
        model.predict_image(path, top=0)
    with pytest.raises(OSError, match="missing"):
        model.predict_image(folder / "missing.jpg")


def test_one_output_scores_both_classes(folder: Path) -> None:
    generator = ImageDataGenerator(rescale=1 / 255)
    iterator = flow(folder, generator, classes=["boat", "kite"], class_mode="binary")
    model = picture_model(1, "binary_crossentropy")
    model.fit(iterator, verbose=0)
    answer = model.predict_image(iterator.filepaths[0])
    assert set(answer) == {"boat", "kite"}
    assert sum(answer.values()) == pytest.approx(1.0)
    x = iterator.load([0])
    assert answer["kite"] == float(model.predict(x, verbose=0)[0, 0])


def test_generators_that_do_not_fit_the_model(folder: Path) -> None:
    generator = ImageDataGenerator(rescale=1 / 255)
    with pytest.raises(ValueError, match=r"y has 3 classes .* Dense\(3\)"):
        picture_model(2).fit(flow(folder, generator), verbose=0)
    with pytest.raises(ValueError, match="class_mode='categorical'"):
        picture_model().fit(flow(folder, generator, class_mode="sparse"), verbose=0)
    with pytest.raises(ValueError, match="class_mode='sparse'"):
        picture_model(3, "sparse_categorical_crossentropy").fit(flow(folder, generator), verbose=0)
    with pytest.raises(ValueError, match="class_mode other than None"):
        picture_model().fit(flow(folder, generator, class_mode=None), verbose=0)
    big = generator.flow_from_directory(folder, target_size=(16, 16))
    for verb in (picture_model().fit, picture_model().evaluate, picture_model().predict):
        with pytest.raises(ValueError, match=r"\(16, 16, 3\).*target_size=\(12, 12\)"):
            verb(big, verbose=0)
    fewer = flow(folder, generator, classes=["kite", "surf", "boat"])
    with pytest.raises(ValueError, match="validation_data has the classes"):
        picture_model().fit(flow(folder, generator), validation_data=fewer, verbose=0)


def test_a_wrong_value_range_is_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = picture_model()
    model.input_range = (-1.0, 1.0)
    for _ in range(2):
        model.fit(flow(folder, ImageDataGenerator(rescale=1 / 255)), verbose=0)
    said = [line for line in capsys.readouterr().err.splitlines() if "pixels from" in line]
    assert len(said) == 1 and "from 0 to 1" in said[0] and "-1 to 1" in said[0]
    from tlcore.applications.mobilenet_v2 import preprocess_input

    right = ImageDataGenerator(preprocessing_function=preprocess_input)
    model.fit(flow(folder, right), verbose=0)
    assert "pixels from" not in capsys.readouterr().err


def test_a_batch_size_that_has_no_effect_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    make_model().fit(Batches(), batch_size=16, verbose=0)
    assert "batch_size=16 has no effect" in capsys.readouterr().err
