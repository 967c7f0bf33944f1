"""What is shown while a model runs. The bars were printed by Keras 3.15 with the same clock."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

import numpy as np
import pytest

from tlcore import layers
from tlcore.callbacks import ProgbarLogger
from tlcore.models import Sequential
from tlcore.training import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "time", clock)
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def run_fit(
    stream: io.StringIO, clock: Clock, seconds: list[float], steps: int | None, **params: Any
) -> str:
    with contextlib.redirect_stdout(stream):
        _run_fit(clock, seconds, steps, params)
    return stream.getvalue()


def _run_fit(clock: Clock, seconds: list[float], steps: int | None, params: dict[str, Any]) -> None:
    logger = ProgbarLogger()
    logger.set_params({"verbose": "auto", "epochs": 1, "steps": steps, **params})
    logger.on_train_begin()
    for epoch in range(logger.params["epochs"] if logger.params else 0):
        logger.on_epoch_begin(epoch)
        for step, duration in enumerate(seconds):
            clock.now += duration
            logger.on_train_batch_end(step, {"acc": 0.61, "loss": (0.65, 0.0005)[step % 2]})
        logger.on_epoch_end(epoch, {"acc": 0.61, "loss": 0.65, "val_loss": 1.0})
    logger.on_train_end()


def test_bar_is_that_of_keras(clock: Clock) -> None:
    text = run_fit(Terminal(), clock, [1.0, 0.5, 0.01, 70.0], steps=4, epochs=2)
    first = "1s/step - acc: 0.6100 - loss: 0.6500"
    width = len("1/4 ━━━━━━━━━━━━━━━━━━━━ 3s ") + len(first)
    assert text.startswith(
        "Epoch 1/2\n"
        "\r\x1b[1m1/4\x1b[0m \x1b[32m━━━━━\x1b[0m\x1b[37m━━━━━━━━━━━━━━━\x1b[0m \x1b[1m3s\x1b[0m "
        + first
        + width * "\b"
        + "\r\x1b[1m2/4\x1b[0m \x1b[32m━━━━━━━━━━\x1b[0m\x1b[37m━━━━━━━━━━\x1b[0m \x1b[1m1s\x1b[0m "
        "500ms/step - acc: 0.6100 - loss: 5.0000e-04"
    )
    assert text.endswith(
        "\r\x1b[1m4/4\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m\x1b[37m\x1b[0m \x1b[1m72s\x1b[0m "
        "24s/step - acc: 0.6100 - loss: 0.6500 - val_loss: 1.0000\n"
    )
    assert text.count("Epoch 2/2\n") == 1


def test_bar_without_a_known_end(clock: Clock) -> None:
    text = run_fit(Terminal(), clock, [1.0, 1.0], steps=None)
    assert "\r      1/Unknown \x1b[1m1s\x1b[0m 1s/step" in text
    assert "\r\x1b[1m2/2\x1b[0m " in text


def test_long_waits_are_told_in_minutes_and_hours(clock: Clock) -> None:
    text = run_fit(Terminal(), clock, [100.0, 1.0], steps=40)
    assert "\x1b[1m1:05:00\x1b[0m 100s/step" in text
    assert "\x1b[1m38s\x1b[0m 1s/step" in text


def test_a_short_call_draws_nothing(clock: Clock) -> None:
    text = run_fit(Terminal(), clock, [0.01] * 10, steps=10, epochs=4)
    assert text == ""


def test_a_call_that_turns_out_long_shows_its_first_epochs_too(clock: Clock) -> None:
    text = run_fit(Terminal(), clock, [0.03] * 10, steps=10, epochs=3)
    assert text.count("10/10") >= 3
    assert [text.count(f"Epoch {i}/3\n") for i in (1, 2, 3)] == [1, 1, 1]


def test_two_lines_an_epoch_for_verbose_2(clock: Clock) -> None:
    text = run_fit(Terminal(), clock, [0.1, 0.1], steps=2, epochs=2, verbose=2)
    line = "2/2 - 0s - 100ms/step - acc: 0.6100 - loss: 0.6500 - val_loss: 1.0000\n"
    assert text == f"Epoch 1/2\n{line}Epoch 2/2\n{line}"


@pytest.mark.parametrize("verbose", ["auto", 1, 2])
def test_one_line_an_epoch_in_a_file(clock: Clock, verbose: Any) -> None:
    text = run_fit(io.StringIO(), clock, [0.1, 0.1], steps=2, epochs=2, verbose=verbose)
    assert text.splitlines() == [
        f"Epoch {i}/2 - 2/2 - 0s - 100ms/step - acc: 0.6100 - loss: 0.6500 - val_loss: 1.0000"
        for i in (1, 2)
    ]


def test_silence(clock: Clock) -> None:
    text = run_fit(Terminal(), clock, [1.0], steps=1, verbose=0)
    assert text == ""
    with contextlib.redirect_stdout(Terminal()):
        assert progress.mode_for(True) is progress.Mode.BAR
    assert progress.mode_for(False) is progress.Mode.SILENT


def test_jupyter_counts_as_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    outside = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    monkeypatch.setattr(sys, "stdout", outside())
    assert progress.mode_for("auto") is progress.Mode.BAR
    monkeypatch.setattr(sys, "stdout", None)
    assert progress.mode_for("auto") is progress.Mode.FILE
    progress.Screen(0.0).show("nobody sees this")


def test_a_terminal_without_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    progress.Screen(0.0).show("1/1 ━━ done\n")
    assert raw.getvalue() == b"1/1 == done\n"


def test_evaluate_and_predict_show_themselves(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Sequential([layers.Input((4,)), layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=["acc"])
    x, y = np.zeros((6, 4), np.float32), np.eye(3, dtype=np.float32)[[0, 1, 2] * 2]
    with contextlib.redirect_stdout(Terminal()) as stream:
        model.fit(x, y, epochs=2, validation_data=(x, y))
        model.evaluate(x, y)
        model.predict(x)
    assert stream.getvalue() == "", "all were short"
    with contextlib.redirect_stdout(Terminal()) as stream:
        model.evaluate(x, y, verbose=2)
    assert stream.getvalue().startswith("1/1 - 0s - 0s/step - acc: ")
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    with contextlib.redirect_stdout(Terminal()) as stream:
        model.predict(x, batch_size=3)
    assert stream.getvalue().endswith("\x1b[1m0s\x1b[0m 0s/step\n")
    assert "\x1b[1m2/2\x1b[0m" in stream.getvalue()
    assert "Epoch" not in stream.getvalue()
