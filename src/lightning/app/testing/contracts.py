"""What every backend of an interface promises, as tests. Subclass a contract and give it its fixtures."""

from __future__ import annotations

from typing import Protocol

import pytest

from lightning.app.errors import CompactedError, JournalError
from lightning.app.journal.journal import HISTORY, SNAPSHOT_TURNS, Journal, Snapshot


class Reopen(Protocol):
    """Opens the same log, each time as a new process would; ``history`` is how much of it stays readable."""

    def __call__(self, history: int = HISTORY) -> Journal: ...


def fill(journal: Journal, turns: int, size: int = 20) -> None:
    """So many turns, each committed by itself."""
    for _ in range(turns):
        journal.append(1.0, b"%d" % (journal.last + 1) * size)
        journal.commit()


def snap(journal: Journal, padding: int = 0) -> None:
    journal.snapshot(b"after %d" % journal.last + bytes(padding))
    journal.commit()


class JournalContract:
    """What every journal promises.

    The fixture ``reopen`` gives a function that opens the same log, each time as a new process would after
    the one before was killed; on its first call the log is new.
    """

    @pytest.fixture
    def journal(self, reopen: Reopen) -> Journal:
        return reopen()

    def test_a_new_journal_is_empty_and_in_its_first_epoch(self, journal: Journal) -> None:
        assert (journal.last, journal.epoch, list(journal.read())) == (0, 1, [])

    def test_turns_are_numbered_from_one_without_a_gap(self, journal: Journal) -> None:
        assert [journal.append(1.0, b"") for _ in range(3)] == [1, 2, 3]
        journal.commit()
        assert journal.append(2.0, b"") == journal.last == 4

    def test_what_was_committed_is_read_as_it_was_appended(self, journal: Journal) -> None:
        rows = [(0.0, b""), (-1.5, b"\x00\xff"), (1795000000.123456, bytes(100_000))]
        for at, facts in rows:
            journal.append(at, facts)
        journal.commit()
        assert list(journal.read()) == [(seq, at, 1, facts) for seq, (at, facts) in enumerate(rows, 1)]

    def test_a_turn_is_not_read_before_its_commit(self, journal: Journal) -> None:
        journal.append(1.0, b"kept")
        journal.commit()
        journal.append(2.0, b"waiting")
        assert [turn.facts for turn in journal.read()] == [b"kept"]

    def test_a_commit_without_turns_changes_nothing(self, journal: Journal) -> None:
        journal.commit()
        assert (journal.last, list(journal.read())) == (0, [])

    def test_reading_begins_after_the_number_that_was_named(self, journal: Journal) -> None:
        for each in range(1, 6):
            journal.append(1.0, bytes([each]))
        journal.commit()
        assert [turn.seq for turn in journal.read(after=3)] == [4, 5]
        assert list(journal.read(after=5)) == []
        assert list(journal.read(after=99)) == []

    def test_committing_while_somebody_reads_disturbs_neither(self, journal: Journal) -> None:
        for each in range(5):
            journal.append(1.0, bytes([each]))
        journal.commit()
        begun, not_begun = journal.read(), journal.read()
        first = next(begun)
        journal.append(2.0, b"later")
        journal.commit()
        assert [first, *begun] == list(not_begun) == list(journal.read())[:5]
        assert journal.last == 6

    def test_a_long_journal_is_read_to_its_end(self, journal: Journal) -> None:
        for _ in range(2500):
            journal.append(1.0, b"small")
        for _ in range(5):
            journal.append(1.0, bytes(600_000))
        journal.commit()
        assert [turn.seq for turn in journal.read()] == list(range(1, 2506))

    def test_after_a_kill_the_committed_turns_are_there_and_the_others_are_not(self, reopen: Reopen) -> None:
        journal = reopen()
        journal.append(1.0, b"one")
        journal.append(1.0, b"two")
        journal.commit()
        journal.append(2.0, b"lost")
        again = reopen()
        assert [turn.facts for turn in again.read()] == [b"one", b"two"]
        assert again.append(3.0, b"three") == 3

    def test_every_opening_begins_an_epoch_and_its_turns_bear_it(self, reopen: Reopen) -> None:
        for epoch in (1, 2, 3):
            journal = reopen()
            assert journal.epoch == epoch
            journal.append(1.0, b"")
            journal.commit()
        assert [turn.epoch for turn in journal.read()] == [1, 2, 3]

    def test_closing_commits_what_waits(self, reopen: Reopen) -> None:
        journal = reopen()
        journal.append(1.0, b"waiting")
        journal.close()
        assert [turn.facts for turn in reopen().read()] == [b"waiting"]

    def test_closing_twice_is_no_error_and_a_closed_journal_says_so(self, journal: Journal) -> None:
        journal.close()
        journal.close()
        uses = (
            lambda: journal.append(1.0, b""),
            lambda: journal.snapshot(b""),
            journal.commit,
            journal.read,
            journal.newest,
        )
        for use in uses:
            with pytest.raises(JournalError, match="it is closed"):
                use()

    # -- snapshots --------------------------------------------------------------------------------

    def test_without_a_snapshot_there_is_none_and_all_turns_are_there(self, journal: Journal) -> None:
        fill(journal, 3)
        assert (journal.newest(), journal.first, journal.due) == (None, 1, False)

    def test_a_snapshot_is_of_the_last_turn_appended_and_of_its_time(self, reopen: Reopen) -> None:
        journal = reopen()
        journal.append(1.5, b"one")
        journal.commit()
        journal.append(2.5, b"two")
        journal.snapshot(b"\x00 both")
        journal.append(3.5, b"three")
        assert journal.newest() is None, "it is not committed yet"
        journal.commit()
        assert journal.newest() == Snapshot(2, 2.5, 1, b"\x00 both")
        again = reopen()
        assert again.newest() == Snapshot(2, 2.5, 1, b"\x00 both")
        assert [turn.facts for turn in again.read(after=2)] == [b"three"]

    def test_a_snapshot_may_be_committed_by_itself_and_bears_the_epoch_of_its_turn(
        self, reopen: Reopen
    ) -> None:
        journal = reopen()
        fill(journal, 2)
        journal = reopen()
        snap(journal)
        newest = reopen().newest()
        assert newest is not None
        assert (newest.seq, newest.at, newest.epoch) == (2, 1.0, 1)

    def test_a_snapshot_that_was_not_committed_dies_with_its_turns(self, reopen: Reopen) -> None:
        journal = reopen()
        fill(journal, 1)
        journal.append(1.0, b"lost")
        journal.snapshot(b"lost, too")
        assert (reopen().newest(), reopen().last) == (None, 1)

    def test_the_newest_snapshot_up_to_a_turn_is_found(self, journal: Journal) -> None:
        for _ in range(3):
            fill(journal, 10)
            snap(journal)
        found = [journal.newest(upto) for upto in (None, 99, 30, 29, 20, 19, 10, 9, 0)]
        assert [each.seq if each else None for each in found] == [30, 30, 30, 20, 20, 10, 10, None, None]
        assert found[0] is not None
        assert found[0].model == b"after 30"

    def test_another_snapshot_of_the_same_turn_takes_the_place_of_the_first(self, journal: Journal) -> None:
        fill(journal, 2)
        snap(journal)
        snap(journal, padding=3)
        newest = journal.newest()
        assert newest is not None
        assert newest.model == b"after 2" + bytes(3)

    def test_a_snapshot_is_due_when_much_has_come_since_the_last_one(self, journal: Journal) -> None:
        def came(turns: int, size: int = 100) -> bool:
            for _ in range(turns):
                journal.append(1.0, bytes(size))
            journal.commit()
            return journal.due

        assert not came(SNAPSHOT_TURNS - 100)
        assert came(SNAPSHOT_TURNS)
        journal.snapshot(bytes(1_000_000))
        assert not journal.due
        journal.commit()
        assert not came(2 * SNAPSHOT_TURNS), "a million bytes of facts are not worth a million of a snapshot"
        assert came(5 * SNAPSHOT_TURNS)

    def test_whether_a_snapshot_is_due_is_known_to_the_next_process(self, reopen: Reopen) -> None:
        journal = reopen()
        for _ in range(SNAPSHOT_TURNS + 1):
            journal.append(1.0, bytes(1000))
        journal.commit()
        assert reopen().due

    # -- compaction -------------------------------------------------------------------------------

    def test_turns_that_a_snapshot_stands_for_are_forgotten_and_the_newest_stay(self, reopen: Reopen) -> None:
        journal = reopen(history=100)
        for _ in range(30):
            fill(journal, 20)
            snap(journal)
        assert (journal.first, journal.last) == (501, 600)
        assert [turn.seq for turn in journal.read(after=500)] == list(range(501, 601))
        oldest = journal.newest(upto=519)
        assert oldest is not None
        assert (oldest.seq, oldest.model) == (500, b"after 500"), "the state before the first turn is there"
        assert journal.newest(upto=499) is None
        seen = [journal.newest(upto) for upto in range(500, 601, 20)]
        assert [each.seq for each in seen if each] == [500, 520, 540, 560, 580, 600]
        again = reopen(history=100)
        assert (again.first, again.last) == (501, 600)

    def test_nothing_is_forgotten_that_no_snapshot_stands_for(self, reopen: Reopen) -> None:
        journal = reopen(history=10)
        fill(journal, 300)
        assert (journal.first, sum(1 for _ in journal.read())) == (1, 300)

    def test_without_further_word_a_hundred_thousand_turns_stay(self, journal: Journal) -> None:
        for _ in range(11):
            for _ in range(10_000):
                journal.append(1.0, b"")
            snap(journal)
        assert (journal.first, journal.last) == (10_001, 110_000)
        assert sum(1 for _ in journal.read(after=10_000)) == HISTORY

    def test_reading_what_is_forgotten_is_an_error_that_says_where_history_begins(
        self, reopen: Reopen
    ) -> None:
        journal = reopen(history=10)
        fill(journal, 40)
        snap(journal)
        fill(journal, 20)
        snap(journal)
        assert journal.first == 41
        for after in (0, 39):
            with pytest.raises(CompactedError, match=r"compacted.*history begins with turn 41"):
                journal.read(after)
        assert next(journal.read(after=40)).seq == 41

    def test_a_longer_history_begins_with_what_is_still_there(self, reopen: Reopen) -> None:
        journal = reopen(history=10)
        fill(journal, 40)
        snap(journal)
        fill(journal, 20)
        snap(journal)
        longer = reopen(history=1000)
        fill(longer, 200)
        snap(longer)
        assert longer.first == 41
        assert sum(1 for _ in longer.read(after=40)) == 220

    def test_no_history_at_all_leaves_the_state(self, reopen: Reopen) -> None:
        journal = reopen(history=0)
        fill(journal, 40)
        snap(journal)
        assert (journal.first, journal.last, list(journal.read(after=40))) == (41, 40, [])
        again = reopen(history=0)
        assert (again.first, again.last) == (41, 40)
        assert again.append(2.0, b"next") == 41
        again.commit()
        assert [turn.facts for turn in again.read(after=40)] == [b"next"]
