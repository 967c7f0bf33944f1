"""Keras's name for `tlcore.utils`, and for what reads and writes single pictures."""

from tlcore.preprocessing.image import array_to_img, img_to_array, load_img, save_img
from tlcore.utils import *  # noqa: F403
from tlcore.utils import __all__ as _own

__all__ = [*_own, "array_to_img", "img_to_array", "load_img", "save_img"]
