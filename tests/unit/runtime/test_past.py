"""A run as it was, what happened in it, and another one from there."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import lightning as L
from lightning.app.errors import NotFoundError, UsageError
from lightning.app.journal.memory import MemoryJournal
from lightning.app.journal.runs import Run, Runs
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel import facts as f
from lightning.app.kernel.delta import CLEAR, DELETE, INSERT, SET, SPLICE, UPDATE
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.model import fold
from lightning.app.kernel.snapshot import dump
from lightning.app.kernel.values import pack
from lightning.app.runtime.fork import fork
from lightning.app.runtime.history import History
from lightning.app.runtime.past import Point, past_of, plain, state_at, told, turn_of
from lightning.app.runtime.replay import replay
from lightning.app.runtime.sentences import change
from lightning.app.testing import Harness, crash


class Steps(L.LightningWork):
    def __init__(self) -> None:
        super().__init__(raise_exception=False)
        self.done: list[int] = []

    def run(self, number: int) -> int:
        if number == 3:
            raise ValueError("not three")
        self.done.append(number)
        return number * 10


class Walk(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.steps = Steps()
        self.sum = 0

    def run(self) -> None:
        if self.schedule("* * * * *"):
            self.sum = self.sum + (self.steps.run(self.sum % 4) or 1)


class Fewer(Walk):
    def run(self) -> None:
        if self.schedule("* * * * *"):
            self.sum = self.sum + 7


def walked(minutes: int = 4, journal: MemoryJournal | None = None) -> MemoryJournal:
    app = Harness(Walk(), journal=journal)
    app.run_until_idle()
    for _ in range(minutes):
        app.advance(minutes=1)
    return crash(app)


def stored(journal: MemoryJournal, folder: Path) -> Run:
    """The same turns, in a run on disk."""
    run = Runs(folder).create("app.py", (), "walk")
    with closing(SqliteJournal.open(run.journal_path)) as disk:
        for turn in journal.read():
            disk.append(turn.at, turn.facts)
    return run


def compacted(kept: int) -> MemoryJournal:
    """A journal of which only the newest turns are kept."""
    journal = MemoryJournal(history=kept)
    app = Harness(Walk(), journal=journal)
    app.run_until_idle()
    for _ in range(6):
        app.advance(minutes=1)
        journal.snapshot(dump(app.runtime.model))
        journal.commit()
    crash(app)
    assert journal.first > 1
    return journal


# -- how it was -----------------------------------------------------------------------------------


def test_the_state_at_a_turn_is_what_the_turns_until_then_come_to() -> None:
    journal = walked()
    for turn in range(1, journal.last + 1):
        rows = [(row.at, f.decode_turn(row.facts)) for row in journal.read() if row.seq <= turn]
        past = past_of(journal, Point(turn=turn))
        assert (past.turn, past.at) == (turn, rows[-1][0])
        assert dump(past.model) == dump(fold(rows))


def test_a_time_stands_for_the_last_turn_until_then() -> None:
    journal = walked()
    times = {row.at: row.seq for row in journal.read()}
    for at, seq in times.items():
        assert turn_of(journal, Point(at=at + 0.001)) == seq
    assert turn_of(journal, Point()) == journal.last


def test_a_point_that_the_run_does_not_have_is_refused() -> None:
    journal = walked(1)
    for turn in (0, journal.last + 1):
        with pytest.raises(NotFoundError, match=f"it has the turns 1 to {journal.last}"):
            past_of(journal, Point(turn=turn))
    with pytest.raises(NotFoundError, match="the run began at"):
        past_of(journal, Point(at=1.0))
    with pytest.raises(UsageError, match="no turn yet"):
        past_of(MemoryJournal())


def test_of_a_compacted_history_what_is_kept_can_be_looked_at() -> None:
    journal, whole = compacted(5), walked(6)
    for turn in range(journal.first, journal.last + 1):
        assert dump(past_of(journal, Point(turn=turn)).model) == dump(past_of(whole, Point(turn=turn)).model)
    with pytest.raises(NotFoundError, match=f"kept of its history are the turns {journal.first} to"):
        past_of(journal, Point(turn=1))


def test_the_whole_past_can_be_said_as_json() -> None:
    row = json.loads(json.dumps(told(past_of(walked()))))
    root, steps = row["components"]
    assert (root["component"], root["state"]) == ("root", {"sum": 23})
    assert steps["counts"] == {"calls": 5, "succeeded": 4, "failed": 1, "timed_out": 0}
    assert [call["phase"] for call in steps["calls"]] == ["failed", "succeeded", "succeeded"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1, (2, 3), {"a": None}], [1, [2, 3], {"a": None}]),
        ({1: {2, 1}}, {"1": [1, 2]}),
        (float("nan"), "nan"),
        (b"x", "b'x'"),
        (Path("a/b"), "PosixPath('a/b')"),
    ],
)
def test_values_that_json_does_not_know_are_said_as_python_does(value: Any, said: Any) -> None:
    assert plain(value) == said
    json.dumps(plain(value), allow_nan=False)


# -- what happened --------------------------------------------------------------------------------


def texts(journal: MemoryJournal, about: str = "") -> list[str]:
    return [f"{each.by}: {each.text}" for each in History(about).events(journal.read(journal.first - 1))]


def test_history_tells_what_changed_and_who_wrote_it() -> None:
    journal = walked(1)
    assert texts(journal, "root.steps.done") == [
        "start: root.steps.done = []",
        "work: root.steps.done.append(0)",
        "work: root.steps.done.append(1)",
    ]
    assert texts(journal, "root.sum") == ["start: root.sum = 0", "flow: root.sum = 1", "flow: root.sum = 11"]
    about = texts(journal, "root.steps")
    assert "flow: root.steps.run(1), because of the schedule '* * * * *'" in about
    assert "work: root.steps: call 2 returns 10" in about
    assert not [each for each in about if "root.sum" in each]


def test_history_tells_of_failures_and_restarts() -> None:
    journal = walked(3)
    with Harness(Walk(), journal=journal) as again:
        again.run_until_idle()
    everything = texts(journal)
    assert "work: root.steps: call 3 fails: ValueError: not three" in everything
    assert everything.count("runtime: the run starts") == everything.count("runtime: the run is resumed") == 1
    assert everything[-1] == "runtime: the app has ended, stopped, exit code 0"


def test_history_marks_conflicts() -> None:
    journal = MemoryJournal()
    rows = [
        f.Made("root", "flow", "app:Root", {}),
        f.Made("root.w", "work", "app:W", {"x": 0}, f.WorkOptions()),
        f.Changed("root.w", 2, [Delta(SET, ("x",), 1), Delta(SET, ("x",), 2)], [1]),
    ]
    journal.append(1.0, f.encode_turn(rows))
    journal.commit()
    events = list(History("root.w.x").events(journal.read()))
    assert [(each.value, each.conflict) for each in events] == [(0, False), (1, False), (2, True)]
    assert events[2].told()["conflict"] is True


def test_history_begins_where_it_is_kept() -> None:
    journal = compacted(5)
    assert len(texts(journal)) < len(texts(walked(6)))


@pytest.mark.parametrize(
    ("delta", "line"),
    [
        (Delta(SET, ("x",), 1), "root.x = 1"),
        (Delta(SET, ("x", "a"), 1), "root.x['a'] = 1"),
        (Delta(SET, ("x", 2), [1]), "root.x[2] = [1]"),
        (Delta(DELETE, ("x",)), "del root.x"),
        (Delta(INSERT, ("x",), [None, [1]]), "root.x.append(1)"),
        (Delta(INSERT, ("x",), [None, [1, 2]]), "root.x.extend([1, 2])"),
        (Delta(INSERT, ("x",), [0, [1]]), "root.x[0:0] = [1]"),
        (Delta(SPLICE, ("x",), [1, 2, [5]]), "root.x[1:2] = [5]"),
        (Delta(SPLICE, ("x",), [1, 2, []]), "del root.x[1:2]"),
        (Delta(CLEAR, ("x",)), "root.x.clear()"),
        (Delta(UPDATE, ("x",), pack([["a", 1]])), "root.x.update([['a', 1]])"),
        (Delta(INSERT, ("x",), 5), "root.x: a change that fits nothing"),
        (Delta(99, ("x",), 5), "root.x: a change that fits nothing"),
    ],
)
def test_a_change_is_told_as_the_line_that_makes_it(delta: Delta, line: str) -> None:
    assert change("root", delta) == line


# -- another way from there -----------------------------------------------------------------------


def test_a_fork_begins_with_the_past_of_its_run(tmp_path: Path) -> None:
    source = stored(walked(), tmp_path)
    before = source.journal_path.read_bytes()
    for turn in (1, 5, 9):
        forked = fork(Runs(tmp_path), source, turn, app_file="app.py", module=__name__)
        assert (forked.meta.forked_from, forked.meta.forked_at) == (source.id, turn)
        assert dump(state_at(forked).model) == dump(state_at(source, Point(turn=turn)).model)
        forked.release()
    assert source.journal_path.read_bytes() == before


def test_a_fork_goes_on_as_a_resumed_run_does(tmp_path: Path) -> None:
    source = stored(walked(), tmp_path)
    forked = fork(Runs(tmp_path), source, 9, app_file="app.py", module=__name__)
    journal = MemoryJournal()
    with closing(SqliteJournal.reader(forked.journal_path)) as disk:
        for turn in disk.read():
            journal.append(turn.at, turn.facts)
    forked.release()
    journal.commit()
    with Harness(Fewer(), journal=journal.reopen()) as app:
        app.advance(minutes=1)
        assert app.root.sum >= 7
    assert "runtime: the run is resumed" in texts(journal)


def test_a_fork_of_a_compacted_run_has_what_is_kept(tmp_path: Path) -> None:
    journal = compacted(5)
    run = Runs(tmp_path).create("app.py", (), "walk")
    base = journal.newest(journal.first - 1)
    assert base is not None
    with closing(SqliteJournal.begin(run.journal_path, base)) as disk:
        for turn in journal.read(journal.first - 1):
            disk.append(turn.at, turn.facts)
    forked = fork(Runs(tmp_path), run, journal.last - 1, app_file="app.py", module="other")
    forked.release()
    with closing(SqliteJournal.reader(forked.journal_path)) as copy:
        assert (copy.first, copy.last) == (journal.first, journal.last - 1)
        now = past_of(copy).model
    assert (
        now.components["root"].state
        == past_of(journal, Point(turn=journal.last - 1)).model.components["root"].state
    )


def test_a_fork_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    source = Runs(tmp_path).create("app.py")
    with closing(SqliteJournal.open(source.journal_path)) as disk:
        disk.append(1.0, b"\xc1 no facts")
        disk.append(1.0, b"\xc1 nor here")
    with pytest.raises(Exception, match="MessagePack"):
        fork(Runs(tmp_path), source, 2, app_file="app.py", module="app")
    assert [run.id for run in Runs(tmp_path).all()] == [source.id]


# -- again ----------------------------------------------------------------------------------------


def test_what_is_kept_of_a_compacted_history_replays() -> None:
    journal = compacted(5)
    report = replay(journal, lambda: L.LightningApp(Walk()))
    assert (report.difference, report.first) == (None, journal.first)
    assert f"from turn {journal.first} on" in report.told("Run")
    report = replay(journal, lambda: L.LightningApp(Fewer()))
    assert "is compacted" in report.told("Run")
