"""What an engine is: it places processes, and nothing else.

The runtime asks an engine for a worker; the engine answers through ``report`` what became of it. State,
calls and results go over the worker's channel, which looks the same wherever the worker is. Nothing here
blocks, and ``report`` is only ever called from ``Engine.ready`` or ``Engine.start`` on the runtime's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lightning.app.engines.channel import Channel

ASKED = "the work asks for it"
"""Why a method was chosen that is nobody's else idea."""


@dataclass(frozen=True)
class Placement:
    """Where and how a worker should live."""

    work: str  # "root.train"
    generation: int
    start_method: str | None = None  # "fork", "spawn", None: the engine chooses
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Started:
    """The worker's process exists."""

    work: str
    generation: int
    pid: int
    method: str  # "fork", "spawn", "inline"
    why: str = ""  # why that method, for the log


@dataclass(frozen=True)
class Exited:
    """The worker's process is gone and its output has been carried to the end.

    ``reason`` is empty after exit code 0, else "exit code 3", "killed by SIGSEGV (segmentation fault)".
    """

    work: str
    generation: int
    reason: str


Report = Callable[[Started | Exited], None]


class Worker(Protocol):
    """One running work, seen from outside. Nothing here blocks."""

    @property
    def channel(self) -> Channel: ...

    def stop(self, grace: float) -> None:
        """Ask it to end (SIGTERM to its group); after ``grace`` seconds end it (SIGKILL to the group)."""


class Engine(Protocol):
    """A place where works live."""

    def start(self, placement: Placement) -> Worker: ...

    def filenos(self) -> list[int]:
        """Descriptors to wait on; when one is readable the runtime calls ``ready``."""

    def ready(self) -> None:
        """Take in what has happened and ``report`` it."""

    def close(self, grace: float) -> None:
        """End every worker and everything they started, then return. May wait up to ``grace`` and a little."""
