"""Folders of pictures: drawn on the spot to try things on, and checked before training."""

from tlcore.datasets._check import check
from tlcore.datasets._report import Report
from tlcore.datasets._sports import draw_sports

__all__ = ["Report", "check", "draw_sports"]
