"""The journal on disk: who may open it, who reads beside it, what a kill leaves."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning.app.errors import JournalError
from lightning.app.journal.journal import Turn
from lightning.app.journal.sqlite import SqliteJournal

WRITER = """
import os, random, sys
from lightning.app.journal.sqlite import SqliteJournal

journal = SqliteJournal.open(sys.argv[1], sys.argv[2])
dice = random.Random(int(sys.argv[3]))
while True:
    for _ in range(dice.choice((1, 1, 1, 3, 40))):
        seq = journal.append(1.0, b"%d" % (journal.last + 1) * dice.randrange(1, 300))
    journal.commit()
    os.write(1, b"%d\\n" % seq)
"""


def filled(path: Path, turns: int = 3, size: int = 10) -> Path:
    """A journal that was closed in order."""
    journal = SqliteJournal.open(path)
    for seq in range(1, turns + 1):
        journal.append(float(seq), bytes([seq % 256]) * size)
    journal.close()
    return path


def meta(path: Path, statement: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()


# -- opening ----------------------------------------------------------------------------------------


def test_an_epoch_may_be_named_if_it_is_later_than_the_last(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    SqliteJournal.open(path, epoch=7).close()
    with pytest.raises(JournalError, match="asked for 7, the last was 7"):
        SqliteJournal.open(path, epoch=7)
    journal = SqliteJournal.open(path)
    assert journal.epoch == 8
    journal.close()


def test_a_journal_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = filled(tmp_path / "journal.sqlite")
    meta(path, "UPDATE meta SET value = 99 WHERE key = 'schema'")
    before = path.read_bytes()
    for way in (SqliteJournal.open, SqliteJournal.reader):
        with pytest.raises(JournalError, match=r"journal\.sqlite: .*newer version: pip install.*schema 99"):
            way(path)
    assert path.read_bytes() == before


def test_a_strangers_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    for way in (SqliteJournal.open, SqliteJournal.reader):
        with pytest.raises(JournalError, match="not a journal of a run"):
            way(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_text("the quick brown fox\n" * 100)
    before = path.read_bytes()
    for way in (SqliteJournal.open, SqliteJournal.reader):
        with pytest.raises(JournalError, match="not a journal of a run"):
            way(path)
    assert path.read_bytes() == before


def test_a_folder_in_the_journals_place_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="it is a folder"):
        SqliteJournal.open(tmp_path)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no folder here"):
        SqliteJournal.open(tmp_path / "no" / "journal.sqlite")


def test_a_maker_that_died_before_its_first_commit_leaves_what_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    meta(path, "PRAGMA journal_mode = wal")
    with pytest.raises(JournalError, match="nothing was recorded here"):
        SqliteJournal.reader(path)
    journal = SqliteJournal.open(path)
    assert (journal.epoch, journal.last) == (1, 0)
    journal.close()


def test_a_second_writer_is_found_out_before_anything_is_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    first, second = SqliteJournal.open(path), SqliteJournal.open(path)
    second.append(1.0, b"second")
    second.commit()
    first.append(1.0, b"first")
    with pytest.raises(JournalError, match="another process writes it, too"):
        first.commit()
    first.close()
    assert [turn.facts for turn in second.read()] == [b"second"]
    second.close()


# -- readers ----------------------------------------------------------------------------------------


def test_a_reader_of_no_journal_says_so_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal here"):
        SqliteJournal.reader(tmp_path / "journal.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_sees_what_a_live_writer_commits_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    writer = SqliteJournal.open(path)
    reader = SqliteJournal.reader(path)
    assert (reader.last, reader.epoch, list(reader.read())) == (0, 1, [])
    writer.append(1.0, b"one")
    assert reader.last == 0
    writer.commit()
    assert (reader.last, list(reader.read())) == (1, [Turn(1, 1.0, 1, b"one")])
    reader.close()
    writer.close()


def test_a_reader_in_the_middle_of_a_turn_holds_up_neither_commits_nor_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    writer = SqliteJournal.open(path, "process")
    for _ in range(3000):
        writer.append(1.0, bytes(100))
    writer.commit()
    reader = SqliteJournal.reader(path)
    turns = reader.read()
    next(turns)
    for _ in range(2000):
        writer.append(2.0, bytes(4000))
        writer.commit()
    assert sum(1 for _ in turns) == 2999
    log = path.with_name("journal.sqlite-wal").stat().st_size
    assert log < 8 << 20, "8 MB were written: the log was moved into the file meanwhile"
    reader.close()
    writer.close()


def test_a_reader_reads_what_a_killed_writer_left(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    committed = killed_after(path, "full", seed=1, reports=5)
    reader = SqliteJournal.reader(path)
    assert reader.last >= committed
    assert [turn.seq for turn in reader.read()] == list(range(1, reader.last + 1))
    reader.close()


# -- kills ------------------------------------------------------------------------------------------


def killed_after(path: Path, durability: str, seed: int, reports: int) -> int:
    """Let a process append and commit, and kill it at once after so many reports. Returns the last one's."""
    command = [sys.executable, "-c", WRITER, str(path), durability, str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(reports)]
        writer.send_signal(signal.SIGKILL)
        said += [int(line) for line in writer.stdout.read().splitlines()]
    assert writer.returncode == -signal.SIGKILL
    return said[-1]


@pytest.mark.parametrize("durability", ["full", "process"])
def test_after_sigkill_every_committed_turn_is_there_and_the_epoch_rises(
    tmp_path: Path, durability: str
) -> None:
    path = tmp_path / "journal.sqlite"
    dice = random.Random(durability)
    whole: list[Turn] = []
    for epoch in range(1, 9):
        committed = killed_after(path, durability, seed=epoch, reports=dice.choice((1, 2, 9, 150, 700)))
        journal = SqliteJournal.reader(path)
        assert journal.epoch == epoch
        turns = list(journal.read())
        journal.close()
        assert [turn.seq for turn in turns] == list(range(1, len(turns) + 1))
        assert len(turns) >= committed, "a commit that was reported is there"
        assert turns[: len(whole)] == whole, "what was there stays as it was"
        assert {turn.epoch for turn in turns[len(whole) :]} == {epoch}
        assert all(turn.facts.startswith(b"%d" % turn.seq) for turn in turns)
        whole = turns


# -- damage -----------------------------------------------------------------------------------------


def read_all(path: Path) -> list[Turn]:
    journal = SqliteJournal.open(path)
    try:
        return list(journal.read())
    finally:
        journal.close()


def test_a_truncated_file_is_named_as_damaged(tmp_path: Path) -> None:
    path = filled(tmp_path / "journal.sqlite", turns=200, size=500)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 & ~4095])
    with pytest.raises(JournalError, match=r"journal\.sqlite: the file is damaged"):
        read_all(path)


def test_a_page_of_noise_is_named_as_damaged(tmp_path: Path) -> None:
    path = filled(tmp_path / "journal.sqlite", turns=200, size=500)
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(random.Random(3).randbytes(4096))
    with pytest.raises(JournalError, match=r"journal\.sqlite: the file is damaged"):
        read_all(path)


def test_a_missing_turn_is_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "journal.sqlite", turns=9)
    meta(path, "DELETE FROM turns WHERE seq = 5")
    with pytest.raises(JournalError, match=r"damaged.*missing"):
        read_all(path)


def test_facts_that_are_no_bytes_are_named(tmp_path: Path) -> None:
    path = filled(tmp_path / "journal.sqlite", turns=9)
    meta(path, "UPDATE turns SET facts = 'text' WHERE seq = 5")
    with pytest.raises(JournalError, match="turn 5 holds no bytes"):
        read_all(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_byte_is_damaged_the_answer_is_turns_or_a_named_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = filled(tmp_path / "journal.sqlite", turns=30, size=400)
    content = bytearray(path.read_bytes())
    where = data.draw(st.one_of(st.integers(0, 120), st.integers(0, len(content) - 1)))
    content[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        turns = read_all(path)
    except JournalError as err:
        assert str(path) in str(err)  # noqa: PT017 - either outcome is right
    else:
        assert [turn.seq for turn in turns] == list(range(1, len(turns) + 1))
    finally:
        for each in tmp_path.iterdir():
            each.unlink()
