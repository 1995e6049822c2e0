"""What a journal is, and how its troubles are worded.

A journal is an ordered log with one writer: a row is a turn, a commit makes all appended rows durable, all
or none. It stores bytes; what they mean is the kernel's (``kernel/facts.py``).

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

from lightning.app.errors import JournalError

Durability = Literal["full", "process"]
"""``full`` survives a power cut; ``process`` the death of the process only, and is faster."""


class Turn(NamedTuple):
    """One row."""

    seq: int  # 1, 2, 3 ... without a gap
    at: float  # seconds since 1970, as the runtime's clock had it
    epoch: int  # which opening of the journal wrote it
    facts: bytes


class Journal(Protocol):
    """An ordered log with one writer."""

    @property
    def epoch(self) -> int:
        """How often the log has been opened for writing, this time included. It only ever rises."""

    @property
    def last(self) -> int:
        """The number of the last turn appended; 0 when there is none."""

    def append(self, at: float, facts: bytes) -> int:
        """Add a turn; it is durable after the next commit. Returns its number."""

    def commit(self) -> None:
        """Make every appended turn durable, all or none. After a failure the journal takes no more."""

    def read(self, after: int = 0) -> Iterator[Turn]:
        """The turns committed by now with a higher number, in order."""

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
    EMPTY = "nothing was recorded here: the run ended before its first turn; start a new one"
    BUSY = "another process writes it, too; stop that one first, then go on with --resume"
    NO_FOLDER = "there is no folder here, or a file in its place; choose another folder with --runs-dir"
    CLOSED = "it is closed; open it again to read or write"
    STALE = "a journal goes on in a later epoch than its last; leave the epoch to the journal"

    def of(self, path: Path | str, detail: str = "") -> JournalError:
        """The error: which file, what happened, what to do."""
        return JournalError(f"{path}: {self.value}" + (f" ({detail})" if detail else ""))


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
