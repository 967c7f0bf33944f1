"""atheris on the reader of .h5 files: coverage leads it into structures that no file here has.

    python tests/fuzz/fuzz_h5.py -max_total_time=60 [other options of libFuzzer] [corpus folder]

Every input is read as a whole model and as weights, with checksums taken as right: else no damaged
structure of the newer formats would ever be looked at. What is not refused with a ValueError of one
sentence, what takes more than ten seconds (the code is slower under observation) or a GiB, is a
finding; its file is left in the working directory.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from random import Random

import atheris
import campaign
import h5_files
import numpy as np

with atheris.instrument_imports(include=["tlcore.saving"]):
    from tlcore import saving
    from tlcore.saving import _config, _extras, _hdf5, _order, _training, _weights  # noqa: F401
    from tlcore.saving.hdf5 import objects, source, storage, structures, types  # noqa: F401

_models: dict[str, object] = {}


def without_checksums(self: source.Source, at: int, size: int, magic: bytes) -> source.Cursor:
    """`Source.summed` but for the sum."""
    found = self.signed(at, size, magic).data
    if len(found) < 4:
        raise source.Damage("too short")
    return source.Cursor(found[:-4], len(magic))


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    with contextlib.redirect_stderr(io.StringIO()):  # notes
        _refused_or(lambda file: _check(saving._read(file, compile=True)), data)
        _refused_or(lambda file: saving._read_into(_models["owner"], file, False), data)
    _check(_models["owner"])


def _refused_or(use: object, data: bytes) -> None:
    try:
        use(_hdf5.in_memory("fuzzed.h5", data))  # type: ignore[operator]
    except ValueError as err:
        text = str(err)
        if not text.startswith("fuzzed.h5") or "\n" in text or len(text) > 2000:
            raise AssertionError(text) from err


def _check(model: object) -> None:
    assert all(np.isfinite(weight).all() for weight in model.get_weights())  # type: ignore[attr-defined]


def mutated(data: bytes, max_size: int, seed: int) -> bytes:
    """libFuzzer's own changes, or those of the campaign."""
    random = Random(seed)
    if random.random() < 0.6 or len(data) < 64:
        found: bytes = atheris.Mutate(data, max_size)
        return found
    return campaign.damaged(random, data, list(h5_files.originals().values()), (), 8)[0][:max_size]


def main() -> None:
    """Set up the corpus and hand over to libFuzzer."""
    originals = h5_files.originals()
    _models["owner"] = saving._read(_hdf5.in_memory("x", originals["tlcore"]), compile=False)
    source.Source.summed = without_checksums  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()  # libFuzzer ends its process, and the folder must go then
        if child:
            _, status = os.waitpid(child, 0)
            raise SystemExit(os.waitstatus_to_exitcode(status))
        for name, content in originals.items():
            Path(folder, name).write_bytes(content)
        limits = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=70000", "-len_control=0"]
        command = [sys.argv[0], *limits, *sys.argv[1:], folder]
        atheris.Setup(command, one_input, custom_mutator=mutated)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
