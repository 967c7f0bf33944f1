"""Files to be damaged, and damage that knows HDF5, JSON and Keras."""

from __future__ import annotations

import functools
import io
import json
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import campaign
import h5py
import numpy as np

FILES = Path(__file__).parents[1] / "golden" / "files"

# A weights file is read into the model of another file.
OWNERS = {
    "keras-weights": "keras_frozen",
    "tf_keras-weights": "tf_keras_frozen",
    "tf_keras_legacy_weights": "tf_keras_frozen",
}


@functools.cache
def originals() -> dict[str, bytes]:
    """The golden files, files of tlcore with all that it can keep, and both in other formats."""
    found = {
        path.name.removesuffix(".h5").replace(".", "-"): path.read_bytes()
        for path in sorted(FILES.glob("*.h5"))
    }
    found["tlcore"] = _of_tlcore()
    for name in ("keras_frozen", "tlcore"):
        found[f"{name}_latest"] = _copied(found[name], "latest")
        found[f"{name}_packed"] = _copied(found[name], "latest", compression="gzip", shuffle=True)
        found[f"{name}_chunks"] = _copied(
            found[name], "earliest", compression="gzip", fletcher32=True
        )
    return found


def _of_tlcore() -> bytes:
    from tlcore import layers
    from tlcore.models import Model, Sequential

    joined = [
        layers.InputLayer((3, 3, 4), name="x"),
        layers.AveragePooling2D(2, 1, "same", name="average"),
        layers.Concatenate(name="joined"),
    ]
    inbound = {"average": ["x"], "joined": ["x", "average"]}
    stacked = [
        layers.Input((6, 6, 3)),
        layers.Conv2D(3, 3, name="conv"),
        layers.BatchNormalization(name="bn"),
        layers.SeparableConv2D(4, 2, activation="hard_sigmoid", name="separable"),
        Model.from_layers("inner", joined, inbound, ["x"], ["joined"]),
        layers.MaxPooling2D(2, 1, name="max"),
        layers.SpatialDropout2D(0.0, name="channels"),
        layers.Flatten(name="flat"),
        layers.Dropout(0.25, name="drop"),
        layers.Dense(4, activation="softmax", name="scores"),
    ]
    model = Sequential(stacked, name="made_here")
    for layer in model.layers[:3]:
        layer.trainable = False
    model.set_weights([np.full(w.shape, 0.25 + i / 8) for i, w in enumerate(model.get_weights())])
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    trained = [variable for variable in model.layers[-1].weights for _ in range(2)]
    model.set_optimizer_state(7, [np.full(variable.shape, 0.125) for variable in trained])
    model.class_indices = {"daisy": 0, "rose": 1, "tulip": 2, "ünïcödé": 3}
    model.input_range = (-1.0, 1.0)
    model.reader = {
        "target_size": (6, 6),
        "color_mode": "rgb",
        "interpolation": "nearest",
        "keep_aspect_ratio": False,
        "rescale": 0.125,
        "preprocessing": None,
    }
    with tempfile.TemporaryDirectory() as folder:
        model.save(f"{folder}/m.h5")
        return Path(f"{folder}/m.h5").read_bytes()


def _copied(content: bytes, version: str, **how: Any) -> bytes:
    """The same in another version of the format; data sets of some size stored as `how` says."""
    result = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(result, "w", libver=version) as new:

        def copy(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                suits = how if item.ndim else {}
                made = new.create_dataset(name, data=item[()], chunks=bool(suits) or None, **suits)
            else:
                made = new.require_group(name)
            made.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)
    return result.getvalue()


@functools.cache
def places(name: str) -> tuple[int, ...]:
    """Where numbers of the format stand in an original: all that the reader looks at."""
    from tlcore.saving.hdf5 import source
    from tlcore.saving.hdf5.objects import Object, Tree
    from tlcore.saving.hdf5.storage import Values

    read: set[int] = set()
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(originals()[name])
        plain = source.Source.read

        def recorded(self: source.Source, at: int, size: int) -> bytes:
            read.update(range(at, at + size, 2))
            return plain(self, at, size)

        def walk(held: Object) -> None:
            for key in held.attributes:
                found = held.attribute(key)
                assert found is not None
                found.texts(1 << 20)
            if held.is_data_set:
                _ = Values(held).stored
            for address in held.links.values():
                assert address is not None
                walk(tree.object(address))

        source.Source.read = recorded  # type: ignore[method-assign]
        try:
            tree = Tree(file, file.seek(0, 2))  # type: ignore[arg-type]
            walk(tree.root)
        finally:
            source.Source.read = plain  # type: ignore[method-assign]
    return tuple(sorted(read))


def make(random: Random) -> tuple[bytes, str]:
    """A damaged file and what was done.

    The file's ending says which original it was, and whether its texts are "said" otherwise.
    """
    name = random.choice(sorted(originals()))
    content = originals()[name]
    changes = []
    if random.random() < 0.45:
        content, change = _edited(random, content)
        changes.append(change)
    if not changes or random.random() < 0.25:
        own = places(name) if not changes else ()
        content, change = campaign.damaged(random, content, list(originals().values()), own, 8)
        changes.append(change)
    said = "said" if any(word in str(changes) for word in ("json", "text", "attr")) else "same"
    return content, f".{name}.{said}.h5 {', '.join(changes)}"


# --- edits of what the file says ------------------------------------------------------------------


def _edited(random: Random, content: bytes) -> tuple[bytes, str]:
    image = io.BytesIO(content)
    names = []
    with h5py.File(image, "r+") as file:
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            edit = random.choice(_EDITS)
            try:
                edit(random, file)
            except (LookupError, ValueError, TypeError, OSError, RuntimeError, AttributeError):
                continue  # an edit before it took away what this one needs
            names.append(edit.__name__.strip("_"))
    return image.getvalue(), "+".join(names) or "nothing"


def _items(file: h5py.File, kind: Any = (h5py.Group, h5py.Dataset)) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, kind) else None)
    return found


def _json(random: Random, file: h5py.File) -> None:
    """Some JSON text with one to four nodes changed."""
    key = random.choice([key for key in file.attrs if _is_json(file.attrs[key])])
    value = json.loads(file.attrs[key])
    for _ in range(random.choice((1, 1, 2, 4))):
        value = _changed(random, value)
    text = json.dumps(value)
    if len(text) < 60_000 or random.random() < 0.1:
        file.attrs[key] = text[: 20 << 20]


def _is_json(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("{", "["))


_NUMBERS = [0, -1, 1, 2, 3, 7, 255, 4096, 1 << 14, 1 << 23, (1 << 24) - 1, 1 << 31, 1 << 63]
_SCALARS = [None, True, False, "", "x", "dense", "ü\0", "\ud800", "../..", 0.5, -0.0, 1e-30, 1e308]
_CLASSES = ["Dense", "Conv2D", "DepthwiseConv2D", "Lambda", "ReLU", "Add", "Flatten", "Sequential"]
_CLASSES += ["Functional", "InputLayer", "ZeroPadding2D", "BatchNormalization", "Dropout", "LSTM"]


def _changed(random: Random, root: Any) -> Any:
    """`root` with one node of its tree replaced, removed, repeated or moved."""
    nodes: list[tuple[Any, Any]] = []  # (container, key)
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (dict, list)):
            keys = list(node) if isinstance(node, dict) else range(len(node))
            nodes.extend((node, key) for key in keys)
            waiting.extend(node[key] for key in keys)
    if not nodes:
        return random.choice([*_NUMBERS, *_SCALARS, [], {}])
    numbers = [(c, k) for c, k in nodes if type(c[k]) in (int, float)]
    holder, key = random.choice(numbers if numbers and random.random() < 0.4 else nodes)
    value = holder[key]
    kind = random.randrange(9)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        other, place = random.choice(nodes)
        holder[key] = other[place] if place in other or isinstance(other, list) else None
        holder[key] = json.loads(json.dumps(holder[key]))
    elif kind == 2 and isinstance(value, list):
        holder[key] = value * random.choice((2, 3, 100, 3000))
    elif kind == 3 and isinstance(value, (dict, list)):
        for _ in range(random.choice((1, 8, 60, 70))):
            holder[key] = [holder[key]]
    elif kind == 4 and isinstance(value, str):
        holder[key] = random.choice((value * 2, value[:-1], value.upper(), "x" * 100_000))
    elif kind == 5 and key == "class_name":
        holder[key] = random.choice(_CLASSES)
    elif kind == 6 and isinstance(holder, dict):
        holder[f"{key}{random.choice(('x', '_', '2'))}"] = holder.pop(key)
    elif kind == 7 and isinstance(value, (int, float)):
        holder[key] = random.choice((value + 1, value - 1, value * 2, -value, value + 0.5))
    else:
        holder[key] = random.choice((*_NUMBERS, *_SCALARS, [], {}, [1, 2], [[]]))
    return root


def _text(random: Random, file: h5py.File) -> None:
    """A root attribute becomes another text, or something that is none."""
    key = random.choice(list(file.attrs))
    old = file.attrs[key]
    new: list[Any] = ["", "[" * 5000, "[" * 3_000_000, '{"a":' * 30, b"\xff\xfe", "9" * 9000]
    new += [3, [1.5], np.zeros((2, 2)), h5py.Empty("f"), [], "NaN", "1e999", ["{}", "{}"]]
    new += [np.array([b"{}"])]
    if isinstance(old, str):
        cut = random.randrange(len(old) + 1)
        new += [old[:cut], old[cut:], old.swapcase(), old + old, np.bytes_(old.encode()), [old]] * 3
    file.attrs[key] = random.choice(new)


def _names(random: Random, file: h5py.File) -> None:
    """A list of layers or weights says something else."""
    lists = [
        (name, key)
        for name in ["/", *_items(file, h5py.Group)]
        for key in file[name].attrs
        if key.endswith("_names")
    ]
    name, key = random.choice(lists)
    held = list(file[name].attrs[key])
    kind = random.randrange(9)
    some = random.randrange(len(held)) if held else 0
    if kind == 0:
        held = held[::-1]
    elif kind == 1:
        held += held[some : some + 1]
    elif kind == 2:
        held[some : some + 1] = []
    elif kind == 3:
        strange = (b"..", b"/", b"a//b", b"", b"\xff", b"x" * 5000, b".", b"dense")
        held[some : some + 1] = [random.choice(strange)]
    elif kind == 4:
        held = held * 500
    elif kind == 5:
        random.shuffle(held)
    elif kind == 6:
        file[name].attrs[f"{key}0"] = held
        del file[name].attrs[key]
        return
    elif kind == 7:
        file[name].attrs[key] = random.choice([3, "one", [1.5], h5py.Empty("f"), [[b"a"]]])
        return
    else:
        file[name].attrs.create(key, [_as_text(item) for item in held], dtype=h5py.string_dtype())
        return
    file[name].attrs[key] = held


def _as_text(item: Any) -> str:
    return item.decode(errors="replace") if isinstance(item, bytes) else str(item)


def _data(random: Random, file: h5py.File) -> None:
    """A data set gets other values, another type, shape or layout."""
    name = random.choice(_items(file, h5py.Dataset))
    if file[name].is_virtual or file[name].external:
        return  # libhdf5 would read the other file, or end the process
    values = np.asarray(file[name][()])
    kind = random.randrange(12)
    how: dict[str, Any] = {}
    if kind == 0:
        strange = (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45)
        flat = values.astype(np.float32).reshape(-1)
        flat[random.randrange(max(flat.size, 1))] = random.choice(strange)
        values = flat.reshape(values.shape)
    elif kind == 1:
        kinds = ("f2", ">f4", "f8", ">f8", "i8", "u1", "S4", "complex64", "bool", "V3")
        values = values.astype(random.choice(kinds), casting="unsafe")
    elif kind == 2:
        values = values.reshape(-1)
    elif kind == 3:
        values = values[None]
    elif kind == 4:
        values = values.T
    elif kind == 5:
        values = values.reshape(-1)[:1].reshape(())
    elif kind == 6:
        values = np.zeros((0, *values.shape[1:]), np.float32)
    elif kind == 7 and values.ndim:
        how = {"chunks": tuple(max(n // 2, 1) for n in values.shape), "compression": "gzip"}
    elif kind == 8:
        del file[name]
        shape = tuple(random.choice((0, 1, 1 << 10, 1 << 20, 1 << 31)) for _ in values.shape)
        file.create_dataset(name, shape, "f4", chunks=tuple(min(n, 64) or 1 for n in shape) or None)
        return
    elif kind == 9:
        del file[name]
        file[name] = h5py.Empty("f4")
        return
    elif kind == 10 and values.ndim:
        _bomb(random, file, name, values)
        return
    elif kind == 11:
        values = np.full(values.shape, 1e300)
    del file[name]
    file.create_dataset(name, data=values, **how)


def _bomb(random: Random, file: h5py.File, name: str, values: Any) -> None:
    """A chunk that unpacks to far more than its size, or to less."""
    del file[name]
    chunks = random.choice((values.shape, tuple(4 * n for n in values.shape)))
    made = file.create_dataset(
        name, values.shape, "f4", chunks=chunks, maxshape=chunks, compression="gzip"
    )
    size = random.choice((0, 1, made.nbytes - 1, made.nbytes, 1 << 22, 1 << 26))
    made.id.write_direct_chunk((0,) * values.ndim, zlib.compress(bytes(size), 9))


def _links(random: Random, file: h5py.File) -> None:
    """An object goes, moves, stands twice, or becomes a link, also in a circle."""
    items = _items(file)
    name = random.choice(items)
    other = random.choice(items)
    parent = name.rpartition("/")[0] or "/"
    targets: list[Callable[[], Any]] = [
        lambda: h5py.SoftLink(f"/{other}"),
        lambda: h5py.SoftLink(f"/{name}"),
        lambda: h5py.ExternalLink("/etc/passwd", "/"),
        lambda: h5py.ExternalLink("other.h5", name),
        lambda: file[other],
        lambda: file[parent],
        lambda: file["/"],
        lambda: np.dtype("f4"),
    ]
    kind = random.randrange(len(targets) + 3)
    if kind == len(targets):
        file.move(name, f"{name}x")
    elif kind == len(targets) + 1:
        file[f"{parent}/more"] = file[other]
    elif kind == len(targets) + 2:
        del file[name]
    else:
        target = targets[kind]()
        del file[name]
        file[name] = target


def _outside(random: Random, file: h5py.File) -> None:
    """The values of a data set lie in another file."""
    name = random.choice(_items(file, h5py.Dataset))
    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    if random.random() < 0.5:
        size = max(int(np.prod(shape)), 1) * dtype.itemsize
        file.create_dataset(name, shape, dtype, external=[("/etc/passwd", 0, size)])
    else:
        layout = h5py.VirtualLayout(shape, dtype)
        where = random.choice(("other.h5", ".", "/etc/passwd"))
        layout[...] = h5py.VirtualSource(where, name, shape=shape, dtype=dtype)
        file.create_virtual_dataset(name, layout)


def _attributes(random: Random, file: h5py.File) -> None:
    """An attribute goes, or many more come."""
    holder = file[random.choice(["/", "/", *_items(file)])]
    if random.random() < 0.4:
        for i in range(random.choice((1, 9, 60))):
            holder.attrs[f"more {i}"] = random.choice(("text", 3, [b"a", b"b"], 2.5))
    else:
        del holder.attrs[random.choice(list(holder.attrs))]


_EDITS = (_json, _json, _json, _json, _text, _names, _data, _data, _links, _outside, _attributes)
