"""One tree on its way out of the store, into a place where no reader looks yet.

What lies side by side in a pack is fetched in one piece, whichever files it belongs to. Every chunk is checked
before it is written. What an earlier attempt has written is checked, too, and not fetched again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple

from lightning.app.errors import StorageError
from lightning.app.storage.stores.arrival import NO_SPACE, WINDOW, Arrival, room
from lightning.app.storage.stores.store import Progress, Store, Trouble, named
from lightning.app.storage.trees.cutting import digest
from lightning.app.storage.trees.manifest import FILE, FOLDER, LINK, Entry, Piece, pack_key, shown


class _Part(NamedTuple):
    """A chunk, and where it goes."""

    entry: Entry
    at: int  # in the file
    piece: Piece


class _Run(NamedTuple):
    """Chunks side by side in a pack."""

    pack: bytes
    start: int
    length: int
    parts: list[_Part]


class Getting:
    """One tree being fetched."""

    def __init__(
        self, store: Store, threads: int, coming: Arrival, entries: Sequence[Entry], progress: Progress | None
    ) -> None:
        self._store = store
        self._threads = threads
        self._coming = coming
        self._top = os.fsencode(coming.path)
        self._entries = entries
        self._progress = progress
        self._total = sum(piece.length for entry in entries for piece in entry.pieces if piece.pack)
        self._done = 0

    def get(self) -> None:
        """All of it, ready to be put in place."""
        room(self._coming.target, self._total if self._coming.fresh else 0)
        try:
            self._folders()
            self._contents()
            self._finish()
        except OSError as err:
            if isinstance(err, StorageError):
                raise
            if err.errno in NO_SPACE:
                self._coming.discard()
            raise named(self._coming.target, err) from err

    def _folders(self) -> None:
        for entry in self._entries:
            if entry.kind == FOLDER:
                place = self._place(entry)
                if entry.path and self._coming.fresh:
                    os.mkdir(place, 0o700)
                else:
                    with suppress(FileExistsError):
                        os.mkdir(place, 0o700)
                    os.chmod(place, 0o700)  # an earlier attempt may have finished it

    def _contents(self) -> None:
        under_way: deque[Future[int]] = deque()
        pool, whole = ThreadPoolExecutor(self._threads, thread_name_prefix="storage"), False
        try:
            for run in _runs(self._entries):
                under_way.append(pool.submit(self._fetch, run))
                if len(under_way) >= 2 * self._threads:
                    self._told(under_way.popleft().result())
            while under_way:
                self._told(under_way.popleft().result())
            whole = True
        finally:
            pool.shutdown(wait=whole, cancel_futures=True)

    def _told(self, fetched: int) -> None:
        self._done += fetched
        if self._progress:
            self._progress(self._done, self._total)

    def _fetch(self, run: _Run) -> int:
        size = sum(part.piece.length for part in run.parts)
        if not self._coming.fresh and all(self._there(part) for part in run.parts):
            return size
        block = self._verified(run)
        at = 0
        while at < len(run.parts):
            first, length, after = run.parts[at], run.parts[at].piece.length, at + 1
            while after < len(run.parts) and _follows(run.parts[after - 1], run.parts[after]):
                length += run.parts[after].piece.length
                after += 1
            begin = first.piece.start - run.start
            self._write(first, block[begin : begin + length])
            at = after
        return size

    def _verified(self, run: _Run) -> memoryview:
        for last in (False, True):  # what came damaged over the line comes whole the second time
            block = memoryview(self._store.read(pack_key(run.pack), run.start, run.length))
            wrong = next((part for part in run.parts if not _right(block, part.piece, run.start)), None)
            if wrong is None:
                return block
            if last:
                trouble = Trouble.CHECKSUM if len(block) == run.length else Trouble.SHORT
                file = shown(wrong.entry.path) or self._coming.target.name
                raise trouble.of(f"{file} (in {self._store.url}, {pack_key(run.pack)})")
        raise AssertionError("the second time decides")

    def _write(self, part: _Part, block: memoryview) -> None:
        descriptor = os.open(
            self._place(part.entry), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            at = part.at
            while block.nbytes:
                count = os.pwrite(descriptor, block, at)
                block, at = block[count:], at + count
            if _in_one(part.entry):
                os.fchmod(descriptor, part.entry.mode)
        finally:
            os.close(descriptor)

    def _there(self, part: _Part) -> bool:
        try:
            place = self._place(part.entry)
            os.chmod(place, 0o600)
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return False
        try:
            return digest(os.pread(descriptor, part.piece.length, part.at)) == part.piece.digest
        finally:
            os.close(descriptor)

    def _finish(self) -> None:
        """Empty files and holes, links, and at last what may forbid further writing: the modes."""
        for entry in self._entries:
            place = self._place(entry)
            if entry.kind == LINK:
                with suppress(FileNotFoundError):
                    os.unlink(place)
                os.symlink(entry.target, place)
            elif entry.kind == FILE and (not self._coming.fresh or not _in_one(entry)):
                with suppress(FileNotFoundError):
                    os.chmod(place, 0o600)  # an earlier attempt may have finished it
                descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                try:
                    os.ftruncate(descriptor, entry.size)
                    os.fchmod(descriptor, entry.mode)
                finally:
                    os.close(descriptor)
        for entry in reversed(self._entries):
            if entry.kind == FOLDER:
                os.chmod(self._place(entry), entry.mode)

    def _place(self, entry: Entry) -> bytes:
        return os.path.join(self._top, entry.path) if entry.path else self._top


def chunk(store: Store, piece: Piece, what: str) -> bytes:
    """One chunk by itself."""
    block = store.read(pack_key(piece.pack), piece.start, piece.length)
    if digest(block) != piece.digest:
        raise Trouble.CHECKSUM.of(f"{what} (in {store.url}, {pack_key(piece.pack)})")
    return block


def _runs(entries: Iterable[Entry]) -> Iterator[_Run]:
    pack, start, end = b"", 0, 0
    parts: list[_Part] = []
    for entry in entries:
        at = 0
        for piece in entry.pieces:
            if piece.pack:
                again = parts and piece.pack == pack and piece.start == parts[-1].piece.start
                follows = piece.pack == pack and piece.start == end and end - start < WINDOW
                if not again and not follows:
                    if parts:
                        yield _Run(pack, start, end - start, parts)
                    pack, start, end, parts = piece.pack, piece.start, piece.start, []
                parts.append(_Part(entry, at, piece))
                end = max(end, piece.start + piece.length)
            at += piece.length
    if parts:
        yield _Run(pack, start, end - start, parts)


def _follows(one: _Part, other: _Part) -> bool:
    return (
        one.entry is other.entry
        and one.at + one.piece.length == other.at
        and one.piece.start + one.piece.length == other.piece.start
    )


def _right(block: memoryview, piece: Piece, start: int) -> bool:
    begin = piece.start - start
    return digest(block[begin : begin + piece.length]) == piece.digest


def _in_one(entry: Entry) -> bool:
    """Whether one write made all of it, its mode included."""
    return len(entry.pieces) == 1 and bool(entry.pieces[0].pack)
