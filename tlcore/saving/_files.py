"""Whole files or nothing: data goes to a file beside the target, which then takes its name.

Used by everything that tlcore writes (.h5, .tflite, labels.txt, pictures). A reader, or a crash,
sees the old file or the new one and never a piece of either.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

PathLike: TypeAlias = "str | os.PathLike[str]"


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

    Raises:
        OSError: as the system says it; `target` is then untouched and nothing else is left.
    """
    beside = target.parent / f".tlcore-{secrets.token_hex(8)}.tmp"
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            for part in parts:
                file.write(part)
            if durable:
                file.flush()
                os.fsync(descriptor)
        os.replace(beside, target)
    except BaseException:  # Ctrl-C too must leave nothing behind
        beside.unlink(missing_ok=True)
        raise


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
