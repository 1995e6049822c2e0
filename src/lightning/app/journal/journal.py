"""What a journal is: an ordered log of turns. One row is one turn; a commit makes all appended rows durable.

A journal stores bytes. What they mean is the kernel's (``kernel/facts.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Turn(NamedTuple):
    """One row."""

    seq: int
    at: float
    epoch: int
    facts: bytes


class Journal(Protocol):
    """An ordered log with one writer."""

    @property
    def epoch(self) -> int:
        """How often the log was opened for writing."""

    @property
    def last(self) -> int:
        """The number of the last turn appended; 0 when there is none."""

    def append(self, at: float, facts: bytes) -> int:
        """Add a turn; it is durable after the next commit. Returns its number."""

    def commit(self) -> None:
        """Make every appended turn durable, all or none. After a failure the journal takes no more."""

    def read(self, after: int = 0) -> Iterator[Turn]:
        """The committed turns with a higher number, in order."""

    def close(self) -> None: ...
