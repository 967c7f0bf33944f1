"""A sample of each campaign, and proof that a campaign sees what it is there to see.

TLCORE_FUZZ_FILES says how many files are tried; `make fuzz` tries thousands.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CAMPAIGNS = sorted(path.name for path in HERE.glob("mutate_*.py"))


def campaign(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
    )


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_sample(name: str, tmp_path: Path) -> None:
    count = os.environ.get("TLCORE_FUZZ_FILES", "150")
    done = campaign(HERE / name, "--count", count, "--keep", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{int(count):,} files in" in done.stdout


# A trial that does all that none may do, one file after the other.
NAUGHTY = """
import ctypes, os, time, warnings
import campaign
import numpy as np

DEEDS = ["good", "raise", "warn", "crash", "exit", "sleep", "work", "resident", "address", "touch",
         "remove", "good"]

def prepare():
    pass

def trial(path):
    deed = path.read_text()
    if deed == "raise":
        raise KeyError("no such thing")
    if deed == "warn":
        warnings.warn("careful")
    if deed == "crash":
        ctypes.string_at(1)
    if deed == "exit":
        os._exit(0)
    if deed == "sleep":
        time.sleep(1000)
    if deed == "work":
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
    if deed == "resident":
        np.ones(70 << 20, np.uint8)
    if deed == "address":
        np.empty(1 << 32, np.uint8)
    if deed == "touch":
        open(os.devnull).close()
    if deed == "remove":
        try:
            os.remove(path.parent / "other")
        except OSError:
            pass
    return "good"

def make(random):
    deed = DEEDS.pop(0)
    return deed.encode(), deed

if __name__ == "__main__":
    limits = campaign.Limits(cpu_seconds=0.2, memory=80 << 20, wall_seconds=8)
    raise SystemExit(campaign.main(__file__, make, ".txt", limits))
"""


def test_every_deed_is_seen(tmp_path: Path) -> None:
    script = tmp_path / "naughty.py"
    script.write_text(NAUGHTY)
    keep = tmp_path / "keep"
    done = campaign(script, "--count", "12", "--workers", "1", "--keep", str(keep))
    assert done.returncode == 1, done.stdout + done.stderr
    seen = [line.partition(", kept")[0] for line in done.stdout.splitlines() if ", kept as" in line]
    assert seen == [
        "wrong: file 1 (raise)",
        "wrong: file 2 (warn)",
        "crash: file 3 (crash)",
        "crash: file 4 (exit)",
        "hang: file 5 (sleep)",
        "slow: file 6 (work)",
        "large: file 7 (resident)",
        "wrong: file 8 (address)",
        "touched: file 9 (touch)",
        "touched: file 10 (remove)",
    ]
    assert "2 good" in done.stdout.splitlines()[-1]
    assert "10 findings" in done.stdout.splitlines()[-1]
    assert sorted(path.read_text() for path in keep.iterdir())[0] == "address"
