"""Executes the notebooks and keeps their outputs: `make notebooks`.

python notebooks/run.py [notebook ...]
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

import tlcore
from tlcore.demo import IMG_SHAPE, WEIGHTS, base_model
from tlcore.preprocessing.image import ImageDataGenerator

HERE = Path(__file__).parent


def execute(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run all cells in `folder`; raises CellExecutionError where one fails."""
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    ).execute()


def weights_folder(folder: Path) -> Path:
    """A folder for TLCORE_WEIGHTS: the one at hand, else `folder` with the demo's random base."""
    from tlcore.weights import search_folders

    for known in search_folders():
        if (known / WEIGHTS).is_file():
            return known
    tlcore.datasets.draw_sports(folder / "sample", counts=(11, 11, 11), seed=1)
    flow = ImageDataGenerator(rescale=1.0 / 255).flow_from_directory(
        folder / "sample", target_size=IMG_SHAPE[:2], batch_size=32
    )
    base, _ = base_model(flow[0][0])
    base.save_weights(folder / WEIGHTS)
    return folder


def main(names: list[str]) -> None:
    for path in [Path(name) for name in names] or sorted(HERE.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TLCORE_WEIGHTS"] = str(weights_folder(Path(folder)))
            execute(notebook, Path(folder))
        notebook.metadata.pop("widgets", None)
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main(sys.argv[1:])
