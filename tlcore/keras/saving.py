"""Keras's name for `tlcore.saving`."""

from tlcore.saving import *  # noqa: F403
from tlcore.saving import __all__ as __all__
