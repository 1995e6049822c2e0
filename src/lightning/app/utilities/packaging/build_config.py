"""The public home of ``BuildConfig``."""

from lightning.app.core.compute import BuildConfig

__all__ = ["BuildConfig"]
