"""Time, passed in. The runtime asks a clock; tests turn one by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since the epoch, for schedules and the journal."""

    def monotonic(self) -> float:
        """Seconds from anywhere, for intervals."""


class SystemClock:
    """The machine's."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class VirtualClock:
    """Stands still until it is moved.

    >>> clock = VirtualClock(1000.0)
    >>> clock.advance(hours=1)
    >>> clock.now()
    4600.0
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._monotonic = 0.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(
        self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0
    ) -> None:
        """Let time go by."""
        passed = seconds + 60 * (minutes + 60 * (hours + 24 * days))
        self._now += passed
        self._monotonic += passed

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as a person or a time server does; intervals do not notice."""
        self._now += seconds
