"""What every backend of an interface promises, as tests. Subclass a contract and give it its fixtures."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lightning.app.errors import JournalError
from lightning.app.journal.journal import Journal

Reopen = Callable[[], Journal]


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
        for use in (lambda: journal.append(1.0, b""), journal.commit, journal.read):
            with pytest.raises(JournalError, match="it is closed"):
                use()
