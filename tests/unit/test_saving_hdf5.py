"""tlcore's reader of HDF5 against h5py: whatever libhdf5 writes comes out equal, or is named."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pytest

from tlcore.layers import Dense, Input
from tlcore.models import Sequential
from tlcore.saving import load_model, load_weights
from tlcore.saving.hdf5.objects import Object, Tree
from tlcore.saving.hdf5.source import Cursor, Damage, lookup3
from tlcore.saving.hdf5.storage import Values

GOLDEN = Path(__file__).parents[1] / "golden" / "files"
OLD, NEW = "earliest", "latest"
TABLE = np.arange(600, dtype=np.float32).reshape(20, 30)
Fill = Callable[[h5py.File], Any]


def texts(value: Any) -> list[bytes]:
    items = np.asarray([value] if isinstance(value, (bytes, str)) else value).reshape(-1).tolist()
    return [item.encode() if isinstance(item, str) else bytes(item) for item in items]


def compared(tree: Tree, ours: Object, theirs: Any) -> int:
    """How many values and attributes are equal below an object; asserts that none differs."""
    assert set(ours.attributes) == {key.encode() for key in theirs.attrs}
    count = 0
    for key, value in theirs.attrs.items():
        found = ours.attribute(key.encode())
        assert found is not None
        if isinstance(value, h5py.Empty):
            assert found.shape is None
        elif found.type.kind == "number":
            numbers = np.frombuffer(found.data, found.type.dtype, found.count)
            assert np.array_equal(numbers.reshape(found.shape or ()), value)
        else:
            assert found.texts(1 << 24) == texts(value)
        count += 1
    if isinstance(theirs, h5py.Group):
        assert ours.is_group
        assert set(ours.links) == {key.encode() for key in theirs}
        for key in theirs:
            address = ours.links[key.encode()]
            assert address is not None
            count += compared(tree, tree.object(address), theirs[key])
        return count
    if isinstance(theirs, h5py.Dataset):
        values = Values(ours)
        assert values.shape == theirs.shape
        if values.type.kind == "number" and theirs.shape is not None:
            assert values.type.dtype == theirs.dtype
            assert np.array_equal(values.read(), theirs[()])
            count += 1
    return count


def same(path: Path) -> int:
    with open(path, "rb", buffering=0) as file, h5py.File(path, "r") as theirs:
        tree = Tree(file, path.stat().st_size)
        return compared(tree, tree.root, theirs)


def table(**how: Any) -> Fill:
    return lambda file: file.create_dataset("x", **{"data": TABLE, **how})


def many_links(file: h5py.File) -> None:
    for i in range(300):
        file.create_dataset(f"g/a rather long name {i}", data=TABLE[i % 20])


def removed_links(file: h5py.File) -> None:
    many_links(file)
    for i in range(0, 300, 3):
        del file[f"g/a rather long name {i}"]


def attributes(file: h5py.File) -> None:
    file.attrs["long"] = "text ü" * 3000
    file.attrs["fixed"] = np.bytes_(b"abc")
    file.attrs["names"] = np.array([b"a", b"bcd"])
    file.attrs["long names"] = ["x", "", "yy"]
    file.attrs["numbers"] = np.arange(6, dtype=">i2").reshape(2, 3)
    file.attrs["empty"] = h5py.Empty("f")


def many_attributes(file: h5py.File) -> None:
    attributes(file)
    for i in range(200):
        file.attrs[f"key {i}"] = f"value {i}"


def large_attributes(file: h5py.File) -> None:
    many_attributes(file)
    file.attrs["large"] = np.array([b"q" * 100] * 2000)


def compact(file: h5py.File) -> None:
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(TABLE.shape)
    made = h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, how)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, TABLE)


def committed_type(file: h5py.File) -> None:
    file["type"] = np.dtype("f4")
    file.create_dataset("x", data=TABLE, dtype=file["type"])
    file["x"].attrs.create("a", np.float32(3), dtype=file["type"])


def nothing_in_it(file: h5py.File) -> None:
    file.create_dataset("null", data=h5py.Empty("f"))
    file.create_dataset("none", shape=(0, 3), dtype="f4")
    file.create_dataset("never", shape=(4, 5), dtype="f4")
    file.create_dataset("filled", shape=(4, 5), dtype="f4", fillvalue=2.5)
    file.create_dataset("chunks", shape=(4, 5), dtype="f8", fillvalue=2.5, chunks=(2, 2))
    file["chunks"][2:, :2] = 1


CONTENTS: dict[str, Fill] = {
    "contiguous": table(),
    "compact": compact,
    "scalar": lambda file: file.create_dataset("x", data=np.int64(3)),
    "chunks": table(chunks=(7, 8)),
    "many chunks": lambda file: file.create_dataset("x", data=np.arange(2100), chunks=(2,)),
    "gzip": table(chunks=(7, 8), compression="gzip"),
    "many gzip": lambda file: file.create_dataset(
        "x", data=np.arange(2100), chunks=(2,), compression="gzip"
    ),
    "all filters": table(chunks=(7, 8), compression="gzip", shuffle=True, fletcher32=True),
    "one chunk": table(chunks=(20, 30), compression="gzip", shuffle=True),
    "one chunk as it is": table(chunks=(20, 30)),
    "chunk larger than the data": table(chunks=(64, 64), maxshape=(64, 64), compression="gzip"),
    "growing both ways": table(chunks=(3, 2), maxshape=(None, None), compression="gzip"),
    "growing as it is": table(chunks=(3, 2), maxshape=(None, None)),
    "float16": table(data=TABLE.astype("<f2")),
    "big float32": table(data=TABLE.astype(">f4")),
    "float64": table(data=TABLE.astype("<f8"), chunks=(3, 4), shuffle=True),
    "big float64": table(data=TABLE.astype(">f8")),
    "odd size under fletcher32": lambda file: file.create_dataset(
        "x", data=np.arange(77, dtype=np.uint8), chunks=(11,), fletcher32=True
    ),
    "many links": many_links,
    "removed links": removed_links,
    "attributes": attributes,
    "many attributes": many_attributes,
    "committed type": committed_type,
    "nothing in it": nothing_in_it,
}


@pytest.mark.parametrize(
    ("version", "order"),
    [(OLD, False), ("v108", False), ("v110", True), (NEW, False), (NEW, True)],
)
@pytest.mark.parametrize("content", CONTENTS)
def test_equal_to_h5py(tmp_path: Path, content: str, version: str, order: bool) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=version, track_order=order) as file:
        CONTENTS[content](file)
    assert same(path) > 0


def test_attributes_too_large_for_a_header(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver=NEW) as file:
        large_attributes(file)
    assert same(tmp_path / "x.h5") == 207


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.h5")), ids=lambda path: path.name)
def test_files_of_keras(path: Path) -> None:
    assert same(path) > 20


def test_imagenet_weights(shared_data: Path) -> None:
    paths = sorted((shared_data / "weights").glob("*.h5"))
    assert paths
    assert all(same(path) > 260 for path in paths)


@pytest.mark.parametrize(
    ("how", "version", "text"),
    [
        ({"compression": "lzf"}, OLD, "stored with lzf"),
        ({"scaleoffset": 2}, OLD, "stored with scale-offset"),
        ({"maxshape": (None, 30), "chunks": (2, 2)}, NEW, "an extensible array of chunks"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, how: Any, version: str, text: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver=version) as file:
        table(**how)(file)
    with pytest.raises(Damage, match=text):
        same(tmp_path / "x.h5")


@pytest.mark.parametrize("dtype", ["i4", "S4", "complex64", "bool", "V7", h5py.string_dtype()])
def test_types_are_named(tmp_path: Path, dtype: Any) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", shape=(2,), dtype=dtype)
    path = tmp_path / "x.h5"
    with open(path, "rb", buffering=0) as file:
        tree = Tree(file, path.stat().st_size)
        found = Values(tree.object(tree.root.links[b"x"] or 0)).type.name
    names = {"i4": "int32", "S4": "text", "complex64": "compound", "bool": "enumeration"}
    assert found == names.get(dtype, "opaque" if dtype == "V7" else "text")


def test_every_byte_of_a_new_header_is_under_a_checksum(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=NEW) as file:
        file.attrs["name"] = np.bytes_(b"value")
    content = bytearray(path.read_bytes())
    start = content.index(b"OHDR")
    end = content.index(b"value") + 5
    for place in range(start, end):
        content[place] ^= 1
        path.write_bytes(content)
        with pytest.raises(Damage), open(path, "rb", buffering=0) as raw:
            Tree(raw, path.stat().st_size)
        content[place] ^= 1


def test_a_bomb_of_deflate_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("x", shape=(4, 4), chunks=(4, 4), compression="gzip", dtype="f4")
        try:
            made.id.write_direct_chunk((0, 0), zlib.compress(bytes(200 << 20), 9))
        except OSError as error:
            pytest.skip(f"this HDF5 library does not write such a file: {error}")
    with open(path, "rb", buffering=0) as raw:
        tree = Tree(raw, path.stat().st_size)
        values = Values(tree.object(tree.root.links[b"x"] or 0))
        with pytest.raises(Damage, match="compressed values are damaged"):
            values.read()


def test_checksum_as_published() -> None:
    # The examples in lookup3.c, for which the initial value is 0 as in HDF5.
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551


def test_cursor_never_reads_past_its_end() -> None:
    random = Random(0)
    for _ in range(200):
        size = random.randrange(20)
        cursor = Cursor(random.randbytes(size))
        with pytest.raises(Damage):
            for _ in range(25):
                cursor.number(random.choice((1, 2, 4, 8)))
        assert 0 <= cursor.at <= size


@pytest.mark.parametrize("place", [9, 12, 20, 30, 44, 47])
def test_damage_in_the_first_block_is_told_in_one_line(tmp_path: Path, place: int) -> None:
    with h5py.File(tmp_path / "x.h5", "w", libver=NEW):
        pass
    content = bytearray((tmp_path / "x.h5").read_bytes())
    content[place] ^= 4
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a whole HDF5 file \([^\n]+\)\.$") as caught:
        load_model(tmp_path / "x.h5")
    assert "\n" not in str(caught.value)


# --- files that no library writes -----------------------------------------------------------------


@pytest.fixture
def grown(tmp_path: Path) -> Path:
    """A group with two levels of B-tree, and a chunked data set."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        many_links(file)
        file.create_dataset("x", data=np.arange(3000), chunks=(3,))
    return path


def read_all(path: Path) -> None:
    """Whatever can be reached."""
    seen: set[int] = set()

    def walk(held: Object) -> None:
        if held.is_data_set:
            values = Values(held)
            if values.plausible and values.type.dtype is not None:
                values.read()
        for address in held.links.values():
            if address is not None and address not in seen:
                seen.add(address)
                walk(tree.object(address))

    with open(path, "rb", buffering=0) as file:
        tree = Tree(file, path.stat().st_size)
        walk(tree.root)


def places_of(content: bytes, mark: bytes) -> list[int]:
    return [i for i in range(0, len(content), 8) if content.startswith(mark, i)]


@pytest.mark.parametrize("kind", [0, 1], ids=["group", "chunks"])
def test_a_b_tree_in_a_circle(grown: Path, kind: int) -> None:
    content = bytearray(grown.read_bytes())
    tops = [
        at
        for at in places_of(content, b"TREE")
        if content[at + 4] == kind and content[at + 5] == 1 and content[at + 6]
    ]
    assert tops
    key = 8 if kind == 0 else 24
    for at in tops:  # its first child is itself; then: every child is the first
        content[at + 24 + key : at + 32 + key] = at.to_bytes(8, "little")
    grown.write_bytes(content)
    with pytest.raises(Damage, match="B-tree"):
        read_all(grown)


def test_a_b_tree_with_all_children_the_same(grown: Path) -> None:
    content = bytearray(grown.read_bytes())
    for at in places_of(content, b"TREE"):
        if content[at + 4] == 1 and content[at + 5] == 1:
            count = int.from_bytes(content[at + 6 : at + 8], "little")
            first = content[at + 24 + 24 : at + 24 + 32]
            for i in range(count):
                content[at + 24 + 32 * i + 24 : at + 24 + 32 * i + 32] = first
    grown.write_bytes(content)
    with pytest.raises(Damage, match="chunks do not fit"):
        read_all(grown)


def test_a_header_that_goes_on_in_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for i in range(30):
            file.attrs[f"key {i}"] = i  # more than fit into the first block
    content = bytearray(path.read_bytes())
    root = int.from_bytes(content[64:72], "little")
    size = int.from_bytes(content[root + 8 : root + 12], "little")
    at = next(
        i for i in range(root + 16, root + 16 + size, 8) if content[i : i + 4] == b"\x10\0\x10\0"
    )
    block = int.from_bytes(content[at + 8 : at + 16], "little")
    content[block : block + 24] = content[at : at + 24]  # the block says that it goes on in itself
    path.write_bytes(content)
    with pytest.raises(Damage, match="leads in circles"):
        read_all(path)


def test_data_sets_that_share_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for i in range(300):
            file.create_dataset(f"x{i}", data=np.full(2000, i, np.float32))
    content = bytearray(path.read_bytes())
    with open(path, "rb", buffering=0) as file:
        tree = Tree(file, len(content))
        first = Values(tree.object(tree.root.links[b"x0"] or 0))._address
        layouts = [Values(tree.object(at or 0))._address for at in tree.root.links.values()]
    for address in layouts:
        where = content.index(address.to_bytes(8, "little") + (8000).to_bytes(8, "little"))
        content[where : where + 8] = first.to_bytes(8, "little")
    path.write_bytes(content)
    read_all(path)  # one byte for each claimed is in the file
    path.write_bytes(content[:-1])
    with pytest.raises(Damage, match="should have"):
        read_all(path)


@pytest.mark.parametrize("field", ["offset", "size"])
def test_texts_outside_their_heap(tmp_path: Path, field: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["text"] = "some text"
    content = bytearray(path.read_bytes())
    heap = places_of(content, b"GCOL")[0]
    at = heap + (8 if field == "size" else 24)
    content[at : at + 8] = (1 << 40).to_bytes(8, "little")
    path.write_bytes(content)
    with open(path, "rb", buffering=0) as file:
        tree = Tree(file, len(content))
        found = tree.root.attribute(b"text")
        assert found is not None
        with pytest.raises(Damage, match="behind"):
            found.texts(1 << 20)


def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.h5")
    with pytest.raises(ValueError, match="is not a regular file"):
        load_model(tmp_path / "x.h5")


def test_a_path_of_thousands_of_groups(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a"] = file["/"]  # a hard link in a circle
        file.attrs["layer_names"] = [b"/".join([b"a"] * 10_000)]
    model = Sequential([Input((2,)), Dense(1)])
    with pytest.raises(ValueError, match="is no name of a group"):
        load_weights(model, path)
