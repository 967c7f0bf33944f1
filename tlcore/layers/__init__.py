"""Layers, named as Keras names them.

For heads: `Input`, `GlobalAveragePooling2D`, `Flatten`, `Dense`, `Dropout`. For pictures:
`Rescaling`, `Resizing`, `CenterCrop` and those that begin with `Random`. The others are what
MobileNetV2, files and networks of one's own hold, and may stand in a `Sequential` as well.
"""

from __future__ import annotations

from tlcore.layers.augmentation import (
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)
from tlcore.layers.convolutional import Conv2D, DepthwiseConv2D, SeparableConv2D, ZeroPadding2D
from tlcore.layers.core import Activation, Dense, Dropout, ReLU, SpatialDropout2D
from tlcore.layers.input_layer import Input, InputLayer
from tlcore.layers.layer import Layer, Variable
from tlcore.layers.merging import Add, Concatenate
from tlcore.layers.normalization import BatchNormalization
from tlcore.layers.pooling import (
    AveragePooling2D,
    AvgPool2D,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPool2D,
    MaxPooling2D,
)
from tlcore.layers.resizing import CenterCrop, Rescaling, Resizing
from tlcore.layers.serialization import deserialize

__all__ = [
    "Activation",
    "Add",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "CenterCrop",
    "Concatenate",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "Input",
    "InputLayer",
    "Layer",
    "MaxPool2D",
    "MaxPooling2D",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "ReLU",
    "Rescaling",
    "Resizing",
    "SeparableConv2D",
    "SpatialDropout2D",
    "Variable",
    "ZeroPadding2D",
    "deserialize",
]
