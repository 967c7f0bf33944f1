"""Everything in a folder of classes: the pictures as flow_from_directory lists them, and the rest.

Nothing stops here but what makes the whole folder unusable; what else is wrong becomes a finding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from tlcore.datasets._findings import Finding
from tlcore.preprocessing.image import _decoding
from tlcore.preprocessing.image._directory import DirectoryIterator
from tlcore.preprocessing.image._listing import list_classes, walk

TRAINING, VALIDATION = "training", "validation"

# Names of pictures, whether or not anything here reads them.
_PICTURES = (
    *DirectoryIterator.white_list_formats,
    *("jfif", "jpe", "pgm", "pbm", "pnm", "dib", "webp", "gif", "apng", "heic", "heif", "avif"),
    *("jp2", "jxl", "ico", "svg", "eps", "psd", "tga", "dng", "cr2", "nef", "arw"),
)


class Picture(NamedTuple):
    """A picture file: its name in the report, where it is, its class and its side of the split."""

    name: str
    path: str
    label: str
    split: str


class Listing(NamedTuple):
    """Pictures in the order of flow_from_directory, how many each class has, and the findings."""

    pictures: list[Picture]
    counts: dict[str, int]
    findings: list[Finding]


def list_folder(
    directory: str,
    classes: Sequence[str] | None,
    validation_split: float | None,
    follow_links: bool,
    side: str = "",
    shown_as: str = "",
) -> Listing:
    """List `directory/<class>/**`; names in the report begin with `shown_as`.

    With `validation_split` the first int(share * n) pictures of a class are for validation, as in
    flow_from_directory; otherwise all are on `side`. OSError or ValueError as there, for the folder
    itself and for a class that is not there.
    """
    names = list(classes) if classes else list_classes(directory)
    for name in names:
        if not os.path.isdir(os.path.join(directory, name)):
            raise FileNotFoundError(f"Folder {directory!r} holds no folder {name!r} (classes).")
    listing = Listing([], {}, [])
    walk = _Walk(directory, follow_links, side, shown_as, listing.findings)
    walk.look_at_top(names)
    for name in names:
        files = walk.pictures_of(name)
        first = 0 if validation_split is None else int(validation_split * len(files))
        for i, file in enumerate(files):
            split = side
            if validation_split is not None:
                split = VALIDATION if i < first else TRAINING
            path = os.path.join(directory, file)
            listing.pictures.append(Picture(os.path.join(shown_as, file), path, name, split))
        listing.counts[name] = len(files)
        if files and validation_split is not None and first == 0:
            detail = f"int({validation_split:g} * {len(files)}) is 0"
            walk.found("no validation pictures", name, name, detail)
    return listing


class _Walk:
    """One folder, and where its findings go."""

    def __init__(
        self,
        directory: str,
        follow_links: bool,
        side: str,
        shown_as: str,
        findings: list[Finding],
    ) -> None:
        self._directory = directory
        self._follow_links = follow_links
        self._side = side
        self._shown_as = shown_as
        self._findings = findings

    def found(self, kind: str, file: str, label: str, detail: str) -> None:
        name = os.path.join(self._shown_as, file)
        self._findings.append(Finding(kind, name, label, self._side, detail))

    def look_at_top(self, classes: Sequence[str]) -> None:
        """What lies beside the folders of the classes."""
        for name in sorted(os.listdir(self._directory)):
            path = os.path.join(self._directory, name)
            if os.path.isdir(path):
                if name.startswith("."):
                    self.found("hidden folder", name, "", "Keras makes a class of it")
            elif _is_picture(path):
                self.found("outside the classes", name, "", "it lies beside the class folders")
            else:
                self._ignored(path, name, "")

    def pictures_of(self, label: str) -> list[str]:
        """Names of the class's pictures, relative to the directory, in Keras's order."""
        root = os.path.join(self._directory, label)
        listed: list[tuple[str, list[str]]] = []
        for folder, inner, files in walk(root, self._unreadable, self._follow_links):
            for name in sorted(inner):
                path = os.path.join(folder, name)
                if name.startswith("."):
                    self.found("hidden folder", self._relative(path), label, "Keras reads it")
                elif os.path.islink(path) and not self._follow_links:
                    detail = f"a link to the folder {os.path.realpath(path)!r}"
                    self.found("link not followed", self._relative(path), label, detail)
            inner[:] = [name for name in inner if not name.startswith(".")]
            listed.append((folder, files))
        pictures = []
        for folder, files in sorted(listed, key=lambda entry: entry[0]):
            for name in sorted(files):
                file = self._relative(os.path.join(folder, name))
                if name.lower().endswith(DirectoryIterator.white_list_formats):
                    pictures.append(file)
                else:
                    self._ignored(os.path.join(folder, name), file, label)
        if not pictures:
            formats = ", ".join(DirectoryIterator.white_list_formats)
            self.found("empty class", label, label, f"it holds no picture ({formats})")
        return pictures

    def _ignored(self, path: str, file: str, label: str) -> None:
        if os.path.islink(path) and not os.path.exists(path):
            self.found("broken link", file, label, _target(path))
        elif _is_picture(path):
            suffix = os.path.splitext(path)[1] or "a name without extension"
            self.found(
                "ignored picture", file, label, f"flow_from_directory does not read {suffix}"
            )
        else:
            self.found("other file", file, label, "not a picture by its name or first bytes")

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self._directory)

    def _unreadable(self, error: OSError) -> None:
        folder = self._relative(os.fspath(error.filename))
        label = folder.split(os.sep)[0]
        self.found("unreadable folder", folder, label, error.strerror or "it cannot be read")


def _target(path: str) -> str:
    return f"it leads to {os.readlink(path)!r}, which does not exist"


def _is_picture(path: str) -> bool:
    """Whether its name or, where that says nothing, its first bytes are those of a picture."""
    if path.lower().endswith(tuple(f".{suffix}" for suffix in _PICTURES)):
        return True
    try:
        # A pipe without a writer must not keep the caller waiting.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            start = file.read(16) or b""
    except OSError:
        return False
    # Two bytes make a BMP or a PPM, which many a text begins with.
    return _decoding._format_of(start) not in (None, "BMP", "PPM")
