"""A disk whose power can be cut: a layer of SQLite's file system that knows what was synced and what was not.

Writes go through to real files, and are remembered. ``cut`` makes a folder as the disk could look afterwards:
of each file what its last sync had made durable, and of what was written since an arbitrary part, torn at
sectors. Names, too, are lost unless they were synced: SQLite syncs a folder together with the first sync of a
log that it has made there (and a file's maker must sync the folders above it).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import apsw

from lightning.app.journal.sqlite import SqliteJournal

SECTOR = 512
NAME = "chaos-power"
BELOW = apsw.vfs_names()[0]
"""The file system of SQLite that really writes."""


@dataclass
class Disk:
    """One file: what is durable of it, and what was done to it since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)  # where, what; None: cut off there
    named: bool = False  # whether the folder knows of it for good

    def sync(self) -> None:
        for offset, data in self.pending:
            _put(self.durable, offset, data)
        self.pending.clear()

    def after_a_cut(self, dice: random.Random) -> bytes:
        """The durable part, and of the rest: all, none, the first operations, or any sectors at all."""
        image = bytearray(self.durable)
        match dice.choice(("all", "none", "first", "sectors", "sectors", "sectors")):
            case "all":
                kept = self.pending
            case "none":
                kept = []
            case "first":
                kept = self.pending[: dice.randint(0, len(self.pending))]
                if kept and kept[-1][1] is not None:  # the last of them is torn
                    offset, data = kept[-1]
                    assert data is not None
                    kept = [*kept[:-1], (offset, data[: dice.randint(0, len(data)) // SECTOR * SECTOR])]
            case _:
                share = dice.choice((0.1, 0.5, 0.9))
                kept = [piece for each in self.pending for piece in _sectors(*each) if dice.random() < share]
        for offset, data in kept:
            _put(image, offset, data)
        return bytes(image)


def _put(image: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del image[offset:]
        return
    if len(image) < offset:
        image.extend(bytes(offset - len(image)))
    image[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes | None) -> list[tuple[int, bytes | None]]:
    if data is None:
        return [(offset, None)]
    pieces: list[tuple[int, bytes | None]] = []
    while data:
        size = SECTOR - offset % SECTOR
        pieces.append((offset, data[:size]))
        offset, data = offset + size, data[size:]
    return pieces


class Fault:
    """The step at which a disk fails, and what it is asked for afterwards. Steps are counted from 1."""

    def __init__(self, kinds: Collection[str], nth: int, how: str) -> None:
        self.kinds = kinds
        self.nth = nth
        self.how = how
        self.seen = 0
        self.struck = ""
        self.unheard = False
        self.afterwards: list[str] = []

    def step(self, what: str, path: str) -> None:
        if self.struck:
            self.afterwards.append(f"{what} {Path(path).name}")
        if what in self.kinds:
            self.seen += 1
            if self.seen == self.nth:
                self.struck = what
                raise self._error(what)

    def close(self, journal: SqliteJournal) -> None:
        """Close it. SQLite says nothing of what fails while it closes, and keeps the log, which has all: it is
        only this layer, made of Python, whose exception comes out."""
        try:
            journal.close()
        except apsw.Error:
            self.unheard = True

    def _error(self, what: str) -> apsw.Error:
        if self.how == "full":
            return apsw.FullError("the disk is full")
        error = apsw.IOError(f"the disk failed to {what}")
        error.extendedresult = getattr(apsw, f"SQLITE_IOERR_{_CODES[what]}")
        return error


_CODES = {"write": "WRITE", "sync": "FSYNC", "truncate": "TRUNCATE"}


class PowerVFS(apsw.VFS):  # type: ignore[misc]
    """While it is entered, every connection of this process goes through it."""

    def __init__(self, on_step: Callable[[str, str], None] = lambda what, path: None) -> None:
        self.disks: dict[str, Disk] = {}
        self.ghosts: dict[str, Disk] = {}  # deleted, but the folder may not know it yet
        self.on_step = on_step
        super().__init__(NAME, BELOW, makedefault=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()

    def xOpen(self, name: Any, flags: list[int]) -> PowerFile:
        return PowerFile(self, name, flags)

    def xDelete(self, path: str, sync: bool) -> None:
        self.on_step("delete", path)
        super().xDelete(path, sync)
        gone = self.disks.pop(path, None)
        if gone is not None and not sync:
            self.ghosts[path] = gone

    def cut(self, dice: random.Random, folder: Path) -> None:
        """Make ``folder`` as the disk could look if the power went now."""
        folder.mkdir()
        for path, disk in [*self.ghosts.items(), *self.disks.items()]:
            if (disk.named and path in self.disks) or dice.random() < 0.5:
                (folder / Path(path).name).write_bytes(disk.after_a_cut(dice))

    def sync_names(self, folder: Path) -> None:
        for path, disk in self.disks.items():
            if Path(path).parent == folder:
                disk.named = True
        self.ghosts = {path: disk for path, disk in self.ghosts.items() if Path(path).parent != folder}


class PowerFile(apsw.VFSFile):  # type: ignore[misc]
    def __init__(self, vfs: PowerVFS, name: Any, flags: list[int]) -> None:
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._vfs = vfs
        self._is_log = bool(flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL))
        there = self._path is not None and Path(self._path).exists()
        super().__init__(BELOW, name, flags)
        if self._path is not None and self._path not in vfs.disks:
            content = Path(self._path).read_bytes() if there else b""
            vfs.disks[self._path] = Disk(bytearray(content), named=there)

    def _disk(self) -> Disk:
        return self._vfs.disks.setdefault(self._path, Disk())

    def xWrite(self, data: bytes, offset: int) -> None:
        self._vfs.on_step("write", self._path)
        super().xWrite(data, offset)
        self._disk().pending.append((offset, bytes(data)))

    def xTruncate(self, size: int) -> None:
        self._vfs.on_step("truncate", self._path)
        super().xTruncate(size)
        self._disk().pending.append((size, None))

    def xSync(self, flags: int) -> None:
        try:
            self._vfs.on_step("sync", self._path)
        except apsw.Error:
            # What a system does: the pages count as clean from now on, and no later sync writes them.
            self._disk().pending.clear()
            raise
        super().xSync(flags)
        self._disk().sync()
        if self._is_log and not self._disk().named:
            self._vfs.sync_names(Path(self._path).parent)
