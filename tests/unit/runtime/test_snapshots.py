"""The loop makes snapshots: in quiet moments, at the end, and only of what the journal knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import lightning as L
from lightning.app.journal.journal import SNAPSHOT_TURNS, Reader
from lightning.app.journal.memory import MemoryJournal
from lightning.app.journal.recovery import recover
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel.facts import decode_turn
from lightning.app.kernel.model import fold
from lightning.app.kernel.snapshot import dump, load
from lightning.app.runtime.loop import BUSY_TURNS
from lightning.app.testing import Harness, crash
from tests.corpus.told import told


class Counter(L.LightningFlow):
    """Counts once whenever it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0
        self._upto = 0

    def run(self) -> None:
        if self.n < self._upto:
            self.n += 1


def folded(journal: Reader) -> dict[str, Any]:
    return told(fold((turn.at, decode_turn(turn.facts)) for turn in journal.read()))


def newest(journal: Reader) -> dict[str, Any]:
    snapshot = journal.newest()
    assert snapshot is not None
    return told(load(snapshot.model))


def count(app: Harness, turns: int) -> None:
    for _ in range(turns):
        app.root._upto = app.root.n + 1
        app.beat()


def test_a_long_run_leaves_snapshots_and_goes_on_from_the_newest() -> None:
    journal = MemoryJournal(history=0)
    app = Harness(Counter(), journal=journal)
    count(app, SNAPSHOT_TURNS + BUSY_TURNS + 500)
    snapshot = journal.newest()
    assert snapshot is not None
    assert SNAPSHOT_TURNS <= snapshot.seq < journal.last
    assert journal.first == snapshot.seq + 1, "what was before is forgotten"
    again = Harness(Counter(), journal=crash(app))
    assert again.root.n == SNAPSHOT_TURNS + BUSY_TURNS + 500
    count(again, 10)
    again.close()
    assert newest(journal)["components"]["root"]["state"]["n"] == SNAPSHOT_TURNS + BUSY_TURNS + 510


def test_a_snapshot_of_the_running_app_is_what_its_turns_come_to() -> None:
    journal = MemoryJournal()
    app = Harness(Counter(), journal=journal)
    count(app, SNAPSHOT_TURNS + BUSY_TURNS + 1)
    snapshot = journal.newest()
    assert snapshot is not None
    turns = [(turn.at, decode_turn(turn.facts)) for turn in journal.read() if turn.seq <= snapshot.seq]
    assert snapshot.model == dump(fold(turns))
    app.close()


def test_an_orderly_end_leaves_one_so_that_looking_at_the_run_is_quick() -> None:
    journal = MemoryJournal()
    app = Harness(Counter(), journal=journal)
    count(app, 3)
    app.close()
    snapshot = journal.newest()
    assert snapshot is not None
    assert snapshot.seq == journal.last
    assert newest(journal) == folded(journal)
    assert newest(journal)["ended"]["reason"] == "stopped"


class Raises(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def run(self) -> None:
        self.n = 1
        raise ValueError("and so it did not happen")


def test_what_a_pass_that_raised_had_asked_for_is_in_no_snapshot() -> None:
    journal = MemoryJournal()
    app = Harness(Raises(), journal=journal, log_level="error")
    app.run_until_idle()
    app.runtime.finish()
    assert app.exit_code == 1
    assert newest(journal) == folded(journal)
    assert newest(journal)["components"]["root"]["state"]["n"] == 0


class Bypasses(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.items: list[Any] = [1]

        self.n = 0

    def run(self) -> None:
        if len(self.items) == 1:
            list.append(self.items, object())
        self.n += 1


def test_what_came_into_the_state_behind_its_back_and_cannot_be_state_is_in_no_snapshot() -> None:
    journal = MemoryJournal()
    app = Harness(Bypasses(), journal=journal)
    app.step()
    app.runtime._snapshot()  # while turns wait for their commit
    assert newest(journal) == folded(journal)
    app.close()
    assert newest(journal) == folded(journal)
    assert newest(journal)["components"]["root"]["state"]["items"] == [1]


class Step(L.LightningWork):
    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def run(self) -> None:
        for _ in range(20):
            self.n += 1


class Hourly(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.step = Step()

    def run(self) -> None:
        if self.schedule("hourly"):
            self.step.run()


def test_the_file_of_a_run_that_never_ends_stops_growing(tmp_path: Path) -> None:
    """A stretch of months with a short history; the benchmark does a whole year with the usual one."""
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal.open(path, "process", history=1000)
    app = Harness(Hourly(), journal=journal)  # type: ignore[arg-type]  # any journal will do
    sizes: list[int] = []
    firsts: list[int] = []
    while len(firsts) < 6:
        app.advance(hours=1)
        if not firsts or journal.first != firsts[-1]:
            firsts.append(journal.first)
            sizes.append(path.stat().st_size)
    assert journal.last > 4 * SNAPSHOT_TURNS
    assert max(sizes) <= 1.5 * sizes[1], "as large as after the first compaction"
    state = app.state
    app.runtime.abandon()
    journal.close()
    journal = SqliteJournal.open(path, "process")
    again = Harness(Hourly(), journal=journal)  # type: ignore[arg-type]
    assert again.state == state
    again.close()
    journal.close()


@pytest.mark.parametrize("upto_end", [True, False])
def test_a_recovery_comes_to_the_same_with_and_without_snapshots(upto_end: bool) -> None:
    journal = MemoryJournal()
    app = Harness(Hourly(), journal=journal)
    for _ in range(5):
        app.advance(hours=1)
        app.runtime._snapshot()
    if upto_end:
        app.close()
    assert told(recover(journal).model) == folded(journal)
