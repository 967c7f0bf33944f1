"""Features of pictures, by which those are found alike that look alike to a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tlcore.weights import local_imagenet_path, search_folders

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tlcore.models import Model

_ROWS = 224
# Widest first, but none above the widths that the default of `similarity` was measured with.
_ALPHAS = (1.0, 0.75, 0.5, 0.35)


class Extractor:
    """Rows of features, of length 1, from pictures as uint8 in the shape `shape`."""

    def __init__(self, features: Any) -> None:
        """`features`: a model, or True for MobileNetV2 with ImageNet weights that are there."""
        self._model = _imagenet() if features is True else _model(features)
        self._range = _range(self._model)
        self.shape = _shape(self._model)

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        lowest, highest = self._range
        x = np.stack(pictures).astype(np.float32)
        x *= np.float32((highest - lowest) / 255)
        x += np.float32(lowest)
        rows: NDArray[np.float32] = self._model.predict(x, verbose=0)
        if rows.ndim == 4:
            rows = rows.mean(axis=(1, 2))
        rows = rows.reshape(len(rows), -1)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return rows


def _imagenet() -> Model:
    from tlcore.applications import MobileNetV2

    for alpha in _ALPHAS:
        path = local_imagenet_path(alpha, _ROWS, False)
        if path is not None:
            model = MobileNetV2((_ROWS, _ROWS, 3), alpha, False, path, pooling="avg")
            model.input_range = (-1.0, 1.0)
            return model
    folders = ", ".join(str(folder) for folder in search_folders())
    raise FileNotFoundError(
        "check: features=True needs ImageNet weights of MobileNetV2 without top for 224 rows, "
        f"which are in none of the folders {folders}, and check downloads nothing. "
        "tlcore.applications.MobileNetV2((224, 224, 3), include_top=False) does, or pass a model."
    )


def _model(features: Any) -> Model:
    from tlcore.models import Model

    if not isinstance(features, Model):
        raise TypeError(
            "check: features must be None, True or a tlcore model from pictures to features, got "
            f"{type(features).__name__}."
        )
    return features


def _shape(model: Model) -> tuple[int, int, int]:
    shape = model.input_shape
    if shape is None or len(shape) != 4 or shape[3] not in (1, 3):
        raise ValueError(
            "check: features must be a model of pictures (batch, height, width, 1 or 3), but its "
            f"input_shape is {shape}."
        )
    return shape[1] or _ROWS, shape[2] or _ROWS, shape[3]


def _range(model: Model) -> tuple[float, float]:
    if model.input_range is None:
        raise ValueError(
            "check: features is a model whose input_range is not set: say what pixels it takes, "
            "such as model.input_range = (-1, 1) for ImageNet weights."
        )
    return model.input_range
