"""Which files belong to which class: Keras's listing, without hidden folders, with clear errors."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from tlcore.utils.notes import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# Kinds of pictures, by the ends of their names, that Keras's listing passes over: those that are
# read all the same when they are named, and those that are not.
_READ = ("apng", "gif", "jfif", "jpe", "pbm", "pgm", "pnm", "webp")
_NOT_READ = (
    *("arw", "avif", "cr2", "cr3", "dng", "exr", "heic", "heif", "ico", "j2k", "jp2", "jpx", "jxl"),
    *("nef", "orf", "pcx", "psd", "raf", "rw2", "svg", "tga"),
)


@dataclass
class PassedOver:
    """Pictures that are left out because of their extension: how many of each, and the first."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, name: str) -> None:
        """Count a file, whose path this is, if it is a picture and not hidden."""
        kind = os.path.splitext(name)[1][1:].lower()
        if kind in _READ + _NOT_READ and not os.path.basename(name).startswith("."):
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.first.setdefault(kind, name)

    def __str__(self) -> str:
        """Such as: 3 .webp (as 'a/b.webp'), 1 .heic ('a/c.heic')."""
        return ", ".join(
            f"{n} .{kind} ({'as ' if n > 1 else ''}{self.first[kind]!r})"
            for kind, n in sorted(self.counts.items())
        )

    def say(self, directory: str) -> None:
        """A note of what is in `directory` beside the pictures that are listed."""
        if not self.counts:
            return
        ways = []
        if any(kind in _READ for kind in self.counts):
            named = ", ".join(f".{kind}" for kind in _READ if kind in self.counts)
            ways.append(f"flow_from_dataframe(validate_filenames=False) reads {named}")
        if any(kind in _NOT_READ for kind in self.counts):
            named = ", ".join(f".{kind}" for kind in _NOT_READ if kind in self.counts)
            ways.append(f"{named} must be converted, for example to .png")
        note(
            f"left out, as Keras does, pictures in {directory!r} because of their extension: "
            f"{self}; {'; '.join(ways)}"
        )


def list_classes(directory: str) -> list[str]:
    """Names of the folders in `directory`, sorted; hidden ones are left out and said so."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        _raise_unreadable(directory, error)
    folders = [name for name in names if os.path.isdir(os.path.join(directory, name))]
    _note_hidden(directory, [name for name in folders if name.startswith(".")])
    classes = [name for name in folders if not name.startswith(".")]
    if not classes:
        raise ValueError(
            f"Folder {directory!r} must hold one folder of pictures for each class, "
            f"but it holds no folder."
        )
    return classes


def list_pictures(
    directory: str,
    name: str,
    formats: Sequence[str],
    follow_links: bool,
    passed_over: PassedOver,
) -> list[str]:
    """Paths of the pictures of class `name`, relative to `directory`, in Keras's order.

    Other pictures are counted in `passed_over`.
    """
    root = os.path.join(directory, name)
    if os.path.basename(root) != name:
        raise ValueError(f"classes must be names of folders in {directory!r}, not {name!r}.")
    if not os.path.isdir(root):
        raise FileNotFoundError(f"Folder {root!r} of class {name!r} does not exist.")
    hidden: list[str] = []
    listed: list[tuple[str, list[str]]] = []

    def stop(error: OSError) -> NoReturn:
        _raise_unreadable(os.fspath(error.filename), error)

    for folder, inner, files in walk(root, stop, follow_links):
        hidden += [
            os.path.relpath(os.path.join(folder, sub), directory)
            for sub in inner
            if sub.startswith(".")
        ]
        inner[:] = [sub for sub in inner if not sub.startswith(".")]
        listed.append((folder, files))
    pictures: list[str] = []
    for folder, files in sorted(listed, key=lambda entry: entry[0]):
        for file in sorted(files):
            path = os.path.join(name, os.path.relpath(os.path.join(folder, file), root))
            if not file.lower().endswith(tuple(formats)):
                passed_over.add(path)
                continue
            if file.lower().endswith(".tiff"):
                warnings.warn(
                    'Using ".tiff" files with multiple bands will cause distortion. '
                    "Please verify your output.",
                    stacklevel=4,
                )
            pictures.append(path)
    _note_hidden(directory, sorted(hidden))
    if not pictures:
        raise ValueError(
            f"Folder {root!r} of class {name!r} holds no picture ({', '.join(formats)})"
            f"{f'; other pictures: {passed_over}' if passed_over.counts else ''}."
        )
    return pictures


def walk(
    root: str, onerror: Callable[[OSError], None] | None = None, followlinks: bool = False
) -> Iterator[tuple[str, list[str], list[str]]]:
    """As `os.walk`, in which a Ctrl-C can leave a folder open; in the same order."""
    left = [root]
    while left:
        folder = left.pop()
        try:
            names = os.listdir(folder)
        except OSError as error:
            if onerror is not None:
                onerror(error)
            continue
        inner = [name for name in names if os.path.isdir(os.path.join(folder, name))]
        folders = set(inner)
        yield folder, inner, [name for name in names if name not in folders]
        paths = [os.path.join(folder, name) for name in reversed(inner)]
        left += [path for path in paths if followlinks or not os.path.islink(path)]


def _note_hidden(directory: str, names: list[str]) -> None:
    if names:
        word = "folder" if len(names) == 1 else "folders"
        note(f"left out hidden {word} {', '.join(names)} in {directory!r}")


def _raise_unreadable(folder: str, error: OSError) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise FileNotFoundError(f"Folder {folder!r} does not exist.") from error
    if isinstance(error, NotADirectoryError):
        raise NotADirectoryError(f"{folder!r} is not a folder.") from error
    if isinstance(error, PermissionError):
        raise PermissionError(f"No permission to read folder {folder!r}.") from error
    raise OSError(f"Folder {folder!r} cannot be read ({error.strerror}).") from error
