"""Keras's name for `tlcore.preprocessing.image`."""

from tlcore.preprocessing.image import *  # noqa: F403
from tlcore.preprocessing.image import __all__ as __all__
