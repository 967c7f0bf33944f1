"""Reading HDF5 files that may be damaged or made to do harm.

Every step into a file is checked before it is taken: only hard links are followed (an external or
soft link, a virtual data set or external storage would reach outside the file), sizes are bounded
before memory is taken, and every refusal is one sentence that names the file and the place in it.
The reader itself is `tlcore.saving.hdf5`; no byte of a file reaches libhdf5.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlcore.saving._files import PathLike, as_path
from tlcore.saving.hdf5.objects import MAGIC, Attribute, Object, Tree
from tlcore.saving.hdf5.source import Damage, Readable
from tlcore.saving.hdf5.storage import Outside, Values

MAX_NAMES = 100_000  # weights of one group, layers of one model
MAX_TEXT = 8 << 20  # bytes of one JSON text, or of one list of names
MAX_BYTES = 4 << 30  # bytes of all weights of a file
_MAX_DEPTH = 64  # of groups in groups
_LONGEST = 800  # characters of an error


@contextmanager
def opened(path: PathLike) -> Iterator[File]:
    """The HDF5 file `path`, open for reading.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as the system says.
        ValueError: it is not an HDF5 file.
    """
    name = as_path(path)
    mode = os.stat(name).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait for ever
        raise ValueError(f"{name} is not a whole HDF5 file (it is not a regular file).")
    with open(name, "rb", buffering=0) as file:  # the system's own errors name the file
        yield File(name, _tree(name, file, os.fstat(file.fileno()).st_size))


def in_memory(name: str, content: bytes, finite: bool = True) -> File:
    """The same for bytes in memory; `name` is what errors call them."""
    return File(name, _tree(name, io.BytesIO(content), len(content)), finite)


def _tree(path: Path | str, file: Readable, size: int) -> Tree:
    if file.read(len(MAGIC)) != MAGIC and zipfile.is_zipfile(file):
        raise ValueError(
            f"{path} is a .keras archive (or another zip file), and tlcore opens .h5 "
            "files: save it in Keras with model.save('name.h5')."
        )
    try:
        return Tree(file, size)
    except Damage as err:
        raise ValueError(f"{path} is not a whole HDF5 file ({err}).") from err


class Group:
    """A group and its name within the file."""

    def __init__(self, name: str, held: Object) -> None:
        self.name = name
        self.held = held


class File:
    """An open file and the name that its errors carry; `finite`: whether weights must be."""

    def __init__(self, path: Path | str, tree: Tree, finite: bool = True) -> None:
        self.path = path
        self.finite = finite
        self.root = Group("/", tree.root)
        self._tree = tree

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._tree.source.size

    def refuse(self, what: str) -> ValueError:
        """The exception to raise: file, colon, what is wrong with it."""
        if len(what) > _LONGEST:  # a name in it may be as long as the file
            what = f"{what[: _LONGEST // 2]} ... {what[-_LONGEST // 2 :]}"
        return ValueError(f"{self.path}: {what}.")

    # --- attributes ---------------------------------------------------------------------------

    def text(self, key: str) -> str | None:
        """The root attribute `key` as text, None if it is not there."""
        found = self._attribute(self.root, key)
        if found is None:
            return None
        texts = self._texts(found, self.root, key)
        if texts is None or len(texts) != 1:
            raise self.refuse(f"its attribute {key!r} is not a text")
        return texts[0]

    def names(self, group: Group, key: str) -> list[str] | None:
        """The list of names in attribute `key` (or `key`0, `key`1, ... together)."""
        found = self._attribute(group, key)
        parts = [found]
        if found is None:
            parts = []
            while (part := self._attribute(group, f"{key}{len(parts)}")) is not None:
                parts.append(part)
            if not parts:
                return None
        names: list[str] = []
        for part in parts:
            assert part is not None
            listed = part.shape is not None and len(part.shape) == 1
            if not listed or part.count + len(names) > MAX_NAMES:
                raise self.refuse(f"the attribute {key!r} of {group.name!r} is no list of names")
            texts = self._texts(part, group, key) if part.count else []
            if texts is None:
                raise self.refuse(f"the attribute {key!r} of {group.name!r} is no list of names")
            names.extend(texts)
        return names

    def _attribute(self, holder: Group, key: str) -> Attribute | None:
        """An attribute, None if it is not there."""
        try:
            return holder.held.attribute(key.encode())
        except Damage as err:
            raise self._damaged(holder, key, err) from err

    def _texts(self, attribute: Attribute, holder: Group, key: str) -> list[str] | None:
        """The attribute's texts, None if it holds something else."""
        try:
            found = attribute.texts(MAX_TEXT)
        except Damage as err:
            raise self._damaged(holder, key, err) from err
        try:
            return None if found is None else [text.decode("utf-8") for text in found]
        except UnicodeError as err:
            raise self.refuse(f"its attribute {key!r} is not UTF-8 text") from err

    def _damaged(self, holder: Group, key: str, err: Damage) -> ValueError:
        return self.refuse(f"the attribute {key!r} of {holder.name!r} is damaged ({err})")

    # --- groups and data sets -----------------------------------------------------------------

    def child(self, group: Group, path: str, what: str) -> tuple[str, Object]:
        """Name and object at `path` below `group`; `what` says what it is in errors.

        Raises:
            ValueError: it is missing, or only to be had through a link out of its group.
        """
        full = f"{group.name.rstrip('/')}/{path}".lstrip("/")
        here = group.held
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts) or len(parts) > _MAX_DEPTH:
            raise self.refuse(f"{path!r} is no name of a {what}")
        for i, part in enumerate(parts):
            try:
                links = here.links
                address = links.get(part.encode())
                if address is not None:
                    here = self._tree.object(address)
            except Damage as err:
                raise self.refuse(f"the {what} {full!r} is damaged ({err})") from err
            if part.encode() not in links:
                raise self.refuse(f"the {what} {full!r} is missing")
            if address is None:
                raise self.refuse(
                    f"{'/'.join(parts[: i + 1])!r} is a link to another place or file, "
                    "and tlcore follows none"
                )
        return full, here

    def group(self, parent: Group, path: str) -> Group:
        """The group `path` below `parent`; ValueError if it is not one."""
        full, found = self.child(parent, path, "group")
        if found.is_data_set:
            raise self.refuse(f"{full!r} is a data set where a group must be")
        if not found.is_group:
            raise self.refuse(f"{full!r} is no group")
        return Group(f"/{full}", found)

    def entries(self, group: Group) -> list[str]:
        """The names of all that `group` has."""
        try:
            return [name.decode("utf-8") for name in group.held.links]
        except (Damage, UnicodeError) as err:
            raise self.refuse(f"the group {group.name!r} is damaged ({err})") from err

    def has(self, parent: Group, name: str) -> bool:
        """Whether `parent` has an entry `name`, of whatever kind."""
        return name in self.entries(parent)

    def dataset(self, parent: Group, path: str) -> Dataset:
        """The data set `path` below `parent`, its type checked and its values not yet read."""
        place, found = self.child(parent, path, "data set")
        if not found.is_data_set:
            raise self.refuse(f"{place!r} is a group where a data set must be")
        try:
            values = Values(found)
        except Outside as err:
            raise self.refuse(
                f"the data set {place!r} keeps its values in another place or file ({err}), "
                "and tlcore reads none from there"
            ) from err
        except Damage as err:
            raise self.refuse(f"the data set {place!r} is damaged ({err})") from err
        if values.shape is None:
            raise self.refuse(f"the data set {place!r} is empty")
        return Dataset(self, values, place, values.shape)


class Dataset:
    """A data set whose place, shape and type are known; the values wait in the file."""

    def __init__(self, file: File, values: Values, place: str, shape: tuple[int, ...]) -> None:
        self._file = file
        self._values = values
        self.place = place
        self.shape = shape

    @property
    def size(self) -> int:
        """How many numbers it claims to hold."""
        return self._values.count

    @property
    def nbytes(self) -> int:
        """How much memory its values take."""
        return self.size * max(self._values.type.size, 4)

    @property
    def plausible(self) -> bool:
        """Whether what the file stores can be so many values, however well compressed."""
        try:
            return self._values.plausible
        except Damage as err:
            raise self._file.refuse(f"the data set {self.place!r} is damaged ({err})") from err

    def weight(self, shape: tuple[int, ...], owner: str) -> NDArray[np.float32]:
        """The values as float32 of `shape`; `owner` says in errors who takes them.

        Raises:
            ValueError: another shape, not floating-point, damaged, infinite or NaN.
        """
        if self.shape != shape:
            raise self._file.refuse(
                f"the data set {self.place!r} has the shape {self.shape}, "
                f"but {owner} has the shape {shape}"
            )
        dtype = self._values.type.dtype
        if dtype is None or dtype.kind != "f":
            raise self._file.refuse(
                f"the data set {self.place!r} holds {self._values.type.name} values, and weights "
                "are float32"
            )
        with np.errstate(over="ignore"):  # what does not fit becomes inf and is refused below
            array = np.ascontiguousarray(self._read(), dtype=np.float32).reshape(shape)
        if self._file.finite and not np.isfinite(array).all():
            raise self._file.refuse(f"the data set {self.place!r} holds NaN or infinite values")
        return array

    def integer(self) -> int:
        """The value of a scalar of whole numbers; ValueError for anything else."""
        dtype = self._values.type.dtype
        if self.size != 1 or dtype is None or dtype.kind not in "iu":
            raise self._file.refuse(f"the data set {self.place!r} is not one whole number")
        return int(self._read().reshape(-1)[0])

    def _read(self) -> NDArray[Any]:
        try:
            return self._values.read()
        except (Damage, MemoryError) as err:
            raise self._file.refuse(f"the data set {self.place!r} cannot be read ({err})") from err
