"""Keras's own iterators."""

from __future__ import annotations

import os
from functools import partial

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
from keras.src.legacy.preprocessing import image
from pictures import SETTINGS, flow, serve, walk


def prepare(setting: str) -> object:
    return partial(walk, flow(image, setting))


serve(f"Keras {keras.__version__}", {name: partial(prepare, name) for name in SETTINGS})
