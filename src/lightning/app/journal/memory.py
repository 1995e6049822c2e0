"""A journal in memory: for ``--durability off``, and for tests. What it holds dies with the process."""

from __future__ import annotations

from collections.abc import Iterator

from lightning.app.errors import JournalError
from lightning.app.journal.journal import HISTORY, SNAPSHOT_TURNS, SNAPSHOT_WORTH, Snapshot, Trouble, Turn


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

    path = "the journal in memory"

    def __init__(self, *, keep: bool = True, history: int = HISTORY) -> None:
        self.epoch = 1
        self.last = 0
        self.first = 1
        self.due = False
        self.damage: list[str] = []
        self._keep = keep
        self._history = history
        self._turns: list[Turn] = []  # from number ``first`` on
        self._waiting: list[Turn] = []
        self._snapshots: list[Snapshot] = []
        self._snapshots_waiting: list[Snapshot] = []
        self._grown = 0  # bytes of facts since the last snapshot
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
        if self._waiting:
            self._turns += self._waiting
            self._grown += sum([len(turn.facts) for turn in self._waiting])
            self._waiting.clear()
        if self._snapshots_waiting:
            self._snapshots += self._snapshots_waiting
            self._snapshots_waiting.clear()
            self._grown = 0
            self._compact()
        newest = self._snapshots[-1] if self._snapshots else None
        seq, size = (newest.seq, len(newest.model)) if newest is not None else (0, 0)
        self.due = self._keep and self.last - seq >= SNAPSHOT_TURNS and self._grown >= SNAPSHOT_WORTH * size

    def snapshot(self, model: bytes) -> None:
        if self._refusal is not None:
            raise self._refusal
        self.due = False
        if self._keep:
            known = self._waiting or self._turns
            at, epoch = (known[-1].at, known[-1].epoch) if known else (0.0, self.epoch)
            self._snapshots_waiting.append(Snapshot(self.last, at, epoch, model))

    def read(self, after: int = 0) -> Iterator[Turn]:
        if self._refusal is not None:
            raise self._refusal
        if after < self.first - 1:
            raise Trouble.COMPACTED.of(
                self.path, f"turn {after + 1} was asked for, history begins with turn {self.first}"
            )
        return iter(self._turns[after - self.first + 1 :])

    def newest(self, upto: int | None = None) -> Snapshot | None:
        if self._refusal is not None:
            raise self._refusal
        fitting = (each for each in reversed(self._snapshots) if upto is None or each.seq <= upto)
        return next(fitting, None)

    def reopen(self, history: int = HISTORY) -> MemoryJournal:
        """Forget what was not committed and begin the next epoch, as a new process would."""
        self._refusal = None
        self._history = history
        if self._keep:
            self._waiting.clear()
            self._snapshots_waiting.clear()
            self.last = self.first - 1 + len(self._turns)
        self.epoch += 1
        return self

    def close(self) -> None:
        if self._refusal is None:
            self.commit()
            self._refusal = Trouble.CLOSED.of(self.path)

    def _compact(self) -> None:
        """Forget the turns before the newest ``history`` that a snapshot stands for."""
        begin = self.newest(self.last - self._history)
        if begin is not None and begin.seq >= self.first:
            del self._turns[: begin.seq - self.first + 1]
            self.first = begin.seq + 1
            self._snapshots = [each for each in self._snapshots if each.seq >= begin.seq]
