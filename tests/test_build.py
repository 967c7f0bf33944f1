"""setup.py refuses what it cannot build, in one sentence each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest.importorskip("setuptools")


def refusal(*, before: str = "", **environment: str) -> str:
    """What `python setup.py --version` says instead of a version."""
    program = f"{before}\nimport runpy, sys\nsys.argv = ['setup.py', '--version']\n"
    done = subprocess.run(
        [sys.executable, "-c", program + "runpy.run_path('setup.py', run_name='__main__')"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert done.returncode != 0, done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].endswith("."), done.stderr
    return lines[0]


def onednn(root: Path, *, major: int = 3, cpu: str = "DNNL_RUNTIME_OMP", more: str = "") -> str:
    headers = root / "include" / "oneapi" / "dnnl"
    headers.mkdir(parents=True)
    (root / "lib").mkdir()
    (root / "lib" / "libdnnl.so.3").touch()
    (headers / "dnnl.h").touch()
    (headers / "dnnl_version.h").write_text(f"#define DNNL_VERSION_MAJOR {major}\n")
    (headers / "dnnl_config.h").write_text(f"#define DNNL_CPU_RUNTIME {cpu}\n{more}\n")
    return str(root)


def test_a_root_without_onednn(tmp_path: Path) -> None:
    said = refusal(TLCORE_ONEDNN_ROOT=str(tmp_path))
    assert f"TLCORE_ONEDNN_ROOT={tmp_path} must hold include/oneapi/dnnl/dnnl.h" in said


def test_onednn_2(tmp_path: Path) -> None:
    said = refusal(TLCORE_ONEDNN_ROOT=onednn(tmp_path, major=2))
    assert "holds oneDNN 2.x; 3.x is needed" in said


@pytest.mark.parametrize(
    "config",
    [
        {"cpu": "DNNL_RUNTIME_SYCL"},
        {"cpu": "DNNL_RUNTIME_DPCPP"},
        {"more": "#define DNNL_GPU_RUNTIME DNNL_RUNTIME_SYCL"},
        {"more": "#define DNNL_WITH_SYCL"},
    ],
)
def test_a_sycl_build(tmp_path: Path, config: dict[str, str]) -> None:
    said = refusal(TLCORE_ONEDNN_ROOT=onednn(tmp_path, **config))
    assert "is a SYCL build of oneDNN" in said


def test_another_platform() -> None:
    said = refusal(before="import platform; platform.machine = lambda: 'arm64'")
    assert "runs on Linux x86-64, not on linux arm64" in said and "container" in said


def test_no_python_header(tmp_path: Path) -> None:
    said = refusal(before=f"import sysconfig; sysconfig.get_path = lambda _: {str(tmp_path)!r}")
    assert f"{tmp_path}/Python.h is missing" in said


def test_no_wheel() -> None:
    said = refusal(
        before="import importlib.metadata as m\n"
        "def files(name): raise m.PackageNotFoundError(name)\n"
        "m.files = files",
        TLCORE_ONEDNN_ROOT="",
    )
    assert "building needs onednn-devel-cpu-gomp" in said
