"""What `tensorflow` is under the aliases: `keras`, `lite` and a version."""

from __future__ import annotations

from tlcore import __version__ as __version__
from tlcore._lazy import lazy_names

__all__ = ["keras", "lite"]  # noqa: F822

__getattr__, __dir__ = lazy_names("tlcore", dict.fromkeys(__all__))
