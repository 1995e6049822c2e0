"""A journal in memory: for ``--durability off``, and for tests. What it holds dies with the process."""

from __future__ import annotations

from collections.abc import Iterator

from lightning.app.errors import JournalError
from lightning.app.journal.journal import Trouble, Turn


class MemoryJournal:
    """Keeps turns in a list; what was not committed is not read, as on a disk after a crash.

    With ``keep=False`` it only counts: a run that nobody can resume need not remember its past.

    >>> journal = MemoryJournal()
    >>> journal.append(1.5, b"what happened")
    1
    >>> journal.commit()
    >>> list(journal.read())
    [Turn(seq=1, at=1.5, epoch=1, facts=b'what happened')]
    """

    def __init__(self, *, keep: bool = True) -> None:
        self.epoch = 1
        self.last = 0
        self._keep = keep
        self._turns: list[Turn] = []
        self._waiting: list[Turn] = []
        self._refusal: JournalError | None = None

    def append(self, at: float, facts: bytes) -> int:
        if self._refusal is not None:
            raise self._refusal
        self.last += 1
        if self._keep:
            self._waiting.append(Turn(self.last, at, self.epoch, facts))
        return self.last

    def commit(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        self._turns += self._waiting
        self._waiting.clear()

    def read(self, after: int = 0) -> Iterator[Turn]:
        if self._refusal is not None:
            raise self._refusal
        return iter(self._turns[after:])

    def reopen(self) -> MemoryJournal:
        """Forget what was not committed and begin the next epoch, as a new process would."""
        self._refusal = None
        if self._keep:
            self._waiting.clear()
            self.last = len(self._turns)
        self.epoch += 1
        return self

    def close(self) -> None:
        if self._refusal is None:
            self.commit()
            self._refusal = Trouble.CLOSED.of("the journal in memory")
