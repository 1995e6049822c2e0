"""How far a loop has come: drawn where it runs, and the ``progress`` of the work it runs in."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import suppress
from typing import Any, TypeVar

Item = TypeVar("Item")

INTERVAL = 0.1
"""At most so often is anything drawn or written."""

_WIDTH = 30
_loops: list[_Loop] = []  # those that run, outermost first


def progress(iterable: Iterable[Item], total: int | None = None, description: str = "") -> Iterator[Item]:
    """Yield the items of ``iterable`` and show how many have been dealt with.

    >>> for batch in progress(batches, description="training"):
    ...     learn(batch)
    training  40% |############                  | 4/10

    In a work, the work's ``progress`` goes from 0.0 to 1.0 with it. Without a ``total``, that of ``len``
    counts; where there is none, the items are counted. Of loops within loops the outermost is shown.
    """
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    return _run(iter(iterable), _Loop(total, description))


def _run(items: Iterator[Item], loop: _Loop) -> Iterator[Item]:
    _loops.append(loop)
    shown = loop is _loops[0]
    try:
        if shown:
            loop.show()
        for item in items:
            yield item
            loop.done += 1
            if shown and time.monotonic() >= loop.due:
                loop.show()
        loop.complete = True
    finally:
        _loops.remove(loop)
        if shown:
            loop.close()


class _Loop:
    """One loop, its count and its line."""

    def __init__(self, total: int | None, description: str) -> None:
        self.total = total
        self.label = f"{description} " if description else ""
        self.done = 0
        self.due = 0.0
        self.complete = False
        self._work = _work()
        self._drawn = 0  # the width of the line that is there
        self._tenth = -1  # the last one written, where there is no terminal

    def show(self) -> None:
        self.due = time.monotonic() + INTERVAL
        share = self._share()
        if share is not None and self._work is not None:
            self._work.progress = share
        if _is_terminal():
            self._draw(self._line(share))
        elif share is not None and self.total is not None and int(share * 10) > self._tenth:
            self._tenth = int(share * 10)
            _write(f"{self.label}{share:4.0%}\n")

    def close(self) -> None:
        """The last line stays, whether the loop came to its end or was left."""
        self.show()
        if _is_terminal():
            _write("\n")
        elif self.total is None:
            _write(f"{self.label}{self.done}\n")

    def _share(self) -> float | None:
        if self.complete:
            return 1.0
        if self.total is None:
            return None
        return min(self.done / self.total, 1.0) if self.total > 0 else 0.0

    def _line(self, share: float | None) -> str:
        if share is None or self.total is None:
            return f"{self.label}{self.done}"
        bar = "#" * int(share * _WIDTH)
        return f"{self.label}{share:4.0%} |{bar:{_WIDTH}}| {self.done}/{self.total}"

    def _draw(self, line: str) -> None:
        _write(f"\r{line:{self._drawn}}")
        self._drawn = len(line)


def _work() -> Any:
    """The work that lives in this process, if one does: then its host is loaded."""
    host = sys.modules.get("lightning.app.engines.host")
    current = host.current() if host is not None else None
    return current.work if current is not None else None


def _is_terminal() -> bool:
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


def _write(text: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # nobody reads it any more
            sys.stderr.write(text)
            sys.stderr.flush()
