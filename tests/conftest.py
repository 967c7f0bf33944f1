"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


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
