"""The switch that holds kernels to an instruction set, and what show_config tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tlcore
from tlcore import _core

ORDER = ["baseline", "sse41", "avx2", "avx512"]
HERE = Path(__file__).parent


def under(limit: str, program: str) -> subprocess.CompletedProcess[str]:
    """Run `program` in a process of its own whose instruction sets end at `limit`."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(HERE)!r})\n{program}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "TLCORE_MAX_CPU_ISA": limit},
    )


def has(isa: str) -> bool:
    return ORDER.index(isa) <= ORDER.index(_core.config()["cpu_isa"])


def outputs(limit: str, folder: Path) -> np.ndarray:
    """What a network of random weights, and a head trained on it, make of pictures."""
    path = folder / f"{limit or 'none'}.npy"
    done = under(
        limit,
        "import numpy as np\n"
        "from core_networks import pictures, small_network\n"
        "from tlcore import _core\n"
        "network, parameters = small_network(); x = pictures(8)\n"
        "flags = [i >= len(parameters) - 2 for i in range(len(parameters))]\n"
        "cut = network.cut(flags)\n"
        "trainer = _core.Trainer(network, cut, flags, 'sparse_categorical_crossentropy', False,\n"
        "                        {'name': 'sgd'}, 0)\n"
        "features = network.run(x, 0, cut)\n"
        "for _ in range(5): trainer.train_batch(features, np.arange(8) % 5, learning_rate=0.1)\n"
        f"np.save({str(path)!r}, np.concatenate([features.ravel(), network.run(x).ravel()]))\n"
        "print(_core.config()['used_isa'], _core.config()['onednn_isa'])",
    )
    assert done.returncode == 0, done.stderr
    if limit:
        used, by_onednn = done.stdout.split()
        assert used == limit
        assert by_onednn.replace(".", "").replace("-", "").lower() == limit
    return np.load(path)


def test_results_agree_on_every_instruction_set(tmp_path: Path) -> None:
    """Each path sums in its own order: float32 rounding, 1e-5 of the largest value."""
    expected = outputs("", tmp_path)
    tried = 0
    for limit in filter(has, ("sse41", "avx2", "avx512")):
        found = outputs(limit, tmp_path)
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
        tried += 1
    assert tried >= 1


@pytest.mark.parametrize("limit", ["avx", "AVX2", "512", "sse4.1"])
def test_unknown_limits_are_refused(limit: str) -> None:
    done = under(limit, "import tlcore; tlcore.get_num_threads()")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last == (f'ImportError: TLCORE_MAX_CPU_ISA must be sse41, avx2 or avx512, not "{limit}"')


def test_show_config_as_dictionaries() -> None:
    config = tlcore.show_config(mode="dicts")
    assert config is not None
    assert list(config) == ["versions", "cpu", "threads", "paths"]
    assert config["versions"]["tlcore"] == tlcore.__version__
    assert config["versions"]["oneDNN"].startswith("3.")
    assert config["threads"]["used"] == tlcore.get_num_threads()
    assert config["threads"]["by affinity"] == len(os.sched_getaffinity(0))
    assert Path(config["paths"]["oneDNN"]).is_file()
    json.dumps(config)


def test_show_config_prints_each_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert tlcore.show_config() is None
    lines = capsys.readouterr().out.splitlines()
    config = tlcore.show_config(mode="dicts")
    assert config is not None
    assert len(lines) == sum(1 + len(entries) for entries in config.values())
    assert f"  oneDNN: {config['versions']['oneDNN']}" in lines


def test_show_config_in_another_mode() -> None:
    with pytest.raises(ValueError, match="mode must be 'stdout' or 'dicts', got 'json'"):
        tlcore.show_config(mode="json")  # type: ignore[arg-type]
