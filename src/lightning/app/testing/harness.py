"""An app in the test's own process, with a clock that the test turns by hand.

>>> with Harness(Root()) as app:
...     app.run_until_idle()
...     app.advance(hours=1)
...     app.root.work.num_successes
"""

from __future__ import annotations

import copy
from types import TracebackType
from typing import Any, Self

from lightning.app.config import Config
from lightning.app.core.app import LightningApp
from lightning.app.core.flow import LightningFlow
from lightning.app.core.work import LightningWork
from lightning.app.engines.inline import InlineEngine
from lightning.app.journal.memory import MemoryJournal
from lightning.app.runtime.clock import VirtualClock
from lightning.app.runtime.log import Log
from lightning.app.runtime.loop import HEARTBEAT, Runtime


class Harness:
    """Runs an app inline: works run in this process when their turn comes, time moves when you say so."""

    def __init__(
        self,
        app: LightningApp | LightningFlow | LightningWork,
        *,
        journal: MemoryJournal | None = None,
        clock: VirtualClock | None = None,
        timezone: str = "UTC",
        log_level: str = "warning",
        devices: tuple[int, ...] = (),
        drop_unfit: bool = False,
    ) -> None:
        self.app = app if isinstance(app, LightningApp) else LightningApp(app)
        self.root: Any = self.app.root
        self.clock = clock or VirtualClock()
        self.journal = journal or MemoryJournal()
        self.runtime = Runtime(
            self.app,
            self.journal,
            InlineEngine,
            config=Config(timezone=timezone),
            clock=self.clock,
            log=Log(log_level),
            devices=devices,
            drop_unfit=drop_unfit,
        )
        self.runtime.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    @property
    def state(self) -> dict[str, Any]:
        """A copy of the app's state."""
        return copy.deepcopy(self.app.state)

    @property
    def exit_code(self) -> int | None:
        """None while the app runs."""
        return self.runtime.ended.code if self.runtime.ended is not None else None

    @property
    def failure(self) -> str:
        """The traceback or message with which the app failed."""
        ended = self.runtime.ended
        if ended is None or ended.failure is None:
            return ended.message if ended is not None else ""
        return ended.failure.traceback or f"{ended.failure.kind}: {ended.failure.message}"

    def step(self) -> None:
        """One turn: what waits is taken in, and passes follow."""
        self.runtime.turn(0)

    def run_until_idle(self, most: int = 10_000) -> None:
        """Turns until nothing is left to do at this moment of the clock, or the app has ended."""
        for _ in range(most):
            if self.runtime.over:
                return
            self.step()
            if not self.runtime.busy:
                self.runtime.commit()
                return
        raise AssertionError(
            f"the app was not idle after {most} turns: does its run write something new each time?"
        )

    def beat(self, times: int = 1) -> None:
        """Let heartbeats go by, each with what follows from it."""
        for _ in range(times):
            self.clock.advance(HEARTBEAT)
            self.run_until_idle()

    def advance(
        self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0
    ) -> None:
        """Let time go by, and the app take notice."""
        self.run_until_idle()
        self.clock.advance(seconds, minutes=minutes, hours=hours, days=days)
        self.run_until_idle()

    def close(self) -> None:
        """Stop the works in order. The journal stays: give it to another harness to resume the app."""
        self.runtime.close()


def crash(harness: Harness) -> MemoryJournal:
    """Forget everything but what the journal has committed, as a kill would."""
    harness.runtime.abandon()
    return harness.journal.reopen()
