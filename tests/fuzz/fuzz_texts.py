"""atheris on what is read as text:  python tests/fuzz/fuzz_texts.py -max_total_time=60

The list of ImageNet's classes and the mark in a folder of drawn pictures. JSON inside .h5 files
has a harness of its own.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["json", "tlcore.weights", "tlcore.datasets"]):
    from tlcore import weights
    from tlcore.datasets import _sports

FOLDER = tempfile.TemporaryDirectory()
INDEX = Path(FOLDER.name) / "imagenet_class_index.json"
MARK = Path(FOLDER.name) / _sports.MARK
GOOD = {str(i): [f"n{i:08}", f"thing_{i}"] for i in range(1000)}


def variant(data: bytes) -> bytes:
    """A good list with one entry of the fuzzer's, or the fuzzer's text alone."""
    if data[:1] != b"\0":
        return data
    text = json.dumps({**GOOD, "7": "HERE"}).encode()
    return text.replace(b'"HERE"', data[1:])


def read(data: bytes) -> None:
    content = variant(data)
    INDEX.write_bytes(content)
    try:
        index = weights._read_index(INDEX)
    except ValueError as err:
        assert str(err).startswith(str(INDEX)), err
        assert "\n" not in str(err), err
    else:
        assert list(index) == [str(i) for i in range(1000)]
        for entry in index.values():
            assert len(entry) == 2
            assert all(isinstance(text, str) and text.isprintable() for text in entry)
    MARK.write_bytes(data)
    _sports._mark(Path(FOLDER.name))


def main() -> None:
    with tempfile.TemporaryDirectory() as corpus:
        for k, text in enumerate(
            (json.dumps(GOOD), '\0["n01", "tench"]', "\0[1, 2]", '{"version": 1}', "[[[[", "1e999")
        ):
            (Path(corpus) / str(k)).write_text(text)
        atheris.Setup([sys.argv[0], "-max_len=40000", "-timeout=10", *sys.argv[1:], corpus], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
