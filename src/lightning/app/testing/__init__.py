"""Testing apps: in the test's own process with a clock turned by hand, or as real processes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.app.testing.harness import Harness, crash
    from lightning.app.testing.terminal import Terminal

__all__ = ["Harness", "Terminal", "crash"]

_HOMES = {"Harness": "harness", "Terminal": "terminal", "crash": "harness"}


def __getattr__(name: str) -> Any:
    # Looked up late: every pytest session imports this package for its plugin.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
