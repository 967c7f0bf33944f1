"""Layers out of descriptions: configurations from files, and nodes of a core graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlcore import _core
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
from tlcore.layers.input_layer import InputLayer
from tlcore.layers.layer import Layer
from tlcore.layers.merging import Add, Concatenate
from tlcore.layers.normalization import BatchNormalization
from tlcore.layers.pooling import (
    AveragePooling2D,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from tlcore.layers.resizing import CenterCrop, Rescaling, Resizing

_classes: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        Activation,
        Add,
        AveragePooling2D,
        BatchNormalization,
        CenterCrop,
        Concatenate,
        Conv2D,
        Dense,
        DepthwiseConv2D,
        Dropout,
        Flatten,
        GlobalAveragePooling2D,
        GlobalMaxPooling2D,
        InputLayer,
        MaxPooling2D,
        RandomBrightness,
        RandomContrast,
        RandomCrop,
        RandomFlip,
        RandomRotation,
        RandomTranslation,
        RandomZoom,
        ReLU,
        Rescaling,
        Resizing,
        SeparableConv2D,
        SpatialDropout2D,
        ZeroPadding2D,
    )
}

_classes["BatchNormalizationV1"] = BatchNormalization  # as TensorFlow 1.13 wrote it

_ops: dict[str, type[Layer]] = {
    "activation": Activation,
    "add": Add,
    "average_pooling2d": AveragePooling2D,
    "batch_normalization": BatchNormalization,
    "concatenate": Concatenate,
    "conv2d": Conv2D,
    "dense": Dense,
    "depthwise_conv2d": DepthwiseConv2D,
    "dropout": Dropout,
    "flatten": Flatten,
    "global_average_pooling2d": GlobalAveragePooling2D,
    "global_max_pooling2d": GlobalMaxPooling2D,
    "max_pooling2d": MaxPooling2D,
    "relu": ReLU,
    "spatial_dropout2d": SpatialDropout2D,
    "zero_padding2d": ZeroPadding2D,
}


def deserialize(class_name: str, config: Mapping[str, Any]) -> Layer:
    """The layer that Keras 2, tf-keras, Keras 3 or tlcore wrote as `class_name` and `config`.

    Raises:
        ValueError: a class or an argument that tlcore does not have; the message names both.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"The configuration of a {class_name} layer must be a dict.")
    layer = _classes.get(class_name)
    if layer is None:
        allowed = ", ".join(sorted(_classes))
        raise ValueError(
            f"tlcore has no layer {class_name!r} (layer {config.get('name')!r}); it has {allowed}."
        )
    return layer.from_config(config)


def _shortest(value: Any) -> Any:
    """A float32 of the core as the decimal number that was meant: 0.001, not 0.0010000000475."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def from_nodes(nodes: Sequence[_core.Node]) -> tuple[list[Layer], dict[str, list[str]]]:
    """The layers that a core graph's nodes stand for, and what each of them takes.

    Args:
        nodes: `graph.nodes`, of one node a layer or a second one called "<layer>/activation".

    Returns:
        The layers in the nodes' order, and by name the names of the layers that feed each.
    """
    layers: list[Layer] = []
    inbound: dict[str, list[str]] = {}
    owners: list[str] = []  # for each node the name of its layer
    for node in nodes:
        name = node["name"]
        if node["op"] == "input":
            layer: Layer = InputLayer(node["output_shape"])
        elif name.endswith("/activation"):
            # the second half of a layer such as Dense(activation="softmax")
            owner = layers[-1]
            assert isinstance(owner, (Dense, Conv2D, DepthwiseConv2D))
            owner.activation = node["attributes"]["function"]
            owners.append(owner.name)
            continue
        else:
            op = node["op"]
            arguments = {key: _shortest(value) for key, value in node["attributes"].items()}
            if "function" in arguments:
                arguments["activation"] = arguments.pop("function")
            # Keras's applications leave the naming of their poolings to the counter
            given = None if op.startswith("global_") else name
            layer = _ops[op](name=given, **arguments)
        inbound[layer.name] = [owners[i] for i in node["inputs"]]
        owners.append(layer.name)
        layers.append(layer)
    return layers, inbound
