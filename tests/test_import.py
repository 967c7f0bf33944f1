"""`import tlcore` costs next to nothing: what is heavy is imported when it is needed."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

HEAVY = {"h5py", "PIL", "matplotlib", "pooch", "flatbuffers", "tflite", "IPython"}


def imported_by(statement: str) -> set[str]:
    """Modules in the report of -X importtime, whose lines end in `| <indented name>`."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", statement],
        capture_output=True,
        text=True,
        check=True,
        cwd=tempfile.gettempdir(),  # not here: the installed package is what counts
    )
    return {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if "|" in line}


def test_import_tlcore_imports_almost_nothing() -> None:
    modules = imported_by("import tlcore")
    assert {name for name in modules if name.startswith("tlcore")} == {"tlcore", "tlcore._lazy"}
    assert not {name.partition(".")[0] for name in modules} & (HEAVY | {"numpy"})


@pytest.mark.parametrize(
    "statement",
    [
        "import tlcore.keras",
        "import tlcore; tlcore.Sequential, tlcore.layers.Dense, tlcore.applications.MobileNetV2",
        "from tlcore.keras.preprocessing.image import ImageDataGenerator",
        "import tlcore; tlcore.lite.TFLiteConverter, tlcore.models.save_model, tlcore.datasets",
        "import tlcore; tlcore.callbacks, tlcore.optimizers, tlcore.losses, tlcore.metrics",
        "import tlcore; tlcore.install_aliases(); import keras, tensorflow",
    ],
)
def test_names_do_not_import_what_they_may_never_need(statement: str) -> None:
    assert not {name.partition(".")[0] for name in imported_by(statement)} & HEAVY


def test_every_public_name_is_there() -> None:
    import tlcore
    from tlcore import keras

    for package in (tlcore, keras):
        for name in package.__all__:
            assert getattr(package, name) is not None
            assert name in dir(package)
    with pytest.raises(AttributeError, match=r"module 'tlcore' has no attribute 'gpu'"):
        tlcore.gpu  # noqa: B018
