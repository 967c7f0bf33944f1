"""MobileNetV2 (Sandler et al., CVPR 2018, arXiv:1801.04381) and what goes with its weights.

The architecture is a table in the C core; this file turns its nodes into layers.
"""

from __future__ import annotations

import numbers
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlcore import _core
from tlcore import weights as store
from tlcore.layers.serialization import from_nodes
from tlcore.models import Functional, Model
from tlcore.utils.notes import note

__all__ = ["MobileNetV2", "decode_predictions", "preprocess_input"]

_SMALLEST = 32

# Names of Keras's ImageNet files; they were trained on pixels from -1 to 1.
_IMAGENET_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels"


def MobileNetV2(
    input_shape: tuple[int, int, int] | None = None,
    alpha: float = 1.0,
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = "imagenet",
    input_tensor: None = None,
    pooling: Literal["avg", "max"] | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
) -> Functional:
    """MobileNetV2 as Keras builds it: the same layers, names and weights.

    Args:
        input_shape: (height, width, channels), at least 32 x 32; None means (224, 224, 3).
        alpha: width of the network, above 0; ImageNet weights exist for 0.35, 0.5, 0.75, 1.0,
            1.3 and 1.4.
        include_top: whether the classifier stands on top.
        weights: "imagenet", None for random ones, or the path of an .h5 file.
        input_tensor: not there; only None.
        pooling: without top: None for feature maps, "avg" or "max" for vectors.
        classes: size of the classifier; 1000 with ImageNet weights.
        classifier_activation: of the classifier: "softmax", None (logits), "sigmoid" or "relu";
            with weights only the first two.
        name: name of the model; None makes one of alpha and the size of the pictures.

    Returns:
        A model from float32 pictures (batch, height, width, channels), from -1 to 1 for ImageNet
        weights (`preprocess_input`), to (batch, height / 32, width / 32, last channels) without
        top, (batch, last channels) with pooling, (batch, classes) with top.

    Raises:
        ValueError: an argument that is not allowed; a weights file that does not fit.
        FileNotFoundError: ImageNet weights that are nowhere and cannot be downloaded.

    Source: `keras.applications.MobileNetV2`.
    """
    if input_tensor is not None:
        raise ValueError(
            "MobileNetV2: input_tensor must be None; give input_shape and put the model into a "
            "tlcore.Sequential."
        )
    imagenet = isinstance(weights, str) and weights == "imagenet"
    if weights is not None and not imagenet:
        _check_path(weights)
    if not isinstance(include_top, (bool, np.bool_)):
        raise ValueError(f"MobileNetV2: include_top must be True or False, got {include_top!r}.")
    if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real) or not 0 < alpha <= 16:
        raise ValueError(f"MobileNetV2: alpha must be a number above 0, got {alpha!r}.")
    if imagenet and alpha not in store.ALPHAS:
        raise ValueError(
            "MobileNetV2: alpha must be one of "
            f"{', '.join(str(a) for a in store.ALPHAS)} with weights='imagenet', got {alpha!r}."
        )
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"MobileNetV2: pooling must be None, 'avg' or 'max', got {pooling!r}.")
    activation = _check_top(include_top, weights, classes, classifier_activation)
    shape = _input_shape(input_shape, include_top, imagenet)

    rows = shape[0]
    if imagenet and (shape[0] != shape[1] or rows not in store.ROWS):
        rows = 224
        note(
            f"there are no ImageNet weights for pictures of {shape[0]} x {shape[1]}; "
            "MobileNetV2 takes those of 224 x 224.",
            key=("MobileNetV2 rows", shape),
        )
    graph = _core.mobilenet_v2(
        input_shape=shape,
        alpha=float(alpha),
        include_top=bool(include_top),
        pooling=pooling,
        classes=classes,
        classifier_activation=activation,
    )
    layers, inbound = from_nodes(graph.nodes)
    model = Model.from_layers(
        name if name is not None else f"mobilenetv2_{alpha:0.2f}_{rows}",
        layers,
        inbound,
        [layers[0].name],
        [layers[-1].name],
    )
    if weights is not None:
        path = (
            store.imagenet_path(float(alpha), rows, bool(include_top))
            if imagenet
            else Path(os.path.expanduser(weights))
        )
        store.load_into(model, path)
        if imagenet or path.name.startswith(_IMAGENET_FILE):
            model.input_range = (-1.0, 1.0)
    return model


def _check_path(weights: object) -> None:
    if not isinstance(weights, (str, os.PathLike)) or not os.path.exists(
        os.path.expanduser(weights)
    ):
        raise ValueError(
            "MobileNetV2: weights must be None, 'imagenet' or the path of an existing file, "
            f"got {os.fspath(weights) if isinstance(weights, os.PathLike) else weights!r}."
        )


def _check_top(
    include_top: bool, weights: object, classes: object, activation: object
) -> Literal["softmax", "sigmoid", "relu"] | None:
    """The classifier's activation, None for none."""
    if not include_top:
        return None
    if isinstance(classes, bool) or not isinstance(classes, numbers.Integral) or classes < 1:
        raise ValueError(
            f"MobileNetV2: classes must be a whole number of at least 1, got {classes!r}."
        )
    if weights == "imagenet" and classes != 1000:
        raise ValueError(
            "MobileNetV2: classes must be 1000 with weights='imagenet' and include_top=True, "
            f"got {classes!r}."
        )
    if activation in (None, "linear"):
        return None
    if activation == "softmax":
        return "softmax"
    if weights is not None:
        raise ValueError(
            "MobileNetV2: classifier_activation must be 'softmax' or None with weights, "
            f"got {activation!r}."
        )
    if activation == "sigmoid":
        return "sigmoid"
    if activation == "relu":
        return "relu"
    raise ValueError(
        "MobileNetV2: classifier_activation must be None, 'softmax', 'sigmoid' or 'relu', "
        f"got {activation!r}."
    )


def _input_shape(given: Any, include_top: bool, imagenet: bool) -> tuple[int, int, int]:
    """(height, width, channels), checked as Keras checks it."""
    if given is None:
        if not include_top:
            note(
                "MobileNetV2 without input_shape takes pictures of 224 x 224 x 3; "
                "give input_shape for another size.",
                key="MobileNetV2 input_shape",
            )
        return 224, 224, 3
    if (
        not isinstance(given, (list, tuple))
        or len(given) != 3
        or any(isinstance(n, bool) or not isinstance(n, numbers.Integral) for n in given)
    ):
        raise ValueError(
            "MobileNetV2: input_shape must be three whole numbers (height, width, channels), "
            f"got {given!r}."
        )
    height, width, channels = (int(n) for n in given)
    if height < _SMALLEST or width < _SMALLEST:
        raise ValueError(
            f"MobileNetV2: input_shape must be at least {_SMALLEST} x {_SMALLEST}, got {given!r}."
        )
    if channels < 1 or (imagenet and channels != 3):
        allowed = "3 channels with weights='imagenet'" if imagenet else "at least 1 channel"
        raise ValueError(f"MobileNetV2: input_shape must have {allowed}, got {given!r}.")
    if imagenet and include_top and (height != width or height not in store.ROWS):
        raise ValueError(
            "MobileNetV2: input_shape must be square, with weights='imagenet' and "
            f"include_top=True of {', '.join(str(n) for n in store.ROWS)}, got {given!r}."
        )
    return height, width, channels


def preprocess_input(x: Any, data_format: str | None = None) -> NDArray[Any]:
    """Pixels from 0 to 255 into -1 to 1: x / 127.5 - 1.

    Args:
        x: pixels of any shape. A float array is changed in place, as in Keras; whole numbers are
            cast to float32 first.
        data_format: None, "channels_last" or "channels_first"; all give the same.

    Returns:
        `x` itself if it is a float array, a new float32 array otherwise.

    Raises:
        ValueError: another data_format, or a float array that cannot be written to.

    Source: `keras.applications.mobilenet_v2.preprocess_input`.
    """
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(
            "preprocess_input: data_format must be None, 'channels_last' or 'channels_first', "
            f"got {data_format!r}."
        )
    pixels: NDArray[Any] = x if isinstance(x, np.ndarray) else np.array(x)
    if not issubclass(pixels.dtype.type, np.floating):
        pixels = pixels.astype(np.float32, copy=False)
    pixels /= 127.5
    pixels -= 1.0
    return pixels


def decode_predictions(preds: Any, top: int = 5) -> list[list[tuple[str, str, Any]]]:
    """The most likely ImageNet classes for each row of scores.

    Args:
        preds: (batch, 1000) scores.
        top: how many classes to give.

    Returns:
        For each row a list of (WordNet id, name, score), best first.

    Raises:
        ValueError: `preds` has another shape, or `top` is below 1.
        FileNotFoundError: the class names are nowhere and cannot be downloaded.

    Source: `keras.applications.mobilenet_v2.decode_predictions`.
    """
    scores = np.asarray(preds)
    if scores.ndim != 2 or scores.shape[1] != 1000:
        raise ValueError(
            f"decode_predictions: preds must have the shape (batch, 1000), got {scores.shape}."
        )
    if isinstance(top, bool) or not isinstance(top, numbers.Integral) or top < 1:
        raise ValueError(
            f"decode_predictions: top must be a whole number of at least 1, got {top!r}."
        )
    index = store.class_index()
    results = []
    for row in scores:
        best = row.argsort()[-top:][::-1]
        found = [(index[str(i)][0], index[str(i)][1], row[i]) for i in best]
        results.append(sorted(found, key=lambda item: item[2], reverse=True))
    return results
