"""How much memory the process may use, and how much of it is free."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MEMBERSHIP = Path("/proc/self/cgroup")
_ROOT = Path("/sys/fs/cgroup")


class _Files(NamedTuple):
    """What the files of a control group are called: version 1 and 2 differ."""

    limit: str
    usage: str
    cache: str  # in memory.stat: what the system gives back when it is short


_VERSION_1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Files("memory.max", "memory.current", "inactive_file")


def memory_limit() -> int:
    """Bytes that the process may use: the machine's, its control group's and its own limit."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft)
    limits.extend(_cgroup_limits(_MEMBERSHIP, _ROOT))
    return min(limits)


def store_budget() -> int:
    """Bytes that a store may take of what is computed again without it.

    The smaller of 1 GiB and a quarter of the memory that the process may use.
    """
    return min(1 << 30, memory_limit() // 4)


def free_memory() -> int:
    """Bytes that the process may still take: of the machine, its control groups, its limits."""
    free = [_kilobytes(Path("/proc/meminfo"), "MemAvailable")]
    for kind, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            size = _kilobytes(Path("/proc/self/status"), used)
            free.append(None if size is None else soft - size)
    free.extend(_cgroup_free(_MEMBERSHIP, _ROOT))
    known = [bytes_ for bytes_ in free if bytes_ is not None]
    return max(0, min(known)) if known else memory_limit()


def _kilobytes(file: Path, name: str) -> int | None:
    """The number behind "name:" in bytes; None if the system does not tell."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key == name and value.split():
            return int(value.split()[0]) * 1024
    return None


def _cgroups(membership: Path, root: Path) -> Iterator[tuple[Path, _Files]]:
    """The folders of the control group and of those above it (versions 1 and 2)."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, names = root, _VERSION_2
        elif "memory" in controllers.split(","):
            base, names = root / "memory", _VERSION_1
        else:
            continue
        group = base / path.lstrip("/")
        while True:
            # A container may not see its own path, only the root, which then is its group.
            yield group, names
            if group == base or base not in group.parents:
                break
            group = group.parent


def _cgroup_limits(membership: Path, root: Path) -> list[int]:
    """The memory limits of the control group and of those above it."""
    found = [_number_in(group / names.limit) for group, names in _cgroups(membership, root)]
    return [limit for limit in found if limit is not None]


def _cgroup_free(membership: Path, root: Path) -> Iterator[int]:
    """What the control group and those above it may still take."""
    for group, names in _cgroups(membership, root):
        limit, usage = _number_in(group / names.limit), _number_in(group / names.usage)
        if limit is not None and usage is not None:
            yield limit - usage + _cache_in(group / "memory.stat", names.cache)


def _cache_in(file: Path, name: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    found = dict(line.split() for line in lines if len(line.split()) == 2)
    return int(found.get(name, 0))


def _number_in(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max": no limit
