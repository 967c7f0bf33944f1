"""Keras's name for `tlcore.applications.mobilenet_v2`."""

from tlcore.applications.mobilenet_v2 import *  # noqa: F403
from tlcore.applications.mobilenet_v2 import __all__ as __all__
