"""A recovery is the newest snapshot that can be read and what follows it, and comes to what all turns come to."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning.app.errors import CompactedError, JournalError
from lightning.app.journal.memory import MemoryJournal
from lightning.app.journal.recovery import recover
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel import facts as f
from lightning.app.kernel.facts import encode_turn
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.model import fold
from lightning.app.kernel.snapshot import dump
from tests.unit.journal.tampering import tamper
from tests.unit.kernel.simulation import simulate

TURNS: list[list[f.Fact]] = [
    [f.EpochBegan(1), f.Made("root", "flow", "app:Root", {"n": 0})],
    *([f.Wrote("root", Delta(0, ("n",), n))] for n in range(2, 41)),
]
"""Turn n leaves n in the state."""


def written(path: Path, *snapshots: int, history: int = 1000) -> SqliteJournal:
    journal = SqliteJournal.open(path, "process", history=history)
    for turn in TURNS:
        journal.append(1.0, encode_turn(turn))
        if journal.last in snapshots:
            journal.commit()
            journal.snapshot(dump(recover(journal).model))
        journal.commit()
    return journal


def damage(path: Path, statement: str) -> SqliteJournal:
    tamper(path, statement)
    return SqliteJournal.open(path, "process")


def n_of(journal: SqliteJournal, upto: int | None = None) -> object:
    return recover(journal, upto).model.components["root"].state["n"]


@pytest.mark.parametrize(
    "journal_of", [lambda path: MemoryJournal(), SqliteJournal.open], ids=["memory", "file"]
)
@pytest.mark.parametrize("seed", range(10))
def test_with_snapshots_and_compaction_any_run_comes_to_what_all_its_turns_come_to(
    seed: int, journal_of: Callable[[Path], MemoryJournal | SqliteJournal], tmp_path: Path
) -> None:
    log = simulate(seed, steps=120).log
    dice = random.Random(seed)
    journal = journal_of(tmp_path / "journal.sqlite")
    journal._history = 20
    for count, (at, facts) in enumerate(log, 1):
        journal.append(at, encode_turn(list(facts)))
        if dice.random() < 0.2:
            journal.snapshot(dump(fold(log[:count])))
        if dice.random() < 0.7:
            journal.commit()
    journal.commit()
    whole = recover(journal)
    assert (dump(whole.model), whole.seq, whole.passed_over) == (dump(fold(log)), len(log), [])
    for upto in range(journal.first - 1, len(log) + 1):
        assert dump(recover(journal, upto).model) == dump(fold(log[:upto]))
    journal.close()


def test_it_begins_at_the_newest_snapshot(tmp_path: Path) -> None:
    written(tmp_path / "journal.sqlite", 10, 30).close()
    journal = damage(tmp_path / "journal.sqlite", "UPDATE turns SET facts = x'00' WHERE seq < 29")
    assert n_of(journal) == 40
    assert n_of(journal, upto=30) == 30
    with pytest.raises(JournalError, match="turn 11 is not as it was written"):
        recover(journal, upto=29)
    journal.close()


def test_a_damaged_snapshot_is_passed_over_for_an_older_one_and_said(tmp_path: Path) -> None:
    written(tmp_path / "journal.sqlite", 10, 30).close()
    journal = damage(tmp_path / "journal.sqlite", "UPDATE snapshots SET at = 7 WHERE seq = 30")
    found = recover(journal)
    assert (found.model.components["root"].state["n"], found.seq) == (40, 40)
    (said,) = found.passed_over
    assert said.endswith("the snapshot of turn 30 is damaged")
    assert recover(journal).passed_over == [], "once is enough"
    journal.close()


def test_a_snapshot_that_is_whole_but_cannot_be_read_is_passed_over_too(tmp_path: Path) -> None:
    journal = written(tmp_path / "journal.sqlite", 10)
    journal.snapshot(b"something else")
    journal.commit()
    found = recover(journal)
    assert found.model.components["root"].state["n"] == 40
    (said,) = found.passed_over
    assert said.startswith("the snapshot of turn 40 cannot be read (these bytes are no snapshot of a run")
    journal.close()


def test_when_no_snapshot_is_left_all_turns_are_read(tmp_path: Path) -> None:
    written(tmp_path / "journal.sqlite", 10, 30).close()
    journal = damage(tmp_path / "journal.sqlite", "UPDATE snapshots SET crc = 0")
    found = recover(journal)
    assert found.model.components["root"].state["n"] == 40
    assert len(found.passed_over) == 2
    journal.close()


def test_when_turns_are_compacted_and_no_snapshot_is_left_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = written(path, 10, 20, 30, history=15)
    assert journal.first == 11
    journal.close()
    journal = damage(path, "UPDATE snapshots SET crc = 0")
    with pytest.raises(
        JournalError, match=r"journal\.sqlite: the file is damaged.*turn 30 is damaged.*no other"
    ):
        recover(journal)
    journal.close()


def test_a_moment_before_history_begins_is_an_error_that_says_where_it_does(tmp_path: Path) -> None:
    journal = written(tmp_path / "journal.sqlite", 10, 20, 30, history=15)
    assert n_of(journal, upto=10) == 10
    with pytest.raises(CompactedError, match="turn 9 was asked for, history begins with turn 11"):
        recover(journal, upto=9)
    journal.close()


def test_facts_that_nobody_knows_are_from_a_newer_version(tmp_path: Path) -> None:
    journal = SqliteJournal.open(tmp_path / "journal.sqlite")
    journal.append(1.0, b"\x91\x92\xcc\xfa\x01")
    journal.commit()
    with pytest.raises(JournalError, match=r"newer version: pip install --upgrade.*turn 1"):
        recover(journal)
    journal.close()


def test_garbage_is_collected_afterwards_as_before(tmp_path: Path) -> None:
    journal = SqliteJournal.open(tmp_path / "journal.sqlite")
    journal.append(1.0, b"no facts")
    journal.commit()
    with pytest.raises(JournalError):
        recover(journal)
    assert gc.isenabled()
    gc.disable()
    try:
        recover(MemoryJournal())
        assert not gc.isenabled()
    finally:
        gc.enable()
    journal.close()


def test_an_empty_journal_is_an_empty_model() -> None:
    found = recover(MemoryJournal())
    assert (found.model.components, found.seq, found.passed_over) == ({}, 0, [])
