"""One picture in, class names out: what `predict_image` needs around `predict`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_picture(
    path: str | os.PathLike[str], reader: Mapping[str, Any], input_shape: Sequence[int | None]
) -> NDArray[np.float32]:
    """The pixels (height, width, channels) as the iterator that `reader` describes gives them.

    Raises ValueError, before a picture is made, if that is not what `input_shape` asks for.
    """
    size = tuple(reader["target_size"])
    if any(want not in (None, got) for want, got in zip(input_shape[:2], size, strict=True)):
        raise ValueError(
            f"The model's pictures were read with target_size={size}, and its input has the shape "
            f"{tuple(input_shape)}; set model.reader."
        )
    from tlcore.preprocessing.image import img_to_array, load_img

    pixels = img_to_array(
        load_img(
            path,
            color_mode=reader["color_mode"],
            target_size=size,
            interpolation=reader["interpolation"],
            keep_aspect_ratio=bool(reader.get("keep_aspect_ratio", False)),
            exif=bool(reader.get("exif", False)),
        )
    )
    preprocessing = reader.get("preprocessing")
    if preprocessing == "mobilenet_v2":
        from tlcore.applications.mobilenet_v2 import preprocess_input

        pixels = preprocess_input(pixels)
    elif preprocessing is not None:
        raise ValueError(
            f"The model's pictures were read with preprocessing={preprocessing!r}, which tlcore "
            "does not know; only 'mobilenet_v2' works."
        )
    if reader.get("rescale"):
        pixels = pixels * np.float32(reader["rescale"])
    return np.asarray(pixels, dtype=np.float32)


def label_scores(
    outputs: NDArray[np.float32], class_indices: Mapping[str, int], top: int | None
) -> dict[str, float]:
    """Class name -> score, best first. One output scores the second of two classes."""
    scores = outputs.reshape(-1)
    if len(scores) == 1 and len(class_indices) == 2:
        scores = np.array([1.0 - scores[0], scores[0]], dtype=np.float32)
    if len(scores) != len(class_indices):
        raise ValueError(
            f"The model has {len(scores)} outputs but {len(class_indices)} class names "
            f"({', '.join(class_indices)})."
        )
    ranked = sorted(class_indices, key=lambda name: -scores[class_indices[name]])
    return {name: float(scores[class_indices[name]]) for name in ranked[:top]}
