"""tlcore, by what a user calls: train_on_batch, and for kept values fit. See training.py."""

from __future__ import annotations

import time

from shared import FOLDER, THREADS
from training import CASE, FIRST, RATE, Cannot, each, head, picture_batch, serve_steps

import tlcore

tlcore.set_num_threads(THREADS)
base = tlcore.applications.MobileNetV2(
    input_shape=(224, 224, 3), include_top=False, weights=FOLDER / "base.h5"
)
if CASE == "frozen-norm":
    for layer in base.layers:
        layer.trainable = not isinstance(layer, tlcore.layers.BatchNormalization)
elif CASE in ("block13", "kept"):
    first = base.layers.index(base.get_layer(FIRST))
    for layer in base.layers[:first]:
        layer.trainable = False

x, labels = picture_batch()
kernel, bias = head()
last = tlcore.layers.Dense(len(bias), activation="softmax")
model = tlcore.Sequential([base, tlcore.layers.GlobalAveragePooling2D(), last])
last.set_weights([kernel, bias])
model.compile(optimizer=tlcore.optimizers.SGD(RATE), loss="sparse_categorical_crossentropy")
kinds = {node["name"]: node["op"] for node in model.graph.nodes}


class Laps(tlcore.callbacks.Callback):
    """When each epoch ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.ends.append(time.perf_counter())


def steps(count: int) -> tuple[list[float], list[float]]:
    return each(lambda: float(model.train_on_batch(x, labels)))(count)


def kept_steps(count: int) -> tuple[list[float], list[float]]:
    """Epochs of one batch; one more comes first, which runs the frozen part and is not timed."""
    laps = Laps()
    before = model.prefix_runs
    history = model.fit(
        x,
        labels,
        batch_size=len(x),
        epochs=count + 1,
        shuffle=False,
        verbose=0,
        callbacks=[laps],
        keep_features=True,
    ).history
    ran = model.prefix_runs - before
    if ran != len(x):
        raise RuntimeError(f"{ran} pictures passed the frozen part of {len(x)}: nothing was kept")
    seconds = [end - begin for begin, end in zip(laps.ends, laps.ends[1:], strict=False)]
    return seconds, history["loss"]


def run(count: int) -> tuple[list[float], list[float]]:
    try:
        return kept_steps(count) if CASE == "kept" else steps(count)
    except (ValueError, MemoryError) as error:  # layers that do not train, a batch too large
        raise Cannot(str(error)) from error


def profile() -> list[tuple[str, str, float, float]]:
    trainer = model._compiled.trainer
    if not hasattr(trainer, "profile"):
        raise Cannot("this tlcore has no Trainer.profile()")
    return [
        (name, kinds.get(name, "other"), forward, backward)
        for name, forward, backward in trainer.profile()
    ]


serve_steps(f"tlcore {tlcore.__version__}", run, profile)
