"""Pictures from files and arrays, with Keras's names, order, labels and pixel values."""

from tlcore.preprocessing.image._arrays import NumpyArrayIterator
from tlcore.preprocessing.image._dataframe import DataFrameIterator
from tlcore.preprocessing.image._directory import DirectoryIterator
from tlcore.preprocessing.image._generator import ImageDataGenerator
from tlcore.preprocessing.image._iterator import Iterator
from tlcore.preprocessing.image._pictures import array_to_img, img_to_array, load_img, save_img

__all__ = [
    "DataFrameIterator",
    "DirectoryIterator",
    "ImageDataGenerator",
    "Iterator",
    "NumpyArrayIterator",
    "array_to_img",
    "img_to_array",
    "load_img",
    "save_img",
]
