"""Files of features that several processes read and append to, and that never give a wrong one.

    folder/lock                               locked (flock) by whoever appends or removes
    folder/<fingerprint>/<number>.features    a segment: a header, then records

A record is a picture's key, a checksum over fingerprint, key and values, and the values. All
records of a store are of one size, which a reader reckons from what it looks for: no length, count
or offset is ever read from a file. So what is damaged, torn off or foreign loses itself alone, and
the record behind it lies where it should. What is here knows nothing of networks and pictures.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import math
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tlcore.utils.interrupts import held_back
from tlcore.utils.locks import new_lock

FORMAT_VERSION = 1
MAGIC = b"tlcorefe"
HEADER_BYTES = 64
KEY_BYTES = CHECKSUM_BYTES = 32
# What is thrown away at once when room is needed.
SEGMENT_BYTES = 16 << 20
# Others write for milliseconds; one that has been stopped in the middle is not waited for.
LOCK_SECONDS = 5.0

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_STORE = re.compile(r"[0-9a-f]{64}").fullmatch
_SEGMENT = re.compile(r"[0-9a-f]{16}\.features").fullmatch
_MOST_SEGMENTS = 1 << 64
_PLACES = 24  # bits of a location that tell the place within a segment

_locks_held: set[int] = set()


class NoRoomError(Exception):
    """The limit of size leaves no room beside what is in use."""


class Store:
    """The features of one fingerprint in `folder`, which holds at most `most` bytes altogether.

    Any number of threads and processes may use the folder at once. Whatever is found in it is
    right; `take` gives less than there is rather than fail.
    """

    def __init__(self, folder: Path, fingerprint: bytes, shape: tuple[int, ...], most: int) -> None:
        header = MAGIC + FORMAT_VERSION.to_bytes(8, "little") + fingerprint
        self._folder = folder
        self._path = folder / fingerprint.hex()
        self._shape = shape
        self._most = most
        self._values = 4 * math.prod(shape)
        self._header = header + self._values.to_bytes(HEADER_BYTES - len(header), "little")
        self._fingerprint = fingerprint
        self._record = KEY_BYTES + CHECKSUM_BYTES + self._values
        longest = min(SEGMENT_BYTES, most // 8) - HEADER_BYTES
        self._per_segment = max(1, longest // self._record)
        self._index: dict[bytes, int] = {}
        self._indexed: dict[int, tuple[int, int]] = {}  # segment to inode, records
        self._in_use: set[int] = set()
        self._lock = new_lock()

    def __len__(self) -> int:
        return len(self._index)

    def begin(self) -> None:
        """Look at what others have appended; nothing counts as in use."""
        with self._lock:
            self._in_use.clear()
            with suppress(OSError):
                self._refresh()

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """The places of the keys that `take` would surely not find."""
        with self._lock:
            return [place for place, key in enumerate(keys) if key not in self._index]

    def take(
        self, keys: Sequence[bytes], rows: Sequence[int], dst: NDArray[np.float32]
    ) -> list[int]:
        """Copy what is found of each key into its row of `dst`; the rows that were found."""
        found: list[int] = []
        with self._lock:
            wanted: dict[int, list[tuple[int, int, bytes]]] = {}
            for key, row in zip(keys, rows, strict=True):
                location = self._index.get(key)
                if location is not None:
                    number, place = location >> _PLACES, location & ((1 << _PLACES) - 1)
                    wanted.setdefault(number, []).append((place, row, key))
            for number, places in wanted.items():
                with suppress(OSError), _opened(self._segment(number), os.O_RDONLY) as segment:
                    self._use(number, segment)
                    for place, row, key in places:
                        values = self._read(segment, place, key)
                        if values is not None:
                            dst[row] = values
                            found.append(row)
            for key in _lacking(keys, rows, found):
                self._index.pop(key, None)  # damaged or gone: to be computed and appended anew
        return found

    def add(self, keys: Iterable[bytes], features: NDArray[np.float32]) -> None:
        """Append the features whose keys nobody has appended yet.

        Raises OSError as the system says it, or NoRoomError. What was begun is then undone, or,
        where even that fails, left torn for the next writer to cut off.
        """
        with self._lock, _locked(self._folder):
            self._path.mkdir(mode=0o700, exist_ok=True)
            self._refresh()
            fresh = {
                key: row for key, row in zip(keys, features, strict=True) if key not in self._index
            }
            records = [self._packed(key, row) for key, row in fresh.items()]
            while records:
                number, room = self._last()
                part, records = records[:room], records[room:]
                new = number not in self._indexed
                content = b"".join([self._header, *part] if new else part)
                self._in_use.add(number)
                self._make_room(len(content))
                self._append(number, content, new)
                self._index_segment(number)

    # --- reading ------------------------------------------------------------------------------

    def _segment(self, number: int) -> Path:
        return self._path / f"{number:016x}.features"

    def _numbers(self) -> list[int]:
        """The segments of this store, those that are none of ours included, in order."""
        try:
            if not stat.S_ISDIR(os.lstat(self._path).st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self._path)
        except FileNotFoundError:
            return []
        return sorted(int(name[:16], 16) for name in os.listdir(self._path) if _SEGMENT(name))

    def _refresh(self) -> None:
        numbers = self._numbers()
        for gone in self._indexed.keys() - set(numbers):
            del self._indexed[gone]
        for number in numbers:
            with suppress(OSError):
                self._index_segment(number)

    def _index_segment(self, number: int) -> None:
        """Learn the keys of records that are new in a segment; a later record counts."""
        inode, known = self._indexed.pop(number, (0, 0))
        with _opened(self._segment(number), os.O_RDONLY) as segment:
            status = os.fstat(segment)
            if os.pread(segment, HEADER_BYTES, 0) != self._header:
                return
            # No writer makes it longer, whatever its limit; a stranger may have.
            most = max(1, (SEGMENT_BYTES - HEADER_BYTES) // self._record)
            count = min((status.st_size - HEADER_BYTES) // self._record, most)
            for place in range(known if inode == status.st_ino else 0, count):
                key = os.pread(segment, KEY_BYTES, self._offset(place))
                self._index[key] = number << _PLACES | place
        self._indexed[number] = (status.st_ino, count)

    def _offset(self, place: int) -> int:
        return HEADER_BYTES + place * self._record

    def _read(self, segment: int, place: int, key: bytes) -> NDArray[np.float32] | None:
        """The values of a record that is whole and has this key."""
        record = os.pread(segment, self._record, self._offset(place))
        values = record[KEY_BYTES + CHECKSUM_BYTES :]
        if len(record) != self._record or record != self._with_checksum(key, values):
            return None
        return np.frombuffer(values, "<f4").reshape(self._shape)

    def _with_checksum(self, key: bytes, values: bytes) -> bytes:
        digest = hashlib.sha256(self._fingerprint)
        digest.update(key)
        digest.update(values)
        return b"".join((key, digest.digest(), values))

    def _packed(self, key: bytes, row: NDArray[np.float32]) -> bytes:
        return self._with_checksum(key, np.ascontiguousarray(row, "<f4").tobytes())

    def _use(self, number: int, segment: int) -> None:
        """Let other processes see, by its time, that a segment is of use."""
        if number not in self._in_use:
            self._in_use.add(number)
            with suppress(OSError):  # another user's file, or one that may only be read
                os.utime(segment)

    # --- writing; the folder is locked --------------------------------------------------------

    def _last(self) -> tuple[int, int]:
        """The segment to append to, and for how many records it has room."""
        numbers = self._numbers()
        if not numbers:
            return 0, self._per_segment
        number = numbers[-1]
        count = self._indexed[number][1] if number in self._indexed else self._per_segment
        if count < self._per_segment:
            return number, self._per_segment - count
        if number == _MOST_SEGMENTS - 1:  # a stranger's: there are no more names
            raise NoRoomError
        return number + 1, self._per_segment

    def _append(self, number: int, content: bytes, new: bool) -> None:
        path = self._segment(number)
        kind = os.O_CREAT | os.O_EXCL if new else 0
        with _opened(path, os.O_WRONLY | os.O_APPEND | kind) as segment:
            begun = 0
            try:
                if not new:
                    begun = self._cut_torn(segment)
                rest = memoryview(content)
                while rest:
                    rest = rest[os.write(segment, rest) :]
            except BaseException:  # Ctrl-C too
                with suppress(OSError):
                    os.ftruncate(segment, begun)
                    if new:
                        path.unlink()
                raise

    def _cut_torn(self, segment: int) -> int:
        """Cut off what a killed writer left of a record; the bytes that stay."""
        size = os.fstat(segment).st_size
        whole = self._offset((size - HEADER_BYTES) // self._record)
        if whole != size:
            os.ftruncate(segment, whole)
        return whole

    def _make_room(self, needed: int) -> None:
        """Remove the segments of any store that were of use longest ago, but none in use here."""
        total, others = 0, []
        for path, status in _segments(self._folder):
            total += status.st_size
            ours = path.parent == self._path and int(path.name[:16], 16) in self._in_use
            if not ours:
                others.append((status.st_mtime_ns, path, status.st_size))
        if total + needed - sum(size for _, _, size in others) > self._most:
            raise NoRoomError
        for _, path, size in sorted(others):
            if total + needed <= self._most:
                break
            path.unlink(missing_ok=True)
            total -= size
            with suppress(OSError):
                path.parent.rmdir()  # if it was the last one there
        self._path.mkdir(mode=0o700, exist_ok=True)


def _lacking(keys: Sequence[bytes], rows: Sequence[int], found: Iterable[int]) -> list[bytes]:
    has = set(found)
    return [key for key, row in zip(keys, rows, strict=True) if row not in has]


def _segments(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All that is a segment by name and kind; nothing else in the folder is ever touched."""
    stores = [one.path for one in os.scandir(folder) if _STORE(one.name)]
    for store in stores:
        if not stat.S_ISDIR(os.lstat(store).st_mode):
            continue
        for entry in os.scandir(store):
            if _SEGMENT(entry.name):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    yield Path(entry.path), status


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """A regular file, and no other behind a link; closed whatever comes, also Ctrl-C."""
    with ExitStack() as stack:
        with held_back():
            descriptor = os.open(path, flags | _FLAGS, 0o600)
            stack.callback(os.close, descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        yield descriptor


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep the other processes and threads that write into the folder out.

    TimeoutError if one of them does not come to an end.
    """
    path = folder / "lock"
    end = time.monotonic() + LOCK_SECONDS
    while True:
        with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor, _flock(descriptor) as has_it:
            if has_it and _is_still(descriptor, path):
                yield
                return
        if time.monotonic() > end:
            raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked", str(folder))
        time.sleep(0.002)


@contextmanager
def _flock(descriptor: int) -> Iterator[bool]:
    """Whether the lock could be had; it is given up explicitly, for children share it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    _locks_held.add(descriptor)
    try:
        yield True
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        _locks_held.discard(descriptor)


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether the locked file is the one that others will lock: it may have been removed."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _close_inherited() -> None:
    """A child that is forked while a thread writes must not keep the lock when its parent dies."""
    for descriptor in _locks_held:
        with suppress(OSError):
            os.close(descriptor)
    _locks_held.clear()


os.register_at_fork(after_in_child=_close_inherited)


def prepare(folder: Path) -> None:
    """Make the folder, readable by this user alone, and try whether files can be made in it.

    Raises OSError as the system says it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "it is a file", str(folder)) from None
    with _opened(folder / "lock", os.O_RDWR | os.O_CREAT):
        pass
