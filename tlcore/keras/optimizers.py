"""Keras's name for `tlcore.optimizers`."""

from tlcore.optimizers import *  # noqa: F403
from tlcore.optimizers import __all__ as __all__
