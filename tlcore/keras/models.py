"""Keras's name for `tlcore.models`."""

from tlcore.models import *  # noqa: F403
from tlcore.models import __all__ as __all__
