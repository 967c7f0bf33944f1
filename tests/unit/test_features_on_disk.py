"""Features that outlast the process: found for the same pictures and layers, and no others."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import children
import numpy as np
import pytest
from PIL import Image, ImageFile

import tlcore
from tlcore import _core, applications, layers
from tlcore.callbacks import Callback
from tlcore.models import Sequential
from tlcore.preprocessing.image import DirectoryIterator, ImageDataGenerator, _content
from tlcore.recipes import linear_probe
from tlcore.training import compiling, features_on_disk, segments
from tlcore.training.data import Batch
from tlcore.training.kept_features import KeptFeatures
from tlcore.training.loop import Prefix
from tlcore.utils import notes, set_random_seed

SIZE = 32
COUNTS = {"kite": 6, "surf": 5}
TOTAL = sum(COUNTS.values())


@pytest.fixture(autouse=True)
def as_new(monkeypatch: pytest.MonkeyPatch) -> None:
    notes.reset_notes()
    _content._digests.clear()
    for name in ("TLCORE_CACHE", "TLCORE_CACHE_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "made" / "cache"


def make_pictures(root: Path) -> Path:
    random = np.random.RandomState(0)
    for place, (name, count) in enumerate(COUNTS.items()):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = random.randint(0, 200, (40, 36, 3)).astype(np.uint8)
            pixels[..., place] += 50
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def flow(folder: Path, rescale: Any = 1 / 255, dtype: str = "float32", **options: Any) -> Any:
    options = {"target_size": (SIZE, SIZE), "batch_size": 4, "seed": 3, **options}
    generator = ImageDataGenerator(rescale=rescale)
    return generator.flow_from_directory(folder, **options)


def make_model(name: str | None = None, seed: int = 1, trainable_from: int | None = None) -> Any:
    set_random_seed(seed)
    base = applications.MobileNetV2((SIZE, SIZE, 3), 0.35, include_top=False, weights=None)
    random = np.random.RandomState(seed)
    for layer in base.layers:
        if isinstance(layer, layers.BatchNormalization):  # as they come, pictures hardly differ
            gamma, beta, mean, variance = (value.shape for value in layer.get_weights())
            scale, shift = random.uniform(0.5, 1.5, gamma), random.normal(0, 0.1, beta)
            means, squares = random.normal(0, 0.1, mean), random.uniform(0.05, 0.15, variance)
            layer.set_weights([scale, shift, means, squares])
    for layer in base.layers[:trainable_from]:
        layer.trainable = False
    set_random_seed(4)
    model = Sequential(
        [base, layers.GlobalAveragePooling2D(), layers.Dense(2, activation="softmax")], name=name
    )
    model.compile("adam", "categorical_crossentropy", metrics=["acc"])
    return model


def fitted(data: Any, keep: Any, epochs: int = 2, **options: Any) -> Any:
    """A new model after a fit: everything that it has learned, and how often the base ran."""
    model = make_model(**options)
    history = model.fit(data, epochs=epochs, verbose=0, keep_features=keep)
    digest = hashlib.sha256()
    for value in model.get_weights():
        digest.update(np.ascontiguousarray(value))
    return {"loss": history.history["loss"], "weights": digest.hexdigest()}, model.prefix_runs


class OnEpochs(Callback):
    """Does something at the begin of each epoch."""

    def __init__(self, deed: Callable[[int], Any]) -> None:
        super().__init__()
        self._deed = deed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._deed(epoch)


def parrots(count: int = 9) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(5)
    x = random.randint(0, 4, (count, SIZE, SIZE, 3)).astype(np.uint8)
    return x, np.eye(2, dtype=np.float32)[random.randint(0, 2, count)]


def segment_files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*.features"))


# --- the same ------------------------------------------------------------------------------------

ANOTHER = """
import json, sys
from pathlib import Path
from test_features_on_disk import *

folder, keep = Path(sys.argv[1]), json.loads(sys.argv[2])
print(json.dumps(fitted(flow(folder), keep)))
"""


def in_another_process(folder: Path, keep: Any) -> tuple[dict[str, Any], int]:
    env = children.uncounted()
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), env["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER, str(folder), json.dumps(keep)],
        capture_output=True,
        text=True,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    learned, runs = json.loads(done.stdout.splitlines()[-1])
    return learned, runs


def test_a_second_process_runs_the_base_for_no_picture(folder: Path, cache: Path) -> None:
    computed, all_runs = in_another_process(folder, False)
    assert all_runs == 2 * TOTAL
    first, runs = in_another_process(folder, str(cache))
    assert runs == TOTAL
    second, runs = in_another_process(folder, str(cache))
    assert runs == 0
    assert first == computed
    assert second == computed


def test_no_picture_is_decoded_again(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = fitted(flow(folder), cache)

    decoded = []
    monkeypatch.setattr(DirectoryIterator, "_read_picture", lambda self, j: decoded.append(j))
    assert fitted(flow(folder), str(cache)) == (first, 0)
    assert decoded == [], "not even ahead and in vain"


def test_what_was_found_is_kept_in_memory(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(flow(folder), cache)
    asked = []
    take = segments.Store.take
    monkeypatch.setattr(
        segments.Store,
        "take",
        lambda self, keys, *rest: asked.extend(keys) or take(self, keys, *rest),
    )
    assert fitted(flow(folder), cache, epochs=3)[1] == 0
    assert len(asked) == TOTAL


def test_every_verb_takes_a_folder(folder: Path, cache: Path) -> None:
    model = make_model()
    scores = model.predict(flow(folder, shuffle=False), verbose=0, keep_features=False)
    loss = model.evaluate(flow(folder), verbose=0, keep_features=False)
    runs = model.prefix_runs
    np.testing.assert_array_equal(
        model.predict(flow(folder, shuffle=False), verbose=0, keep_features=cache), scores
    )
    assert model.prefix_runs == runs + TOTAL
    other = make_model()
    assert other.evaluate(flow(folder), verbose=0, keep_features=cache) == loss
    other.fit_generator(flow(folder), validation_data=flow(folder), verbose=0, keep_features=cache)
    assert other.prefix_runs == 0
    again = make_model()
    np.testing.assert_array_equal(
        again.predict(flow(folder, shuffle=False), verbose=0, keep_features=cache), scores
    )
    assert again.prefix_runs == 0


def test_without_room_in_memory_the_disk_serves_every_epoch(folder: Path, cache: Path) -> None:
    computed, _ = fitted(flow(folder), False, epochs=3)
    model = make_model()
    model._kept = KeptFeatures(0)
    history = model.fit(flow(folder), epochs=3, verbose=0, keep_features=cache)
    assert history.history["loss"] == computed["loss"]
    assert model.prefix_runs == TOTAL


def test_features_follow_the_content_not_the_name(folder: Path, cache: Path) -> None:
    fitted(flow(folder), cache)
    moved = folder.parent / "elsewhere"
    shutil.copytree(folder, moved)
    (moved / "kite" / "0.png").rename(moved / "kite" / "named_anew.png")
    assert fitted(flow(moved), cache)[1] == 0
    assert fitted(flow(moved), cache, name="named_otherwise")[1] == 0


def test_a_relative_folder_stays_where_it_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = make_model()
    away = OnEpochs(lambda epoch: os.chdir("/"))
    model.fit(flow(folder), verbose=0, callbacks=[away], keep_features="here")
    assert fitted(flow(folder), tmp_path / "here")[1] == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fitted(flow(folder), "~/here")[1] == 0


@pytest.mark.parametrize("as_iterator", [False, True])
def test_arrays(cache: Path, as_iterator: bool) -> None:
    x, y = parrots()

    def source(pictures: np.ndarray) -> dict[str, Any]:
        if as_iterator:
            return {"x": ImageDataGenerator(rescale=0.5).flow(pictures, y, batch_size=4, seed=1)}
        return {"x": pictures, "y": y, "shuffle": False}

    def learned(pictures: np.ndarray, keep: Any) -> tuple[Any, int]:
        model = make_model()
        history = model.fit(**source(pictures), verbose=0, keep_features=keep)
        return history.history["loss"], model.prefix_runs

    computed, _ = learned(x, False)
    assert learned(x, cache) == (computed, len(x))
    assert learned(x, cache) == (computed, 0)
    assert learned(np.asfortranarray(x), cache) == (computed, 0)
    x[3] = 3 - x[3]
    changed, _ = learned(x, False)
    assert learned(x, cache) == (changed, 1)
    assert changed != computed


def test_types_of_arrays_are_told_apart(cache: Path) -> None:
    x, y = parrots()
    for number, pictures in enumerate((x, x.astype(np.float32), x.astype(np.float64))):
        for runs in (len(x), 0):
            model = make_model()
            model.fit(pictures, y, verbose=0, keep_features=cache)
            assert model.prefix_runs == runs, number
    model = make_model()
    model.fit(x.astype(object).astype(np.float32), y, verbose=0, keep_features=cache)
    assert model.prefix_runs == 0


# --- not the same --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"interpolation": "bilinear"},
        {"keep_aspect_ratio": True},
        {"rescale": 1 / 254},
        {"rescale": np.float64(1 / 255)},  # another precision of the product
        {"rescale": None},
    ],
)
def test_another_way_of_reading_is_another_picture(
    folder: Path, cache: Path, options: dict[str, Any]
) -> None:
    fitted(flow(folder), cache, epochs=1)
    computed, _ = fitted(flow(folder, **options), False, epochs=1)
    assert fitted(flow(folder, **options), cache, epochs=1) == (computed, TOTAL)
    assert fitted(flow(folder, **options), cache, epochs=1) == (computed, 0)


def test_another_pillow_decodes_anew(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(flow(folder), cache)
    monkeypatch.setattr(_content, "_decoders", lambda: "pillow 99")
    assert fitted(flow(folder), cache)[1] == TOTAL


def test_a_lenient_pillow_decodes_anew(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It makes pictures of files that are cut short, which others refuse."""
    path = folder / "kite" / "2.png"
    path.write_bytes(path.read_bytes()[:-400])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    fitted(flow(folder), cache)
    monkeypatch.undo()
    with pytest.raises(OSError, match=r"2\.png"):
        fitted(flow(folder), cache)


def test_other_weights_have_other_features(folder: Path, cache: Path) -> None:
    fitted(flow(folder), cache)
    computed, _ = fitted(flow(folder), False, seed=2)
    assert fitted(flow(folder), cache, seed=2) == (computed, TOTAL)
    assert fitted(flow(folder), cache, seed=2) == (computed, 0)


def test_other_layers_have_other_features(folder: Path, cache: Path) -> None:
    losses = []
    for options in ({"activation": "relu"}, {"activation": "tanh"}, {"strides": 2}):
        set_random_seed(1)  # the same weights
        first = layers.Conv2D(4, 3, trainable=False, input_shape=(SIZE, SIZE, 3), **options)
        model = Sequential([first, layers.GlobalAveragePooling2D(), layers.Dense(2, "softmax")])
        model.compile("adam", "categorical_crossentropy")
        losses += model.fit(flow(folder), verbose=0, keep_features=cache).history["loss"]
        assert model.prefix_runs == TOTAL
    assert len(set(losses)) == 3


def test_another_cut_has_other_features(folder: Path, cache: Path) -> None:
    fitted(flow(folder), cache)
    computed, _ = fitted(flow(folder), False, trainable_from=-9)
    assert fitted(flow(folder), cache, trainable_from=-9) == (computed, TOTAL)
    assert fitted(flow(folder), cache, trainable_from=-9) == (computed, 0)


@pytest.fixture
def kernels() -> Iterator[Callable[[Any], None]]:
    yield _core.choose_kernels
    _core.choose_kernels("table")


def test_other_kernels_have_other_features(folder: Path, cache: Path, kernels: Any) -> None:
    fitted(flow(folder), cache)
    kernels("onednn")
    computed, _ = fitted(flow(folder), False)
    assert fitted(flow(folder), cache) == (computed, TOTAL)


@pytest.mark.parametrize("name", ["cpu_model", "_build", "PRECISION"])
def test_another_machine_has_other_features(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fitted(flow(folder), cache)
    fingerprinting = sys.modules["tlcore.training.fingerprint"]
    monkeypatch.setattr(fingerprinting, name, "other" if name == "PRECISION" else lambda: "other")
    assert fitted(flow(folder), cache)[1] == TOTAL


def test_settings_of_onednn_count(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted(flow(folder), cache)
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    assert fitted(flow(folder), cache)[1] == TOTAL


def test_a_picture_that_changed_is_computed_alone(folder: Path, cache: Path) -> None:
    fitted(flow(folder), cache)
    path = folder / "kite" / "2.png"
    status, content = path.stat(), path.read_bytes()
    Image.fromarray(np.full((40, 36, 3), 7, np.uint8)).save(path)
    assert len(path.read_bytes()) < len(content)
    path.write_bytes(path.read_bytes().ljust(len(content), b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # same size, same time
    computed, _ = fitted(flow(folder), False)
    assert fitted(flow(folder), cache) == (computed, 1)


def test_a_picture_that_changes_while_it_is_read(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its bytes and decoding: those features belong to no key."""
    path = folder / "kite" / "2.png"
    old = path.read_bytes()
    read = DirectoryIterator._read_picture

    def late(self: Any, j: int) -> Any:
        if Path(self.filepaths[j]) == path:
            Image.fromarray(np.full((40, 36, 3), 7, np.uint8)).save(path)
        return read(self, j)

    monkeypatch.setattr(DirectoryIterator, "_read_picture", late)
    fitted(flow(folder), cache, epochs=1)
    monkeypatch.undo()
    for content, runs in ((path.read_bytes(), 1), (old, 1)):
        path.write_bytes(content)
        computed, _ = fitted(flow(folder), False)
        assert fitted(flow(folder), cache) == (computed, runs)


def test_an_array_that_changes_while_it_is_computed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = parrots()
    to_cut = Prefix._to_node

    def late(self: Any, *arguments: Any) -> Any:
        x[0] = 3 - x[0]
        return to_cut(self, *arguments)

    monkeypatch.setattr(Prefix, "_to_node", late)
    model = make_model()
    model.fit(x, y, verbose=0, shuffle=False, batch_size=len(x), keep_features=cache)
    monkeypatch.undo()
    for _ in range(2):
        x[0] = 3 - x[0]
        model = make_model()
        loss = model.fit(x, y, verbose=0, keep_features=cache, shuffle=False).history["loss"]
        assert model.prefix_runs == 1
        other = make_model()
        assert (
            other.fit(x, y, verbose=0, keep_features=False, shuffle=False).history["loss"] == loss
        )


def test_weights_that_are_set_in_the_middle(folder: Path, cache: Path) -> None:
    def learned(keep: Any) -> tuple[list[float], int]:
        model = make_model()
        base = model.layers[0]
        first = base.get_weights()

        def change(epoch: int) -> None:
            base.set_weights(first if epoch == 2 else [0.5 * value for value in first])

        history = model.fit(
            flow(folder),
            epochs=3,
            verbose=0,
            callbacks=[OnEpochs(change)],
            keep_features=keep,
        )
        return history.history["loss"], model.prefix_runs

    computed, _ = learned(False)
    assert learned(cache) == (computed, 2 * TOTAL)  # the first weights come back
    assert learned(cache) == (computed, 0)


@pytest.mark.parametrize("before", [True, False])
def test_weights_that_are_set_while_they_are_looked_at(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    model = make_model()
    base = model.layers[0]
    first = base.get_weights()
    second = [0.5 * value for value in first]
    look, left = compiling.fingerprint, [second]

    def looks(*arguments: Any) -> bytes:
        if before and left:
            base.set_weights(left.pop())
        found = look(*arguments)
        if left:
            base.set_weights(left.pop())
        return found

    def scores(model: Any, keep: Any) -> np.ndarray:
        return model.predict(flow(folder, shuffle=False), verbose=0, keep_features=keep)

    monkeypatch.setattr(compiling, "fingerprint", looks)
    np.testing.assert_array_equal(scores(model, cache), scores(model, False))
    monkeypatch.undo()
    for weights in (first, second):
        other = make_model()
        other.layers[0].set_weights(weights)
        np.testing.assert_array_equal(scores(other, cache), scores(other, False))
    assert not np.array_equal(scores(model, False), scores(make_model(), False))


def test_features_of_weights_that_are_no_more_go_nowhere(cache: Path) -> None:
    segments.prepare(cache)
    disk = features_on_disk.FeaturesOnDisk(cache, 1 << 20, (2,), lambda: b"w" * 32)
    disk.begin(lambda: "now")
    batch, features = Batch(np.zeros((1, 3))), np.ones((1, 2), np.float32)
    disk.add("before", batch, [0], features)
    assert segment_files(cache) == []
    disk.add("now", batch, [0], features)
    assert len(segment_files(cache)) == 1
    dst = np.zeros((1, 2), np.float32)
    assert disk.take("before", batch, [0], dst) == []
    assert disk.missing("before", batch, [0]) == [0]
    assert disk.take("now", batch, [0], dst) == [0]
    assert (dst == features).all()


def test_weights_are_looked_at_once_a_call(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    look = compiling.fingerprint
    monkeypatch.setattr(compiling, "fingerprint", lambda *a: looks.append(1) or look(*a))
    # Steps raise the version of the block that the frozen layers share with trained ones.
    computed, _ = fitted(flow(folder), False, trainable_from=-9, epochs=3)
    assert fitted(flow(folder), cache, trainable_from=-9, epochs=3) == (computed, TOTAL)
    assert len(looks) == 1
    model = make_model()
    for _ in range(3):
        model.fit(flow(folder), verbose=0, keep_features=cache)
        model.evaluate(flow(folder), verbose=0, keep_features=cache)
    assert len(looks) == 2


# --- keys of files -------------------------------------------------------------------------------


def test_a_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    iterator = flow(folder)
    indices = np.arange(TOTAL)
    assert _content._SETTLED_NS >= 2_000_000_000
    keys = iterator.content_keys(indices)
    assert _content._digests == {}, "what has just been written may be written again"
    monkeypatch.setattr(_content, "_SETTLED_NS", -1)
    assert iterator.content_keys(indices) == keys
    read = _content._read_bytes
    looked = []
    monkeypatch.setattr(_content, "_read_bytes", lambda path: looked.append(path) or read(path))
    assert iterator.content_keys(indices) == keys
    assert looked == []
    path = folder / "surf" / "1.png"
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(bytes([*content[:-1], content[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    changed = iterator.content_keys(indices)
    assert looked == [str(path)]
    assert [old == new for old, new in zip(keys, changed, strict=True)].count(False) == 1
    monkeypatch.setattr(_content, "_MOST_REMEMBERED", 3)
    iterator.content_keys(indices[::-1])
    path.write_bytes(content)
    assert iterator.content_keys(indices) == keys
    assert len(_content._digests) == 3


def test_keys_of_equal_files_are_equal(folder: Path) -> None:
    shutil.copy(folder / "kite" / "0.png", folder / "surf" / "0.png")
    keys = flow(folder).content_keys(np.arange(TOTAL))
    assert keys[0] == keys[COUNTS["kite"]]
    assert len(set(keys)) == TOTAL - 1


def test_a_file_that_has_gone_is_named(folder: Path, cache: Path) -> None:
    fitted(flow(folder), cache)
    iterator = flow(folder)
    (folder / "kite" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"kite/3\.png' does not exist"):
        iterator.content_keys(np.arange(TOTAL))


def test_iterators_of_others_have_no_keys(
    folder: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Doubling(DirectoryIterator):
        def load(self, indices: Any) -> Any:
            return 2 * super().load(indices)

    iterator = Doubling(folder, None, target_size=(SIZE, SIZE), batch_size=4)
    assert iterator.content_keys(np.arange(2)) is None
    model = make_model()
    model.fit(iterator, verbose=0, keep_features=cache)
    assert segment_files(cache) == []
    assert "nothing is kept in the folder" in capfd.readouterr().err


# --- troubles ------------------------------------------------------------------------------------


def test_a_damaged_feature_is_computed_again(folder: Path, cache: Path) -> None:
    computed, _ = fitted(flow(folder), cache)
    (path,) = segment_files(cache)
    content = path.read_bytes()
    record = (len(content) - segments.HEADER_BYTES) // TOTAL
    random = np.random.RandomState(1)
    for _ in range(5):
        damaged = bytearray(content)
        damaged[random.randint(segments.HEADER_BYTES + record, len(content))] ^= 0x10
        path.write_bytes(damaged)
        assert fitted(flow(folder), cache) == (computed, 1)
        assert fitted(flow(folder), cache) == (computed, 0)


def test_a_disk_that_is_full(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    computed, _ = fitted(flow(folder), False)

    tried = []

    def full(*_: Any) -> int:
        tried.append(1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    for _ in range(2):
        assert fitted(flow(folder), cache) == (computed, TOTAL)
    assert len(tried) == 2, "once a call"
    said = [line for line in capfd.readouterr().err.splitlines() if "no more" in line]
    assert len(said) == 1 and "No space left" in said[0] and str(cache) in said[0]
    monkeypatch.undo()
    assert fitted(flow(folder), cache) == (computed, TOTAL)
    assert fitted(flow(folder), cache) == (computed, 0)


def test_a_limit_of_size(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    computed, _ = fitted(flow(folder), False)
    monkeypatch.setenv("TLCORE_CACHE_SIZE", "30k")  # of 11 records with 5,184 bytes each
    assert fitted(flow(folder), cache) == (computed, TOTAL)
    said = capfd.readouterr().err
    assert "30000 bytes" in said and "TLCORE_CACHE_SIZE" in said
    assert sum(path.stat().st_size for path in segment_files(cache)) <= 30_000
    _, runs = fitted(flow(folder), cache)
    assert 0 < runs < TOTAL


def test_the_folder_goes_away_in_the_middle(folder: Path, cache: Path) -> None:
    for replace in (False, True):
        computed, _ = fitted(flow(folder), False)

        def remove(epoch: int, replace: bool = replace) -> None:
            if epoch == 1:
                shutil.rmtree(cache)
                if replace:
                    cache.write_bytes(b"a file")

        model = make_model()
        model._kept = KeptFeatures(0)
        history = model.fit(
            flow(folder),
            epochs=2,
            verbose=0,
            callbacks=[OnEpochs(remove)],
            keep_features=cache,
        )
        assert history.history["loss"] == computed["loss"]
        assert cache.is_file() == replace


def test_a_folder_that_is_none(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    for path in (file, file / "below"):
        with pytest.raises(NotADirectoryError, match=r"keep_features: .*cannot be kept"):
            fitted(flow(folder), path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_only_be_read(folder: Path, cache: Path) -> None:
    cache.mkdir(parents=True, mode=0o500)
    with pytest.raises(PermissionError, match=r"keep_features: .*cannot be kept"):
        fitted(flow(folder), cache)


@pytest.mark.parametrize("path", ["/proc/tlcore", "/sys/tlcore"])  # for root, too
def test_a_folder_that_cannot_be_made(folder: Path, path: str) -> None:
    with pytest.raises(OSError, match=r"keep_features: .*cannot be kept"):
        fitted(flow(folder), path)


@pytest.mark.parametrize("keep", ["", b"folder", 3.5, ["folder"]])
def test_what_is_no_path(folder: Path, keep: Any) -> None:
    with pytest.raises(TypeError, match="keep_features must be None, True, False or the path"):
        fitted(flow(folder), keep)


def test_the_folder_is_for_this_user_alone(folder: Path, cache: Path) -> None:
    fitted(flow(folder), cache)
    for path in (cache, *cache.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_data_that_cannot_be_kept(
    folder: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    x, y = parrots(4)

    def forever() -> Iterator[Any]:
        while True:
            yield x, y

    with pytest.raises(ValueError, match=r"keep_features='.*cache' needs data"):
        make_model().fit(forever(), steps_per_epoch=1, verbose=0, keep_features=cache)
    generator = ImageDataGenerator(preprocessing_function=lambda picture: picture / 2)
    mine = generator.flow_from_directory(folder, (SIZE, SIZE), batch_size=4)
    fitted(mine, cache)
    assert "nothing is kept in the folder" in capfd.readouterr().err
    trained = make_model(trainable_from=0)
    trained.fit(flow(folder), verbose=0, keep_features=cache)
    assert "no weights lie in front" in capfd.readouterr().err
    assert segment_files(cache) == []


# --- TLCORE_CACHE --------------------------------------------------------------------------------


def test_the_environment_names_a_folder(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLCORE_CACHE", str(cache))
    for keep in (False, True):
        _, runs = fitted(flow(folder), keep)
        assert runs == (TOTAL if keep else 2 * TOTAL)
    x, y = parrots()
    make_model().fit(x, y, verbose=0)  # not kept in memory either
    assert not cache.exists()
    computed, runs = fitted(flow(folder), None)
    assert runs == TOTAL
    assert fitted(flow(folder), None) == (computed, 0)
    probed = linear_probe(make_model(), flow(folder))
    assert probed.model.prefix_runs == 0
    elsewhere = cache.parent / "elsewhere"
    assert fitted(flow(folder), elsewhere) == (computed, TOTAL)
    monkeypatch.setenv("TLCORE_CACHE", "")
    assert fitted(flow(folder), None) == (computed, TOTAL)


def test_the_environment_names_no_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TLCORE_CACHE", str(tmp_path / "file"))
    computed, _ = fitted(flow(folder), False)
    for _ in range(2):
        assert fitted(flow(folder), None) == (computed, TOTAL)
    said = [line for line in capfd.readouterr().err.splitlines() if "TLCORE_CACHE" in line]
    assert len(said) == 1 and "left out" in said[0]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", 2 << 30),
        ("1000", 1000),
        ("0", 0),
        ("500MB", 500_000_000),
        ("1.5 GiB", 3 << 29),
        ("2g", 2_000_000_000),
        (" 64kib ", 65536),
        ("1T", 10**12),
    ],
)
def test_sizes(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLCORE_CACHE_SIZE", text)
    assert features_on_disk.most_bytes() == size


@pytest.mark.parametrize("text", ["lots", "-1", "1e9", "2 GB!", "0x10", "²", "GiB", "1" * 5000])
def test_sizes_that_are_none(
    text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TLCORE_CACHE_SIZE", text)
    assert features_on_disk.most_bytes() == 2 << 30
    assert "TLCORE_CACHE_SIZE must be" in capfd.readouterr().err


def test_where_and_how_many_is_said(
    folder: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for found in (0, TOTAL):
        fitted(flow(folder), cache)
        (said,) = [line for line in capfd.readouterr().err.splitlines() if "once a picture" in line]
        assert f"in the folder {str(cache)!r}, which has those of {found};" in said
    model = make_model()
    for keep in (None, cache, cache):
        model.fit(flow(folder), verbose=0, keep_features=keep)
    said = [line for line in capfd.readouterr().err.splitlines() if "once a picture" in line]
    assert [str(cache) in line for line in said] == [False, True]


def test_show_config_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def named() -> Any:
        found = tlcore.show_config("dicts")
        assert found is not None
        return found["paths"]["kept features"]

    assert named() is None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TLCORE_CACHE", "here")
    assert named() == str(tmp_path / "here")
