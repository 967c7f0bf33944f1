"""Keras's name for `tlcore.callbacks`."""

from tlcore.callbacks import *  # noqa: F403
from tlcore.callbacks import __all__ as __all__
