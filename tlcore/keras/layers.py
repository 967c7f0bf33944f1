"""Keras's name for `tlcore.layers`."""

from tlcore.layers import *  # noqa: F403
from tlcore.layers import __all__ as __all__
