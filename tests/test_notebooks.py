"""Every notebook runs from its first cell to its last, and shows what it should.

With ImageNet weights where TLCORE_WEIGHTS or the shared test data have them, else with the demo's
random base.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbclient")
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def execute(name: str, folder: Path, weights: Path | None) -> list[dict[str, Any]]:
    """Outputs of all cells of a copy of the notebook."""
    copy = shutil.copy(NOTEBOOKS / name, folder)
    environment = dict(os.environ)
    if weights is not None:
        environment.setdefault("TLCORE_WEIGHTS", str(weights))
    done = subprocess.run(
        [sys.executable, str(NOTEBOOKS / "run.py"), str(copy)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    cells = json.loads(Path(copy).read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_transfer_learning(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    try:
        weights = request.getfixturevalue("shared_data") / "weights"
    except pytest.skip.Exception:
        weights = None
    outputs = execute("01-transfer-learning.ipynb", tmp_path, weights)
    printed = "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")
    assert "Found 53 images belonging to 3 classes." in printed
    assert "acc: 1.0000" in printed if weights else "val_acc" in printed
    shown = [o["data"] for o in outputs if "data" in o]
    assert sum("image/png" in data for data in shown) == 3
    assert "kitesurfing" in "".join(shown[-1]["text/plain"])


def test_stored_notebooks_are_small_and_name_no_machine() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert len(text) < 2**20, path
        assert '"output_type": "error"' not in text, path
        assert str(Path.home()) + "/" not in text, path
