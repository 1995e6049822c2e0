"""Points in a run's past, as users name them: a turn's number, a time, or how long ago. And times as they read them.

Times without a zone are those of this machine's clock on the wall.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import date, datetime

from lightning.app.errors import UsageError

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_SPAN = re.compile(
    r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|d|w|sec|second|min|minute|hour|day|week)s?(?:\s+ago)?\s*", re.IGNORECASE
)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")


@dataclass(frozen=True)
class Moment:
    """Either the turn with a number, or the last one until a time."""

    turn: int | None = None
    at: float | None = None


def moment(text: str, now: float | None = None) -> Moment:
    """
    >>> moment("1200")
    Moment(turn=1200, at=None)
    >>> moment("10m ago", now=1000.0)
    Moment(turn=None, at=400.0)
    """
    if text.isascii() and text.strip().isdigit():
        return Moment(turn=int(text))
    return Moment(at=instant(text, now))


def instant(text: str, now: float | None = None) -> float:
    """Seconds since 1970 of ``2026-11-21 06:15``, ``06:15``, ``10m ago`` or ``2h``."""
    now = time.time() if now is None else now
    words = text.strip()
    if words.lower() == "now":
        return now
    if span := _SPAN.fullmatch(words):
        return now - float(span[1]) * _UNITS[span[2][0].lower()]
    if _CLOCK.fullmatch(words):
        words = f"{date.fromtimestamp(now).isoformat()} {words.zfill(5 if words.count(':') == 1 else 8)}"
    try:
        return datetime.fromisoformat(words).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{text!r} is no point of a run: name a turn by its number (1200), a time (2026-11-21T06:15:30, "
            "or 06:15 for today's) or how long ago (10m ago, 2h ago, 3d ago)"
        ) from None


def local(at: float) -> str:
    """A time for reading: this machine's zone, to the millisecond."""
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "milliseconds")
