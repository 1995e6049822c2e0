"""The journal in memory, where it differs from others."""

from __future__ import annotations

from lightning.app.journal.memory import MemoryJournal


def test_a_journal_that_keeps_nothing_still_counts() -> None:
    journal = MemoryJournal(keep=False)
    assert [journal.append(1.0, b"gone") for _ in range(3)] == [1, 2, 3]
    journal.commit()
    assert (journal.last, list(journal.read())) == (3, [])


def test_reopening_forgets_what_was_not_committed() -> None:
    journal = MemoryJournal()
    journal.append(1.0, b"kept")
    journal.commit()
    journal.append(1.0, b"lost")
    assert journal.reopen() is journal
    assert (journal.last, journal.epoch) == (1, 2)
    assert journal.append(2.0, b"next") == 2
