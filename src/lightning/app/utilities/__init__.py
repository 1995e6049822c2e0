"""Modules that keep their public names. What they name lives elsewhere."""
