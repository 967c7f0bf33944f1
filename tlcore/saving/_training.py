"""What a file keeps of `compile` and of the optimizer's moments.

tf-keras pairs moments by position: the count of steps, then for Adam all m, then all v. It does
so for an optimizer that is written as plain "Adam" or "SGD", the only form from which Keras 3
takes the learning rate too. Keras 3 gives up at the moments, its own included, and starts anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore import optimizers
from tlcore.layers import Variable
from tlcore.layers.layer import FloatArray
from tlcore.saving._config import parsed
from tlcore.saving._hdf5 import Dataset, File
from tlcore.saving._order import Flags, trained_weights
from tlcore.saving._weights import check_total, write_names
from tlcore.utils.notes import note

if TYPE_CHECKING:
    import h5py

    from tlcore.models import Model

# What the versions of Keras call the moments.
_FIRST = ("m", "momentum")
_SECOND = ("v", "velocity")


def write_optimizer(
    root: h5py.Group, model: Model, flags: Flags, state: tuple[int, list[FloatArray]]
) -> None:
    """Put the optimizer's steps and moments, its `state`, into `root`, if it has trained."""
    iterations, slots = state
    if iterations == 0:
        return
    kinds = _slot_kinds(model.optimizer)
    trained = _trained(model)
    wanted = trained_weights(model, flags)
    if len(slots) != len(kinds) * len(trained) or set(map(id, trained)) != set(map(id, wanted)):
        note(
            f"the file of model {model.name!r} does not hold its optimizer's state, because "
            "`trainable` was changed after compile()."
        )
        return
    owner = type(model.optimizer).__name__
    places = {variable: i for i, variable in enumerate(trained)}
    names = [f"{owner}/iter:0"]
    values: list[Any] = [np.int64(iterations)]
    for k, kind in enumerate(kinds):
        for variable in wanted:
            names.append(f"{owner}/{variable.path}/{kind}:0")
            values.append(slots[places[variable] * len(kinds) + k])
    if len(set(names)) < len(names):  # two models inside, with layers of one name
        names = [f"{i}/{name}" for i, name in enumerate(names)]
    group = root.create_group("optimizer_weights")
    write_names(group, "weight_names", names)
    for name, value in zip(names, values, strict=True):
        group.create_dataset(name, data=value)


def read_compile(file: File, model: Model) -> bool:
    """Compile `model` as the file says; False, with a note, if tlcore cannot or it says nothing."""
    text = file.text("training_config")
    if text is None:
        return False
    config = parsed(file, text, "training_config")
    try:
        if not isinstance(config, dict):
            raise ValueError("its training_config is no dict.")
        model.compile_from_config(config)
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        why = str(err)[:400]
        note(f"{file.path} opens without being compiled; call compile() to train it. {why}")
        return False
    return True


def read_optimizer(file: File, model: Model, flags: Flags) -> None:
    """Give the optimizer of a compiled model the steps and moments of the file, if they fit.

    Raises:
        ValueError: the file is damaged; moments that merely do not fit are left out, with a note.
    """
    if not file.has(file.root, "optimizer_weights"):
        return
    group = file.group(file.root, "optimizer_weights")
    names = file.names(group, "weight_names") or []
    datasets = [file.dataset(group, name) for name in names]
    check_total(file, datasets)
    if not datasets:
        return
    iterations = datasets[0].integer()
    kinds = _slot_kinds(model.optimizer)
    trained = _trained(model)
    wanted = trained_weights(model, flags)
    found = _by_kind(names[1:], datasets[1:])
    fits = found is not None and set(map(id, trained)) == set(map(id, wanted))
    for kind in kinds:
        shapes = [dataset.shape for dataset in (found or {}).get(kind, [])]
        fits = fits and shapes == [variable.shape for variable in wanted]
    if found is None or not fits or iterations < 0:
        note(f"{file.path}: the optimizer's state does not fit the model and starts anew.")
        return
    places = {variable: i for i, variable in enumerate(wanted)}
    slots = [
        found[kind][places[variable]].weight(variable.shape, f"the {kind} of {variable.path}")
        for variable in trained
        for kind in kinds
    ]
    try:
        model.set_optimizer_state(iterations, slots)
    except ValueError as err:  # such as unfrozen convolutions, which this version cannot train
        note(f"{file.path}: the optimizer's state is left out, because {err}")


def _slot_kinds(optimizer: optimizers.Optimizer | None) -> list[str]:
    """What the optimizer keeps for each weight, as tf-keras names it."""
    if isinstance(optimizer, optimizers.Adam):
        return ["m", "v"]
    return ["momentum"] if isinstance(optimizer, optimizers.SGD) and optimizer.momentum else []


def _trained(model: Model) -> list[Variable]:
    """The weights that train, in the order of the optimizer's state."""
    flags = model.parameter_flags()
    tensors = zip(model._tensors(), flags, strict=True)
    return list(dict.fromkeys(variable for variable, flag in tensors if flag))


def _by_kind(names: list[str], datasets: list[Dataset]) -> dict[str, list[Dataset]] | None:
    """The moments by kind, from the names of tf-keras (both kinds of optimizers) or Keras 3."""
    found: dict[str, list[Dataset]] = {}
    for name, dataset in zip(names, datasets, strict=True):
        parts = name.removesuffix(":0").split("/")
        last = parts[-1].rpartition("_")[2]  # "sgd/dense_kernel_momentum" in Keras 3
        if parts[-1] == "learning_rate":
            continue
        words = {parts[-1], last, parts[1] if len(parts) > 2 else ""}
        if words & set(_SECOND):
            kind = "v"
        elif words & set(_FIRST):
            kind = "m"
        else:
            return None
        found.setdefault(kind, []).append(dataset)
    found["momentum"] = found.get("m", [])
    return found
