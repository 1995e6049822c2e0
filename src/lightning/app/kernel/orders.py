"""What the kernel wants done. The shell performs orders in this sequence, after the turn is committed."""

from __future__ import annotations

from dataclasses import dataclass

from lightning.app.kernel.facts import Failure
from lightning.app.kernel.messages import Message


@dataclass(frozen=True, slots=True)
class Place:
    """Start a process for the work and give it its object: its state is what it is when this is performed."""

    path: str
    incarnation: int
    devices: tuple[int, ...]
    cpu_only_notice: bool = False  # GPUs were asked for and this machine has none


@dataclass(frozen=True, slots=True)
class Send:
    path: str
    message: Message


@dataclass(frozen=True, slots=True)
class StopWorker:
    path: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Say this in the log, in the work's name."""

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class EndApp:
    """Stop everything and exit with ``code``. ``failure`` is printed, once, when there is one."""

    code: int
    reason: str
    message: str = ""
    work: str = ""
    failure: Failure | None = None


Order = Place | Send | StopWorker | Notice | EndApp
