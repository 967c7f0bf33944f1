"""Where ImageNet weights are found, and what happens when they are not."""

from __future__ import annotations

import functools
import gc
import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tlcore import weights
from tlcore.applications import MobileNetV2
from tlcore.weights import _download
from tlcore.weights._check import check_imagenet

NAME = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5"


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A machine on which nothing has been downloaded, without a network."""
    found = {name: tmp_path / name for name in ("named", "cache", "keras")}
    monkeypatch.setenv("TLCORE_WEIGHTS", str(found["named"]))
    monkeypatch.setenv("KERAS_HOME", str(found["keras"]))
    monkeypatch.setattr(weights, "_cache", lambda: found["cache"])
    monkeypatch.setattr(weights, "_WEIGHTS_URL", "http://127.0.0.1:9/mobilenet_v2")
    monkeypatch.setattr(weights, "_INDEX_URL", "http://127.0.0.1:9/index.json")
    monkeypatch.setattr(weights, "_class_index", None)
    found["keras"] /= "models"
    for folder in found.values():
        folder.mkdir(parents=True)
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of the smallest network."""
    path = tmp_path_factory.mktemp("weights") / NAME
    MobileNetV2((96, 96, 3), alpha=0.35, include_top=False, weights=None).save_weights(path)
    return path


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that stands in for Keras's server."""
    folder = tmp_path / "server"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{running.server_address[1]}"
        monkeypatch.setattr(weights, "_WEIGHTS_URL", address)
        monkeypatch.setattr(weights, "_INDEX_URL", f"{address}/imagenet_class_index.json")
        try:
            yield folder
        finally:
            running.shutdown()
            thread.join()


def test_order_of_the_search(folders: dict[str, Path]) -> None:
    for place in ("keras", "cache", "named"):  # each found before those already there
        (folders[place] / NAME).touch()
        assert weights.imagenet_path(0.35, 96, False) == folders[place] / NAME
    assert weights.search_folders() == list(folders.values())


def test_names(folders: dict[str, Path]) -> None:
    for name in ("1.0_224", "0.5_160_no_top", "1.4_224_no_top"):
        path = folders["cache"] / f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{name}.h5"
        path.touch()
    assert weights.imagenet_path(1, 224, True).name.endswith("_1.0_224.h5")
    assert weights.imagenet_path(0.5, 160, False).name.endswith("_0.5_160_no_top.h5")
    assert weights.imagenet_path(1.4, 97, False).name.endswith("_1.4_224_no_top.h5")
    with pytest.raises(ValueError, match=r"alpha must be one of 0\.35, .* got 0\.7"):
        weights.imagenet_path(0.7, 224, True)


def test_nowhere(folders: dict[str, Path]) -> None:
    other = NAME.replace("96", "128")
    (folders["named"] / other).touch()  # nothing is substituted
    with pytest.raises(FileNotFoundError) as caught:
        MobileNetV2((96, 96, 3), alpha=0.35, include_top=False)
    text = str(caught.value)
    assert text.startswith(f"{NAME} is in none of the folders")
    assert all(str(folder) in text for folder in folders.values())
    assert "TLCORE_WEIGHTS" in text
    assert "no connection" in text
    assert "\n" not in text
    assert list(folders["cache"].iterdir()) == []


def test_download(
    folders: dict[str, Path], server: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(file, server)
    model = MobileNetV2((96, 96, 3), alpha=0.35, include_top=False)
    assert [path.name for path in folders["cache"].iterdir()] == [NAME]
    assert (folders["cache"] / NAME).read_bytes() == file.read_bytes()
    assert capsys.readouterr().err.count("downloading") == 1
    assert model.input_range == (-1.0, 1.0)
    (server / NAME).unlink()
    assert weights.imagenet_path(0.35, 96, False) == folders["cache"] / NAME


@pytest.mark.parametrize("damage", ["cut", "text", "nan", "other", "missing"])
def test_download_of_something_else(
    folders: dict[str, Path], server: Path, file: Path, damage: str
) -> None:
    path = Path(shutil.copy(file, server))
    if damage == "cut":
        path.write_bytes(file.read_bytes()[:-1000])
    elif damage == "text":
        path.write_text("<html>please log in</html>")
    elif damage == "missing":
        path.unlink()
    else:
        with h5py.File(path, "r+") as h5:
            if damage == "nan":
                h5["bn_Conv1/bn_Conv1/gamma:0"][0] = np.nan
            else:
                del h5["bn_Conv1/bn_Conv1/gamma:0"]
                h5["bn_Conv1/bn_Conv1/gamma:0"] = np.ones(3, np.float32)
    with pytest.raises(FileNotFoundError, match=r"downloading it from http.* failed") as caught:
        weights.imagenet_path(0.35, 96, False)
    wanted = "the server answered 404" if damage == "missing" else "what came is not the file"
    assert wanted in str(caught.value)
    assert list(folders["cache"].iterdir()) == []


def test_check(file: Path) -> None:
    check_imagenet(file, 0.35, False)
    with pytest.raises(ValueError, match=r"Conv1/kernel:0' has the shape \(3, 3, 3, 16\)"):
        check_imagenet(file, 1.0, False)
    with pytest.raises(ValueError, match=r"it holds 260 weights, and MobileNetV2 .* has 262"):
        check_imagenet(file, 0.35, True)


def test_class_index(folders: dict[str, Path], server: Path) -> None:
    classes = {str(i): [f"n{i:08}", f"thing_{i}"] for i in range(1000)}
    content = json.dumps(classes).encode()
    (server / "imagenet_class_index.json").write_bytes(content)
    with pytest.raises(FileNotFoundError, match=r"imagenet_class_index.json .* is not the file"):
        weights.class_index()  # the hash is that of Keras's file
    digest = hashlib.md5(content).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "_INDEX_HASH", f"md5:{digest}")
        index = weights.class_index()
    assert index["7"] == ("n00000007", "thing_7")
    assert len(index) == 1000


def listed(entry: Any) -> str:
    return json.dumps({str(i): entry for i in range(1000)})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"0": ["n01440764", "tench"]}',
        "[" * 100_000,
        '{"0": ' * 100_000,
        "9" * 5000,
        listed("ab"),
        listed(["n01440764", 3]),
        listed(["n01440764", "tench", "more"]),
        listed(["n01440764", ""]),
        listed(["n01440764", "a\nb"]),
        listed(["n01440764", "x" * 201]),
        listed(["n01440764", "tench"]) + " " * (1 << 20),
    ],
    ids=lambda text: text[:12] + str(len(text)),
)
def test_class_index_that_is_none(folders: dict[str, Path], text: str) -> None:
    path = folders["named"] / "imagenet_class_index.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not the list of ImageNet's classes") as caught:
        weights.class_index()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_class_index_that_is_no_text(folders: dict[str, Path]) -> None:
    (folders["named"] / "imagenet_class_index.json").write_bytes(b"\xff\xfe{\0}\0")
    with pytest.raises(ValueError, match="is not the list of ImageNet's classes"):
        weights.class_index()


def test_a_server_that_sends_without_end(
    folders: dict[str, Path], server: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "_MOST_BYTES", 100_000)
    shutil.copy(file, server)
    with pytest.raises(FileNotFoundError, match="the server sends more than 100000 bytes"):
        weights.imagenet_path(0.35, 96, False)
    gc.collect()  # a connection that was left open would warn
    assert list(folders["cache"].iterdir()) == []


def test_real_files(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TLCORE_WEIGHTS", str(shared_data / "weights"))
    model = MobileNetV2((224, 224, 3), alpha=0.35, include_top=False)
    old = shared_data / "weights" / "old_layer_names"
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    again = MobileNetV2((224, 224, 3), alpha=0.35, include_top=False, weights=str(old / name))
    pairs = zip(model.get_weights(), again.get_weights(), strict=True)
    assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)
    with np.load(shared_data / "weights" / f"{name[:-3]}.npz") as raw:
        kernel = next(raw[key] for key in raw.files if "block_3_depthwise/" in key)
    assert np.array_equal(model.get_layer("block_3_depthwise").get_weights()[0], kernel)
    for top in (True, False):
        check_imagenet(weights.imagenet_path(1.0, 224, top), 1.0, top)
    monkeypatch.setenv("TLCORE_WEIGHTS", str(shared_data))
    assert weights.class_index()["0"] == ("n01440764", "tench")
