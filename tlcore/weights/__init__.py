"""Where pretrained weights come from: a folder, the cache, Keras's folder, or Keras's server.

Nothing is ever substituted: the exact file is found, or a FileNotFoundError names it and says
where it may be put. What is downloaded is checked before it gets its name in the cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlcore.saving._files import PathLike, read_small
from tlcore.utils.notes import note

if TYPE_CHECKING:
    from tlcore.models import Model

__all__ = ["class_index", "imagenet_path", "load_into", "local_imagenet_path", "search_folders"]

ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
ROWS = (96, 128, 160, 192, 224)

_SERVER = "https://storage.googleapis.com"
_WEIGHTS_URL = f"{_SERVER}/tensorflow/keras-applications/mobilenet_v2"
_INDEX_URL = f"{_SERVER}/download.tensorflow.org/data/imagenet_class_index.json"
_INDEX_FILE = "imagenet_class_index.json"
_INDEX_BYTES = 1 << 20  # at most; Keras's file has 35 thousand
_INDEX_HASH = "md5:c2c37ea517e94d9795004a39431a14cb"

_class_index: dict[str, tuple[str, str]] | None = None


def imagenet_path(alpha: float, rows: int, include_top: bool) -> Path:
    """The file with MobileNetV2's ImageNet weights, downloaded if it is nowhere yet.

    Args:
        alpha: 0.35, 0.5, 0.75, 1.0, 1.3 or 1.4.
        rows: height of the pictures: 96, 128, 160, 192 or 224; with any other height the weights
            of 224 are taken, and a note says so, as in Keras.
        include_top: whether the file has the classifier of 1,000 classes.

    Returns:
        Path of the .h5 file; what is inside is checked by `load_into`.

    Raises:
        ValueError: there are no ImageNet weights for `alpha`.
        FileNotFoundError: the file is in no folder and cannot be downloaded.

    Source: `keras.applications.MobileNetV2`.
    """
    if alpha not in ALPHAS:
        raise ValueError(
            f"alpha must be one of {', '.join(map(str, ALPHAS))} for ImageNet weights, "
            f"got {alpha!r}."
        )
    if rows not in ROWS:
        note(f"there are no ImageNet weights for {rows} rows; those of 224 are taken.")
        rows = 224
    name = _imagenet_name(alpha, rows, include_top)

    def check(path: Path) -> None:
        from tlcore.weights._check import check_imagenet

        check_imagenet(path, float(alpha), include_top)

    return _found(name, f"{_WEIGHTS_URL}/{name}", None, check)


def local_imagenet_path(alpha: float, rows: int, include_top: bool) -> Path | None:
    """As `imagenet_path` for one of ALPHAS and ROWS, but None instead of a download."""
    return _local(_imagenet_name(alpha, rows, include_top))


def _imagenet_name(alpha: float, rows: int, include_top: bool) -> str:
    top = "" if include_top else "_no_top"
    return f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{float(alpha)}_{rows}{top}.h5"


def class_index() -> dict[str, tuple[str, str]]:
    """The classes of ImageNet: "0" ... "999" -> (WordNet id, name).

    Looked for where weights are, and in the folder above the one that TLCORE_WEIGHTS names.

    Raises:
        FileNotFoundError: imagenet_class_index.json is in no folder and cannot be downloaded.
        ValueError: the file is not what it should be.

    Source: `keras.applications.imagenet_utils.decode_predictions`.
    """
    global _class_index
    if _class_index is None:
        above = [folder.resolve().parent for folder in _named()]
        path = _found(_INDEX_FILE, _INDEX_URL, _INDEX_HASH, lambda path: None, above)
        _class_index = _read_index(path)
    return dict(_class_index)


def load_into(model: Model, path: PathLike) -> None:
    """Read the weights of an .h5 file into `model`: by name, and by position where names differ.

    Takes weights files and whole models by any Keras, the ImageNet files among them, under
    today's layer names and under those of 2018.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: names, shapes, types or values do not fit; the model is then as before.
    """
    from tlcore.saving import load_weights

    load_weights(model, path)


def search_folders() -> list[Path]:
    """Where files are looked for, in this order: TLCORE_WEIGHTS, tlcore's cache, Keras's folder."""
    keras_home = os.environ.get("KERAS_HOME")
    keras = Path(keras_home).expanduser() if keras_home else Path.home() / ".keras"
    return [*_named(), _cache(), keras / "models"]


def _named() -> list[Path]:
    """The folder that TLCORE_WEIGHTS names, if it names one."""
    named = os.environ.get("TLCORE_WEIGHTS")
    return [Path(named).expanduser()] if named else []


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("tlcore"))


def _found(
    name: str,
    url: str,
    known_hash: str | None,
    check: Callable[[Path], None],
    further: Sequence[Path] = (),
) -> Path:
    """The file `name` in the first folder that has it, else downloaded into the cache.

    `further` folders come right behind the one that TLCORE_WEIGHTS names.
    """
    path = _local(name, further)
    if path is not None:
        return path
    from tlcore.weights._download import download

    try:
        return download(url, _cache() / name, known_hash, check)
    except OSError as err:
        places = ", ".join(str(folder) for folder in search_folders())
        raise FileNotFoundError(
            f"{name} is in none of the folders {places}, and downloading it from {url} failed "
            f"({err}); put the file into one of them, or set TLCORE_WEIGHTS to a folder that "
            "has it."
        ) from None


def _local(name: str, further: Sequence[Path] = ()) -> Path | None:
    """The file `name` in the first folder that has it."""
    for folder in (*_named(), *further):  # before pooch is imported
        if (folder / name).is_file():
            return folder / name
    paths = (folder / name for folder in search_folders())
    return next((path for path in paths if path.is_file()), None)


def _read_index(path: Path) -> dict[str, tuple[str, str]]:
    try:
        found = json.loads(read_small(path, _INDEX_BYTES).decode("utf-8"))
        index = {str(i): _class(found[str(i)]) for i in range(1000)}
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise ValueError(
            f'{path} is not the list of ImageNet\'s classes ("0": [id, name], ..., "999").'
        ) from err
    return index


def _class(entry: Any) -> tuple[str, str]:
    """The WordNet id and the name of one class."""
    if not isinstance(entry, list) or len(entry) != 2:
        raise ValueError(f"{entry!r:.100} is not a pair")
    for text in entry:
        if not isinstance(text, str) or not 0 < len(text) <= 200 or not text.isprintable():
            raise ValueError(f"{text!r:.100} is not a name")
    return entry[0], entry[1]
