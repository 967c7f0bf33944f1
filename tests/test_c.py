"""Builds and runs the programs of tests/c, which test the C core without Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tlcore._core

HERE = Path(__file__).parent / "c"
PROGRAMS = sorted(path.stem for path in HERE.glob("test_*.c"))


@pytest.fixture(scope="module")
def built(onednn_headers: None) -> Path:
    """Folder of the built programs."""
    library = Path(tlcore._core.__file__).parent / "_lib"
    done = subprocess.run(
        ["make", "-C", HERE, "all", f"PYTHON={sys.executable}", f"DNNL_FOLDER={library}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return HERE.parents[1] / "build" / "tests-c"


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(built: Path, program: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    done = subprocess.run(
        [built / program], capture_output=True, text=True, check=False, cwd=HERE, env=environment
    )
    counts = re.search(r"^(\d+) passed, (\d+) failed$", done.stdout, re.MULTILINE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert counts is not None and int(counts[1]) > 0 and int(counts[2]) == 0, done.stdout
