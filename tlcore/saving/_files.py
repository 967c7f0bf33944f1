"""Whole files or nothing: data goes to a file beside the target, which then takes its name.

Used by everything that tlcore writes (.h5, .tflite, labels.txt, pictures). A reader, or a crash,
sees the old file or the new one and never a piece of either. A process that is killed can leave
its `.tlcore-<16 digits>.tmp`; the next process that writes into the folder removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

from tlcore.utils.interrupts import held_back

PathLike: TypeAlias = "str | os.PathLike[str]"

_BEGINNING, _ENDING = ".tlcore-", ".tmp"
_LEFT_BEHIND = re.compile(r"\.tlcore-[0-9a-f]{16}\.tmp").fullmatch
_STALE_SECONDS = 60.0
_swept: set[Path] = set()


def as_path(path: PathLike, argument: str = "path") -> Path:
    """`path` as a Path, with ~ replaced. TypeError if it is neither a string nor a path."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{argument} must be a string or a path, got {type(path).__name__}.")
    text = os.fspath(path)
    if not isinstance(text, str) or not text:
        raise ValueError(f"{argument} must be the name of a file, got {path!r}.")
    return Path(text).expanduser()


def write_file(path: PathLike, parts: bytes | memoryview | Sequence[bytes | memoryview]) -> Path:
    """Write `parts`, one after the other, as the file `path`; folders are made as needed.

    On any failure the file that stood there is untouched and nothing else is left.

    Raises:
        OSError: (PermissionError, IsADirectoryError, ...) names `path` and the reason.
    """
    target = as_path(path)
    try:
        return _write(target, [parts] if isinstance(parts, (bytes, memoryview)) else parts)
    except OSError as err:
        reason = err.strerror or str(err)
        raise OSError(err.errno, f"cannot write the file: {reason}", str(target)) from err


def _write(target: Path, parts: Sequence[bytes | memoryview]) -> Path:
    real = Path(os.path.realpath(target))  # a symbolic link stays one: its target is replaced
    mode = _mode_of(real)
    real.parent.mkdir(parents=True, exist_ok=True)
    put(real, parts, mode)
    _sync_folder(real.parent)
    return target


def put(
    target: Path,
    parts: Sequence[bytes | memoryview],
    mode: int | None = None,
    durable: bool = True,
) -> None:
    """Write a file beside `target` and give it that name; `durable` waits for the disk.

    What a killed process left in the folder is removed, once for each process and folder.

    Raises:
        OSError: as the system says it; `target` is then untouched and nothing else is left.
    """
    _sweep(target.parent)
    beside = target.parent / f"{_BEGINNING}{secrets.token_hex(8)}{_ENDING}"
    try:
        with ExitStack() as stack:
            with held_back():  # between opening and `with` a Ctrl-C would leave it open
                file = stack.enter_context(open(beside, "xb"))
            locked = _lock(file.fileno(), fcntl.LOCK_SH)  # no other process sweeps it away
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            for part in parts:
                file.write(part)
            file.flush()
            if durable:
                os.fsync(file.fileno())
            os.replace(beside, target)
            if locked:  # a child forked meanwhile would keep the lock on what is now `target`
                _lock(file.fileno(), fcntl.LOCK_UN)
    except BaseException:  # Ctrl-C too must leave nothing behind
        beside.unlink(missing_ok=True)
        raise


def _lock(descriptor: int, kind: int) -> bool:
    """Lock or unlock a file without waiting; False where another has it or none can be had."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed while they wrote have left in `folder`.

    Only files of this user with such a name that are a minute old, and that no process has locked:
    a process that writes one holds a lock on it, which the system takes from it when it ends.
    Where files cannot be locked nothing is removed.
    """
    if folder in _swept:
        return
    if len(_swept) >= 1000:
        _swept.clear()
    _swept.add(folder)
    try:
        names = [entry.name for entry in os.scandir(folder) if _LEFT_BEHIND(entry.name)]
        for name in names:
            _remove_stale(folder / name)
    except OSError:  # what must be said about the folder is said by what is done next
        return


def _remove_stale(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        found = os.fstat(descriptor)
        if (
            stat.S_ISREG(found.st_mode)
            and found.st_uid == os.geteuid()
            and time.time() - found.st_mtime > _STALE_SECONDS
            and _lock(descriptor, fcntl.LOCK_EX)
        ):
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def read_small(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        OSError: as the system says it.
        ValueError: it is larger, or no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is not a regular file")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most} bytes")
    return content


def _mode_of(real: Path) -> int | None:
    """Permissions of the file that is about to be replaced, None if there is none."""
    try:
        found = real.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if not os.access(real, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only")
    return stat.S_IMODE(found.st_mode)


def _sync_folder(folder: Path) -> None:
    """Make the new name durable; some file systems cannot, and then it is durable soon."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
