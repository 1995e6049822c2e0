"""Every journal keeps the same promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning.app.journal.journal import Durability
from lightning.app.journal.memory import MemoryJournal
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.testing.contracts import JournalContract, Reopen


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def reopen(self) -> Reopen:
        journal = MemoryJournal()
        journal.epoch = 0  # so that the first opening begins the first epoch
        return journal.reopen


class TestSqliteJournal(JournalContract):
    @pytest.fixture(params=["full", "process"])
    def reopen(self, tmp_path: Path, request: pytest.FixtureRequest) -> Reopen:
        durability: Durability = request.param
        return lambda: SqliteJournal.open(tmp_path / "journal.sqlite", durability)
