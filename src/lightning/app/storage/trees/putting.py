"""One tree on its way into the store. One thread reads, cuts and digests; others send the packs that are full.

The same tree gives the same packs each time it is put: what a killed attempt has sent is found by its name.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from lightning.app.errors import StorageError
from lightning.app.storage.stores.store import DIGEST, PRIVATE, Progress, Store, checksum, named
from lightning.app.storage.trees.cutting import Reader, cutter, digest
from lightning.app.storage.trees.manifest import (
    FILE,
    FOLDER,
    FORMAT,
    INLINE,
    LINK,
    Entry,
    Piece,
    Root,
    content,
    inside,
    pack_key,
    packed,
    sealed,
    shown,
    tree_key,
)

PACK = 1 << 24
"""Bytes after which a pack is full: large enough for an object store, small enough to have several in memory."""

OLD = 86400.0
"""Seconds after which a pack that no tree refers to may be deleted."""

_ENTRIES_AVERAGE = 1 << 13  # of a chunk of entries: a changed file changes a few of them


class _Pack:
    """Chunks side by side. Its name comes with its last chunk."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.name = b""
        self._digests = blake2b(digest_size=DIGEST)

    def add(self, chunk: memoryview | bytes, of: bytes) -> int:
        start = len(self.body)
        self.body += chunk
        self._digests.update(of)
        return start

    def seal(self) -> bytearray:
        self.name = self._digests.digest()
        body, self.body = self.body, bytearray()  # whoever sends it has it now
        return body


_Part = tuple[int, "_Pack | bytes", int, bytes]  # a piece whose pack may not have its name yet


class Putting:
    """One tree being put. ``sent`` is what had to go to the store."""

    def __init__(self, store: Store, threads: int) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="storage")
        self._room = threads
        self._sending: deque[Future[int]] = deque()
        self._known: dict[bytes, tuple[_Pack | bytes, int]] = {}
        self._pack = _Pack()
        self._reader = Reader()
        self._waiting: list[tuple[Entry, list[_Part]]] = []  # for the name of the pack that is being filled
        self._stream = bytearray()
        self._content = blake2b(digest_size=DIGEST)
        self._size = self._files = self._done = self.sent = 0

    def __enter__(self) -> Putting:
        return self

    def __exit__(self, kind: object, err: object, trace: object) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def learn(self, pieces: Iterable[Piece]) -> None:
        """Chunks that the store has."""
        for piece in pieces:
            if piece.pack:
                self._known[piece.digest] = (piece.pack, piece.start)

    def put(self, source: Path, progress: Progress | None) -> tuple[str, Root]:
        """The name and the root of what is at ``source``."""
        top = os.fsencode(source)
        there = _look(top)
        self._total = there.st_size if modes.S_ISREG(there.st_mode) else None
        self._progress = progress
        for path, place, found in _walk(top, b"", there):
            self._enter(top, path, place, found)
        self._close_pack()
        stream, pieces = bytes(self._stream), list[Piece]()
        if len(stream) > INLINE:
            parts = [self._keep(part, digest(part)) for part in _cut(stream)]
            self._close_pack()
            stream, pieces = b"", _pieces(parts)
        root = Root(FORMAT, self._size, self._files, self._content.digest(), stream, pieces)
        while self._sending:
            self.sent += self._sending.popleft().result()
        body = sealed(root)
        name = checksum(body)
        self._store.put(
            tree_key(name), body, checksum=name, replace=True
        )  # also one that is there becomes young
        self.sent += len(body)
        return name, root

    def _enter(self, top: bytes, path: bytes, place: bytes, found: os.stat_result) -> None:
        mode = modes.S_IMODE(found.st_mode) & 0o777
        if modes.S_ISDIR(found.st_mode):
            self._write(Entry(path, FOLDER, mode), [])
        elif modes.S_ISLNK(found.st_mode):
            self._write(Entry(path, LINK, target=_link(top, path, place)), [])
        elif modes.S_ISREG(found.st_mode):
            size, parts = self._file(place)
            self._write(Entry(path, FILE, mode, size), parts)
            self._files += 1
            self._size += size
        else:
            raise StorageError(
                f"{shown(place)} is a {_kind(found.st_mode)}: only files, folders and links can be put. Remove it, "
                "or put the folder without it"
            )

    def _file(self, place: bytes) -> tuple[int, list[_Part]]:
        parts: list[_Part] = []
        size = 0
        with _reading(place) as (descriptor, before):
            for chunk in self._reader.chunks(descriptor, before.st_size, before.st_blocks):
                if isinstance(chunk, int):
                    length = chunk
                    if parts and not parts[-1][3]:
                        parts[-1] = (parts[-1][0] + length, b"", 0, b"")
                    else:
                        parts.append((length, b"", 0, b""))
                else:
                    length = len(chunk)
                    parts.append(self._keep(chunk, digest(chunk)))
                size += length
                self._done += length
                if self._progress:
                    self._progress(self._done, self._total)
            after = os.fstat(descriptor)
        if size != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
            raise _changed(place)
        return size, parts

    def _keep(self, chunk: memoryview | bytes, of: bytes) -> _Part:
        known = self._known.get(of)
        if known is None:
            if len(self._pack.body) >= PACK:
                self._close_pack()
            known = self._known[of] = (self._pack, self._pack.add(chunk, of))
        return (len(chunk), *known, of)

    def _write(self, entry: Entry, parts: list[_Part]) -> None:
        self._waiting.append((entry, parts))
        if not self._pack.body:
            self._write_waiting()

    def _write_waiting(self) -> None:
        for entry, parts in self._waiting:
            if parts:
                entry = Entry(entry.path, entry.kind, entry.mode, entry.size, _pieces(parts))
            self._stream += packed(entry)
            self._content.update(content(entry))
        self._waiting.clear()

    def _close_pack(self) -> None:
        if self._pack.body:
            body = self._pack.seal()
            self._sending.append(self._pool.submit(self._send, pack_key(self._pack.name), body))
            self._pack = _Pack()
            while len(self._sending) >= self._room:
                self.sent += self._sending.popleft().result()
        self._write_waiting()

    def _send(self, key: str, body: bytearray) -> int:
        try:
            known = self._store.stat(key)
        except (FileNotFoundError, PermissionError):  # S3 says the latter to who may not list
            known = None
        # One that is nearly old enough to be swept is sent again, and so made young.
        if known and known.size == len(body) and not 0 < known.modified < time.time() - OLD / 2:
            return 0
        self._store.put(key, body, replace=True)
        return len(body)


def _pieces(parts: Iterable[_Part]) -> list[Piece]:
    return [
        Piece(length, pack.name if isinstance(pack, _Pack) else pack, start, of)
        for length, pack, start, of in parts
    ]


def _cut(stream: bytes) -> Iterator[bytes]:
    for chunk in cutter(_ENTRIES_AVERAGE).cut_buf(stream):
        yield stream[chunk.offset : chunk.offset + chunk.length]


def _walk(place: bytes, path: bytes, found: os.stat_result) -> Iterator[tuple[bytes, bytes, os.stat_result]]:
    """Everything at and below ``place``, always in the same order."""
    folders = [(place, path, found)]
    while folders:
        place, path, found = folders.pop()
        yield path, place, found
        if not modes.S_ISDIR(found.st_mode):
            continue
        try:
            with os.scandir(place) as entries:
                inner = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
        except FileNotFoundError as err:
            raise _changed(place) from err
        except OSError as err:
            raise named(shown(place), err) from err
        for name, stat in reversed(inner):
            if name != os.fsencode(PRIVATE):  # what has not arrived is not there
                folders.append((os.path.join(place, name), os.path.join(path, name), stat))


def _look(place: bytes) -> os.stat_result:
    try:
        return os.lstat(place)
    except OSError as err:
        raise named(shown(place), err) from err


@contextmanager
def _reading(place: bytes) -> Iterator[tuple[int, os.stat_result]]:
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as err:
        raise (
            _changed(place) if err.errno in (errno.ENOENT, errno.ELOOP) else named(shown(place), err)
        ) from err
    try:
        yield descriptor, os.fstat(descriptor)
    except OSError as err:
        raise err if isinstance(err, StorageError) else named(shown(place), err) from err
    finally:
        os.close(descriptor)


def _link(top: bytes, path: bytes, place: bytes) -> bytes:
    """What a link says, as something that means the same wherever the tree will be."""
    try:
        target = os.readlink(place)
    except OSError as err:
        raise _changed(place) from err
    if inside(path, target):
        return target
    folder = os.path.realpath(os.path.dirname(place))
    real = os.path.realpath(os.path.join(folder, target))
    if real == top or real.startswith(top + b"/"):
        target = os.path.relpath(real, folder)
        if inside(path, target):
            return target
    raise StorageError(
        f"{shown(place)} is a link to {shown(target)}, which is outside of {shown(top)}: links are kept only within "
        "what is put. Put a copy in its place, or remove it"
    )


def _kind(mode: int) -> str:
    return "socket" if modes.S_ISSOCK(mode) else "pipe" if modes.S_ISFIFO(mode) else "device"


def _changed(place: bytes) -> StorageError:
    return StorageError(
        f"{shown(place)} was changed while it was read. Put it again when it is complete; whoever writes it can "
        "write to another name and rename it at the end"
    )
