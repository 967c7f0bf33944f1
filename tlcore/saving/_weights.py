"""The weights of a file and those of a model: which belongs to which.

Three arrangements are read: `model_weights` of a whole model, the same at the root of a weights
file (ImageNet's, Keras 2's), and Keras 3's `.weights.h5`. Tensors are paired by name; where names
differ, by position, as Keras does, and a pairing whose names contradict each other is not taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tlcore.layers import Layer, Variable
from tlcore.layers.layer import assign_all
from tlcore.saving._hdf5 import MAX_BYTES, Dataset, File
from tlcore.saving._hdf5 import Group as FileGroup
from tlcore.saving._order import Flags, is_model, keras_order, leaves, legacy_weights
from tlcore.utils.naming import to_snake_case

if TYPE_CHECKING:
    import h5py

    from tlcore.models import Model

Values = list[tuple[Variable, NDArray[np.float32]]]
Snapshot = Mapping[Variable, NDArray[np.float32]]  # all weights of a model at one moment

_PACKED = 16  # how much smaller compression makes weights at best
_SPARE_BYTES = 64 << 20  # that compressed weights may take beyond that: many may be zero
_HEADER_LIMIT = 64_512  # bytes that HDF5 leaves for one attribute
_OTHER_NAMES = {  # what versions of Keras have called the same weight
    "depthwise_kernel": "kernel",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}
_KNOWN_NAMES = {
    "kernel",
    "pointwise_kernel",
    "bias",
    "gamma",
    "beta",
    "moving_mean",
    "moving_variance",
}


@dataclass(frozen=True)
class Group:
    """The weights that a file holds for one layer (or for one model inside the model)."""

    name: str
    paths: list[str]  # as the file names them, such as "Conv1/kernel:0"
    datasets: list[Dataset]

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(layer, weight) of each, as every Keras would name them today."""
        keys = []
        for path in self.paths:
            *rest, last = path.split("/")
            name = last.removesuffix(":0")
            keys.append((rest[-1] if rest else self.name, _OTHER_NAMES.get(name, name)))
        return keys


# --- writing --------------------------------------------------------------------------------------


def write_legacy(group: h5py.Group, model: Model, flags: Flags, values: Snapshot) -> None:
    """Put the weights of `model` into `group` as `model_weights` of an .h5 file has them."""
    from tlcore import __version__

    layers = keras_order(model)
    write_names(group, "layer_names", [layer.name for layer in layers])
    group.attrs["backend"] = "tensorflow"  # what readers take the kernels' layout from
    group.attrs["keras_version"] = "2.15.0"
    group.attrs["tlcore_version"] = __version__
    for layer in sorted(layers, key=lambda layer: layer.name):  # so Keras does it
        inside = group.create_group(layer.name)
        variables = legacy_weights(layer, flags)
        paths = [f"{variable.path}:0" for variable in variables]
        if len(set(paths)) < len(paths):  # two models inside, with layers of one name
            paths = [f"{i}/{path}" for i, path in enumerate(paths)]
        write_names(inside, "weight_names", paths)
        for path, variable in zip(paths, variables, strict=True):
            inside.create_dataset(path, data=values[variable])


def write_names(group: h5py.Group, key: str, names: Sequence[str]) -> None:
    """Store a list of names as attribute `key`, in pieces `key`0, `key`1, ... if it is long."""
    array = np.array([name.encode() for name in names], dtype=np.bytes_)
    if not names:
        array = np.zeros(0, "S1")
    pieces = -(-array.nbytes // _HEADER_LIMIT)
    if pieces <= 1:
        group.attrs[key] = array
        return
    rows = _HEADER_LIMIT // array.itemsize
    for i, start in enumerate(range(0, len(array), rows)):
        group.attrs[f"{key}{i}"] = array[start : start + rows]


def write_v3(root: h5py.Group, model: Model, values: Snapshot) -> None:
    """Put the weights of `model` into `root` as Keras 3's `.weights.h5` files have them."""
    root.create_group("vars").attrs["name"] = model.name
    for path, layer in _v3_paths(model):
        inside = root.create_group(f"{path}/vars")
        inside.attrs["name"] = layer.name
        if not is_model(layer):
            for i, variable in enumerate(layer.weights):
                inside.create_dataset(str(i), data=values[variable])


def _v3_paths(model: Model, prefix: str = "") -> Iterable[tuple[str, Layer]]:
    """Keras 3's group of each layer: its class, numbered within the model that holds it."""
    count: Counter[str] = Counter()
    for layer in keras_order(model):
        kind = to_snake_case(type(layer).__name__)
        path = f"{prefix}layers/{kind}_{count[kind]}" if count[kind] else f"{prefix}layers/{kind}"
        count[kind] += 1
        yield path, layer
        if is_model(layer):
            yield from _v3_paths(layer, f"{path}/")


# --- reading --------------------------------------------------------------------------------------


def read_groups(file: File, group: FileGroup) -> list[Group]:
    """What `group`, the root or `model_weights`, holds for each layer; values are not yet read.

    Raises:
        ValueError: a data set is missing, links elsewhere, or claims more than the file can hold.
    """
    layer_names = file.names(group, "layer_names")
    if layer_names is None:
        raise file.refuse("it holds no weights that tlcore knows (no layer_names)")
    groups = []
    for name in layer_names:
        inside = file.group(group, name)
        paths = file.names(inside, "weight_names") or []
        groups.append(Group(name, paths, [file.dataset(inside, path) for path in paths]))
    if file.has(group, "top_level_model_weights"):
        top = file.names(file.group(group, "top_level_model_weights"), "weight_names")
        if top:
            raise file.refuse(f"it holds the weight {top[0]!r} outside any layer")
    check_total(file, [dataset for found in groups for dataset in found.datasets])
    return groups


def check_total(file: File, datasets: Sequence[Dataset]) -> int:
    """How many numbers `datasets` hold together; ValueError if they cannot be in this file."""
    for dataset in datasets:
        if not dataset.plausible:
            raise file.refuse(
                f"the data set {dataset.place!r} claims the shape {dataset.shape}, "
                "and the file holds too little for that"
            )
    total = sum(dataset.nbytes for dataset in datasets)
    if total > MAX_BYTES:
        raise file.refuse(f"its weights take more than {MAX_BYTES >> 30} GiB")
    if total > _SPARE_BYTES + _PACKED * file.size:
        raise file.refuse(
            f"its weights take {total} bytes, and the file has {file.size}: it holds the same ones "
            "again and again, or was made to fill the memory"
        )
    return sum(dataset.size for dataset in datasets)


def matched(
    file: File, groups: Sequence[Group], model: Model, flags: Flags, by_name: bool = False
) -> Values:
    """The values for the weights of `model`, every one read and checked.

    Args:
        by_name: take the layers whose names are in the file and leave the others, as Keras does.

    Raises:
        ValueError: layers or weights do not fit each other; shapes, types or values are wrong.
    """
    wanted = [layer for layer in keras_order(model) if layer.weights]
    held = {group.name: group for group in groups if group.datasets}
    if by_name:
        pairs = [(layer, held[layer.name]) for layer in wanted if layer.name in held]
    elif {layer.name for layer in wanted} == set(held):
        pairs = [(layer, held[layer.name]) for layer in wanted]
    elif len(wanted) == len(held):
        pairs = list(zip(wanted, held.values(), strict=True))
    else:
        raise file.refuse(_other_layers(wanted, list(held), model))
    return [
        (variable, dataset.weight(variable.shape, f"{variable.path!r} of the model"))
        for layer, group in pairs
        for variable, dataset in _paired(file, group, layer, flags)
    ]


def _other_layers(wanted: Sequence[Layer], held: Sequence[str], model: Model) -> str:
    names = [layer.name for layer in wanted]
    only_model = [name for name in names if name not in held]
    only_file = [name for name in held if name not in names]
    text = (
        f"it holds weights for {len(held)} layers, and the model {model.name!r} has {len(names)} "
        "layers with weights"
    )
    if only_model:
        text += f"; the file lacks {_some(only_model)}"
    if only_file:
        text += f"; the model lacks {_some(only_file)}"
    return text


def _some(names: Sequence[str], limit: int = 3) -> str:
    shown = ", ".join(repr(name) for name in names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def _paired(file: File, group: Group, layer: Layer, flags: Flags) -> list[tuple[Variable, Dataset]]:
    """Which data set of `group` belongs to which weight of `layer`."""
    variables = legacy_weights(layer, flags)
    by_key = {_key(variable): variable for variable in variables}
    keys = group.keys
    if len(by_key) == len(variables) and sorted(by_key) == sorted(keys):
        return [(by_key[key], d) for key, d in zip(keys, group.datasets, strict=True)]
    if len(variables) != len(keys):
        lacking = sorted(set(by_key) - set(keys))
        more = f": it lacks {_some(['/'.join(key) for key in lacking])}" if lacking else ""
        raise file.refuse(
            f"the group {group.name!r} holds {len(keys)} weights, and the layer {layer.name!r} of "
            f"the model has {len(variables)}{more}"
        )
    # Names differ. The writer's order depends on flags that the file may not tell: take the
    # first order that contradicts neither a shape nor a known name.
    tails = [key[1] for key in keys]
    in_layer_order = [variable for leaf in leaves(layer) for variable in leaf.weights]
    all_training = legacy_weights(layer, {id(leaf): True for leaf in leaves(layer)})
    for order in (variables, in_layer_order, all_training):
        if all(
            _fits(variable, tail, dataset)
            for variable, tail, dataset in zip(order, tails, group.datasets, strict=True)
        ):
            return list(zip(order, group.datasets, strict=True))
    return list(zip(variables, group.datasets, strict=True))  # to be refused for its shapes


def _key(variable: Variable) -> tuple[str, str]:
    layer, _, name = variable.path.rpartition("/")
    return layer, _OTHER_NAMES.get(name, name)


def _fits(variable: Variable, tail: str, dataset: Dataset) -> bool:
    name = _key(variable)[1]
    return variable.shape == dataset.shape and (tail == name or tail not in _KNOWN_NAMES)


def is_v3(file: File) -> bool:
    """Whether the file is arranged as Keras 3's `.weights.h5`."""
    return file.names(file.root, "layer_names") is None and file.has(file.root, "layers")


def matched_v3(file: File, model: Model) -> Values:
    """The values for the weights of `model` from a `.weights.h5` file, read and checked."""
    found: list[tuple[Variable, Dataset]] = []
    expected: dict[str, list[str]] = {}
    for path, layer in _v3_paths(model):
        holder, _, name = path.rpartition("/")
        expected.setdefault(holder, []).append(name)
        if is_model(layer) or not layer.weights:
            continue
        inside = file.group(file.root, f"{path}/vars")
        count = len(file.entries(inside))
        if count != len(layer.weights):
            raise file.refuse(
                f"the group {path!r} holds {count} weights, and the layer {layer.name!r} of the "
                f"model has {len(layer.weights)}"
            )
        found.extend(
            (variable, file.dataset(inside, str(i))) for i, variable in enumerate(layer.weights)
        )
    for holder, names in expected.items():
        group = file.group(file.root, holder)
        for name in file.entries(group):
            if name not in names and file.child(group, name, "group")[1].is_group:
                raise file.refuse(f"it holds {holder}/{name}, which the model {model.name!r} lacks")
    check_total(file, [dataset for _, dataset in found])
    return [
        (variable, dataset.weight(variable.shape, f"{variable.path!r} of the model"))
        for variable, dataset in found
    ]


def assign(values: Values) -> None:
    """Put checked values into the weights."""
    assign_all("The file", [v for v, _ in values], [array for _, array in values])
