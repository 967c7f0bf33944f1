"""What a bug report needs to know: versions, CPU, threads, paths."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import tlcore
from tlcore import _core

_DEPENDENCIES = ("numpy", "pillow", "h5py", "flatbuffers", "pooch")


def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, dict[str, Any]] | None:
    """Print which tlcore this is, what it runs on and where it looks for files.

    The environment variable TLCORE_MAX_CPU_ISA (sse41, avx2 or avx512; read when tlcore is first
    used) holds oneDNN and tlcore's own kernels to an older instruction set.

    Args:
        mode: "stdout" prints; "dicts" returns the same as a dictionary of dictionaries.

    Returns:
        None, or the dictionary.

    Raises:
        ValueError: another `mode`.

    Source: `numpy.show_config`.
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode must be 'stdout' or 'dicts', got {mode!r}.")
    found = _collected()
    if mode == "dicts":
        return found
    for topic, entries in found.items():
        print(f"{topic}:")
        for name, value in entries.items():
            print(f"  {name}: {_text(value)}")
    return None


def _collected() -> dict[str, dict[str, Any]]:
    from tlcore.training.features_on_disk import named_folder
    from tlcore.weights import search_folders

    kept = named_folder()
    core = _core.config()
    package = Path(tlcore.__file__).parent
    return {
        "versions": {
            "tlcore": tlcore.__version__,
            "oneDNN": core["onednn"],
            "python": platform.python_version(),
            **{name: _version(name) for name in _DEPENDENCIES},
        },
        "cpu": {
            "model": cpu_model(),
            "instruction set": core["cpu_isa"],
            "limit": os.environ.get("TLCORE_MAX_CPU_ISA") or None,
            "used by tlcore": core["used_isa"],
            "used by oneDNN": core["onednn_isa"],
        },
        "threads": {
            "used": _core.get_num_threads(),
            "CPUs of the machine": os.cpu_count(),
            "by affinity": len(os.sched_getaffinity(0)),
            "by affinity and quota": core["cpus"],
        },
        "paths": {
            "package": str(package),
            "oneDNN": str(package / "_lib" / "libdnnl-tlcore.so.3"),
            "weights": [str(folder) for folder in search_folders()],
            "kept features": None if kept is None else str(kept),
        },
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def cpu_model() -> str | None:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return None


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)
