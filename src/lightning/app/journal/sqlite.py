"""The journal on disk: one SQLite file with write-ahead logging, one writer, any number of readers.

``full`` syncs the log at every commit and so survives a power cut. ``process`` leaves that to the operating
system: a kill of the process loses nothing, a power cut the newest turns, and the file is whole either way.
SQLite comes with apsw, because the systems' own are of versions with a defect in write-ahead logging.

Moving the log into the file (a checkpoint) is done here, not by SQLite on its own: that one would ignore a
sync that failed and try again later. And it is done often, a megabyte at a time, so that no turn waits long.
For the same reason compacted turns are deleted some at a time, within commits; SQLite uses their pages again, so
that the file stops growing.

Every row has a checksum over all that it says: SQLite notices damage to its own structure, not to what lies in it.

Schemas: 1 had turns without checksums and no snapshots. A writer brings it up to date when it opens it, in one
transaction; a reader reads it as it is. Facts and snapshots change by rules of their own, without a new schema.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any, NoReturn, Self
from zlib import crc32

import apsw

from lightning.app.errors import JournalError
from lightning.app.journal.journal import (
    HISTORY,
    SNAPSHOT_TURNS,
    SNAPSHOT_WORTH,
    Durability,
    Snapshot,
    Trouble,
    Turn,
)
from lightning.app.journal.mounts import network_file_system
from lightning.app.kernel.snapshot import FORMAT

SCHEMA = 2
_APPLICATION = 0x4C414A31  # "LAJ1" in the file's header: tells it from a stranger's database
_SNAPSHOTS = """
CREATE TABLE snapshots (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, epoch INTEGER NOT NULL, format INTEGER NOT NULL,
    model BLOB NOT NULL, crc INTEGER NOT NULL
);
"""
_TABLES = f"""
PRAGMA application_id = {_APPLICATION};
CREATE TABLE turns (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, epoch INTEGER NOT NULL, facts BLOB NOT NULL, crc INTEGER NOT NULL
);
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', {SCHEMA}), ('epoch', 0), ('first', 1);
{_SNAPSHOTS}
"""
_FROM_1_TO_2 = f"""
ALTER TABLE turns ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
UPDATE turns SET crc = journal_crc(seq, at, epoch, facts);
{_SNAPSHOTS}
INSERT INTO meta VALUES ('first', 1);
UPDATE meta SET value = 2 WHERE key = 'schema';
"""
_INSERT = "INSERT INTO turns (seq, at, epoch, facts, crc) VALUES (?, ?, ?, ?, ?)"
_SELECT = "SELECT seq, at, epoch, facts, crc FROM turns WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 1000"
_SELECT_1 = "SELECT seq, at, epoch, facts, NULL FROM turns WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT 1000"
_LAST = "SELECT coalesce(max(seq), (SELECT value FROM meta WHERE key = 'first') - 1, 0) FROM turns"
_SWEEPINGS = "SELECT seq, length(facts) FROM turns WHERE seq < ? ORDER BY seq LIMIT ?"
_PLACE = "SELECT at, epoch FROM turns WHERE seq = ?"
_META = "SELECT value FROM meta WHERE key = ?"
_KEEP = "INSERT OR REPLACE INTO snapshots (seq, at, epoch, format, model, crc) VALUES (?, ?, ?, ?, ?, ?)"
_KEPT = "SELECT seq FROM snapshots WHERE seq BETWEEN ? AND ? AND format = ? ORDER BY seq DESC"
_SNAPSHOT = "SELECT seq, at, epoch, model, crc FROM snapshots WHERE seq = ? AND format = ?"
_SYNCHRONOUS: dict[Durability, str] = {"full": "FULL", "process": "NORMAL"}

_CHECKPOINT_PAGES = 256  # a stall of about 1 ms; four times as many, four times as long
_PAGE_BYTES = 2048  # so many bytes of rows cost one page in the log, about
_LOG_BYTES = 16 << 20  # what remains of a log that grew while a reader held on to it
_READ_BYTES = 1 << 20  # read ahead at most; nothing is held in the file while the caller looks at it
_BUSY_MS = 5000  # a reader may be putting the log of a killed process in order
_SWEEP_EVERY = 32  # turns; then twice as many of the compacted ones are deleted, until none are left
_SWEEP_BYTES = 256 << 10  # of them at most, however large they are; but always more than came meanwhile
_NEVER = 1 << 62
_placed = Struct("<qdq").pack  # a row's number, time and epoch, as its checksum has them


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

    def __init__(self, path: Path, connection: apsw.Connection, history: int = HISTORY) -> None:
        self.path = path
        self.last: int = connection.execute(_LAST).get
        self.epoch = _meta(path, connection, "epoch")
        self.first = _meta(path, connection, "first")
        self.damage: list[str] = []
        self._history = history
        self._connection = connection
        self._cursor = connection.cursor()
        self._execute = self._cursor.execute
        self._waiting: list[tuple[int, float, int, bytes, int]] = []
        self._file = _identity(path)
        self._snapshots: list[tuple[int, float, int, int, bytes, int]] = []  # they wait, too
        self._logged = 0  # pages, about, since the last checkpoint
        self._refusal: JournalError | None = None  # once set, every call answers with it
        self._chores_at = _NEVER  # the turn with which something is to be done beside inserting it
        newest = connection.execute("SELECT seq, length(model) FROM snapshots ORDER BY seq DESC LIMIT 1").get
        seq, size = newest or (0, 0)
        since = "SELECT coalesce(sum(length(facts)), 0) FROM turns WHERE seq > ?"
        self._written: int = connection.execute(since, (seq,)).get  # bytes of facts, counted from anywhere
        self._due_at = seq + SNAPSHOT_TURNS
        self._due_bytes = SNAPSHOT_WORTH * size
        self.due = self._written >= self._due_bytes and self.last >= self._due_at
        self._swept_bytes = self._written
        if connection.execute("SELECT EXISTS (SELECT 1 FROM turns WHERE seq < ?)", (self.first,)).get:
            self._chores_at = 0

    @classmethod
    def open(
        cls,
        path: Path | str,
        durability: Durability = "full",
        epoch: int | None = None,
        *,
        history: int = HISTORY,
    ) -> Self:
        """Open for writing; made anew where there is none. This begins an epoch: the next, or a later one.

        Of turns that are older than the newest ``history`` those that a snapshot stands for are forgotten.
        """
        path = Path(path).absolute()  # the app may go to another folder
        if kind := network_file_system(path.parent):
            raise Trouble.NETWORK.of(path, kind)
        _refuse_half(path)
        connection = _connect(path, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
        try:
            fresh = _is_empty(connection)
            schema = SCHEMA if fresh else _schema(path, connection)
            connection.pragma("synchronous", _SYNCHRONOUS[durability])
            connection.pragma("journal_mode", "wal")
            connection.pragma("wal_autocheckpoint", 0)
            connection.pragma("journal_size_limit", _LOG_BYTES)
            with connection:
                if fresh:
                    connection.execute(_TABLES)
                elif schema == 1:
                    connection.create_scalar_function("journal_crc", _crc, 4, deterministic=True)
                    connection.execute(_FROM_1_TO_2)
                before = _meta(path, connection, "epoch")
                if epoch is not None and epoch <= before:
                    raise Trouble.STALE.of(path, f"asked for {epoch}, the last was {before}")
                connection.execute(
                    "UPDATE meta SET value = ? WHERE key = 'epoch'", (before + 1 if epoch is None else epoch,)
                )
            return cls(path, connection, history)
        except apsw.Error as err:
            trouble = _worded(path, connection, err)
            connection.close()
            raise trouble from err
        except JournalError:
            connection.close()
            raise

    @classmethod
    def begin(cls, path: Path | str, snapshot: Snapshot) -> Self:
        """A new journal that begins behind the turns which the snapshot stands for."""
        journal = cls.open(path, "process", snapshot.epoch)
        seq, at, epoch, model = snapshot
        row = (seq, at, epoch, FORMAT, model, crc32(_placed(seq, at, epoch) + model, FORMAT))
        try:
            with journal._connection:
                journal._execute(_KEEP, row)
                journal._execute("UPDATE meta SET value = ? WHERE key = 'first'", (seq + 1,))
            return cls(journal.path, journal._connection)
        except apsw.Error as err:
            journal._refuse(_worded(journal.path, journal._connection, err), err)

    @staticmethod
    def reader(path: Path | str) -> SqliteReader:
        """Look at a journal, also beside a live writer, which is never held up by it."""
        return SqliteReader(path)

    def append(self, at: float, facts: bytes) -> int:
        if self._refusal is not None:
            raise self._refusal
        self.last = seq = self.last + 1
        epoch = self.epoch
        self._waiting.append((seq, at, epoch, facts, crc32(_placed(seq, at, epoch) + facts)))
        return seq

    def commit(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        waiting = self._waiting
        if not waiting and not self._snapshots:
            return
        try:
            if len(waiting) == 1 and self.last < self._chores_at:
                self._execute(_INSERT, waiting[0])
                size = len(waiting[0][3])
                self._written += size
            else:
                size = self._commit_all()
            waiting.clear()
            self._logged += 1 + size // _PAGE_BYTES
            if self._logged >= _CHECKPOINT_PAGES:
                self._checkpoint()
        except apsw.Error as err:
            self._refuse(_worded(self.path, self._connection, _first(err)), _first(err))

    def snapshot(self, model: bytes) -> None:
        if self._refusal is not None:
            raise self._refusal
        seq = self.last
        if self._waiting:
            _, at, epoch, _, _ = self._waiting[-1]
        else:
            at, epoch = _ask(self.path, self._connection, _PLACE, seq) or (0.0, self.epoch)
        row = (seq, at, epoch, FORMAT, model, crc32(_placed(seq, at, epoch) + model, FORMAT))
        self._snapshots.append(row)
        self._chores_at = 0
        self.due = False

    def read(self, after: int = 0) -> Iterator[Turn]:
        if self._refusal is not None:
            raise self._refusal
        _refuse_compacted(self.path, after, self.first)
        return _turns(self.path, self._connection, after, self.last - len(self._waiting))

    def newest(self, upto: int | None = None) -> Snapshot | None:
        if self._refusal is not None:
            raise self._refusal
        try:
            return _newest(self.path, self._connection, self.first, upto, self.damage)
        except apsw.Error as err:
            raise _worded(self.path, self._connection, err) from err

    def close(self) -> None:
        try:
            if self._refusal is None:
                self.commit()
                if _identity(self.path) != self._file:
                    self._refuse(Trouble.GONE.of(self.path))
                self._refusal = Trouble.CLOSED.of(self.path)
        finally:
            self._connection.close()

    def _commit_all(self) -> int:
        """Several turns, a snapshot, or a portion of what is compacted. Returns the bytes that were written."""
        size = sum([len(row[3]) for row in self._waiting])
        self._written += size
        with self._connection:
            self._cursor.executemany(_INSERT, self._waiting)
            if self._snapshots:
                size += self._keep_snapshots()
            if self.last >= self._chores_at:
                self._sweep(len(self._waiting))
        return size

    def _keep_snapshots(self) -> int:
        """Insert them; then history may begin later. But only behind a snapshot that is whole."""
        self._cursor.executemany(_KEEP, self._snapshots)
        seq, size = self._snapshots[-1][0], len(self._snapshots[-1][4])
        self._snapshots.clear()
        self._due_at = seq + SNAPSHOT_TURNS
        self._due_bytes = self._written + SNAPSHOT_WORTH * size
        before = self.last - self._history
        begin = _newest(self.path, self._connection, self.first + 1, before, self.damage)
        if begin is not None:
            self.first = begin.seq + 1
            self._execute("UPDATE meta SET value = ? WHERE key = 'first'", (self.first,))
            self._execute("DELETE FROM snapshots WHERE seq < ?", (begin.seq,))
        return size

    def _sweep(self, turns: int) -> None:
        """Delete some of what is compacted: more than came since the last time."""
        most = 2 * (_SWEEP_EVERY + turns)
        room = _SWEEP_BYTES + 2 * (self._written - self._swept_bytes)
        upto: Any = 0
        for seq, size in self._execute(_SWEEPINGS, (self.first, most)).fetchall():
            upto = seq
            room -= size
            if room <= 0:
                break
        self._execute("DELETE FROM turns WHERE seq <= ?", (upto,))
        self._swept_bytes = self._written
        self._chores_at = self.last + _SWEEP_EVERY if upto else _NEVER

    def _checkpoint(self) -> None:
        """Move the log into the file, as far as readers allow; the log then begins again at its start."""
        self._logged = 0
        self.due = self._written >= self._due_bytes and self.last >= self._due_at
        if _identity(self.path) != self._file:
            self._refuse(Trouble.GONE.of(self.path))
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            return  # somebody else looks after the log right now; ours comes with the next megabyte

    def _refuse(self, refusal: JournalError, err: apsw.Error | None = None) -> NoReturn:
        """From now on every call answers with this."""
        self._refusal = refusal
        # closing would sync once more, and might succeed on what the first sync has lost
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        raise refusal from err


class SqliteReader:
    """A journal opened for reading only. It also sees what is committed after it was opened."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).absolute()
        self.damage: list[str] = []
        _refuse_half(self.path)
        if not self.path.exists():
            raise Trouble.ABSENT.of(self.path)
        self._connection = _connect(self.path, apsw.SQLITE_OPEN_READONLY)
        try:
            if _is_empty(self._connection):
                raise Trouble.EMPTY.of(self.path)
            _schema(self.path, self._connection)
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
        return int(_ask(self.path, self._connection, _LAST))

    @property
    def first(self) -> int:
        """The number of the oldest turn that can be read."""
        return self._meta("first", 1)

    @property
    def epoch(self) -> int:
        """The epoch of whoever opened the journal last."""
        return self._meta("epoch")

    def read(self, after: int = 0) -> Iterator[Turn]:
        """The turns committed by now with a higher number, in order.

        A writer that compacts them meanwhile makes an error of what is left to read, not other turns.
        """
        _refuse_compacted(self.path, after, self.first)
        return _turns(self.path, self._connection, after, self.last)

    def newest(self, upto: int | None = None) -> Snapshot | None:
        """The newest whole snapshot of the state after turn ``upto`` or an earlier one."""
        if self._meta("schema") == 1:
            return None
        try:
            return _newest(self.path, self._connection, self.first, upto, self.damage)
        except apsw.Error as err:
            raise _worded(self.path, self._connection, err) from err

    def close(self) -> None:
        self._connection.close()

    def _meta(self, key: str, absent: int | None = None) -> int:
        try:
            return _meta(self.path, self._connection, key, absent)
        except apsw.Error as err:
            raise _worded(self.path, self._connection, err) from err


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is there now."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _refuse_half(path: Path) -> None:
    """SQLite takes a log without its file for a leftover, and deletes it: but the turns are in it."""
    try:
        if path.with_name(f"{path.name}-wal").stat().st_size and not (path.exists() and path.stat().st_size):
            raise Trouble.HALF.of(path)
    except OSError:
        return  # there is no log, or nobody may look: what there is, is opened, or its trouble told


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


def _schema(path: Path, connection: apsw.Connection) -> int:
    """The version of the tables. Refuses what is not ours, before anything in it is touched."""
    if connection.pragma("application_id") != _APPLICATION:
        raise Trouble.FOREIGN.of(path)
    schema = _meta(path, connection, "schema")
    if schema > SCHEMA:
        raise Trouble.NEWER.of(path, f"schema {schema}; this version reads up to {SCHEMA}")
    return schema


def _meta(path: Path, connection: apsw.Connection, key: str, absent: int | None = None) -> int:
    value = connection.execute(_META, (key,)).get
    if value is None:
        value = absent
    if not isinstance(value, int):
        raise Trouble.CORRUPT.of(path, f"its {key} is not a number")
    return value


def _ask(path: Path, connection: apsw.Connection, query: str, *values: object) -> Any:
    try:
        return connection.execute(query, values).get
    except apsw.Error as err:
        raise _worded(path, connection, err) from err


def _crc(*row: Any) -> int:
    """Of a row of schema 1, for SQL. What is no bytes is told by who reads it."""
    seq, at, epoch, facts = row
    return crc32(_placed(seq, at, epoch) + facts) if isinstance(facts, bytes) else 0


def _refuse_compacted(path: Path, after: int, first: int) -> None:
    if after < first - 1:
        raise Trouble.COMPACTED.of(path, f"turn {after + 1} was asked for, history begins with turn {first}")


def _turns(path: Path, connection: apsw.Connection, after: int, last: int) -> Iterator[Turn]:
    """Read in portions, so that no open query pins the log while the caller looks at a turn."""
    try:
        select = _SELECT_1 if _meta(path, connection, "schema") == 1 else _SELECT
        while after < last:
            portion: list[Turn] = []
            size = 0
            for seq, at, epoch, facts, crc in connection.execute(select, (after, last)):
                if type(facts) is not bytes:
                    raise Trouble.CORRUPT.of(path, f"turn {seq} holds no bytes")
                if crc is not None and crc != crc32(_placed(seq, at, epoch) + facts):
                    raise Trouble.CORRUPT.of(path, f"turn {seq} is not as it was written")
                portion.append(Turn(seq, at, epoch, facts))
                size += len(facts)
                if size > _READ_BYTES:
                    break
            if not portion or portion[-1].seq != after + len(portion):
                _refuse_compacted(path, after, _meta(path, connection, "first", 1))
                raise Trouble.CORRUPT.of(
                    path, f"a turn between {after} and {after + len(portion) + 1} is missing"
                )
            after += len(portion)
            yield from portion
    except apsw.Error as err:
        raise _worded(path, connection, err) from err
    except UnicodeDecodeError as err:
        raise Trouble.CORRUPT.of(path, f"a turn after number {after} holds no bytes") from err


def _newest(
    path: Path, connection: apsw.Connection, first: int, upto: int | None, damage: list[str]
) -> Snapshot | None:
    """The newest whole snapshot from that of the turn before ``first`` on. Others are noted."""
    bounds = (first - 1, _NEVER if upto is None else upto, FORMAT)
    for (seq,) in connection.execute(_KEPT, bounds).fetchall():
        try:
            row = connection.execute(_SNAPSHOT, (seq, FORMAT)).get
        except (apsw.CorruptError, UnicodeDecodeError):
            row = (seq, 0.0, 0, None, 0)
        if row is None:
            continue  # it was compacted meanwhile
        seq, at, epoch, model, crc = row
        if type(model) is bytes and crc == crc32(_placed(seq, at, epoch) + model, FORMAT):
            return Snapshot(seq, at, epoch, model)
        told = f"{path}: the snapshot of turn {seq} is damaged"
        if told not in damage:
            damage.append(told)
    return None


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
