"""Every journal keeps the same promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning.app.journal.journal import HISTORY, Durability, Journal
from lightning.app.journal.memory import MemoryJournal
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.testing.contracts import JournalContract, Reopen


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def reopen(self) -> Reopen:
        journal = MemoryJournal()
        journal.epoch = 0  # so that the first opening begins the first epoch

        def reopen(history: int = HISTORY) -> Journal:
            return journal.reopen(history)

        return reopen


class TestSqliteJournal(JournalContract):
    @pytest.fixture(params=["full", "process"])
    def reopen(self, tmp_path: Path, request: pytest.FixtureRequest) -> Reopen:
        durability: Durability = request.param

        def reopen(history: int = HISTORY) -> Journal:
            return SqliteJournal.open(tmp_path / "journal.sqlite", durability, history=history)

        return reopen
