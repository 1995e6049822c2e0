"""What an app is made of. Every public name is imported when it is first asked for.

So ``import lightning.app`` costs next to nothing, and ``lightning --help`` loads no more than it shows.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import lightning.app.startup  # noqa: F401 - before anything else of an app's file

if TYPE_CHECKING:
    from lightning.app.core.app import LightningApp
    from lightning.app.core.arguments import Keyed
    from lightning.app.core.compute import BuildConfig, CloudCompute
    from lightning.app.core.flow import LightningFlow
    from lightning.app.core.work import LightningWork
    from lightning.app.progress_bar import progress

__version__ = "0.1.0"

__all__ = [
    "BuildConfig",
    "CloudCompute",
    "Keyed",
    "LightningApp",
    "LightningFlow",
    "LightningWork",
    "progress",
]

_HOMES = {
    "BuildConfig": "lightning.app.core.compute",
    "CloudCompute": "lightning.app.core.compute",
    "Keyed": "lightning.app.core.arguments",
    "LightningApp": "lightning.app.core.app",
    "LightningFlow": "lightning.app.core.flow",
    "LightningWork": "lightning.app.core.work",
    "progress": "lightning.app.progress_bar",
}


def __getattr__(name: str) -> Any:
    if home := _HOMES.get(name):
        # Kept here: looked up once.
        value = globals()[name] = getattr(import_module(home), name)
        return value
    room = f"lightning.app.{name}"
    if not name.startswith("_"):
        try:
            return import_module(room)
        except ModuleNotFoundError as error:
            if error.name != room:
                raise
    raise AttributeError(f"module 'lightning.app' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _share_names() -> None:
    """Make ``L.LightningWork`` work whoever wrote ``lightning/__init__.py``.

    PyPI's ``lightning`` owns that file when it was installed after this distribution. Its module knows
    nothing of apps, so it learns to ask here for what it does not have.
    """
    package = sys.modules["lightning"]
    if not hasattr(package, "__getattr__"):
        package.__getattr__ = __getattr__  # type: ignore[method-assign]


_share_names()
