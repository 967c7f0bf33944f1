"""Packages whose names are imported when they are first asked for, and where that can go wrong."""

from __future__ import annotations

import importlib
import os
import sys
from _thread import RLock, get_ident
from collections.abc import Callable, Mapping
from types import ModuleType


def lazy_names(
    package: str, homes: Mapping[str, str | None]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of `package`, for the names in `homes`.

    `homes` gives for each name the module that defines it; None: the name is a submodule.
    """

    def __getattr__(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        module = _imported(f"{package}.{name}" if home is None else home)
        return module if home is None else getattr(module, name)

    def __dir__() -> list[str]:
        return sorted([*homes, "__doc__", "__name__", "__version__"])

    return __getattr__, __dir__


# Python lets two threads that begin to use a package at the same moment meet half-made modules.
_importing = RLock()


def _imported(name: str) -> ModuleType:
    """Import a module of tlcore, one thread at a time."""
    if any(who == get_ident() and what.startswith("tlcore.") for who, what in _under_way()):
        # An import statement brought us here: whoever has the lock may be waiting for its module.
        return importlib.import_module(name)
    with _importing:
        return importlib.import_module(name)


def _under_way() -> list[tuple[int, str]]:
    """(thread, module) of the imports that are being done now."""
    locks = getattr(sys.modules.get("_frozen_importlib"), "_module_locks", {})
    owners = [(getattr(lock(), "owner", None), name) for name, lock in list(locks.items())]
    return [(owner, name) for owner, name in owners if owner is not None]


def refuse_subinterpreter() -> None:
    """ImportError unless this is the process's main interpreter."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # 3.13; before
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        if interpreters.get_current() != interpreters.get_main():
            raise ImportError(
                "tlcore cannot be used in a sub-interpreter: use threads or processes."
            )
        return


def _forget_imports_of_lost_threads() -> None:
    """Let a forked child begin again what another thread of its parent was importing.

    Python leaves the lock of such a module closed for ever, and the module half made. This is so
    for every package, and tlcore, which imports late, would meet it more often than others.
    """
    global _importing
    _importing = RLock()
    for owner, name in _under_way():
        if owner != get_ident():
            del sys.modules["_frozen_importlib"]._module_locks[name]
            sys.modules.pop(name, None)


os.register_at_fork(after_in_child=_forget_imports_of_lost_threads)
