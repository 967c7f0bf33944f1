"""Keras's name for `tlcore.losses`."""

from tlcore.losses import *  # noqa: F403
from tlcore.losses import __all__ as __all__
