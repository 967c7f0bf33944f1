"""Transfer learning with MobileNetV2 on CPUs, in Keras's words, with a C core.

    import tlcore
    base = tlcore.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False)
    base.trainable = False
    model = tlcore.Sequential([base, tlcore.layers.GlobalAveragePooling2D(),
                               tlcore.layers.Dense(3, activation="softmax")])

`tlcore.install_aliases()`, `%load_ext tlcore` and `python -m tlcore run program.py` let a program
that was written for Keras run as it is.

Importing tlcore imports nothing else: every name below is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tlcore._lazy import lazy_names, refuse_subinterpreter

refuse_subinterpreter()  # before NumPy does it in its own words

if TYPE_CHECKING:
    from tlcore import (
        applications,
        callbacks,
        datasets,
        export,
        keras,
        layers,
        lite,
        losses,
        metrics,
        models,
        optimizers,
        preprocessing,
        recipes,
        saving,
        utils,
        weights,
    )
    from tlcore._core import BackendError, get_num_threads, set_num_threads
    from tlcore.keras._aliases import (
        install_aliases,
        load_ipython_extension,
        uninstall_aliases,
        unload_ipython_extension,
    )
    from tlcore.layers import Input
    from tlcore.models import Model, Sequential
    from tlcore.utils.config import show_config

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "Input",
    "Model",
    "Sequential",
    "applications",
    "callbacks",
    "datasets",
    "export",
    "get_num_threads",
    "install_aliases",
    "keras",
    "layers",
    "lite",
    "load_ipython_extension",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "preprocessing",
    "recipes",
    "saving",
    "set_num_threads",
    "show_config",
    "uninstall_aliases",
    "unload_ipython_extension",
    "utils",
    "weights",
]

_ELSEWHERE = {
    "BackendError": "tlcore._core",
    "Input": "tlcore.layers",
    "Model": "tlcore.models",
    "Sequential": "tlcore.models",
    "get_num_threads": "tlcore._core",
    "install_aliases": "tlcore.keras._aliases",
    "load_ipython_extension": "tlcore.keras._aliases",
    "set_num_threads": "tlcore._core",
    "show_config": "tlcore.utils.config",
    "uninstall_aliases": "tlcore.keras._aliases",
    "unload_ipython_extension": "tlcore.keras._aliases",
}

__getattr__, __dir__ = lazy_names(__name__, {name: _ELSEWHERE.get(name) for name in __all__})
