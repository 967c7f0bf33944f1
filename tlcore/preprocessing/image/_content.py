"""Keys that say what a picture is by its content: for features that outlast the process.

A file is read once for it, as long as neither its name nor any of its times changes.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import OrderedDict
from functools import lru_cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from tlcore.preprocessing.image._pictures import _read_bytes, status_of
from tlcore.preprocessing.image._reading import submit
from tlcore.utils.digests import key_of
from tlcore.utils.locks import new_lock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tlcore.preprocessing.image._draws import Draw

# A file that changed so recently could change again within the same tick of its clock.
_SETTLED_NS = 2_000_000_000
_MOST_REMEMBERED = 1 << 17


class _Seen(NamedTuple):
    """A file as `stat` shows it: nobody writes to it without changing the last two."""

    device: int
    inode: int
    size: int
    modified: int  # ns
    changed: int  # ns


_digests: OrderedDict[str, tuple[_Seen, bytes]] = OrderedDict()
_lock = new_lock()


def file_keys(paths: Sequence[str], parameters: tuple[Any, ...]) -> list[bytes]:
    """A key of each picture file: of its bytes, of `parameters` and of what decodes it.

    Files that are not known yet are read by the crew. Raises OSError or ValueError as reading a
    picture does, and names a file that cannot be read.
    """
    from PIL import ImageFile

    lenient = bool(ImageFile.LOAD_TRUNCATED_IMAGES)
    reading = f"file {parameters!r} {lenient} {_decoders()}"
    paths = [os.path.abspath(path) for path in paths]
    seen = [_look(path) for path in paths]
    with _lock:
        known = [_digests.get(path) for path in paths]
    lacking = [
        path
        for path, entry, now in zip(paths, known, seen, strict=True)
        if entry is None or entry[0] != now
    ]
    fresh = _read_in_crew(sorted(set(lacking)))
    return [
        key_of(fresh[path] if path in fresh or entry is None else entry[1], reading)
        for path, entry in zip(paths, known, strict=True)
    ]


def _read_in_crew(paths: Sequence[str]) -> dict[str, bytes]:
    """The digests of these files; raises what went wrong with the first one.

    No futures: a Ctrl-C while one is being waited for can leave it locked, and the crew with it.
    """
    results: SimpleQueue[tuple[str, bytes | BaseException]] = SimpleQueue()

    def work(path: str) -> None:
        try:
            results.put((path, _digest(path)))
        except BaseException as error:
            results.put((path, error))

    for path in paths:
        submit(work, path)
    found = dict(results.get() for _ in paths)
    digests = {}
    for path in paths:
        digest = found[path]
        if isinstance(digest, BaseException):
            raise digest
        digests[path] = digest
    return digests


def with_draws(keys: list[bytes], draw: Draw) -> list[bytes]:
    """The keys of pictures that are transformed as was drawn."""
    if draw.transforms is None:
        return keys
    drawn = [repr(one).encode() for one in draw.transform_keys()]
    return [key_of(key, "transformed", one) for key, one in zip(keys, drawn, strict=True)]


def _look(path: str) -> _Seen:
    found = status_of(path)
    return _Seen(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _digest(path: str) -> bytes:
    """SHA-256 of the file, remembered if no change of it could escape `stat`."""
    before = _look(path)
    content = _read_bytes(path)[1]
    digest = hashlib.sha256(content).digest()
    settled = time.time_ns() - max(before.modified, before.changed) > _SETTLED_NS
    if settled and _look(path) == before:
        with _lock:
            _digests[path] = before, digest
            _digests.move_to_end(path)
            while len(_digests) > _MOST_REMEMBERED:
                _digests.popitem(last=False)
    return digest


@lru_cache(maxsize=1)
def _decoders() -> str:
    """The versions of what turns bytes into pixels."""
    import PIL
    from PIL import features

    names = ("libjpeg_turbo", "jpg", "zlib", "libtiff", "webp")
    versions = {name: features.version(name) for name in names}
    return f"pillow {PIL.__version__} {versions}"
