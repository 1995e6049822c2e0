"""``import lightning as L``: the names of ``lightning.app``, and training names of PyTorch Lightning.

The distribution named ``lightning`` on PyPI has a file of this name too, and whichever was installed last
owns it. So nothing but names is here, and nothing is imported before it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader

    from lightning.app import (
        BuildConfig,
        CloudCompute,
        Keyed,
        LightningApp,
        LightningFlow,
        LightningWork,
        progress,
    )
else:
    Loader = object  # its module would take ten times as long to import as this one

__all__ = [
    "BuildConfig",
    "CloudCompute",
    "Keyed",
    "LightningApp",
    "LightningFlow",
    "LightningWork",
    "progress",
]

_MAKERS = {"lightning.pytorch": "pytorch_lightning", "lightning.fabric": "lightning_fabric"}
_TRAINING = {
    "Callback": "lightning.pytorch",
    "Fabric": "lightning.fabric",
    "LightningDataModule": "lightning.pytorch",
    "LightningModule": "lightning.pytorch",
    "Trainer": "lightning.pytorch",
    "seed_everything": "lightning.pytorch",
}


class _TrainingFinder(Loader):
    """Makes ``import lightning.pytorch.callbacks`` give the very module ``pytorch_lightning.callbacks``.

    It stands before the path finder, which would load the same file a second time under the other name.
    Where ``lightning/pytorch`` is really there, by the distribution ``lightning``, it steps aside.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(("lightning.pytorch", "lightning.fabric")):
            return None
        package = ".".join(name.split(".")[:2])
        maker = _MAKERS.get(package)
        if maker is None or getattr(sys.modules.get(package), "__name__", maker) == package:
            return None
        if name == package:
            if there := PathFinder.find_spec(name, path, target):
                return there
            if find_spec(maker) is None:
                remedy = "pip install 'lightning-apps[train]'"
                raise ModuleNotFoundError(f"{name} comes with PyTorch Lightning: {remedy}", name=name)
        return ModuleSpec(name, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        package = ".".join(spec.name.split(".")[:2])
        module = import_module(_MAKERS[package] + spec.name.removeprefix(package))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run already, under its own name, and keeps its own spec."""
        alias = module.__spec__
        assert alias is not None
        module.__spec__ = alias.loader_state


sys.meta_path.insert(0, _TrainingFinder())


def __getattr__(name: str) -> Any:
    if home := _TRAINING.get(name):
        return getattr(import_module(home), name)
    if f"lightning.{name}" in _MAKERS:
        return import_module(f"lightning.{name}")
    value = getattr(import_module("lightning.app"), name)
    return globals().setdefault(name, value)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "app"})
