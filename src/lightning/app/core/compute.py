"""What a work asks of a machine, in words: immutable values that a user writes, compares and keeps in state.

Words become numbers in ``resources``, when the configuration is known: it may define names of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, fields, replace
from os import PathLike, fspath
from os.path import abspath
from typing import Any

from lightning.app.config import KINDS, Config, Resources, guess
from lightning.app.core.options import checks_options
from lightning.app.errors import UsageError
from lightning.app.kernel import values

_GB = 1000**3

MACHINES = {
    "default": Resources(cpus=1, memory=4 * _GB),
    "cpu": Resources(cpus=2, memory=8 * _GB),
    "cpu-small": Resources(cpus=2, memory=8 * _GB),
    "cpu-medium": Resources(cpus=8, memory=32 * _GB),
    "gpu": Resources(cpus=4, gpus=1, memory=16 * _GB),
    "gpu-fast": Resources(cpus=8, gpus=1, memory=60 * _GB),
    "gpu-fast-multi": Resources(cpus=32, gpus=4, memory=240 * _GB),
}
"""The names that mean the same everywhere, and at least so much."""

_INSTANCE = (
    r"[a-z][a-z0-9-]*\.(?:nano|micro|small|medium|\d*x?large|metal[a-z0-9-]*)"  # p3.2xlarge
    r"|[a-z]{1,3}\d+[a-z]{0,3}-[a-z]+(?:-[0-9a-z]+)*"  # n1-standard-4
    r"|(?:Standard|Basic)_[A-Z][A-Za-z0-9_-]*"  # Standard_NC6
)
_WITH_GPU = r"[pg]\d\w*\.|[ag]\d-|Standard_N"
"""Their families of machines with GPUs. How many a machine has, only its cloud knows: ``gpus=`` says it."""


@checks_options("a CloudCompute")
@dataclass(frozen=True, repr=False)
class CloudCompute:
    """The machine a work wants.

    >>> CloudCompute("gpu", disk_size=50)
    CloudCompute('gpu', disk_size=50)
    >>> CloudCompute(cpus=4, memory="16GB") == CloudCompute(cpus=4, memory="16GB")
    True

    ``disk_size`` is in gigabytes, ``shm_size`` in mebibytes, times are in seconds; ``memory`` is in
    gigabytes or says its unit. ``clouds`` and ``clusters`` are a name or a list, tried in order.
    """

    name: str = "default"
    disk_size: int = 0
    idle_timeout: float | None = None
    wait_timeout: float | None = None
    spot: bool = False
    interruptible: bool = False
    shm_size: int | None = None
    mounts: Any = None
    colocation_group_id: str | None = None
    clouds: Iterable[str] | None = None
    clusters: Iterable[str] | None = None
    _: KW_ONLY
    cpus: float | None = None
    gpus: int | None = None
    memory: float | str | None = None
    accelerator: str | None = None

    def __post_init__(self) -> None:
        _require(self, "name", _is_text(self.name), "a name such as 'gpu' or 'p3.2xlarge'")
        _require(self, "disk_size", _is_count(self.disk_size), "gigabytes, a whole number")
        for name in ("idle_timeout", "wait_timeout"):
            given = getattr(self, name)
            _require(self, name, given is None or _is_time(given), "seconds, 0 or more, or None")
        for name in ("spot", "interruptible"):
            _require(self, name, isinstance(getattr(self, name), bool), "True or False")
        size = self.shm_size
        _require(self, "shm_size", size is None or (_is_count(size) and size > 0), "mebibytes, above 0")
        group = self.colocation_group_id
        _require(self, "colocation_group_id", group is None or _is_text(group), "a name, or None")
        for name in ("clouds", "clusters"):
            names = _several(getattr(self, name))
            fits = names is None or (names != () and all(_is_text(each) for each in names))
            _require(self, name, fits, "a cluster's name, or a list of names in the order to try")
            object.__setattr__(self, name, names)
        mounts = _several(self.mounts)
        fits = mounts is None or all(hasattr(each, "mount_path") for each in mounts)
        _require(self, "mounts", fits, "a Mount, or a list of them")
        paths = [abspath(each.mount_path) for each in mounts or ()]
        _require(self, "mounts", len(paths) == len({*paths}), "mounts of different mount_paths")
        object.__setattr__(self, "mounts", mounts)
        for name, check in KINDS.items():
            if getattr(self, name) is not None:
                check(getattr(self, name), f"CloudCompute({name}=...)")

    def __repr__(self) -> str:
        return _repr(self)


@checks_options("a BuildConfig")
@dataclass(frozen=True, repr=False)
class BuildConfig:
    """What a work's machine needs installed: a list of requirements, and a Dockerfile or an image.

    >>> BuildConfig(["torch>=2.6"], image="python:3.12")
    BuildConfig(requirements=('torch>=2.6',), image='python:3.12')
    """

    requirements: Iterable[str] = ()
    dockerfile: str | PathLike[str] | None = None
    image: str | None = None

    def __post_init__(self) -> None:
        listed = isinstance(self.requirements, list | tuple)
        fits = listed and all(_is_text(each) for each in self.requirements)
        _require(self, "requirements", fits, "a list such as ['torch>=2.6']")
        object.__setattr__(self, "requirements", tuple(self.requirements))
        file = self.dockerfile
        fits = file is None or isinstance(file, PathLike) or _is_text(file)
        _require(self, "dockerfile", fits, "the path of a Dockerfile, or None")
        object.__setattr__(self, "dockerfile", None if file is None else fspath(file))
        _require(self, "image", self.image is None or _is_text(self.image), "an image's name, or None")
        _require(self, "image", self.image is None or file is None, "None where a dockerfile is given")

    def __repr__(self) -> str:
        return _repr(self)


def resources(compute: CloudCompute, config: Config) -> Resources:
    """What ``compute`` amounts to: its name's meaning, with what it says itself laid over it."""
    name = compute.name
    meant = config.compute.get(name) or MACHINES.get(name)
    if meant is None:
        if not re.fullmatch(_INSTANCE, name):
            known = [*MACHINES, *config.compute]
            raise UsageError(
                f"CloudCompute({name!r}): there is no machine of that name{guess(name, known)}; it can be "
                f"{', '.join(known)}, a cloud's own name such as 'p3.2xlarge', 'n1-standard-4' or "
                f"'Standard_NC6', or one that you define as [compute.{name}] in lightning.toml"
            )
        meant = Resources(gpus=1 if re.match(_WITH_GPU, name) else 0)
    said = {
        kind: check(getattr(compute, kind), kind)
        for kind, check in KINDS.items()
        if getattr(compute, kind) is not None
    }
    if "accelerator" in said and "gpus" not in said:
        said["gpus"] = max(meant.gpus, 1)
    return replace(meant, **said)


def _require(compute: CloudCompute | BuildConfig, name: str, fits: bool, allowed: str) -> None:
    if not fits:
        given = getattr(compute, name)
        raise UsageError(f"{type(compute).__name__}({name}={given!r}): {name} must be {allowed}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _several(value: Any) -> tuple[Any, ...] | None:
    if value is None:
        return None
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _said(compute: CloudCompute | BuildConfig) -> dict[str, Any]:
    """The arguments that differ from what they are by default: enough to make it again."""
    given = {each.name: getattr(compute, each.name) for each in fields(compute)}
    return {each.name: given[each.name] for each in fields(compute) if given[each.name] != each.default}


def _repr(compute: CloudCompute | BuildConfig) -> str:
    said = _said(compute)
    first = [repr(said.pop("name"))] if "name" in said else []
    return f"{type(compute).__name__}({', '.join(first + [f'{key}={said[key]!r}' for key in said])})"


values.register("compute", CloudCompute, _said, lambda said: CloudCompute(**said))
values.register("build", BuildConfig, _said, lambda said: BuildConfig(**said))
