"""What tlcore keeps in a file beyond Keras's dialect, as JSON in attributes of the root.

Class names, the way pictures are read, the range of pixels that the weights expect, flags that
the dialect cannot say, the order of layers where it tells too little, multipliers of the learning
rate and the seed of dropout. Files of Keras have none of it, and Keras passes over it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.saving._config import parsed
from tlcore.saving._hdf5 import File
from tlcore.saving._order import Flags, all_layers, is_model, set_own_flag, unusual_orders

_KEYS = (
    "class_indices",
    "reader",
    "input_range",
    "trainable",
    "layer_order",
    "learning_rate_multiplier",
    "dropout_seed",
)

if TYPE_CHECKING:
    import h5py

    from tlcore.models import Model


def write_extras(root: h5py.File, model: Model, flags: Flags | None) -> None:
    """Put what `model` knows into `root`; `flags` are those that the configuration says."""
    from tlcore.models import Sequential

    known: dict[str, Any] = {
        "tlcore_class_indices": model.class_indices,
        "tlcore_reader": model.reader,
        "tlcore_input_range": model.input_range,
    }
    if flags is not None:
        layers = dict(all_layers(model))
        # The configuration of a Sequential has no flag of its own.
        if any(
            layer.trainable != flags[id(layer)]
            or (isinstance(layer, Sequential) and not layer.trainable)
            for layer in layers.values()
        ):
            known["tlcore_trainable"] = {path: layer.trainable for path, layer in layers.items()}
        known["tlcore_layer_order"] = unusual_orders(model) or None
        multipliers = {path: layer.learning_rate_multiplier for path, layer in layers.items()}
        if set(multipliers.values()) != {1.0}:
            known["tlcore_learning_rate_multiplier"] = multipliers
    _write(root, known)


def write_training(root: h5py.File, model: Model) -> None:
    """Put into `root` what training draws from."""
    _write(root, {"tlcore_dropout_seed": model.dropout_seed})


def _write(root: h5py.File, known: dict[str, Any]) -> None:
    for key, value in known.items():
        if value is not None:
            root.attrs[key] = json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """A NumPy number as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be kept in a file.")


def read_extras(file: File) -> dict[str, Any]:
    """What the file says beyond Keras's dialect: a value for each key that it has.

    Raises:
        ValueError: an attribute is not what `write_extras` would have written.
    """
    found: dict[str, Any] = {}
    for key in _KEYS:
        text = file.text(f"tlcore_{key}")
        if text is not None:
            found[key] = parsed(file, text, f"tlcore_{key}")
    if "class_indices" in found:
        indices = found["class_indices"]
        numbers: list[Any] = list(indices.values()) if isinstance(indices, dict) else [None]
        if any(type(n) is not int or n < 0 for n in numbers) or len(set(numbers)) < len(numbers):
            raise file.refuse("its tlcore_class_indices do not give each class a number")
    if "reader" in found:
        reader = found["reader"]
        if not _is_reader(reader):
            raise file.refuse("its tlcore_reader does not say how pictures are read")
        found["reader"] = {**reader, "target_size": tuple(reader["target_size"])}
    if "input_range" in found:
        limits = found["input_range"]
        if not isinstance(limits, list) or len(limits) != 2 or not all(map(_is_number, limits)):
            raise file.refuse("its tlcore_input_range is not two numbers")
        found["input_range"] = (float(limits[0]), float(limits[1]))
    if "trainable" in found:
        said = found["trainable"]
        if not isinstance(said, dict) or any(not isinstance(v, bool) for v in said.values()):
            raise file.refuse("its tlcore_trainable does not give each layer a flag")
    if "layer_order" in found:
        said = found["layer_order"]
        if not isinstance(said, dict) or not all(map(_is_texts, said.values())):
            raise file.refuse("its tlcore_layer_order does not give models names of layers")
    if "learning_rate_multiplier" in found:
        said = found["learning_rate_multiplier"]
        if not isinstance(said, dict) or not all(_is_multiplier(v) for v in said.values()):
            raise file.refuse("its tlcore_learning_rate_multiplier does not give layers numbers")
    if "dropout_seed" in found:
        seed = found["dropout_seed"]
        if type(seed) is not int or not 0 <= seed < 1 << 63:
            raise file.refuse("its tlcore_dropout_seed is no seed")
    return found


def apply_extras(model: Model, extras: dict[str, Any]) -> None:
    """Give `model` what it does not know yet of its classes and of the pictures that it takes."""
    for key in ("class_indices", "reader", "input_range"):
        if key in extras and getattr(model, key) is None:
            setattr(model, key, extras[key])


def apply_settings(model: Model, extras: dict[str, Any]) -> None:
    """Give every layer of a model that was just rebuilt its own flag and multiplier."""
    said = extras.get("trainable", {})
    for path, layer in all_layers(model):
        if path in said and is_model(layer):
            set_own_flag(layer, said[path])
        elif path in said:
            layer.trainable = said[path]
    multipliers = extras.get("learning_rate_multiplier", {})
    for path, layer in all_layers(model):  # a model comes before what is inside it
        if path in multipliers:
            layer.learning_rate_multiplier = multipliers[path]


def _is_reader(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    size = value.get("target_size")
    rescale, preprocessing = value.get("rescale"), value.get("preprocessing")
    return (
        isinstance(size, list)
        and len(size) == 2
        and all(type(n) is int and 0 < n <= 1 << 15 for n in size)
        and isinstance(value.get("color_mode"), str)
        and isinstance(value.get("interpolation"), str)
        and isinstance(value.get("exif", False), bool)
        and (rescale is None or _is_number(rescale))
        and (preprocessing is None or isinstance(preprocessing, str))
    )


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_multiplier(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= float(np.finfo(np.float32).max)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
