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

    The input is (batch, height, width, channels) float32, in the range that the model was trained
    on; the output is that of `model.predict`.

    Raises:
        ValueError: the model's input shape is unknown, or it is too large for the format (2 GB).
    """
    from tlcore.export._plan import planned
    from tlcore.export._tflite import serialized

    graph = model.graph
    source = graph.nodes[0]
    return serialized(planned(source["name"], source["output_shape"], model.network.lowered()))


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
    if not model.class_indices:
        return None
    names = sorted(model.class_indices, key=model.class_indices.__getitem__)
    text = "".join(f"{' '.join(name.splitlines())}\n" for name in names)
    return write_file(as_path(folder) / "labels.txt", text.encode())
