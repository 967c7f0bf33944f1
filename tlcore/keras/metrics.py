"""Keras's name for `tlcore.metrics`."""

from tlcore.metrics import *  # noqa: F403
from tlcore.metrics import __all__ as __all__
