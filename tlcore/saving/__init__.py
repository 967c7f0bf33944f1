"""Models and weights in .h5 files that tf-keras and Keras 3 read too, and theirs read here.

A whole model: `save_model`, `load_model`. Weights alone: `save_weights`, `load_weights`. Class
names and the way pictures are read travel with both.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tlcore.saving._files import PathLike, as_path, write_file
from tlcore.utils.interrupts import held_back

if TYPE_CHECKING:
    import h5py

    from tlcore.models import Model
    from tlcore.saving._hdf5 import File

__all__ = ["load_model", "load_weights", "save_model", "save_weights"]

_KERAS_VERSION = "2.15.0"  # whose dialect of .h5 is written
_HDF5_ROOM = 16 * 2**20  # bytes: more than HDF5 takes until a file is open


def save_model(
    model: Model,
    filepath: PathLike,
    overwrite: bool = True,
    include_optimizer: bool = True,
) -> None:
    """Write architecture, weights, settings of `compile` and the optimizer's state into one file.

    tf-keras and Keras 3 open it with `load_model` and predict the same. tf-keras goes on training
    where tlcore stopped; in Keras 3 call `compile` again before `fit`, as for its own .h5 files.
    In tlcore the loaded model trains on as this one would, bit for bit, given the same batches:
    the file also holds what Keras's dialect has no place for, which is the state of weights that
    are frozen now, accumulated gradients, moving averages and the seed of dropout. An optimizer
    with `gradient_accumulation_steps` or `use_ema` comes back in Keras 3 too; tf-keras does not
    know these for the plain names "Adam" and "SGD" and opens such a file with `compile=False`.

    Args:
        model: a built `Sequential` or `Functional`.
        filepath: where to; it must end in .h5, .hdf5 or .hdf.
        overwrite: whether a file that is there may be replaced.
        include_optimizer: whether to keep the settings of `compile` and the optimizer's state.

    Raises:
        ValueError: another ending, or a model whose input shape is unknown.
        FileExistsError: the file is there and `overwrite` is False.
        OSError: the file cannot be written; what was there before is untouched.

    Source: `keras.models.save_model`.
    """
    path = _target(filepath, overwrite)
    write_file(path, _written(model, include_optimizer))


def _written(model: Model, include_optimizer: bool) -> bytes:
    """A whole model's file."""
    from tlcore import __version__
    from tlcore.saving._config import written
    from tlcore.saving._extras import write_extras, write_training
    from tlcore.saving._order import effective_flags
    from tlcore.saving._training import write_optimizer
    from tlcore.saving._weights import write_legacy

    flags = effective_flags(model)
    config = json.dumps(written(model, flags))
    training = model.compile_config() if include_optimizer else None
    values, state = model.snapshot()

    def fill(root: h5py.File) -> None:
        root.attrs["keras_version"] = _KERAS_VERSION
        root.attrs["tlcore_version"] = __version__
        root.attrs["backend"] = "tensorflow"
        root.attrs["model_config"] = config
        if training is not None:
            root.attrs["training_config"] = json.dumps(training)
        write_extras(root, model, flags)
        write_legacy(root.create_group("model_weights"), model, flags, values)
        if training is not None:
            write_optimizer(root, model, flags, state)
            write_training(root, model)

    return _image(fill)


def load_model(filepath: PathLike, custom_objects: None = None, compile: bool = True) -> Model:
    """A model from an .h5 file that tlcore, tf-keras or Keras 3 wrote.

    Args:
        filepath: the file.
        custom_objects: not there; only None.
        compile: whether to restore the settings of `compile` and the optimizer's state. What
            tlcore cannot train is left out with a note.

    Returns:
        A new `Sequential` or `Functional` with the file's weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or holds what tlcore does not have; one sentence names the
            file and the place in it.

    Source: `keras.models.load_model`.
    """
    from tlcore.saving import _hdf5

    if custom_objects:
        raise ValueError("custom_objects must be None: tlcore has no layers but its own.")
    with _hdf5.opened(filepath) as file:
        return _read(file, compile)


def _read(file: File, compile: bool) -> Model:
    """The model of an open file."""
    from tlcore.saving import _config, _extras, _order, _training, _weights

    text = file.text("model_config")
    if text is None:
        raise file.refuse("it holds no model, only weights; build the model and call load_weights")
    description = _config.parsed(file, text, "model_config")
    groups = _weights.read_groups(file, file.group(file.root, "model_weights"))
    budget = sum(dataset.size for group in groups for dataset in group.datasets)
    extras = _extras.read_extras(file)
    model = _config.rebuilt(file, description, budget, extras.get("layer_order", {}))
    if not model.built:
        raise file.refuse("its model does not say what shape its input has")
    flags = _order.effective_flags(model)
    _weights.assign(_weights.matched(file, groups, model, flags))
    _extras.apply_extras(model, extras)
    _extras.apply_settings(model, extras)
    if compile and _training.read_compile(file, model, extras.get("dropout_seed")):
        _training.read_optimizer(file, model, _order.effective_flags(model))
    return model


def reduced(model: Model) -> tuple[Callable[[bytes], Model], tuple[bytes]]:
    """What pickle and copy take for `model`: the bytes of its .h5 file, and who reads them.

    Raises:
        ValueError: a model whose input shape is unknown.
    """
    return _restored, (_written(model, include_optimizer=True),)


def _restored(content: bytes) -> Model:
    """The model of `reduced`. Unlike a file it may hold NaN: it is a copy, whatever it is."""
    from tlcore.saving import _hdf5

    return _read(_hdf5.in_memory("a pickled model", content, finite=False), compile=True)


def save_weights(model: Model, filepath: PathLike, overwrite: bool = True) -> None:
    """Write the weights alone.

    A name that ends in .weights.h5 gets Keras 3's arrangement, any other the one of Keras 2 and
    of the ImageNet files; tf-keras and Keras 3 choose by the same ending.

    Args:
        model: a built model.
        filepath: where to; it must end in .h5, .hdf5 or .hdf.
        overwrite: whether a file that is there may be replaced.

    Raises:
        ValueError: another ending, or a model that is not built.
        FileExistsError: the file is there and `overwrite` is False.
        OSError: the file cannot be written; what was there before is untouched.

    Source: `keras.Model.save_weights`.
    """
    from tlcore.saving._extras import write_extras
    from tlcore.saving._order import effective_flags
    from tlcore.saving._weights import write_legacy, write_v3

    path = _target(filepath, overwrite)
    _check_built(model, "saved")
    flags = effective_flags(model)
    values, _ = model.snapshot()

    def fill(root: h5py.File) -> None:
        if path.name.endswith(".weights.h5"):
            write_v3(root, model, values)
        else:
            write_legacy(root, model, flags, values)
        write_extras(root, model, None)

    write_file(path, _image(fill))


def load_weights(model: Model, filepath: PathLike, by_name: bool = False) -> None:
    """Read the weights of a weights file or of a whole model's file into `model`.

    Layers and weights are paired by name and, where the names differ, by position. Class names and
    the way pictures are read are taken from the file too if the model has none.

    Args:
        model: a built model.
        filepath: an .h5 file that tlcore, tf-keras or Keras 3 wrote.
        by_name: take the layers whose names are in the file and leave the others as they are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the model is not built, or the file is damaged or does not fit; the model is
            then as before.

    Source: `keras.Model.load_weights`.
    """
    from tlcore.saving import _hdf5

    _check_built(model, "loaded")
    with _hdf5.opened(filepath) as file:
        _read_into(model, file, by_name)


def _read_into(model: Model, file: File, by_name: bool) -> None:
    """Read the weights of an open file into `model`."""
    from tlcore.saving import _extras, _order, _weights

    if _weights.is_v3(file):
        if by_name:
            raise file.refuse("it numbers its layers, so by_name is not possible")
        values = _weights.matched_v3(file, model)
    else:
        held = file.root
        if file.has(held, "model_weights"):
            held = file.group(held, "model_weights")
        groups = _weights.read_groups(file, held)
        flags = _order.effective_flags(model)
        values = _weights.matched(file, groups, model, flags, by_name)
    extras = _extras.read_extras(file)
    _weights.assign(values)
    _extras.apply_extras(model, extras)


# --- helpers --------------------------------------------------------------------------------------


def _target(filepath: PathLike, overwrite: bool) -> Path:
    """The path to write to, its ending checked."""
    path = as_path(filepath, "filepath")
    if path.suffix not in (".h5", ".hdf5", ".hdf"):
        raise ValueError(
            f"filepath must end in .h5, got {str(path)!r}: tlcore writes Keras's .h5 files."
        )
    if not overwrite and path.exists():
        raise FileExistsError(f"{path} exists, and overwrite is False.")
    return path


def _check_built(model: Model, what: str) -> None:
    if not model.built:
        raise ValueError(
            f"The weights of {model.name!r} cannot be {what}: it is not built; start it with "
            "tlcore.Input(shape) or call build((None, ...))."
        )


def _image(fill: Callable[[h5py.File], None]) -> bytes:
    """The bytes of an HDF5 file made by `fill`, all in memory: HDF5 handles full disks badly."""
    with held_back():  # until the last of h5py's objects has gone with the function's frame
        try:
            return _filled(fill)
        except MemoryError as error:
            if error.args:
                raise
            raise MemoryError("no room for the file, which is made in memory first") from error


def _filled(fill: Callable[[h5py.File], None]) -> bytes:
    bytearray(_HDF5_ROOM)  # HDF5 may crash where it opens a file without memory; this raises

    import h5py

    from tlcore.saving._fork import open_in_children

    open_in_children()
    # HDF5 opens a name once: not for two threads, nor in a child whose parent was just saving.
    name = f"tlcore-{secrets.token_hex(8)}.h5"
    with h5py.File(name, "w", driver="core", backing_store=False) as root:
        fill(root)
        root.flush()
        image: bytes = root.id.get_file_image()
    return image
