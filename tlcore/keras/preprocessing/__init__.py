"""Keras's name for `tlcore.preprocessing`."""

from tlcore.preprocessing import *  # noqa: F403
from tlcore.preprocessing import __all__ as __all__
