"""Big things: they stay where they are made, and are passed by pointer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.app.storage.drive import Drive
    from lightning.app.storage.mount import Mount
    from lightning.app.storage.path import Path
    from lightning.app.storage.payload import Payload

__all__ = ["Drive", "Mount", "Path", "Payload"]

_PLACES = {name: f"lightning.app.storage.{name.lower()}" for name in __all__}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
