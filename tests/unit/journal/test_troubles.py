"""When the disk says no: the error names file and remedy, and a journal that failed once takes no more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from lightning.app.errors import JournalError
from lightning.app.journal.journal import Durability
from lightning.app.journal.runs import Runs
from lightning.app.journal.sqlite import SqliteJournal

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting and changing users needs root")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system in memory, mounted with the given options."""
    mounted: list[Path] = []

    def at(options: str) -> Path:
        folder = tmp_path / f"mount{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"this machine does not mount: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield at
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Disk(apsw.VFS):
    """The real file system, in which a chosen operation begins to fail."""

    def __init__(self) -> None:
        self.failing: tuple[str, int] | None = None  # "sync" of a name's end, and SQLite's code for it
        self.ending = ""
        self.spared = 0
        self.asked = 0  # how often the failing operation was asked for since
        self.synced: list[str] = []
        super().__init__("failing", "unix", makedefault=True)

    def fail(self, operation: str, ending: str, code: int) -> None:
        self.fail_after(0, operation, ending, code)

    def fail_after(self, spared: int, operation: str, ending: str, code: int) -> None:
        """Let so many of the operations succeed first."""
        self.failing, self.ending, self.asked, self.spared = (operation, code), ending, 0, spared

    def meet(self, operation: str, name: str) -> None:
        if self.failing is not None and self.failing[0] == operation and name.endswith(self.ending):
            if self.spared:
                self.spared -= 1
                return
            self.asked += 1
            raise apsw.exception_for(self.failing[1])

    def xOpen(self, name: Any, flags: Any) -> DiskFile:
        return DiskFile(self, name, flags)


class DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: Any) -> None:
        self.disk = disk
        self.name = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        super().__init__("unix", name, flags)

    def xSync(self, flags: int) -> None:
        self.disk.meet("sync", self.name)
        self.disk.synced.append(self.name)
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self.disk.meet("write", self.name)
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:
        self.disk.meet("read", self.name)
        return super().xRead(amount, offset)


@pytest.fixture
def disk() -> Iterator[Disk]:
    before = apsw.vfs_names()[0]
    disk = Disk()
    yield disk
    disk.failing = None
    apsw.set_default_vfs(before)
    disk.unregister()


def refuses_everything(journal: SqliteJournal, error: JournalError) -> None:
    for use in (lambda: journal.append(9.0, b""), journal.commit, journal.read, journal.commit):
        with pytest.raises(JournalError) as caught:
            use()
        assert caught.value is error


def commit_small_turns(journal: SqliteJournal, count: int, padding: int = 0) -> None:
    for each in range(1, count + 1):
        journal.append(1.0, b"%d" % each + bytes(padding))
        journal.commit()


def facts(path: Path) -> list[bytes]:
    journal = SqliteJournal.open(path)
    try:
        return [turn.facts for turn in journal.read()]
    finally:
        journal.close()


# -- syncs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("durability", "syncs"), [("full", 1), ("process", 0)])
def test_a_commit_syncs_the_log_once_under_full_and_not_under_process(
    disk: Disk, tmp_path: Path, durability: Durability, syncs: int
) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal.open(path, durability)
    for turns in (1, 1, 1, 20):
        for _ in range(turns):
            journal.append(1.0, b"small")
        disk.synced.clear()
        journal.commit()
        assert disk.synced == [f"{path}-wal"] * syncs
    journal.close()


# -- failing disks ----------------------------------------------------------------------------------


def test_a_failed_sync_is_never_tried_again_and_the_journal_takes_no_more(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal.open(path)
    journal.append(1.0, b"kept")
    journal.commit()
    disk.fail("sync", "-wal", apsw.SQLITE_IOERR_FSYNC)
    journal.append(2.0, b"unsure")
    with pytest.raises(JournalError, match=r"journal\.sqlite: the disk failed.*SQLITE_IOERR_FSYNC") as caught:
        journal.commit()
    assert disk.asked == 1
    refuses_everything(journal, caught.value)
    journal.close()
    assert disk.asked == 1, "neither a later commit nor the end synced again"
    disk.failing = None
    assert facts(path)[0] == b"kept"


def test_a_sync_that_fails_while_the_log_is_moved_fails_the_journal(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal.open(path)
    disk.fail("sync", "journal.sqlite", apsw.SQLITE_IOERR_FSYNC)
    with pytest.raises(JournalError, match="the disk failed") as caught:
        commit_small_turns(journal, 1000)
    committed = journal.last
    assert 1 < committed < 1000
    assert disk.asked == 1
    refuses_everything(journal, caught.value)
    journal.close()
    assert disk.asked == 1
    disk.failing = None
    assert facts(path) == [b"%d" % each for each in range(1, committed + 1)]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (apsw.SQLITE_IOERR_WRITE, "the disk failed to read or write.*dmesg"),
        (apsw.SQLITE_FULL, "the disk is full.*free some space"),
    ],
)
def test_a_failed_write_is_named_and_its_turns_are_not_there(
    disk: Disk, tmp_path: Path, code: int, words: str
) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal.open(path)
    journal.append(1.0, b"kept")
    journal.commit()
    disk.fail("write", "-wal", code)
    journal.append(2.0, b"lost")
    journal.append(2.0, b"lost, too")
    with pytest.raises(JournalError, match=words) as caught:
        journal.commit()
    disk.failing = None  # space again: still nothing is taken, for the app has to stop first
    refuses_everything(journal, caught.value)
    journal.close()
    assert facts(path) == [b"kept"]


LIMITED = """
import resource, sys
from lightning.app.errors import JournalError
from lightning.app.journal.sqlite import SqliteJournal

limit = int(sys.argv[2])
journal = SqliteJournal.open(sys.argv[1], "process")
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    while True:
        journal.append(1.0, bytes(4000))
        journal.commit()
except JournalError as err:
    print(journal.last, err, flush=True)
journal.close()
"""


def test_a_file_that_cannot_grow_fails_the_journal_when_the_log_is_moved_not_later(tmp_path: Path) -> None:
    path, limit = tmp_path / "journal.sqlite", 4 << 20
    said = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(limit)], capture_output=True, text=True, check=True
    )
    last, error = said.stdout.split(" ", 1)
    assert error.startswith(f"{path}: the disk failed")
    assert path.with_name("journal.sqlite-wal").stat().st_size < limit // 2, "the log itself had room"
    assert len(facts(path)) == int(last), "what was in the log is not lost"


def test_a_failed_read_is_named(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal.open(path)
    journal.append(1.0, bytes(10_000))
    journal.close()
    disk.fail("read", "journal.sqlite", apsw.SQLITE_IOERR_READ)
    for way in (SqliteJournal.open, SqliteJournal.reader):
        with pytest.raises(JournalError, match="the disk failed to read or write"):
            way(path)


@needs_root
def test_a_full_disk_is_named_and_everything_committed_before_is_there(mount: Callable[[str], Path]) -> None:
    path = mount("size=1m") / "journal.sqlite"
    journal = SqliteJournal.open(path)
    with pytest.raises(JournalError, match=r"journal\.sqlite: the disk is full.*--resume") as caught:
        commit_small_turns(journal, 10_000, padding=3000)
    committed = journal.last - 1
    assert committed > 10
    refuses_everything(journal, caught.value)
    journal.close()
    reader = SqliteJournal.reader(path)
    assert reader.last == sum(1 for _ in reader.read()) == committed
    reader.close()


@needs_root
def test_a_disk_that_is_full_at_the_start_is_named(mount: Callable[[str], Path]) -> None:
    folder = mount("size=64k")
    (folder / "ballast").write_bytes(bytes(60 << 10))
    with pytest.raises(JournalError, match="the disk is full"):
        SqliteJournal.open(folder / "journal.sqlite")
    (folder / "more").write_bytes(bytes(os.statvfs(folder).f_bavail * 4096))
    with pytest.raises(JournalError, match="the disk is full"):
        Runs(folder / ".lightning" / "runs").create()


# -- closed doors -----------------------------------------------------------------------------------


@needs_root
def test_a_read_only_file_system_is_named_with_the_way_out(mount: Callable[[str], Path]) -> None:
    folder = mount("size=4m")
    SqliteJournal.open(folder / "journal.sqlite").close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    for name in ("journal.sqlite", "new.sqlite"):
        with pytest.raises(JournalError, match=rf"{name}: it is on a read-only file system.*--runs-dir"):
            SqliteJournal.open(folder / name)
    with pytest.raises(JournalError, match=r"read-only file system.*--runs-dir"):
        Runs(folder / "runs").create()


STRANGER = """
import os, sys
from lightning.app.errors import JournalError
from lightning.app.journal.journal import Durability
from lightning.app.journal.runs import Run, Runs
from lightning.app.journal.sqlite import SqliteJournal
from pathlib import Path

folder = Path(sys.argv[1])
os.setgid(65534)
os.setuid(65534)
for use in (
    lambda: SqliteJournal.open(folder / "new.sqlite"),
    lambda: SqliteJournal.open(folder / "journal.sqlite"),
    lambda: Runs(folder / "runs").create(),
    lambda: Run(folder).lock(),
):
    try:
        use()
    except JournalError as err:
        print(err)
"""


@needs_root
def test_a_folder_without_permission_is_named_with_the_way_out(tmp_path: Path) -> None:
    folder = tmp_path / "roots"
    folder.mkdir()
    SqliteJournal.open(folder / "journal.sqlite").close()
    above = [each for each in tmp_path.parents if each.name.startswith(("pytest-", "popen-"))]
    for each in (folder, tmp_path, *above):
        each.chmod(0o755)
    said = subprocess.run(
        [sys.executable, "-c", STRANGER, str(folder)], capture_output=True, text=True, check=True
    )
    names = ("new.sqlite", "journal.sqlite", "runs", "lock")
    for name, line in zip(names, said.stdout.splitlines(), strict=True):
        assert line.startswith(f"{folder / name}: permission denied; ")
        assert line.endswith("choose another folder with --runs-dir")


def test_a_disk_that_fills_up_while_several_turns_are_committed_is_named(tmp_path: Path) -> None:
    journal = SqliteJournal.open(tmp_path / "journal.sqlite")
    journal._connection.pragma("max_page_count", 30)
    for _ in range(3):
        journal.append(1.0, bytes(100_000))
    with pytest.raises(JournalError, match="the disk is full") as caught:
        journal.commit()
    refuses_everything(journal, caught.value)
    journal.close()


# -- files that go ----------------------------------------------------------------------------------


def left_by_a_kill(path: Path) -> None:
    """A file whose newest turns are in its log, as a kill leaves it."""
    journal = SqliteJournal.open(path)
    commit_small_turns(journal, 10)
    copies = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    journal.close()
    for name, content in copies.items():
        (path.parent / name).write_bytes(content)


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_log_without_its_file_is_named_and_left_as_it_is(tmp_path: Path, how: str) -> None:
    path = tmp_path / "journal.sqlite"
    left_by_a_kill(path)
    content = path.read_bytes()
    path.unlink()
    if how == "empty":
        path.touch()
    log = path.with_name("journal.sqlite-wal").read_bytes()
    for way in (SqliteJournal.open, SqliteJournal.reader):
        with pytest.raises(
            JournalError, match=r"journal\.sqlite: its newest turns are here.*missing or empty"
        ):
            way(path)
    assert path.with_name("journal.sqlite-wal").read_bytes() == log
    path.write_bytes(content)
    assert len(facts(path)) == 10, "with the file back in its place everything is there"


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_removed_under_a_live_run_fails_the_journal(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal.open(path)
    commit_small_turns(journal, 10)
    path.unlink()
    if replaced:
        SqliteJournal.open(tmp_path / "other.sqlite").close()
        (tmp_path / "other.sqlite").rename(path)
    with pytest.raises(JournalError, match=r"journal\.sqlite: the file was removed or replaced") as caught:
        commit_small_turns(journal, 1000)
    refuses_everything(journal, caught.value)
    journal.close()


def test_a_file_that_is_removed_shortly_before_the_end_is_told_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal.open(path)
    commit_small_turns(journal, 10)
    path.unlink()
    with pytest.raises(JournalError, match="the file was removed or replaced"):
        journal.close()
    journal.close()


# -- snapshots and compaction on failing disks ------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "code"), [("write", apsw.SQLITE_FULL), ("sync", apsw.SQLITE_IOERR_FSYNC)]
)
def test_a_snapshot_that_cannot_be_written_fails_the_journal_and_harms_nothing(
    disk: Disk, tmp_path: Path, operation: str, code: int
) -> None:
    path = tmp_path / "journal.sqlite"
    journal = SqliteJournal.open(path, history=5)
    commit_small_turns(journal, 10)
    journal.snapshot(b"first")
    journal.commit()
    commit_small_turns(journal, 10)
    disk.fail(operation, "-wal", code)
    journal.snapshot(b"second")
    with pytest.raises(JournalError) as caught:
        journal.commit()
    refuses_everything(journal, caught.value)
    journal.close()
    disk.failing = None
    again = SqliteJournal.open(path)
    newest = again.newest()
    assert newest is not None
    assert again.last == 20
    after = [turn.seq for turn in again.read(newest.seq)]
    assert after == list(range(newest.seq + 1, 21)), "what follows the newest snapshot is there"
    again.close()


def test_whichever_write_fails_while_history_is_compacted_the_rest_of_it_is_whole(
    disk: Disk, tmp_path: Path
) -> None:
    failed = compacted = 0
    for nth in range(0, 200, 7):
        path = tmp_path / f"{nth}.sqlite"
        journal = SqliteJournal.open(path, "process", history=20)
        commit_small_turns(journal, 100, padding=500)
        disk.fail_after(nth, "write", "-wal", apsw.SQLITE_IOERR_WRITE)
        try:
            for _ in range(3):
                journal.snapshot(b"after %d" % journal.last)
                commit_small_turns(journal, 40, padding=500)
        except JournalError:
            failed += 1
        compacted += journal.first > 1
        journal.close()
        disk.failing = None
        again = SqliteJournal.open(path, "process", history=20)
        turns = [turn.seq for turn in again.read(again.first - 1)]
        assert turns == list(range(again.first, again.last + 1))
        newest = again.newest()
        assert newest is not None or again.first == 1
        assert newest is None or newest.model == b"after %d" % newest.seq
        again.close()
    assert failed > 20, "the failures hit"
    assert 5 < compacted < failed, "before history was compacted, and after"
