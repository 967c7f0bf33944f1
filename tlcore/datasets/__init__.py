"""Pictures to try things on, drawn on the spot: nothing is downloaded."""

from tlcore.datasets._sports import draw_sports

__all__ = ["draw_sports"]
