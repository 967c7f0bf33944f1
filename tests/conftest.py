"""What every test may use."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import pytest

# What a developer keeps on disk is not to be found by tests that count what is computed.
os.environ.pop("TLCORE_CACHE", None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real ImageNet weights, photos and golden vectors, which are not in this tree.

    TLCORE_SHARED_DATA, or ../shared/data beside the repository; without it the test is skipped.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("TLCORE_SHARED_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no shared test data at {folder} (TLCORE_SHARED_DATA names another folder)")
    return folder


@pytest.fixture(scope="session")
def onednn_headers() -> None:
    """For tests that build C programs; skipped without oneDNN's headers."""
    try:
        installed = bool(files("onednn-devel-cpu-gomp"))
    except PackageNotFoundError:
        installed = False
    if not installed and not os.environ.get("TLCORE_ONEDNN_ROOT"):
        pytest.skip("oneDNN's headers are not here: they come with the extra `build`")
