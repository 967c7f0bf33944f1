"""What a file keeps of `compile` and of the optimizer's state.

The moments of the weights that train stand where Keras has them, in `optimizer_weights`. tf-keras
pairs them by position: the count of steps, then for Adam all m, then all v. It does so for an
optimizer that is written as plain "Adam" or "SGD", the only form from which Keras 3 takes the
learning rate too. Keras 3 gives up at the moments, its own included, and starts anew. What this
arrangement has no place for (sums of gradients, moving averages, the state of weights that are
frozen now) stands by name in `tlcore_optimizer`, which Keras passes over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tlcore.layers import Variable
from tlcore.layers.layer import FloatArray
from tlcore.saving._config import parsed
from tlcore.saving._hdf5 import Dataset, File
from tlcore.saving._order import Flags, all_layers, is_model, trained_weights
from tlcore.saving._weights import check_total, write_names
from tlcore.training.compiled import OptimizerState
from tlcore.utils.notes import note

if TYPE_CHECKING:
    import h5py

    from tlcore.models import Model

# What the versions of Keras call what an optimizer keeps of a weight.
_KINDS = {
    "v": ("v", "velocity"),
    "m": ("m", "momentum"),
    "average": ("average",),
    "gradient_accumulator": ("gradient_accumulator", "accumulator"),
}
_MOST_BATCHES = (1 << 52) - 1  # that the core counts

Named: TypeAlias = "list[tuple[str, Dataset]]"
Pairs: TypeAlias = "list[tuple[Variable, Dataset]]"


def write_optimizer(root: h5py.Group, model: Model, flags: Flags, state: OptimizerState) -> None:
    """Put the optimizer's steps and arrays, its `state`, into `root`, if it has trained."""
    optimizer = model.optimizer
    if optimizer is None or state.batches == 0:
        return
    kinds = optimizer.rule_arrays()
    wanted = trained_weights(model, flags)
    owner = type(optimizer).__name__
    names = [f"{owner}/iter:0"]
    values: list[Any] = [np.int64(state.batches)]
    for kind in kinds:
        for variable in wanted:
            names.append(f"{owner}/{variable.path}/{kind}:0")
            held = state.arrays.get(variable, {})
            # a weight that trains since the last compile() begins at zero
            values.append(held.get(kind, np.zeros(variable.shape, np.float32)))
    if len(set(names)) < len(names):  # two models inside, with layers of one name
        names = [f"{i}/{name}" for i, name in enumerate(names)]
    _write_arrays(root, "optimizer_weights", "weight_names", dict(zip(names, values, strict=True)))

    written = {(id(variable), kind) for variable in wanted for kind in kinds}
    others = {
        f"{place}/{kind}": values
        for place, variable in _places(model).items()
        for kind, values in state.arrays.get(variable, {}).items()
        if (id(variable), kind) not in written
    }
    if others:
        _write_arrays(root, "tlcore_optimizer", "array_names", others)


def _write_arrays(root: h5py.Group, place: str, key: str, arrays: Mapping[str, Any]) -> None:
    """Make the group `place` of these data sets, their names in its attribute `key`."""
    group = root.create_group(place)
    write_names(group, key, list(arrays))
    for name, value in arrays.items():
        group.create_dataset(name, data=value)


def _places(model: Model) -> dict[str, Variable]:
    """Every weight by the layers that lead to it, such as "base/Conv1/kernel"; no two alike."""
    return {
        f"{path}/{variable.name}": variable
        for path, layer in all_layers(model)
        if not is_model(layer)
        for variable in layer.weights
    }


def read_compile(file: File, model: Model, seed: int | None) -> bool:
    """Compile `model` as the file says; False, with a note, if tlcore cannot or it says nothing.

    `seed` is that of dropout, None where the file does not tell it.
    """
    text = file.text("training_config")
    if text is None:
        return False
    config = parsed(file, text, "training_config")
    try:
        if not isinstance(config, dict):
            raise ValueError("its training_config is no dict.")
        model.compile_from_config(config, seed)
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        why = str(err)[:400]
        note(f"{file.path} opens without being compiled; call compile() to train it. {why}")
        return False
    return True


def read_optimizer(file: File, model: Model, flags: Flags) -> None:
    """Give the optimizer of a compiled model the steps and arrays of the file, if they fit.

    Raises:
        ValueError: the file is damaged; moments that merely do not fit are left out, with a note.
    """
    if not file.has(file.root, "optimizer_weights"):
        return
    group = file.group(file.root, "optimizer_weights")
    names = file.names(group, "weight_names") or []
    datasets = [file.dataset(group, name) for name in names]
    others = _read_others(file, model)
    check_total(file, [*datasets, *(dataset for _, _, dataset in others)])
    if not datasets or model.optimizer is None:
        return
    batches = datasets[0].integer()
    wanted = trained_weights(model, flags)
    found = _by_kind(names[1:], datasets[1:])
    kinds = model.optimizer.rule_arrays()
    try:
        if found is None or not 0 <= batches <= _MOST_BATCHES:
            raise ValueError("the file's names or its count of batches are of no optimizer")
        kinds += [kind for kind in ("gradient_accumulator", "average") if kind in found]
        pairs = {kind: _matched(found, kind, model, wanted) for kind in kinds}
        if len({frozenset(variable for variable, _ in fitting) for fitting in pairs.values()}) > 1:
            raise ValueError("the file holds arrays of different weights")
    except ValueError as err:
        note(f"{file.path}: the optimizer's state does not fit the model and starts anew: {err}.")
        return
    arrays: dict[Variable, dict[str, FloatArray]] = {}
    for kind, fitting in pairs.items():
        for variable, dataset in fitting:
            values = dataset.weight(variable.shape, f"the {kind} of {variable.path}")
            arrays.setdefault(variable, {})[kind] = values
    for variable, kind, dataset in others:
        values = dataset.weight(variable.shape, f"the {kind} of {variable.path}")
        arrays.setdefault(variable, {})[kind] = values
    model.restore_optimizer(OptimizerState(batches, arrays))


def _read_others(file: File, model: Model) -> list[tuple[Variable, str, Dataset]]:
    """What tlcore keeps beside Keras's moments: weight, kind, values."""
    if not file.has(file.root, "tlcore_optimizer"):
        return []
    group = file.group(file.root, "tlcore_optimizer")
    places = _places(model)
    found = []
    for name in file.names(group, "array_names") or []:
        place, _, kind = name.rpartition("/")
        if place not in places:
            raise file.refuse(f"its tlcore_optimizer holds {name!r}, which is of no weight")
        found.append((places[place], kind, file.dataset(group, name)))
    return found


def _by_kind(names: list[str], datasets: list[Dataset]) -> dict[str, Named] | None:
    """The arrays by kind, from the names of tf-keras (both kinds of optimizers) or Keras 3."""
    found: dict[str, Named] = {}
    for name, dataset in zip(names, datasets, strict=True):
        parts = name.removesuffix(":0").split("/")
        last = parts[-1].rpartition("_")[2]  # "sgd/dense_kernel_momentum" in Keras 3
        if parts[-1] == "learning_rate":
            continue
        words = {parts[-1], last, parts[1] if len(parts) > 2 else ""}
        kind = next((kind for kind, known in _KINDS.items() if words & set(known)), None)
        if kind is None:
            return None
        weight = parts[1:-1] if parts[-1] in _KINDS[kind] else parts[2:]
        found.setdefault(kind, []).append(("/".join(weight), dataset))
    return found


def _matched(found: dict[str, Named], kind: str, model: Model, wanted: list[Variable]) -> Pairs:
    """The weights that the arrays of one kind belong to: by name, or else by position.

    Raises:
        ValueError: they fit neither way.
    """
    held = found.get("m" if kind == "momentum" else kind, [])
    weights = {variable.path: variable for variable in model.weights}
    names = [name for name, _ in held]
    unique = len(weights) == len(model.weights) and len(set(names)) == len(names)
    if unique and all(name in weights for name in names):
        wanted = [weights[name] for name in names]
    if [dataset.shape for _, dataset in held] != [variable.shape for variable in wanted]:
        raise ValueError(f"the file holds {len(held)} arrays of the kind {kind!r}")
    return [(variable, dataset) for variable, (_, dataset) in zip(wanted, held, strict=True)]
