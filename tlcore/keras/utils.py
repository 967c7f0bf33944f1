"""Keras's name for `tlcore.utils`."""

from tlcore.utils import *  # noqa: F403
from tlcore.utils import __all__ as __all__
