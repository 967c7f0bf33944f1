"""Reading pictures: `tlcore.preprocessing.image`."""

from tlcore.preprocessing import image

__all__ = ["image"]
