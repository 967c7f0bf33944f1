"""Reading HDF5 files that may be damaged or made to do harm.

Every step into a file is checked before it is taken: only hard links are followed (an external or
soft link, a virtual data set or external storage would reach outside the file), sizes are bounded
before memory is taken, and every refusal is one sentence that names the file and the place in it.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tlcore.saving._files import PathLike, as_path

if TYPE_CHECKING:
    import h5py

MAX_NAMES = 100_000  # weights of one group, layers of one model
MAX_TEXT = 32 << 20  # bytes of one JSON text
MAX_BYTES = 4 << 30  # bytes of all weights of a file

_MAGIC = b"\x89HDF\r\n\x1a\n"
# What h5py raises where the HDF5 library finds damage.
_DAMAGE = (OSError, KeyError, RuntimeError, TypeError, ValueError)
_HEAP = re.compile(rb"GCOL\x01\0\0\0")


@contextmanager
def opened(path: PathLike) -> Iterator[File]:
    """The HDF5 file `path`, open for reading.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as the system says.
        ValueError: it is not an HDF5 file.
    """
    import h5py

    name = as_path(path)
    _check_bytes(name)
    try:
        file5 = h5py.File(name, "r")
    except (OSError, RuntimeError, ValueError) as err:
        raise ValueError(f"{name} is not a whole HDF5 file ({err}).") from err
    with file5:
        yield File(name, file5)


def _check_bytes(path: Path) -> None:
    """Refuse what is no HDF5 file, and what would keep the HDF5 library busy for ever.

    In a global heap (where texts are kept) an object of index 0 and size 0 is read again and
    again by every version of the library up to 2.0.
    """
    with open(path, "rb") as file:  # the system's own errors name the file
        head = file.read(16)
        if not head.startswith(_MAGIC):
            if zipfile.is_zipfile(path):
                raise ValueError(
                    f"{path} is a .keras archive (or another zip file), and tlcore opens .h5 "
                    "files: save it in Keras with model.save('name.h5')."
                )
            raise ValueError(f"{path} is not a whole HDF5 file (it does not begin as one).")
        sizes = head[13:15] if head[8] < 2 else head[9:11]
        if sizes != b"\x08\x08":  # of offsets and lengths, on every machine of today
            raise ValueError(f"{path} is not a whole HDF5 file (its numbers have odd sizes).")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for heap in re.finditer(_HEAP, content):
                if not _is_heap(content, heap.start()):
                    raise ValueError(f"{path} is not a whole HDF5 file (a damaged heap).")


def _is_heap(content: mmap.mmap, start: int) -> bool:
    """Whether the objects of a global heap follow each other up to its end."""
    if start % 8 or start + 16 > len(content):
        return True  # the letters stand here by chance
    size: int = struct.unpack_from("<Q", content, start + 8)[0]
    end = start + size
    if end > len(content):
        return False
    place = start + 16
    while place + 16 <= end:
        index, length = struct.unpack_from("<H6xQ", content, place)
        taken: int = 16 + (length + 7) // 8 * 8 if index else length  # free space counts its header
        if taken < 16:
            return False
        place += taken
    return place <= end


class File:
    """An open file and the name that its errors carry."""

    def __init__(self, path: Path, root: h5py.File) -> None:
        self.path = path
        self.root = root

    def refuse(self, what: str) -> ValueError:
        """The exception to raise: file, colon, what is wrong with it."""
        return ValueError(f"{self.path}: {what}.")

    # --- attributes ---------------------------------------------------------------------------

    def text(self, key: str) -> str | None:
        """The root attribute `key` as text, None if it is not there."""
        value = self._attribute(self.root, key)
        if value is None:
            return None
        if isinstance(value, np.ndarray) and value.size == 1:
            value = value.reshape(-1)[0]
        if not isinstance(value, (bytes, str)):
            raise self.refuse(f"its attribute {key!r} is not a text")
        if len(value) > MAX_TEXT:
            raise self.refuse(f"its attribute {key!r} is longer than {MAX_TEXT} characters")
        return self._decoded(value, key)

    def names(self, group: h5py.Group, key: str) -> list[str] | None:
        """The list of names in attribute `key` (or `key`0, `key`1, ... together)."""
        value = self._attribute(group, key)
        parts = [value]
        if value is None:
            parts = []
            while (part := self._attribute(group, f"{key}{len(parts)}")) is not None:
                parts.append(part)
            if not parts:
                return None
        names: list[str] = []
        for part in parts:
            array = np.asarray(part)
            if array.ndim != 1 or array.size + len(names) > MAX_NAMES:
                raise self.refuse(f"the attribute {key!r} of {group.name!r} is no list of names")
            for item in array.tolist():
                if not isinstance(item, (bytes, str)):
                    raise self.refuse(
                        f"the attribute {key!r} of {group.name!r} is no list of names"
                    )
                names.append(self._decoded(item, key))
        return names

    def _attribute(self, holder: h5py.Group, key: str) -> Any:
        """An attribute's value, None if it is not there."""
        try:
            if key not in holder.attrs:
                return None
            found = holder.attrs.get_id(key)
            size = math.prod(found.shape) * found.dtype.itemsize
            value = holder.attrs[key] if size <= MAX_TEXT else None
        except _DAMAGE as err:
            raise self.refuse(f"the attribute {key!r} of {holder.name!r} is damaged") from err
        if size > MAX_TEXT:
            raise self.refuse(f"the attribute {key!r} of {holder.name!r} is too large")
        return value

    def _decoded(self, value: bytes | str, key: str) -> str:
        try:
            raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            return raw.decode("utf-8")
        except UnicodeError as err:
            raise self.refuse(f"its attribute {key!r} is not UTF-8 text") from err

    # --- groups and data sets -----------------------------------------------------------------

    def child(self, group: h5py.Group, path: str, what: str) -> Any:
        """The group or data set `path` below `group`; `what` says what it is in errors.

        Raises:
            ValueError: it is missing, or only to be had through a link out of its group.
        """
        import h5py

        full = f"{group.name.rstrip('/')}/{path}".lstrip("/")
        here: Any = group
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise self.refuse(f"{path!r} is no name of a {what}")
        for i, part in enumerate(parts):
            key = part.encode()
            try:
                there = isinstance(here, h5py.Group) and here.id.links.exists(key)
                hard = there and here.id.links.get_info(key).type == h5py.h5l.TYPE_HARD
                if hard:
                    here = here[part]
            except _DAMAGE as err:
                raise self.refuse(f"the {what} {full!r} is damaged") from err
            if not there:
                raise self.refuse(f"the {what} {full!r} is missing")
            if not hard:
                raise self.refuse(
                    f"{'/'.join(parts[: i + 1])!r} is a link to another place or file, "
                    "and tlcore follows none"
                )
        return here

    def group(self, parent: h5py.Group, path: str) -> h5py.Group:
        """The group `path` below `parent`; ValueError if it is not one."""
        import h5py

        found = self.child(parent, path, "group")
        if not isinstance(found, h5py.Group):
            raise self.refuse(f"{found.name.lstrip('/')!r} is a data set where a group must be")
        return found

    def has(self, parent: h5py.Group, name: str) -> bool:
        """Whether `parent` has an entry `name`, of whatever kind."""
        try:
            return bool(parent.id.links.exists(name.encode()))
        except _DAMAGE as err:
            raise self.refuse(f"the group {parent.name!r} is damaged") from err

    def dataset(self, parent: h5py.Group, path: str) -> Dataset:
        """The data set `path` below `parent`, its type checked and its values not yet read."""
        import h5py

        found = self.child(parent, path, "data set")
        place = f"{parent.name.rstrip('/')}/{path}".lstrip("/")
        if not isinstance(found, h5py.Dataset):
            raise self.refuse(f"{place!r} is a group where a data set must be")
        try:
            outside = found.is_virtual or found.external
            shape, dtype = found.shape, found.dtype
        except _DAMAGE as err:
            raise self.refuse(f"the data set {place!r} is damaged") from err
        if outside:
            raise self.refuse(
                f"the data set {place!r} keeps its values in another place or file, "
                "and tlcore reads none from there"
            )
        if shape is None:
            raise self.refuse(f"the data set {place!r} is empty")
        return Dataset(self, found, place, tuple(int(n) for n in shape), dtype)


class Dataset:
    """A data set whose place, shape and type are known; the values wait in the file."""

    def __init__(
        self,
        file: File,
        values: h5py.Dataset,
        place: str,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self._file = file
        self._values = values
        self.place = place
        self.shape = shape
        self.dtype = dtype

    @property
    def size(self) -> int:
        """How many numbers it claims to hold."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How much memory its values take."""
        return self.size * max(self.dtype.itemsize, 4)

    @property
    def plausible(self) -> bool:
        """Whether what the file stores can be so many values, however well compressed."""
        stored = int(self._values.id.get_storage_size())
        return self.nbytes <= max(1 << 16, stored * 1100)  # deflate ends at about 1030 to 1

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
        if self.dtype.kind != "f" or self.dtype.itemsize not in (2, 4, 8):
            raise self._file.refuse(
                f"the data set {self.place!r} holds {self.dtype} values, and weights are float32"
            )
        with np.errstate(over="ignore"):  # what does not fit becomes inf and is refused below
            array = np.ascontiguousarray(self._read(), dtype=np.float32).reshape(shape)
        if not np.isfinite(array).all():
            raise self._file.refuse(f"the data set {self.place!r} holds NaN or infinite values")
        return array

    def integer(self) -> int:
        """The value of a scalar of whole numbers; ValueError for anything else."""
        if self.size != 1 or self.dtype.kind not in "iu":
            raise self._file.refuse(f"the data set {self.place!r} is not one whole number")
        return int(np.asarray(self._read()).reshape(-1)[0])

    def _read(self) -> Any:
        try:
            return self._values[()]
        except (*_DAMAGE, MemoryError) as err:
            raise self._file.refuse(f"the data set {self.place!r} cannot be read ({err})") from err
