"""Every notebook runs from its first cell to its last, and shows what it should.

With ImageNet weights where TLCORE_WEIGHTS or the shared test data have them, else with the demo's
random base.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbclient")
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


# A fit shorter than half a second shows nothing, and this one can be.
ACCURACY = "print('accuracy', max(history.history['acc']), len(history.history['val_acc']))"


def execute(
    name: str, folder: Path, weights: Path | None, last_cell: str = ""
) -> list[dict[str, Any]]:
    """Outputs of all cells of a copy of the notebook, with one more cell if there is a text."""
    copy = folder / name
    notebook = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    if last_cell:
        cell = {"cell_type": "code", "id": "more", "metadata": {}, "execution_count": None}
        notebook["cells"].append({**cell, "outputs": [], "source": [last_cell]})
    copy.write_text(json.dumps(notebook), encoding="utf-8")
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
    outputs = execute("01-transfer-learning.ipynb", tmp_path, weights, ACCURACY)
    printed = "".join("".join(o["text"]) for o in outputs if o["output_type"] == "stream")
    assert "Found 53 images belonging to 3 classes." in printed
    accuracy, epochs = printed.split("accuracy ")[1].split()
    assert int(epochs) == 10
    assert float(accuracy) == 1.0 if weights else 0.3 < float(accuracy) <= 1.0
    shown = [o["data"] for o in outputs if "data" in o]
    assert sum("image/png" in data for data in shown) == 3
    assert "kitesurfing" in "".join(shown[-1]["text/plain"])


def test_stored_notebooks_are_small_and_name_no_machine() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        assert len(text) < 2**20, path
        assert '"output_type": "error"' not in text, path
        assert str(Path.home()) + "/" not in text, path
