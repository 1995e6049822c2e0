"""The public home of ``CloudCompute``."""

from lightning.app.core.compute import CloudCompute

__all__ = ["CloudCompute"]
