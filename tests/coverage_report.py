"""`make coverage`: what the whole suite runs of the C and of the Python sources.

Builds the package for gcov, runs all tests (and tests/c, built for gcov as well) on it under
coverage.py, prints a line for each room, and lists every line of csrc/python that was neither
run nor explained. There must be none: such a line gets a test, or a mark with its reason,

    something();   /* GCOVR_EXCL_LINE: why no test can come here */

or GCOVR_EXCL_START: reason ... GCOVR_EXCL_STOP around several.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build-tlcore_coverage"
DATA = BUILD / "data"
TOOLS = Path(sys.executable).parent
EXPLAINED = "csrc/python"


def run(*command: str | Path, check: bool = True, **environment: str) -> int:
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False)
    if check and done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}.")
    return done.returncode


def measure(pytest_arguments: list[str]) -> int:
    """Builds, runs everything, and leaves c.json and python.json; pytest's exit code."""
    run(sys.executable, "setup.py", "-q", "build", TLCORE_COVERAGE="1")
    DATA.mkdir(exist_ok=True)
    for old in [*BUILD.rglob("*.gcda"), *DATA.iterdir()]:
        old.unlink()
    (package,) = BUILD.glob("lib.*")
    python_data = {"COVERAGE_FILE": str(DATA / "coverage")}
    failed = run(
        *(TOOLS / "coverage", "run", TOOLS / "pytest", "-p", "no:cacheprovider"),
        *pytest_arguments,
        check=False,
        PYTHONPATH=str(package),
        **python_data,
    )
    run(
        *("make", "-s", "-C", "tests/c", "run", f"PYTHON={sys.executable}"),
        *(f"BUILD={BUILD / 'tests-c'}", f"DNNL_FOLDER={package / 'tlcore' / '_lib'}"),
        CFLAGS="--coverage -fprofile-abs-path",
        LDLIBS="--coverage",
    )
    run(
        *(TOOLS / "gcovr", "-r", ".", "--filter", "csrc/", BUILD),
        *("--exclude-unreachable-branches", "--json", DATA / "c.json"),
    )
    run(TOOLS / "coverage", "combine", "-q", **python_data)
    run(TOOLS / "coverage", "json", "-q", "-o", DATA / "python.json", **python_data)
    return failed


@dataclass
class Count:
    lines: int = 0
    lines_run: int = 0
    branches: int = 0
    branches_run: int = 0

    def add(self, lines: Iterable[bool], branches: Iterable[bool]) -> None:
        lines, branches = list(lines), list(branches)
        self.lines += len(lines)
        self.lines_run += sum(lines)
        self.branches += len(branches)
        self.branches_run += sum(branches)


def c_rooms(report: dict[str, Any]) -> dict[str, Count]:
    rooms: dict[str, Count] = defaultdict(Count)
    for file in report["files"]:
        counted = [line for line in file["lines"] if not line.get("gcovr/excluded")]
        rooms[str(Path(file["file"]).parent)].add(
            (line["count"] > 0 for line in counted),
            (branch["count"] > 0 for line in counted for branch in line["branches"]),
        )
    return rooms


def python_rooms(report: dict[str, Any]) -> dict[str, Count]:
    rooms: dict[str, Count] = defaultdict(Count)
    for name, file in report["files"].items():
        summary = file["summary"]
        count = rooms[str(Path(name).parent)]
        count.lines += summary["num_statements"]
        count.lines_run += summary["covered_lines"]
        count.branches += summary["num_branches"]
        count.branches_run += summary["covered_branches"]
    return rooms


def unexplained(report: dict[str, Any]) -> list[str]:
    """The lines that were not run, and the marks that give no reason."""
    found = []
    for file in report["files"]:
        if not file["file"].startswith(EXPLAINED):
            continue
        text = (ROOT / file["file"]).read_text(encoding="utf-8").splitlines()
        missed = {
            line["line_number"]
            for line in file["lines"]
            if line["count"] == 0 and not line.get("gcovr/excluded")
        }
        for number, line in enumerate(text, 1):
            mark = re.search(r"GCOVR?_EXCL_(?!STOP)\w+", line)
            if number in missed or (mark and not re.match(r": \w+", line[mark.end() :])):
                found.append(f"{file['file']}:{number}: {line.strip()}")
    return found


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:5.1f} %" if whole else "      -"


def main() -> int:
    failed = measure(sys.argv[1:])
    c = json.loads((DATA / "c.json").read_text(encoding="utf-8"))
    python = json.loads((DATA / "python.json").read_text(encoding="utf-8"))
    print(f"\n{'room':28}{'lines':>8}{'run':>10}{'branches':>12}{'run':>10}")
    for rooms in (c_rooms(c), python_rooms(python)):
        columns = zip(*(vars(n).values() for n in rooms.values()), strict=True)
        for room, n in [*sorted(rooms.items()), ("together", Count(*map(sum, columns)))]:
            print(
                f"{room:28}{n.lines:8}{percent(n.lines_run, n.lines):>10}"
                f"{n.branches:12}{percent(n.branches_run, n.branches):>10}"
            )
        print()
    missing = unexplained(c)
    print(f"Lines of {EXPLAINED} that were neither run nor explained: {len(missing)}")
    for line in missing:
        print(f"  {line}")
    if failed:
        print(f"The tests failed: pytest ended with {failed}.")
    return 1 if missing or failed else 0


if __name__ == "__main__":
    sys.exit(main())
