"""Pictures from files and arrays, with Keras's names, order, labels and pixel values."""

from tlcore.preprocessing.image._arrays import NumpyArrayIterator
from tlcore.preprocessing.image._dataframe import DataFrameIterator
from tlcore.preprocessing.image._directory import DirectoryIterator
from tlcore.preprocessing.image._generator import ImageDataGenerator
from tlcore.preprocessing.image._iterator import Iterator
from tlcore.preprocessing.image._names import list_pictures, validate_filename
from tlcore.preprocessing.image._pictures import array_to_img, img_to_array, load_img, save_img
from tlcore.preprocessing.image._transformations import (
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
    flip_axis,
    random_brightness,
    random_channel_shift,
    random_rotation,
    random_shear,
    random_shift,
    random_zoom,
    transform_matrix_offset_center,
)

__all__ = [
    "DataFrameIterator",
    "DirectoryIterator",
    "ImageDataGenerator",
    "Iterator",
    "NumpyArrayIterator",
    "apply_affine_transform",
    "apply_brightness_shift",
    "apply_channel_shift",
    "array_to_img",
    "flip_axis",
    "img_to_array",
    "list_pictures",
    "load_img",
    "random_brightness",
    "random_channel_shift",
    "random_rotation",
    "random_shear",
    "random_shift",
    "random_zoom",
    "save_img",
    "transform_matrix_offset_center",
    "validate_filename",
]
