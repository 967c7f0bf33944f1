"""The few functions of `keras.backend` that a transfer-learning program calls."""

from __future__ import annotations

from tlcore.utils import naming

__all__ = ["clear_session", "epsilon", "floatx", "image_data_format"]


def clear_session() -> None:
    """Count the automatic names of layers and models (`dense`, `dense_1`, ...) from the start.

    There is nothing else to clear: tlcore has no global graph.
    """
    naming.reset_uids()


def epsilon() -> float:
    """The fuzz factor of losses and optimizers, 1e-7."""
    return 1e-7


def floatx() -> str:
    """The type of weights and activations, "float32"."""
    return "float32"


def image_data_format() -> str:
    """The order of a picture's axes, "channels_last"."""
    return "channels_last"
