"""What a journal is, and how its troubles are worded.

A journal is an ordered log with one writer: a row is a turn, a commit makes all appended rows durable, all
or none. It stores bytes; what they mean is the kernel's (``kernel/facts.py``, ``kernel/snapshot.py``).

Among the turns lie snapshots: what all turns up to one come to. So a recovery reads the newest of them and the
turns behind it, however old the run is, and a long history can be forgotten: of the turns that a snapshot stands
for, at least the newest ``history`` stay, the older ones go (compaction). Where history begins is one number
that rises with a commit, and nothing before it is ever shown; the rows themselves go little by little.

A journal that failed once takes no more. After a failed write or sync nobody knows what the disk holds, and
trying again could report as durable what is lost. So the failure is kept, raised by every later call, and
the app stops before it acts on what it could not write; the next start reads what the disk really has.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from lightning.app.config import Config
from lightning.app.errors import CompactedError, JournalError

HISTORY = Config.history
"""So many turns, at least, stay readable where nobody has said otherwise."""

SNAPSHOT_TURNS = 5000
"""So many turns at least lie between two snapshots: folding them takes some 25 ms."""

SNAPSHOT_WORTH = 2
"""Bytes of facts since the last snapshot, per byte of that: what snapshots add to the cost of a run at most."""

Durability = Literal["full", "process"]
"""``full`` survives a power cut; ``process`` the death of the process only, and is faster."""


class Turn(NamedTuple):
    """One row."""

    seq: int  # 1, 2, 3 ... without a gap
    at: float  # seconds since 1970, as the runtime's clock had it
    epoch: int  # which opening of the journal wrote it
    facts: bytes


class Snapshot(NamedTuple):
    """What the turns up to ``seq`` come to."""

    seq: int
    at: float  # of that turn
    epoch: int
    model: bytes


class Reader(Protocol):
    """What can be read of a journal, by its writer and by others."""

    @property
    def path(self) -> Path | str:
        """Where it is, for errors to name."""

    @property
    def epoch(self) -> int:
        """How often the log has been opened for writing, this time included. It only ever rises."""

    @property
    def last(self) -> int:
        """The number of the last turn appended (for a reader: committed); 0 when there is none."""

    @property
    def first(self) -> int:
        """The number of the oldest turn that can be read; 1 until history is compacted."""

    @property
    def damage(self) -> list[str]:
        """Snapshots that were found damaged and passed over, in words. Without any loss: there are others."""

    def read(self, after: int = 0) -> Iterator[Turn]:
        """The turns committed by now with a higher number, in order. An error if some of them are compacted."""

    def newest(self, upto: int | None = None) -> Snapshot | None:
        """The newest snapshot that is whole, of the state after turn ``upto`` or an earlier one.

        The turns behind it are all there. None: begin at the first turn of all.
        """


class Journal(Reader, Protocol):
    """An ordered log with one writer."""

    @property
    def due(self) -> bool:
        """Whether so much has come since the last snapshot that another one is worth what it costs."""

    def append(self, at: float, facts: bytes) -> int:
        """Add a turn; it is durable after the next commit. Returns its number."""

    def commit(self) -> None:
        """Make every appended turn durable, all or none. After a failure the journal takes no more."""

    def snapshot(self, model: bytes) -> None:
        """Add what all turns appended until now come to; it is durable after the next commit."""

    def close(self) -> None:
        """Commit what waits, unless the journal has failed, and let go of it. Closing twice is no error."""


class Trouble(StrEnum):
    """What can stand between a run and its disk, each with what to do about it."""

    FULL = (
        "the disk is full. Nothing was done that is not recorded: free some space, then go on with --resume, "
        "or choose another folder with --runs-dir"
    )
    READ_ONLY = "it is on a read-only file system; choose another folder with --runs-dir"
    DENIED = (
        "permission denied; give this user the right to write the folder and what is in it, "
        "or choose another folder with --runs-dir"
    )
    FAILED = (
        "the disk failed to read or write. Nothing was done that is not recorded: look at the disk (dmesg), "
        "then go on with --resume"
    )
    CORRUPT = (
        "the file is damaged. Put back a copy of the run's folder if you have one, "
        "or start a new run (without --resume)"
    )
    FOREIGN = (
        "this is not a journal of a run, or its first page is damaged. It is left as it is: "
        "choose another folder with --runs-dir, or start a new run (without --resume)"
    )
    NEWER = "it was written by a newer version: pip install --upgrade lightning-apps"
    ABSENT = "there is no journal here; `--resume` without an ID takes the newest interrupted run"
    COMPACTED = (
        "the history that was asked for is compacted away. Ask for what is left; to keep more of it in future, "
        "set `history` under [journal] in lightning.toml"
    )
    NETWORK = (
        "a run cannot live on a network file system, where what is written may be lost or mixed up; "
        "choose a folder on a disk of this machine with --runs-dir"
    )
    HALF = (
        "its newest turns are here (the file beside it whose name ends in -wal), but the file itself is missing or "
        "empty. Put it back beside them, or start a new run (without --resume)"
    )
    GONE = (
        "the file was removed or replaced while the run wrote it: what came since is lost to a restart. "
        "Leave the folder of a live run alone; start a new run (without --resume)"
    )
    EMPTY = "nothing was recorded here: the run ended before its first turn; start a new one"
    BUSY = "another process writes it, too; stop that one first, then go on with --resume"
    NO_FOLDER = "there is no folder here, or a file in its place; choose another folder with --runs-dir"
    CLOSED = "it is closed; open it again to read or write"
    STALE = "a journal goes on in a later epoch than its last; leave the epoch to the journal"

    def of(self, path: Path | str, detail: str = "") -> JournalError:
        """The error: which file, what happened, what to do."""
        kind = CompactedError if self is Trouble.COMPACTED else JournalError
        return kind(f"{path}: {self.value}" + (f" ({detail})" if detail else ""))


_ERRNO = {
    errno.ENOSPC: Trouble.FULL,
    errno.EDQUOT: Trouble.FULL,
    errno.EROFS: Trouble.READ_ONLY,
    errno.EACCES: Trouble.DENIED,
    errno.EPERM: Trouble.DENIED,
    errno.ENOENT: Trouble.NO_FOLDER,
    errno.ENOTDIR: Trouble.NO_FOLDER,
    errno.EEXIST: Trouble.NO_FOLDER,
}


def named(path: Path | str, err: OSError) -> JournalError:
    """The error for a refusal of the operating system."""
    trouble = _ERRNO.get(err.errno or 0, Trouble.FAILED)
    return trouble.of(path, (err.strerror or "") if trouble is Trouble.FAILED else "")
