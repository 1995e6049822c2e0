"""The journal on disk: one SQLite file, one writer, write-ahead logging.

``full`` syncs the log at every commit and so survives a power cut; ``process`` leaves that to the operating
system and survives the death of the process only. SQLite comes with apsw, because the systems' own are of
versions with a defect in write-ahead logging.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Self

import apsw

from lightning.app.errors import JournalError
from lightning.app.journal.journal import Turn

SCHEMA = 1
_APPLICATION = 0x4C414A31  # "LAJ1" in the file's header, so that a stranger's database is told apart
_CHECKPOINT_PAGES = 4000
_INSERT = "INSERT INTO turns (seq, at, epoch, facts) VALUES (?, ?, ?, ?)"


class SqliteJournal:
    """A journal in a file. Open one with ``SqliteJournal.open`` or, beside a live run, ``SqliteJournal.reader``."""

    def __init__(self, path: Path, connection: apsw.Connection, *, writes: bool) -> None:
        self.path = path
        self._connection = connection
        self._cursor = connection.cursor()
        self._execute = self._cursor.execute
        self._waiting: list[Turn] = []
        self._broken: JournalError | None = None
        self._writes = writes
        self.last: int = self._one("SELECT coalesce(max(seq), 0) FROM turns")
        self.epoch: int = self._one("SELECT value FROM meta WHERE key = 'epoch'")

    @classmethod
    def open(cls, path: Path | str, *, durability: str = "full") -> Self:
        """Open for writing, made anew if it is not there. Each opening begins an epoch."""
        path = Path(path)
        try:
            connection = apsw.Connection(str(path))
            connection.set_busy_timeout(5000)
            new = connection.execute("SELECT count(*) FROM sqlite_schema").get == 0
            if new:
                connection.pragma("application_id", _APPLICATION)
                connection.pragma("user_version", SCHEMA)
            else:
                _check(path, connection)
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", {"full": "FULL", "process": "NORMAL"}[durability])
            connection.pragma("wal_autocheckpoint", _CHECKPOINT_PAGES)
            with connection:
                if new:
                    connection.execute(
                        "CREATE TABLE turns (seq INTEGER PRIMARY KEY, at REAL NOT NULL, epoch INTEGER NOT NULL,"
                        " facts BLOB NOT NULL);"
                        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
                        "INSERT INTO meta VALUES ('epoch', 0)"
                    )
                connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
            return cls(path, connection, writes=True)
        except (apsw.Error, KeyError) as err:
            raise _named(path, err) from err

    @classmethod
    def reader(cls, path: Path | str) -> Self:
        """Open for reading only, also beside a live writer, which it never holds up."""
        path = Path(path)
        if not path.exists():
            raise JournalError(f"{path}: there is no journal here")
        try:
            connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            connection.set_busy_timeout(5000)
            _check(path, connection)
            return cls(path, connection, writes=False)
        except apsw.Error as err:
            raise _named(path, err) from err

    def append(self, at: float, facts: bytes) -> int:
        if self._broken is not None or not self._writes:
            self._refuse()
        self.last += 1
        self._waiting.append(Turn(self.last, at, self.epoch, facts))
        return self.last

    def commit(self) -> None:
        waiting = self._waiting
        if self._broken is not None:
            self._refuse()
        if not waiting:
            return
        try:
            if len(waiting) == 1:
                self._execute(_INSERT, waiting[0])
            else:
                with self._connection:
                    self._cursor.executemany(_INSERT, waiting)
        except apsw.Error as err:
            self._broken = _named(self.path, err)
            raise self._broken from err
        self._waiting = []

    def read(self, after: int = 0) -> Iterator[Turn]:
        try:
            rows = self._connection.cursor().execute(
                "SELECT seq, at, epoch, facts FROM turns WHERE seq > ? ORDER BY seq", (after,)
            )
            for row in rows:
                yield Turn(*row)
        except apsw.Error as err:
            raise _named(self.path, err) from err

    def close(self) -> None:
        """Commit what waits, unless the journal is broken, and close the file."""
        try:
            if self._broken is None and self._writes:
                self.commit()
        finally:
            self._connection.close()

    def _one(self, query: str) -> int:
        value = self._connection.execute(query).get
        return int(value)

    def _refuse(self) -> NoReturn:
        if self._broken is not None:
            raise self._broken
        raise JournalError(f"{self.path} was opened for reading; a run's journal is written by its own process")


def _check(path: Path, connection: apsw.Connection) -> None:
    if connection.pragma("application_id") != _APPLICATION:
        raise JournalError(f"{path} is not a journal of this package; choose another folder with --runs-dir")
    version = connection.pragma("user_version")
    if not isinstance(version, int) or version > SCHEMA:
        raise JournalError(
            f"{path} was written by a newer version (schema {version}, this one knows {SCHEMA}): "
            "pip install --upgrade lightning-apps"
        )


def _named(path: Path, err: Exception) -> JournalError:
    """Which file, what is wrong with it, and what to do."""
    match err:
        case apsw.FullError():
            what = "the disk is full; free some space, or choose another folder with --runs-dir"
        case apsw.ReadOnlyError() | apsw.PermissionsError() | apsw.CantOpenError() | apsw.AuthError():
            what = f"it cannot be written ({err}); check the folder's permissions, or choose another with --runs-dir"
        case apsw.CorruptError() | apsw.NotADBError():
            what = f"it is damaged ({err}); start a new run, and keep the file if you want to look into it"
        case apsw.BusyError() | apsw.LockedError():
            what = "another process is writing it; wait for it or end it"
        case apsw.IOError():
            what = f"the disk failed ({err}); nothing that was not yet recorded has been acted upon. Resume with --resume"
        case KeyError():
            what = f"durability {err} is not known; it is full, process or off"
        case _:
            what = str(err)
    return JournalError(f"journal {path}: {what}")
