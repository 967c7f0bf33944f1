"""The names of Keras, where Keras has them.

    from tlcore.keras.preprocessing import image
    from tlcore import keras                    # keras.layers.Dense, keras.models.load_model, ...

Every module here holds the public names of the tlcore module that it is called after. The aliases
that let `import keras` itself reach them are in `_aliases.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlcore import __version__ as __version__
from tlcore._lazy import lazy_names

if TYPE_CHECKING:
    from tlcore.keras import (
        applications,
        backend,
        callbacks,
        layers,
        losses,
        metrics,
        models,
        optimizers,
        preprocessing,
        saving,
        utils,
    )
    from tlcore.layers import Input
    from tlcore.models import Model, Sequential

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "applications",
    "backend",
    "callbacks",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "preprocessing",
    "saving",
    "utils",
]

_ELSEWHERE = {"Input": "tlcore.layers", "Model": "tlcore.models", "Sequential": "tlcore.models"}

__getattr__, __dir__ = lazy_names(__name__, {name: _ELSEWHERE.get(name) for name in __all__})
