"""Lets `import keras` and `import tensorflow` reach tlcore, for programs as they are written.

An import finder answers for `keras` and `tensorflow` before Python looks for installed packages.
Each module that it makes has a spec of its own and hands the public names of the tlcore module
behind it on; a name that tlcore lacks is an error that says so.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import tlcore

__all__ = [
    "install_aliases",
    "load_ipython_extension",
    "uninstall_aliases",
    "unload_ipython_extension",
]

_ROOTS = {"keras": "tlcore.keras", "tensorflow": "tlcore.keras._tensorflow"}


def install_aliases() -> None:
    """Let `import keras`, `import tensorflow` and all below them reach tlcore in this process.

    `keras` and `tensorflow.keras` mean `tlcore.keras`, `tensorflow.lite` means `tlcore.lite`.
    A second call changes nothing.

    Raises:
        RuntimeError: the real keras or tensorflow is already imported.
    """
    if _finder in sys.meta_path:
        return
    for name in _ROOTS:
        if name in sys.modules:
            raise RuntimeError(
                f"install_aliases() came too late: the real {name} is already imported; "
                "call it before that import, in a fresh process or kernel."
            )
    sys.meta_path.insert(0, _finder)


def uninstall_aliases() -> None:
    """Let `import keras` and `import tensorflow` mean the installed packages again.

    What a program has already imported stays with it. Without aliases nothing happens.
    """
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    for name in [name for name, module in sys.modules.items() if isinstance(module, _Alias)]:
        del sys.modules[name]


def load_ipython_extension(ipython: object) -> None:
    """`%load_ext tlcore`: the aliases, in a notebook."""
    install_aliases()


def unload_ipython_extension(ipython: object) -> None:
    """`%unload_ext tlcore`: the installed packages again."""
    uninstall_aliases()


class _Alias(ModuleType):
    """A module under a name of Keras or TensorFlow; its names are those of `_behind`."""

    _behind: ModuleType
    __all__: list[str]
    __version__: str

    def __getattr__(self, name: str) -> object:
        if not name.startswith("_"):
            value = _find(self._behind, name)
            if isinstance(value, ModuleType):
                return importlib.import_module(f"{self.__name__}.{name}")
            if value is not None:
                return value
        raise AttributeError(_missing(f"{self.__name__}.{name}"), name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.__all__})


class _Finder(MetaPathFinder, Loader):
    """Finds, makes and fills the alias modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent, _, name = fullname.rpartition(".")
        if parent == "":
            if name not in _ROOTS:
                return None
        else:
            above = sys.modules.get(parent)
            if not isinstance(above, _Alias):
                return None
            if name.startswith("_") or not isinstance(_find(above._behind, name), ModuleType):
                # Without the exception's `name`, so that `from keras import nonsense` shows it.
                raise ModuleNotFoundError(_missing(fullname))
        # A package even if it holds no modules: only then does Python ask here for its names.
        return ModuleSpec(fullname, self, origin="tlcore", is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Alias(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        assert isinstance(module, _Alias)
        parent, _, name = module.__name__.rpartition(".")
        if parent == "":
            behind = importlib.import_module(_ROOTS[name])
        else:
            found = _find(sys.modules[parent]._behind, name)
            assert isinstance(found, ModuleType)
            behind = found
        module._behind = behind
        module.__doc__ = behind.__doc__
        module.__version__ = tlcore.__version__
        module.__all__ = [n for n in behind.__all__ if not n.startswith("_")]


def _find(module: ModuleType, name: str) -> object | None:
    """A public attribute or submodule of a tlcore module; None if there is no such name."""
    if name in module.__all__:
        value: object = getattr(module, name)
        return value
    below = f"{module.__name__}.{name}"
    if hasattr(module, "__path__") and importlib.util.find_spec(below) is not None:
        return importlib.import_module(below)
    return None


def _missing(name: str) -> str:
    if name.startswith("tensorflow."):
        name = "tf." + name.removeprefix("tensorflow.")
    return f"tlcore does not have {name}"


_finder = _Finder()
