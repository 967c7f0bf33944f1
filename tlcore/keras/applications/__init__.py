"""Keras's name for `tlcore.applications`."""

from tlcore.applications import *  # noqa: F403
from tlcore.applications import __all__ as __all__
