"""The command line with something wrong in it, told by ``CHAOS_DOOM`` as JSON: a point at which to die, a disk that
fails, a clock that jumps.

It is the real program in a real process, with real files; only the methods named here are wrapped from outside,
so that no hot path of the product asks whether it is being tested. Run by path: ``python driver.py run app ...``.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

POINTS = {
    "lightning.app.journal.sqlite:SqliteJournal": (
        "append", "commit", "_commit_all", "_checkpoint", "snapshot", "_keep_snapshots", "_sweep", "close",
    ),
    "lightning.app.journal.runs:Run": ("_note", "lock", "note_end"),
    "lightning.app.runtime.perform:Performer": (
        "perform", "_place", "_post", "_stop", "flush", "acknowledge", "tell",
    ),
    "lightning.app.runtime.loop:Runtime": ("start", "_run_passes", "_close_turn", "finish"),
}  # fmt: skip
"""Before and after each of these is a point: a commit, a dispatch (``_post``), an acknowledgement (``tell``)."""


class Doom:
    """Counts visits of named points, and ends the process at one of them."""

    def __init__(self, point: str, visit: int) -> None:
        self._point = point
        self._visit = visit
        self._me = os.getpid()
        self._visits: Counter[str] = Counter()
        atexit.register(self._tell)

    def wrap(self, cls: type, name: str) -> None:
        original = getattr(cls, name)
        point = f"{cls.__name__}.{name}"

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._pass(f"{point} before")
            result = original(*args, **kwargs)
            self._pass(f"{point} after")
            return result

        setattr(cls, name, wrapped)

    def _pass(self, point: str) -> None:
        if os.getpid() == self._me:  # not in what was forked from here
            self._visits[point] += 1
            if point == self._point and self._visits[point] == self._visit:
                os.kill(self._me, signal.SIGKILL)

    def _tell(self) -> None:
        if os.getpid() == self._me:
            Path("points.json").write_text(json.dumps(self._visits))


def with_an_eager_journal() -> None:
    """Checkpoints, snapshots and compaction all the time, as else after hours only.

    What compaction takes away, the judge still wants to know: each turn goes to ``turns.log``, too.
    """
    import msgspec

    from lightning.app.journal import sqlite
    from lightning.app.runtime import serve

    sqlite.SNAPSHOT_TURNS = 5  # type: ignore[attr-defined]
    sqlite.SNAPSHOT_WORTH = 0  # type: ignore[attr-defined]
    sqlite._CHECKPOINT_PAGES = 4
    sqlite._SWEEP_EVERY = 2

    class Journal(sqlite.SqliteJournal):
        @classmethod
        def open(cls, path: Any, durability: Any = "full", epoch: Any = None, **_: Any) -> Any:
            return super().open(path, durability, epoch, history=8)

        def append(self, at: float, facts: bytes) -> int:
            seq = super().append(at, facts)
            row = msgspec.msgpack.encode((seq, at, self.epoch, facts))
            log = os.open("turns.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(log, len(row).to_bytes(4, "big") + row)
            os.close(log)
            return seq

    serve.SqliteJournal = Journal  # type: ignore[misc]


def at_a_point(point: str = "", visit: int = 0) -> None:
    with_an_eager_journal()
    doom = Doom(point, visit)
    for place, names in POINTS.items():
        for name in names:
            doom.wrap(_found(place), name)


def _found(place: str) -> Any:
    import pkgutil

    return pkgutil.resolve_name(place)


def with_a_faulty_disk(kinds: list[str], nth: int = 0, how: str = "io") -> None:
    """Let one step of SQLite's fail, and tell in ``disk.json`` how many there were, and what came afterwards."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from lightning.app.journal.sqlite import SqliteJournal
    from lightning.app.runtime import serve
    from tests.chaos.power import Fault, PowerVFS

    class Journal(SqliteJournal):
        def close(self) -> None:
            fault.close(super())  # type: ignore[arg-type]

    serve.SqliteJournal = Journal  # type: ignore[misc]
    fault = Fault(kinds, nth, how)
    vfs = PowerVFS(fault.step)
    me = os.getpid()

    def tell() -> None:
        if os.getpid() == me:
            told = {
                "seen": fault.seen,
                "struck": fault.struck,
                "unheard": fault.unheard,
                "afterwards": fault.afterwards,
            }
            Path("disk.json").write_text(json.dumps(told))
            vfs.unregister()

    atexit.register(tell)


def with_a_clock_that_jumps(jumps: list[tuple[int, float]]) -> None:
    """Set the runtime's clock: after so many looks at it, by so many seconds."""
    from lightning.app.runtime import loop
    from lightning.app.runtime.clock import SystemClock

    class JumpingClock(SystemClock):
        looks = 0
        offset = 0.0

        def now(self) -> float:  # type: ignore[override]
            self.looks += 1
            self.offset += sum(by for look, by in jumps if look == self.looks)
            return SystemClock.now() + self.offset

    loop.SystemClock = JumpingClock  # type: ignore[misc]


KINDS: dict[str, Callable[..., None]] = {
    "eager": with_an_eager_journal,
    "point": at_a_point,
    "disk": with_a_faulty_disk,
    "clock": with_a_clock_that_jumps,
}

if __name__ == "__main__":
    from lightning.app.__main__ import main

    doom = json.loads(os.environ["CHAOS_DOOM"])
    KINDS[doom.pop("kind")](**doom)
    sys.exit(main())
