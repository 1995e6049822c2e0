"""Lets the predecessor run the very app files that this project runs: there ``lightning`` had these names."""

from lightning_app import LightningApp, LightningFlow, LightningWork

__all__ = ["LightningApp", "LightningFlow", "LightningWork"]
