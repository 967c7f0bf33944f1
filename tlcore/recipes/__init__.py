"""Whole ways to train, each one call: a linear probe, a sweep of learning rates, fine-tuning.

    probe = recipes.linear_probe(base, train, validation_data=valid)
    probe.model.predict(...)

Each returns a `History` and prints in a line or two what it did.
"""

from tlcore.recipes._fine_tune import FineTuneHistory, fine_tune
from tlcore.recipes._learning_rate import LearningRateHistory, find_learning_rate
from tlcore.recipes._probe import ProbeHistory, linear_probe

__all__ = [
    "FineTuneHistory",
    "LearningRateHistory",
    "ProbeHistory",
    "find_learning_rate",
    "fine_tune",
    "linear_probe",
]
