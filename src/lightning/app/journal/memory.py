"""A journal in memory: for ``--durability off``, and for tests. What it holds dies with the process."""

from __future__ import annotations

from collections.abc import Iterator

from lightning.app.journal.journal import Turn


class MemoryJournal:
    """Keeps turns in a list; what was not committed is not read, as on a disk after a crash."""

    def __init__(self) -> None:
        self.epoch = 1
        self._turns: list[Turn] = []
        self._waiting: list[Turn] = []

    @property
    def last(self) -> int:
        return len(self._turns) + len(self._waiting)

    def append(self, at: float, facts: bytes) -> int:
        self._waiting.append(Turn(self.last + 1, at, self.epoch, facts))
        return self.last

    def commit(self) -> None:
        self._turns += self._waiting
        self._waiting.clear()

    def read(self, after: int = 0) -> Iterator[Turn]:
        return iter(self._turns[after:])

    def reopen(self) -> None:
        """Forget what was not committed and begin the next epoch, as a new process would."""
        self._waiting.clear()
        self.epoch += 1

    def close(self) -> None:
        self.commit()
