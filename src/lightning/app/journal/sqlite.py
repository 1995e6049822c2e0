"""The journal on disk: one SQLite file with write-ahead logging, one writer, any number of readers.

``full`` syncs the log at every commit and so survives a power cut. ``process`` leaves that to the operating
system: a kill of the process loses nothing, a power cut the newest turns, and the file is whole either way.
SQLite comes with apsw, because the systems' own are of versions with a defect in write-ahead logging.

Moving the log into the file (a checkpoint) is done here, not by SQLite on its own: that one would ignore a
sync that failed and try again later. And it is done often, a megabyte at a time, so that no turn waits long.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Self

import apsw

from lightning.app.errors import JournalError
from lightning.app.journal.journal import Durability, Trouble, Turn

SCHEMA = 1
_APPLICATION = 0x4C414A31  # "LAJ1" in the file's header: tells it from a stranger's database
_TABLES = f"""
PRAGMA application_id = {_APPLICATION};
CREATE TABLE turns (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, epoch INTEGER NOT NULL, facts BLOB NOT NULL
);
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', {SCHEMA}), ('epoch', 0);
"""
_INSERT = "INSERT INTO turns (seq, at, epoch, facts) VALUES (?, ?, ?, ?)"
_SELECT = "SELECT seq, at, epoch, facts FROM turns WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 1000"
_LAST = "SELECT coalesce(max(seq), 0) FROM turns"
_EPOCH = "SELECT value FROM meta WHERE key = 'epoch'"
_SYNCHRONOUS: dict[Durability, str] = {"full": "FULL", "process": "NORMAL"}

_CHECKPOINT_PAGES = 256  # a stall of about 1 ms; four times as many, four times as long
_PAGE_BYTES = 2048  # so many bytes of rows cost one page in the log, about
_LOG_BYTES = 16 << 20  # what remains of a log that grew while a reader held on to it
_READ_BYTES = 1 << 20  # read ahead at most; nothing is held in the file while the caller looks at it
_BUSY_MS = 5000  # a reader may be putting the log of a killed process in order


class SqliteJournal:
    """The writer. Open it with ``SqliteJournal.open``; beside it, readers with ``SqliteJournal.reader``.

    >>> from tempfile import mkdtemp
    >>> path = mkdtemp() + "/journal.sqlite"
    >>> journal = SqliteJournal.open(path)
    >>> journal.append(1.5, b"what happened")
    1
    >>> journal.commit()
    >>> list(SqliteJournal.reader(path).read())
    [Turn(seq=1, at=1.5, epoch=1, facts=b'what happened')]
    """

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self.path = path
        self.last: int = connection.execute(_LAST).get
        self.epoch: int = connection.execute(_EPOCH).get
        self._connection = connection
        self._cursor = connection.cursor()
        self._execute = self._cursor.execute
        self._waiting: list[tuple[int, float, int, bytes]] = []
        self._logged = 0  # pages, about, since the last checkpoint
        self._refusal: JournalError | None = None  # once set, every call answers with it

    @classmethod
    def open(cls, path: Path | str, durability: Durability = "full", epoch: int | None = None) -> Self:
        """Open for writing; made anew where there is none. This begins an epoch: the next, or a later one."""
        path = Path(path).absolute()  # the app may go to another folder
        connection = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        try:
            fresh = _is_empty(connection)
            if not fresh:
                _check(path, connection)
            connection.pragma("synchronous", _SYNCHRONOUS[durability])
            connection.pragma("journal_mode", "wal")
            connection.pragma("wal_autocheckpoint", 0)
            connection.pragma("journal_size_limit", _LOG_BYTES)
            with connection:
                if fresh:
                    connection.execute(_TABLES)
                before: int = connection.execute(_EPOCH).get
                if epoch is not None and epoch <= before:
                    raise Trouble.STALE.of(path, f"asked for {epoch}, the last was {before}")
                connection.execute(
                    "UPDATE meta SET value = ? WHERE key = 'epoch'", (before + 1 if epoch is None else epoch,)
                )
            return cls(path, connection)
        except apsw.Error as err:
            trouble = _worded(path, connection, err)
            connection.close()
            raise trouble from err
        except JournalError:
            connection.close()
            raise

    @staticmethod
    def reader(path: Path | str) -> SqliteReader:
        """Look at a journal, also beside a live writer, which is never held up by it."""
        return SqliteReader(path)

    def append(self, at: float, facts: bytes) -> int:
        if self._refusal is not None:
            raise self._refusal
        self.last = seq = self.last + 1
        self._waiting.append((seq, at, self.epoch, facts))
        return seq

    def commit(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        waiting = self._waiting
        if not waiting:
            return
        try:
            if len(waiting) == 1:
                self._execute(_INSERT, waiting[0])
                size = len(waiting[0][3])
            else:
                with self._connection:
                    self._cursor.executemany(_INSERT, waiting)
                size = sum([len(facts) for _, _, _, facts in waiting])
            waiting.clear()
            self._logged += 1 + size // _PAGE_BYTES
            if self._logged >= _CHECKPOINT_PAGES:
                self._checkpoint()
        except apsw.Error as err:
            self._fail(_first(err))

    def read(self, after: int = 0) -> Iterator[Turn]:
        if self._refusal is not None:
            raise self._refusal
        return _turns(self.path, self._connection, after, self.last - len(self._waiting))

    def close(self) -> None:
        try:
            if self._refusal is None:
                self.commit()
                self._refusal = Trouble.CLOSED.of(self.path)
        finally:
            self._connection.close()

    def _checkpoint(self) -> None:
        """Move the log into the file, as far as readers allow; the log then begins again at its start."""
        self._logged = 0
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            return  # somebody else looks after the log right now; ours comes with the next megabyte

    def _fail(self, err: apsw.Error) -> NoReturn:
        self._refusal = _worded(self.path, self._connection, err)
        # closing would sync once more, and might succeed on what the first sync has lost
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        raise self._refusal from err


class SqliteReader:
    """A journal opened for reading only. It also sees what is committed after it was opened."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        if not self.path.exists():
            raise Trouble.ABSENT.of(self.path)
        self._connection = _connect(self.path, apsw.SQLITE_OPEN_READONLY)
        try:
            if _is_empty(self._connection):
                raise Trouble.EMPTY.of(self.path)
            _check(self.path, self._connection)
        except apsw.Error as err:
            trouble = _worded(self.path, self._connection, err)
            self._connection.close()
            raise trouble from err
        except JournalError:
            self._connection.close()
            raise

    @property
    def last(self) -> int:
        """The number of the last turn committed; 0 when there is none."""
        return self._number(_LAST)

    @property
    def epoch(self) -> int:
        """The epoch of whoever opened the journal last."""
        return self._number(_EPOCH)

    def read(self, after: int = 0) -> Iterator[Turn]:
        """The turns committed by now with a higher number, in order."""
        return _turns(self.path, self._connection, after, self.last)

    def close(self) -> None:
        self._connection.close()

    def _number(self, query: str) -> int:
        try:
            return int(self._connection.execute(query).get)
        except apsw.Error as err:
            raise _worded(self.path, self._connection, err) from err


def _connect(path: Path, flags: int) -> apsw.Connection:
    try:
        connection = apsw.Connection(os.fspath(path), flags=flags)
    except apsw.Error as err:
        raise _worded(path, None, err) from err
    connection.set_busy_timeout(_BUSY_MS)
    return connection


def _is_empty(connection: apsw.Connection) -> bool:
    """Nothing is in it yet: it is new, or its maker died before the first commit."""
    empty: bool = connection.execute("SELECT count(*) = 0 FROM sqlite_schema").get
    return empty and connection.pragma("application_id") == 0


def _check(path: Path, connection: apsw.Connection) -> None:
    """Refuse what is not ours, before anything in it is touched."""
    if connection.pragma("application_id") != _APPLICATION:
        raise Trouble.FOREIGN.of(path)
    schema = connection.execute("SELECT value FROM meta WHERE key = 'schema'").get
    if not isinstance(schema, int):
        raise Trouble.CORRUPT.of(path, "its schema version is not a number")
    if schema > SCHEMA:
        raise Trouble.NEWER.of(path, f"schema {schema}; this version reads up to {SCHEMA}")


def _turns(path: Path, connection: apsw.Connection, after: int, last: int) -> Iterator[Turn]:
    """Read in portions, so that no open query pins the log while the caller looks at a turn."""
    try:
        while after < last:
            portion: list[Turn] = []
            size = 0
            for row in connection.execute(_SELECT, (after, last)):
                turn = Turn(*row)
                if type(turn.facts) is not bytes:
                    raise Trouble.CORRUPT.of(path, f"turn {turn.seq} holds no bytes")
                portion.append(turn)
                size += len(turn.facts)
                if size > _READ_BYTES:
                    break
            after += len(portion)
            if not portion or portion[-1].seq != after:
                raise Trouble.CORRUPT.of(path, f"a turn up to number {after + 1} is missing")
            yield from portion
    except apsw.Error as err:
        raise _worded(path, connection, err) from err
    except UnicodeDecodeError as err:
        raise Trouble.CORRUPT.of(path, f"a turn after number {after} holds no bytes") from err


def _worded(path: Path, connection: apsw.Connection | None, err: apsw.Error) -> JournalError:
    """SQLite's word for it, in ours."""
    match err:
        case apsw.FullError():
            return Trouble.FULL.of(path)
        case apsw.NotADBError():
            return Trouble.FOREIGN.of(path)
        case apsw.CorruptError() | apsw.SQLError() | apsw.MismatchError():
            return Trouble.CORRUPT.of(path, str(err))
        case apsw.BusyError() | apsw.LockedError() | apsw.ConstraintError():
            return Trouble.BUSY.of(path)  # a constraint: the number of our turn is taken
        case apsw.ConnectionClosedError():
            return Trouble.CLOSED.of(path)
        case apsw.ReadOnlyError() | apsw.CantOpenError() | apsw.PermissionsError() | apsw.AuthError():
            return _why_closed(path, err)
        case apsw.IOError():
            # the errno SQLite remembers may be that of an older, harmless failure: trust only a full disk's
            if connection is not None and connection.system_errno in (errno.ENOSPC, errno.EDQUOT):
                return Trouble.FULL.of(path)
            return Trouble.FAILED.of(path, _code(err))
        case _:
            return JournalError(f"{path}: {err}")


def _first(err: apsw.Error) -> apsw.Error:
    """The failure itself: a full disk makes SQLite roll back, and then the rollback of ``with`` fails too."""
    while isinstance(err.__context__, apsw.Error):
        err = err.__context__
    return err


def _code(err: apsw.Error) -> str:
    """SQLite's own name of the failure, for who looks it up: SQLITE_IOERR_FSYNC."""
    code: int = getattr(err, "extendedresult", 0)
    return str(apsw.mapping_extended_result_codes.get(code, err))


def _why_closed(path: Path, err: apsw.Error) -> JournalError:
    """SQLite says only that it cannot: ask the operating system what stands in the way."""
    folder = path.parent
    if not folder.is_dir():
        return Trouble.NO_FOLDER.of(path)
    if path.is_dir():
        return Trouble.FOREIGN.of(path, "it is a folder")
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return Trouble.READ_ONLY.of(path)
    if os.access(folder, os.W_OK | os.X_OK) and (not path.exists() or os.access(path, os.R_OK | os.W_OK)):
        return Trouble.FAILED.of(path, str(err))  # too many open files, for one
    return Trouble.DENIED.of(path)
