"""`make matrix`: the whole suite on every supported Python, with old and with new libraries.

    python tests/matrix.py [3.12 ...] [--tests tests/unit/test_models.py ...]

Each cell is a Python and the oldest, or the newest, version of each library that the package
depends on: the oldest that pyproject.toml allows and that has a wheel for that Python, so that
nothing but tlcore is ever compiled. tlcore is built once for each Python, of the source
distribution or of a folder whose name holds a space and letters beyond ASCII, and installed;
the tests run in a copy of this tree without the package's own modules.

Interpreters are python3.X on the PATH or in ~/.pyenv/versions. One that is missing counts as
not run, and the exit code is 0 only when every cell has run and passed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ElementTree
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv" / "matrix"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
SHOWN = ("numpy", "pillow", "h5py")  # a column each; the others go with them
UNUSED_TOOLS = {"coverage", "gcovr"}  # of the extra `test`


class CellError(Exception):
    """What kept a cell from running its tests."""


@dataclass
class Cell:
    python: str
    libraries: str  # "oldest" or "newest"
    versions: dict[str, str] = field(default_factory=dict)
    passed: int = 0
    skipped: int = 0
    failed: int = 0
    seconds: float = 0
    trouble: str = ""

    @property
    def good(self) -> bool:
        return not self.trouble and self.passed > 0 and self.failed == 0

    @property
    def folder(self) -> Path:
        return FOLDER / f"{self.python}-{self.libraries}"


def clean_environment(**more: str) -> dict[str, str]:
    """Without what would lead a Python to the modules of this tree."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSAFEPATH")
    return {**{k: v for k, v in os.environ.items() if k not in ours}, **more}


def run(*command: str | Path, cwd: Path = FOLDER, **environment: str) -> str:
    """What the command prints; CellError with the last lines of it where it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise CellError(
            f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-3000:]}"
        )
    return done.stdout


def find_python(version: str) -> Path | None:
    """The interpreter of that version that really starts, and has a venv to offer."""
    on_path = shutil.which(f"python{version}")
    pyenv = Path.home() / ".pyenv" / "versions"
    places = sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)
    program = "import sys, venv; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for candidate in ([Path(on_path)] if on_path else []) + places:
        done = subprocess.run(
            [candidate, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            env=clean_environment(),
        )
        found, _, executable = done.stdout.strip().partition(" ")
        if done.returncode == 0 and found == version:
            return Path(executable)
    return None


# --- sources and wheels ---------------------------------------------------------------------


def make_sources() -> tuple[Path, Path, Path]:
    """The source distribution; it unpacked in an awkward folder; a tree to run the tests in."""
    dist = FOLDER / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir(parents=True)
    run(
        *(sys.executable, "setup.py", "-q", "egg_info", "--egg-base", dist),
        *("sdist", "--dist-dir", dist),
        cwd=ROOT,
    )
    (archive,) = dist.glob("*.tar.gz")
    trees = []
    for name in ("a füssy föld€r", "tests"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(FOLDER / name, filter="data")
            else:
                tar.extractall(FOLDER / name)
        (tree,) = (FOLDER / name).iterdir()
        trees.append(tree)
    awkward, tests = trees
    for path in (tests / "tlcore").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "_core.pyi":  # a test compares it with what is installed
            path.unlink()
    return archive, awkward, tests


def build_wheel(version: str, interpreter: Path, source: Path) -> Path:
    folder = FOLDER / f"{version}-build"
    shutil.rmtree(folder, ignore_errors=True)
    run(interpreter, "-m", "venv", folder)
    run(folder / "bin" / "pip", "wheel", "-q", "--no-deps", "-w", folder / "wheel", source)
    (wheel,) = (folder / "wheel").glob("tlcore-*.whl")
    return wheel


def requirements(wheel: Path) -> tuple[dict[str, str], list[str]]:
    """{library: its least version}, and what the extra `test` asks for."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode()
    least, tools = {}, []
    for line in re.findall(r"^Requires-Dist: (.*)$", text, re.MULTILINE):
        requirement, _, condition = (part.strip() for part in line.partition(";"))
        library = re.match(r"[\w.-]+", requirement)
        assert library is not None, line
        if not condition:
            bound = re.fullmatch(r"[\w.-]+\s*>=\s*([\d.]+)", requirement)
            if bound is None:
                raise CellError(f"{requirement}: a library needs one least version, name>=1.2")
            least[library[0].lower()] = bound[1]
        elif re.search(r"""extra == ['"]test['"]""", condition) and library[0] not in UNUSED_TOOLS:
            tools.append(requirement)
    return least, tools


def release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def oldest(pip: Path, library: str, least: str) -> str:
    """The first version from `least` on that has a wheel for this Python."""
    # `pip index versions` also names what has no wheel; a version that cannot be does not.
    done = subprocess.run(
        [pip, "install", "--dry-run", "--no-deps", "--only-binary", ":all:", f"{library}==0"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    listed = re.search(r"\(from versions: (.*)\)", done.stderr)
    versions = re.findall(r"[\d.]+(?=,|$)", listed[1]) if listed else []
    allowed = [v for v in versions if release(v) >= release(least)]
    if not allowed:
        raise CellError(f"{library} has no wheel from version {least} on for this Python.")
    return min(allowed, key=release)


# --- a cell ---------------------------------------------------------------------------------


def install(cell: Cell, interpreter: Path, wheel: Path) -> None:
    shutil.rmtree(cell.folder, ignore_errors=True)
    run(interpreter, "-m", "venv", cell.folder)
    pip, python = cell.folder / "bin" / "pip", cell.folder / "bin" / "python"
    least, tools = requirements(wheel)
    pins = [
        f"{library}=={oldest(pip, library, version)}" if cell.libraries == "oldest" else library
        for library, version in least.items()
    ]
    run(pip, "install", "-q", "--only-binary", ":all:", wheel, *pins, *tools)
    program = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    versions = run(python, "-c", program, *least).split()
    cell.versions = dict(zip(least, versions, strict=True))


def check_import(cell: Cell, tests: Path) -> None:
    """tlcore is the installed one, and importing it warns of nothing."""
    python = cell.folder / "bin" / "python"
    program = "import tlcore; tlcore.models; print(tlcore.__file__)"
    place = Path(run(python, "-W", "error", "-c", program, cwd=tests).strip())
    if not place.is_relative_to(cell.folder):
        raise CellError(f"tlcore was imported from {place}, not from {cell.folder}.")


def test(cell: Cell, tests: Path, chosen: list[str]) -> None:
    report = cell.folder / "report.xml"
    shared = ROOT.parent / "shared" / "data"
    where = {} if "TLCORE_SHARED_DATA" in os.environ else {"TLCORE_SHARED_DATA": str(shared)}
    command = ("pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *chosen)
    log = cell.folder / "tests.log"
    with log.open("w", encoding="utf-8") as output:
        subprocess.run(
            [cell.folder / "bin" / command[0], *command[1:]],
            cwd=tests,
            env=clean_environment(**where),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if not report.is_file():
        raise CellError(f"pytest ended without a report:\n{log.read_text()[-3000:]}")
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        counts = {key: int(suite.get(key, 0)) for key in ("tests", "skipped", "failures", "errors")}
        cell.failed += counts["failures"] + counts["errors"]
        cell.skipped += counts["skipped"]
        cell.passed += counts["tests"] - counts["skipped"]
    cell.passed -= cell.failed
    if cell.failed:
        print("\n".join(line for line in log.read_text().splitlines() if "FAILED" in line))
        print(f"The whole of it: {log}")


def run_python(version: str, sources: tuple[Path, Path, Path], chosen: list[str]) -> list[Cell]:
    archive, awkward, tests = sources
    cells = [Cell(version, libraries) for libraries in ("oldest", "newest")]
    interpreter = find_python(version)
    if interpreter is None:
        for cell in cells:
            cell.trouble = "not run: no such Python"
        return cells
    # Half of the Pythons build from the one, half from the other.
    source = archive if PYTHONS.index(version) % 2 == 0 else awkward
    try:
        wheel = build_wheel(version, interpreter, source)
    except CellError as error:
        print(f"Python {version}: {error}")
        for cell in cells:
            cell.trouble = f"not built from {source.name}"
        return cells
    for cell in cells:
        started = time.monotonic()
        try:
            install(cell, interpreter, wheel)
            check_import(cell, tests)
            test(cell, tests, chosen)
        except CellError as error:
            print(f"Python {version}, {cell.libraries}: {error}")
            cell.trouble = "not tested: see above"
        cell.seconds = time.monotonic() - started
        print(line(cell), flush=True)
    return cells


def line(cell: Cell) -> str:
    versions = "".join(f"{cell.versions.get(name, '-'):>10}" for name in SHOWN)
    counts = f"{cell.passed:8}{cell.skipped:9}{cell.failed:8}{cell.seconds:9.0f}"
    return f"{cell.python:8}{cell.libraries:8}{versions}{cell.trouble or counts:>34}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pythons", nargs="*", default=PYTHONS, help="of " + ", ".join(PYTHONS))
    parser.add_argument("--tests", nargs="*", default=[], help="for pytest; all of them if none")
    options = parser.parse_args()
    for version in options.pythons:
        if version not in PYTHONS:
            parser.error(f"{version} is not one of {', '.join(PYTHONS)}.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    sources = make_sources()
    cells = [cell for v in options.pythons for cell in run_python(v, sources, options.tests)]
    columns = "".join(f"{name:>10}" for name in SHOWN)
    print(
        f"\n{'Python':8}{'libs':8}{columns}{'passed':>8}{'skipped':>9}{'failed':>8}{'seconds':>9}"
    )
    for cell in cells:
        print(line(cell))
    good = sum(cell.good for cell in cells)
    not_run = sum(cell.trouble.startswith("not run") for cell in cells)
    print(f"{good} cells passed, {len(cells) - good - not_run} failed, {not_run} were not run.")
    return 0 if good == len(cells) else 1


if __name__ == "__main__":
    sys.exit(main())
