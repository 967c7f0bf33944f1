"""keras-preprocessing's own tests of pictures against tlcore: `make keras-preprocessing-suite`.

The tests come with the source distribution on the package index, or from a checkout of
https://github.com/keras-team/keras-preprocessing given as an argument, and stay in a temporary
folder. There a package `keras_preprocessing` stands for the real one; its `image` is tlcore's.
Which tests fail is compared with the tables below: a test that fails without a line there, and a
line without a failure, are both errors.

Needs pandas, and Pillow before 13: the tests write PNGs of 32 bits.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

SOURCE = "Keras_Preprocessing==1.1.2"

# file::test (without parameters), or a file alone for all of its tests, and why it fails.
_WORDS = "expects the words of another error message"
EXPECTED = {
    "affine_transformations_test::test_apply_affine_transform_error": "takes SciPy away from the "
    "module, which tlcore does not need",
    "affine_transformations_test::test_apply_brightness_shift_error": "takes Pillow away from the "
    "module, which does not use it",
    "affine_transformations_test::test_random_brightness": "replaces one function of the module by "
    "another and expects the others to call it",
    "image_data_generator_test::test_image_data_generator_fit": "gives pictures with channels last "
    "to a generator that was told channels_first, and asks for brightness",
    "iterator_test::test_iterator_empty_directory": "asks for batches of 0 pictures",
    "utils_test::test_load_img": _WORDS,
}
# Of the release alone: its centre of a picture was half a pixel off, Keras 3's is not.
EXPECTED_OF_RELEASE = {
    "affine_transformations_test::test_deterministic_transform": "gives one axis two meanings, "
    "which Keras 3 refuses",
    "image_data_generator_test::test_deterministic_transform": "rotates about another centre than "
    "Keras 3",
}

EXPECTED_OF_CHECKOUT = {
    "dataframe_iterator_test::test_dataframe_iterator_classes_indices_order": "asks for "
    "pictures that are not there, which tlcore refuses",
}

MODULES = (
    "affine_transformations",
    "dataframe_iterator",
    "directory_iterator",
    "image_data_generator",
    "iterator",
    "numpy_array_iterator",
    "utils",
)

# np.alltrue left NumPy with 2.0.
CONFTEST = """import numpy
if not hasattr(numpy, "alltrue"):
    numpy.alltrue = numpy.all
"""


def fetch(folder: Path) -> Path:
    """The tests of the source distribution."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*command, "--dest", str(folder), SOURCE], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (tests,) = folder.glob("*/tests/image")
    return tests


def stand_in(folder: Path) -> None:
    """A package keras_preprocessing that is tlcore."""
    image = folder / "keras_preprocessing" / "image"
    image.mkdir(parents=True)
    (folder / "keras_preprocessing" / "__init__.py").touch()
    for name in ("__init__", *MODULES):
        (image / f"{name}.py").write_text("from tlcore.preprocessing.image import *\n")


def run(tests: Path, folder: Path) -> dict[str, str]:
    """`file::test` to "passed", "failed" or "skipped"."""
    stand_in(folder)
    (folder / "conftest.py").write_text(CONFTEST)
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
    command += ["--continue-on-collection-errors"]
    command += [f"--rootdir={folder}", f"--confcutdir={folder}", "-c", os.devnull]
    # The conftest must be beside what it helps.
    own = folder / "tests"
    own.mkdir()
    for file in tests.glob("*.py"):
        (own / file.name).write_bytes(file.read_bytes())
    (folder / "conftest.py").replace(own / "conftest.py")
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [*command, "--import-mode=importlib", f"--junitxml={report}", *map(str, own.glob("*.py"))],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=folder,
        check=False,
    )
    results = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("classname", "").rpartition(".")[2] or case.get("name", "")
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "passed"
        key = f"{name}::{case.get('name')}" if case.get("classname") else name.rpartition(".")[2]
        results[key] = "skipped" if "skipped" in kinds and outcome == "passed" else outcome
    return results


def expectation(name: str, expected: dict[str, str]) -> str | None:
    """The line of the table that a test falls under."""
    file, _, test = name.partition("::")
    for line in (f"{file}::{test.partition('[')[0]}", file):
        if line in expected:
            return line
    return None


def compare(failed: list[str], expected: dict[str, str]) -> list[str]:
    """What is not as expected."""
    used = {expectation(name, expected) for name in failed}
    return [
        *(f"fails unexpectedly: {name}" for name in failed if not expectation(name, expected)),
        *(f"no longer fails: {line}" for line in expected if line not in used),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", nargs="?", type=Path, help="instead of the package index")
    arguments = parser.parse_args()
    expected = dict(EXPECTED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.checkout is not None:
            expected.update(EXPECTED_OF_CHECKOUT)
            tests = arguments.checkout.resolve() / "tests" / "image"
        else:
            expected.update(EXPECTED_OF_RELEASE)
            (folder / "source").mkdir()
            tests = fetch(folder / "source")
        results = run(tests, folder)
    counts = Counter(results.values())
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    failed = sorted(name for name, outcome in results.items() if outcome == "failed")
    for name in failed:
        print(f"  {name}: {expected.get(expectation(name, expected) or '')}")
    problems = compare(failed, expected)
    print(*problems, sep="\n")
    return 1 if problems or not results else 0


if __name__ == "__main__":
    sys.exit(main())
