"""Builds and runs the programs of tests/c, which test the C core without Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

import tlcore._core

HERE = Path(__file__).parent / "c"
PROGRAMS = sorted(path.stem for path in HERE.glob("test_*.c"))


def headers_are_installed() -> bool:
    try:
        return bool(files("onednn-devel-cpu-gomp"))
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def built() -> Path:
    """Folder of the built programs."""
    library = Path(tlcore._core.__file__).parent / "_lib"
    if not headers_are_installed() and not os.environ.get("TLCORE_ONEDNN_ROOT"):
        pytest.skip("oneDNN's headers are not here: they come with the extra `build`")
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
