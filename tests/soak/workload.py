"""What the long campaigns let threads and forked children do, and what must come out of it."""

from __future__ import annotations

import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import tlcore
from tlcore import layers
from tlcore.models import Sequential
from tlcore.preprocessing.image import ImageDataGenerator
from tlcore.saving import load_model
from tlcore.utils import set_random_seed

SIZE = 32
CLASSES = 3
Weights = list[np.ndarray[Any, Any]]


def frozen_base(seed: int = 1) -> Any:
    """A small MobileNetV2 with random weights and statistics, frozen."""
    set_random_seed(seed)
    base = tlcore.applications.MobileNetV2((SIZE, SIZE, 3), 0.35, include_top=False, weights=None)
    random_state = np.random.RandomState(seed)
    for layer in base.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    gamma * random_state.uniform(0.5, 1.5, gamma.shape),
                    beta + random_state.normal(0, 0.1, beta.shape),
                    mean + random_state.normal(0, 0.1, mean.shape),
                    variance * random_state.uniform(0.5, 1.5, variance.shape),
                ]
            )
    base.trainable = False
    return base


def classifier(base: Any = None, *, compiled: bool = True, name: str | None = None) -> Sequential:
    """A head of three classes on the frozen base."""
    base = frozen_base() if base is None else base
    model = Sequential(
        [
            base,
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(CLASSES, activation="softmax"),
        ],
        name=name,
    )
    model._says_keeping = False  # one line for each of hundreds of models
    if compiled:
        model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    return model


def pictures(count: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).uniform(-1, 1, (count, SIZE, SIZE, 3)).astype(np.float32)


def targets(count: int) -> np.ndarray[Any, Any]:
    return np.eye(CLASSES, dtype=np.float32)[np.arange(count) % CLASSES]


def two_sets_of_weights(model: Sequential) -> tuple[Weights, Weights]:
    """The model's weights and others that differ in every block."""
    first = model.get_weights()
    return first, [w * np.float32(0.75) if w.ndim > 1 else w for w in first]


def picture_folder(root: Path, count: int = 12) -> Path:
    random_state = np.random.RandomState(0)
    for place in range(CLASSES):
        folder = root / f"class{place}"
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count // CLASSES):
            pixels = random_state.randint(0, 255, (40, 36, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.jpg")
    return root


def flow(folder: Path, batch_size: int = 4) -> Any:
    return ImageDataGenerator(rescale=1 / 255).flow_from_directory(
        folder, target_size=(SIZE, SIZE), batch_size=batch_size, seed=3
    )


# --- forked children ------------------------------------------------------------------------------

HANGS = 60  # seconds after which a child that does not end is taken for one that never will


def fork_and_wait(work: Callable[[], None], *, leave: bool = True) -> int:
    """Exit status of a forked child that does `work`: 0, 1 (it raised), or minus the signal.

    A child that hangs is ended by SIGALRM. Without `leave` it ends as a program does that has run
    to its end, with all exit handlers.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, on purpose
        pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HANGS)
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        if leave:
            os._exit(0)
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def tasks(
    model: Sequential, folder: Path, scratch: Path, choice: random.Random
) -> dict[str, Callable[[], None]]:
    """What a child, or a thread, may do with a model whose weights change meanwhile."""

    def predict() -> None:
        scores = model.predict(pictures(choice.randint(1, 5)), verbose=0)
        assert np.isfinite(scores).all() and np.allclose(scores.sum(1), 1, atol=1e-4)

    def fit() -> None:
        own = classifier(compiled=False)
        own.compile("adam", "categorical_crossentropy")
        history = own.fit(pictures(8), targets(8), epochs=2, verbose=0)
        assert np.isfinite(history.history["loss"]).all()

    def fit_pictures() -> None:
        own = classifier(model.layers[0])
        history = own.fit(flow(folder), epochs=1, verbose=0)
        assert np.isfinite(history.history["loss"]).all()

    def read() -> None:
        assert len(next(flow(folder))[0]) == 4

    def save_and_load() -> None:
        path = scratch / f"{os.getpid()}-{choice.getrandbits(48)}.h5"
        try:
            model.save(path)
            again = load_model(path)
        finally:
            path.unlink(missing_ok=True)
        assert [w.shape for w in again.get_weights()] == [w.shape for w in model.get_weights()]

    def convert() -> None:
        assert len(tlcore.lite.TFLiteConverter.from_keras_model(model).convert()) > 100_000

    def resize() -> None:
        tlcore.set_num_threads(choice.randint(1, 3))

    def change_trainable() -> None:
        own = classifier(frozen_base(choice.randint(1, 3)), compiled=False)
        for frozen in (True, False, True):
            own.layers[-1].trainable = not frozen
            own.compile("sgd", "categorical_crossentropy")
            own.predict(pictures(2), verbose=0)

    return {
        function.__name__: function
        for function in (
            predict,
            fit,
            fit_pictures,
            read,
            save_and_load,
            convert,
            resize,
            change_trainable,
        )
    }
