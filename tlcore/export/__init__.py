"""Models for other runtimes, from the same lowered list that inference runs.

`.tflite` files are float32, with batch normalisation folded, nested models flattened, and a batch
axis that may be resized; LiteRT, TensorFlow Lite and ML Kit run them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tlcore.saving._files import PathLike, as_path, write_file

if TYPE_CHECKING:
    from tlcore.models import Model

__all__ = ["tflite_bytes", "write_labels", "write_tflite"]


def tflite_bytes(model: Model) -> bytes:
    """The content of a `.tflite` file that computes what `model` computes in inference.

    The class names, where the model has some, are in it as labels.txt of a zip archive behind the
    model, where they do not disturb a runtime.

    The input is (batch, height, width, channels) float32, in the range that the model was trained
    on; the output is that of `model.predict`.

    Raises:
        ValueError: the model's input shape is unknown, or it is too large for the format (2 GB).
    """
    from tlcore.export._plan import planned
    from tlcore.export._tflite import serialized

    graph = model.graph
    source = graph.nodes[0]
    content = serialized(planned(source["name"], source["output_shape"], model.network.lowered()))
    labels = _labels(model)
    return content if labels is None else content + _archived("labels.txt", labels, len(content))


def write_tflite(model: Model, path: PathLike) -> Path:
    """Write `model` as the file `path` and its class names into labels.txt beside it.

    Returns:
        `path`.

    Raises:
        ValueError: as `tflite_bytes`.
        OSError: a file cannot be written; what was there before is untouched.
    """
    target = write_file(as_path(path), tflite_bytes(model))
    write_labels(model, target.parent)
    return target


def write_labels(model: Model, folder: PathLike) -> Path | None:
    """Write labels.txt, one class name a line in the order of the outputs; None if unknown."""
    labels = _labels(model)
    return None if labels is None else write_file(as_path(folder) / "labels.txt", labels)


def _labels(model: Model) -> bytes | None:
    if not model.class_indices:
        return None
    names = sorted(model.class_indices, key=model.class_indices.__getitem__)
    return "".join(f"{' '.join(name.splitlines())}\n" for name in names).encode()


def _archived(name: str, data: bytes, offset: int) -> bytes:
    """A zip archive of one file, to stand behind `offset` other bytes.

    A runtime reads the model from the front and a zip reader the archive from the end, as in the
    files of TensorFlow Lite's Task Library.
    """
    import io
    import zipfile

    from tlcore.utils.interrupts import held_back

    class Behind(io.BytesIO):  # positions in the archive count from the start of the whole file
        def tell(self) -> int:
            return super().tell() + offset

        def seek(self, position: int, whence: int = 0) -> int:
            return super().seek(position - (offset if whence == 0 else 0), whence) + offset

    stream = Behind()
    with held_back():  # ZipFile has a destructor, in which a Ctrl-C would be lost
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
        del archive
    return stream.getvalue()
