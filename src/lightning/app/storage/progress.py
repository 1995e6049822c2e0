"""Telling how far a transfer is, where it takes longer than a second: a line now and then, and events.

The lines are for whoever looks at the terminal: standard error, which the runtime relays for works. The events are
for whoever listens in this process; a work's host sends them on.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from lightning.app.storage.home import component

if TYPE_CHECKING:
    from lightning.app.storage.stores.store import Progress

QUIET = 1.0
"""Seconds that something may take without a word."""

_EVERY = 2.0  # seconds between two lines, at first
_SELDOM = 30.0  # and at last
_EVENTS_EVERY = 0.5


class Event(NamedTuple):
    """How far a transfer is."""

    component: str  # whose code waits for it
    what: str  # "lit://data model.pt from root.train"
    done: int  # bytes
    total: int | None  # None: not known
    began: float  # seconds since 1970
    ended: float | None = None  # with this one it is over


listener: Callable[[Event], None] | None = None
"""Told of each transfer that takes longer than a second, from whichever thread moves the bytes."""


class _Transfer:
    """One transfer, and when it was last spoken of."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began, self._start = time.time(), time.monotonic()
        self._done = 0
        self._total: int | None = None
        self._line_due = self._event_due = self._start + QUIET
        self._spoken = False
        self._lock = threading.Lock()

    def progress(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        with self._lock:
            self._done, self._total = done, total
            if now < self._event_due and now < self._line_due:
                return
            spent = now - self._start
            line, event = now >= self._line_due, now >= self._event_due
            if line:
                self._line_due = now + min(_SELDOM, max(_EVERY, spent / 4))
            if event:
                self._event_due = now + _EVENTS_EVERY
            self._spoken = True
        if line and (total is None or done < total):
            say(f"{self._what}: {_share(done, total)}, {_speed(done, spent)}{_left(done, total, spent)}")
        if event:
            self._tell(done, total, None)

    def end(self, whole: bool) -> None:
        spent = time.monotonic() - self._start
        if whole and spent >= QUIET:
            size = self._done if self._total is None else self._total
            say(f"{self._what}: {_size(size)} in {spent:.1f} s, {_speed(size, spent)}")
        if self._spoken:
            self._tell(self._done, self._total, time.time())

    def _tell(self, done: int, total: int | None, ended: float | None) -> None:
        if listener is not None:
            listener(Event(component(), self._what, done, total, self._began, ended))


@contextmanager
def reported(what: str) -> Iterator[Progress]:
    """Give a transfer somebody to tell: ``with reported("lit://data from root.train") as progress``."""
    transfer = _Transfer(what)
    whole = False
    try:
        yield transfer.progress
        whole = True
    finally:
        transfer.end(whole)


@contextmanager
def waiting(what: str) -> Iterator[Callable[[], None]]:
    """Give whoever waits a way to say so, after a second and once: call it at each look."""
    start, said = time.monotonic(), False

    def still() -> None:
        nonlocal said
        if not said and time.monotonic() - start >= QUIET:
            said = True
            say(what)

    yield still


def say(line: str) -> None:
    """A line on standard error, in the name of the component whose code runs here."""
    name = component()
    print(f"{name}: {line}" if name else line, file=sys.stderr, flush=True)


def _share(done: int, total: int | None) -> str:
    return f"{_size(done)}" if not total else f"{done / total * 100:.0f} % of {_size(total)}"


def _size(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"


def _speed(done: int, spent: float) -> str:
    return f"{_size(int(done / spent))}/s"


def _left(done: int, total: int | None, spent: float) -> str:
    return f", {spent * (total - done) / done:.0f} s left" if total and done else ""
