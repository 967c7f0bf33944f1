"""Layers, named as Keras names them.

For heads: `Input`, `GlobalAveragePooling2D`, `Flatten`, `Dense`, `Dropout`. The others are what
MobileNetV2 and files hold; they run in inference and may stand in a `Sequential` as well.
"""

from __future__ import annotations

from tlcore.layers.convolutional import Conv2D, DepthwiseConv2D, ZeroPadding2D
from tlcore.layers.core import Activation, Dense, Dropout, ReLU
from tlcore.layers.input_layer import Input, InputLayer
from tlcore.layers.layer import Layer, Variable
from tlcore.layers.merging import Add
from tlcore.layers.normalization import BatchNormalization
from tlcore.layers.pooling import Flatten, GlobalAveragePooling2D, GlobalMaxPooling2D
from tlcore.layers.serialization import deserialize

__all__ = [
    "Activation",
    "Add",
    "BatchNormalization",
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
    "ReLU",
    "Variable",
    "ZeroPadding2D",
    "deserialize",
]
