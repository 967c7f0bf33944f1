"""Networks with weights trained on ImageNet."""

from __future__ import annotations

from tlcore.applications import mobilenet_v2
from tlcore.applications.mobilenet_v2 import MobileNetV2

__all__ = ["MobileNetV2", "mobilenet_v2"]
