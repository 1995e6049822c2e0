"""A store far away, of which this machine keeps what it has read.

Only what never changes is kept: the packs and trees of ``storage/trees``, which are named by what they hold. A pack
is fetched as a whole by the first one who needs a part of it, and once for all processes of the run. So of a
second version that shares most chunks with the first, only the packs that are new come over the line.

It is kept in the run's folder and goes with it. Where the disk is nearly full nothing more is kept, and parts are
asked of the source as they are needed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

from lightning.app.errors import BlobNotFoundError
from lightning.app.storage.stores.file import FileStore
from lightning.app.storage.stores.store import Data, Progress, Stat, Store

KEPT = ("packs/", "trees/")
"""What the keys of blobs that never change begin with."""

RESERVE = 1 << 30
"""Bytes of the disk that are left to others."""

_LOCKS = ".locks"  # in the cache's folder; no key begins with it
_BUCKETS = 64


class CachingStore:
    """``source``, with what was read of it kept in the folder ``cache``."""

    def __init__(self, source: Store, cache: Path, *, kept: tuple[str, ...] = KEPT) -> None:
        self.source = source
        self._folder = cache
        self._cache = FileStore(cache)
        self._kept = kept

    @property
    def url(self) -> str:
        return self.source.url

    def put(
        self,
        key: str,
        data: Data,
        *,
        checksum: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> Stat:
        return self.source.put(key, data, checksum=checksum, replace=replace, progress=progress)

    def get(
        self, key: str, file: Path, *, checksum: str | None = None, progress: Progress | None = None
    ) -> Stat:
        near = self._cache if key.startswith(self._kept) and self._bring(key) is not None else self.source
        return near.get(key, file, checksum=checksum, progress=progress)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if not key.startswith(self._kept):
            return self.source.read(key, start, length)
        try:
            return self._cache.read(key, start, length)
        except BlobNotFoundError:
            body = self._bring(key)
        if body is None:
            return self.source.read(key, start, length)
        return body[start : len(body) if length is None else start + length]

    def stat(self, key: str) -> Stat:
        return self.source.stat(key)

    def list(self, prefix: str = "") -> Iterator[Stat]:
        return self.source.list(prefix)

    def delete(self, key: str) -> None:
        self.source.delete(key)
        self._cache.delete(key)

    def free(self) -> int | None:
        return self.source.free()

    def _bring(self, key: str) -> bytes | None:
        """A blob as a whole, which is here from now on; None where there is no room for it."""
        if (self._cache.free() or 0) < RESERVE:
            return None
        with self._alone(key):
            try:
                return self._cache.read(key)  # somebody else was faster
            except BlobNotFoundError:
                body = self.source.read(key)
                self._cache.put(key, body)
                return body

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """One at a time, in all threads and processes of the run."""
        folder = self._folder / _LOCKS
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(
            folder / str(crc32(key.encode()) % _BUCKETS), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
