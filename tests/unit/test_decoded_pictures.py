"""Decoded pictures stay in memory within a budget, and change nothing but the number of reads."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlcore import layers
from tlcore.models import Sequential
from tlcore.preprocessing import image
from tlcore.preprocessing.image import _decoded, _pictures
from tlcore.utils import memory, notes, set_random_seed

COUNT = 12
SHAPE = (20, 24)
ENTRY = SHAPE[0] * SHAPE[1] * 3 + _decoded._ENTRY_BYTES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (26, 31, 3), dtype=np.uint8)).save(path)
    return tmp_path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files that are read."""
    read: list[str] = []
    known = _pictures._read_bytes

    def watched(path: Any) -> Any:
        read.append(path)
        return known(path)

    monkeypatch.setattr(_pictures, "_read_bytes", watched)
    return read


@pytest.fixture(autouse=True)
def only_mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    notes.reset_notes()
    gc.collect()
    monkeypatch.setattr(_decoded, "_stores", [])
    yield


def flow(folder: Path, **more: Any) -> image.DirectoryIterator:
    arguments = {"target_size": SHAPE, "batch_size": 5, "seed": 1, **more}
    return image.ImageDataGenerator(rescale=1 / 255).flow_from_directory(folder, **arguments)


@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
def test_the_second_pass_reads_no_file(folder: Path, reads: list[str], color_mode: str) -> None:
    Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 99).save(folder / "a/16.png")
    kept, anew = flow(folder, color_mode=color_mode), flow(folder, color_mode=color_mode)
    anew.keep_decoded = False
    for epoch in range(3):
        for i in range(len(kept)):
            np.testing.assert_array_equal(kept[i][0], anew[i][0])
        kept.on_epoch_end()
        anew.on_epoch_end()
        assert len(reads) == (COUNT + 1) * (2 + epoch)
    assert len(kept._decoded) == COUNT + 1 and len(anew._decoded) == 0


def test_a_changed_file_is_read_anew(
    folder: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if its size is the same; it takes the place of what it was."""
    monkeypatch.setattr(_decoded, "store_budget", lambda: COUNT * ENTRY)
    iterator = flow(folder, shuffle=False)
    before = iterator.load(range(COUNT))
    size = iterator._decoded.nbytes
    path = Path(iterator.filepaths[3])
    stamp = path.stat()
    Image.new("RGB", (31, 26), (9, 9, 9)).save(path)
    path.write_bytes(path.read_bytes().ljust(stamp.st_size, b"\0"))
    assert path.stat().st_size == stamp.st_size
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    reads.clear()
    after = iterator.load(range(COUNT))
    iterator.load(range(COUNT))
    assert reads == [str(path)]
    np.testing.assert_allclose(after[3], 9 / 255, rtol=1e-6)
    np.testing.assert_array_equal(np.delete(after, 3, 0), np.delete(before, 3, 0))
    assert iterator._decoded.nbytes == size
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"'{path}' does not exist"):
        iterator.load(range(COUNT))


def test_another_way_of_reading_is_another_picture(folder: Path, reads: list[str]) -> None:
    iterator = flow(folder, shuffle=False)
    nearest = iterator.load(range(COUNT))
    iterator.interpolation = "bilinear"
    assert (iterator.load(range(COUNT)) != nearest).any()
    assert len(reads) == 2 * COUNT


def test_what_is_kept_cannot_be_changed(folder: Path) -> None:
    iterator = flow(folder, shuffle=False)
    first = iterator.load([0])
    first[:] = 7
    assert iterator.load([0]).max() <= 1

    def ruin(x: np.ndarray) -> np.ndarray:
        x[:] = 5
        return x

    own = image.ImageDataGenerator(preprocessing_function=ruin)
    ruined = own.flow_from_directory(folder, target_size=SHAPE, shuffle=False)
    assert (ruined.load([0]) == 5).all()
    state = ruined._state(*ruined._stamp(ruined.filepaths[0]))
    held = ruined._decoded.get(ruined.filepaths[0], state)
    assert held is not None and (held != 5).any()
    with pytest.raises(ValueError, match="read-only"):
        held[:] = 0


def test_one_budget_for_the_process(
    folder: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_decoded, "store_budget", lambda: 15 * ENTRY)
    one, two = flow(folder, shuffle=False), flow(folder, shuffle=False)
    expected = one.load(range(COUNT))
    for _ in range(2):
        np.testing.assert_array_equal(two.load(range(COUNT)), expected)
    assert len(one._decoded) == COUNT
    assert len(two._decoded) == 3
    assert one._decoded.nbytes + two._decoded.nbytes == 15 * ENTRY
    assert len(reads) == COUNT + COUNT + COUNT - 3  # what came first has stayed
    del one
    two.load(range(COUNT))
    assert len(two._decoded) == COUNT


def test_the_budget_is_a_share_of_what_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: 400)
    assert memory.store_budget() == 100
    monkeypatch.setattr(memory, "memory_limit", lambda: 1 << 40)
    assert memory.store_budget() == 1 << 30


@pytest.mark.parametrize("use", ["next", "index", "prefetch"])
def test_memory_goes_with_the_iterator(folder: Path, use: str) -> None:
    """At once: nothing that an iterator makes holds it."""
    gc.disable()
    try:
        iterator = flow(folder)
        if use == "next":
            next(iterator)
        elif use == "index":
            iterator[0]
        else:
            iterator.prefetch([0]).result()
        assert _decoded._taken() > 0
        gone = weakref.ref(iterator)
        del iterator
        assert gone() is None
        assert _decoded._taken() == 0
    finally:
        gc.enable()


def test_no_memory_for_a_copy(
    folder: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pixels: Any) -> Any:
        raise MemoryError

    iterator = flow(folder, shuffle=False)
    expected = flow(folder, shuffle=False).load(range(COUNT))
    monkeypatch.setattr(_decoded, "_owned", refuse)
    np.testing.assert_array_equal(iterator.load(range(COUNT)), expected)
    assert iterator._decoded.nbytes == len(iterator._decoded) == 0


def test_many_threads(folder: Path) -> None:
    iterator = flow(folder, shuffle=False)
    expected = flow(folder, shuffle=False).load(range(COUNT))
    wrong: list[int] = []

    def read() -> None:
        for _ in range(20):
            if iterator.load(range(COUNT)).tobytes() != expected.tobytes():
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert iterator._decoded.nbytes == COUNT * ENTRY


def test_in_a_forked_child(folder: Path) -> None:
    iterator = flow(folder, shuffle=False)
    expected = iterator.load(range(COUNT))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            same = iterator.load(range(COUNT)).tobytes() == expected.tobytes()
            other = flow(folder, shuffle=False).load(range(COUNT)).tobytes() == expected.tobytes()
            code = 0 if same and other else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_skipping_reads_for_the_first_pass(folder: Path, reads: list[str]) -> None:
    iterator = flow(folder, on_error="skip")
    assert len(reads) == COUNT
    for i in range(len(iterator)):
        iterator[i]
    assert len(reads) == COUNT


# --- training -------------------------------------------------------------------------------------


def small_model(frozen: bool) -> Sequential:
    set_random_seed(1)
    base = Sequential([layers.Conv2D(4, 3, input_shape=(*SHAPE, 3)), layers.Flatten()])
    base.trainable = not frozen
    model = Sequential([base, layers.Dense(2, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy")
    return model


def test_pictures_whose_features_are_kept_are_not(folder: Path, reads: list[str]) -> None:
    iterator = flow(folder, on_error="skip")
    assert len(iterator._decoded) == COUNT
    small_model(frozen=True).fit(iterator, epochs=2, verbose=0)
    assert len(iterator._decoded) == 0  # taken when they were read for the last time
    assert len(reads) == COUNT
    plain = flow(folder)
    small_model(frozen=True).fit(plain, epochs=2, verbose=0)
    assert len(plain._decoded) == 0


@pytest.mark.parametrize("frozen", [True, False])
def test_training_reads_every_file_once(folder: Path, reads: list[str], frozen: bool) -> None:
    iterator = flow(folder)
    model = small_model(frozen)
    kept = model.fit(iterator, epochs=3, verbose=0, keep_features=False).history["loss"]
    assert len(reads) == COUNT
    anew = flow(folder)
    anew.keep_decoded = False
    model = small_model(frozen)
    assert model.fit(anew, epochs=3, verbose=0, keep_features=False).history["loss"] == kept
    assert len(reads) == 4 * COUNT
