"""What a picture is, in 32 bytes: the same for the same content in any process on any day."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def key_of(content: bytes, reading: str, draw: bytes = b"") -> bytes:
    """SHA-256 of a content's digest, of how it is read, and of what was drawn for it.

    Each part stands behind its length, so that no two triples run together into the same bytes.
    """
    digest = hashlib.sha256()
    for part in (content, reading.encode(), draw):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def picture_keys(pictures: NDArray[Any], reading: str = "as it is") -> list[bytes] | None:
    """A key of each picture of an array (n, ...): of its bytes, type, shape and `reading`.

    None for types whose bytes are not their values (objects, text).
    """
    if pictures.dtype.kind not in "biuf":
        return None
    meant = f"array {pictures.dtype.str} {pictures.shape[1:]} {reading}"
    return [
        key_of(hashlib.sha256(np.ascontiguousarray(picture).reshape(-1).data).digest(), meant)
        for picture in pictures
    ]
