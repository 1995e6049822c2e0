"""A store in the memory of one process: for tests, and for what need not outlive it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

from lightning.app.storage.stores.arrival import bring
from lightning.app.storage.stores.store import Data, Progress, Stat, Trouble, flow, length, same, valid


class MemoryStore:
    """Blobs in a dictionary."""

    def __init__(self, url: str = "memory://") -> None:
        self.url = url
        self._blobs: dict[str, tuple[Stat, bytes]] = {}
        self._lock = threading.Lock()

    def put(
        self,
        key: str,
        data: Data,
        *,
        checksum: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> Stat:
        where = self._where(key)
        if not replace and key in self._blobs and (size := length(data)) is not None:
            return same(self.stat(key), where, size, checksum)
        content = b"".join(flow(where, data, checksum, progress))
        stat = Stat(key, len(content), checksum, time.time())
        with self._lock:
            if not replace and key in self._blobs:
                return same(self._blobs[key][0], where, stat.size, checksum)
            self._blobs[key] = (stat, content)
        return stat

    def get(
        self, key: str, file: Path, *, checksum: str | None = None, progress: Progress | None = None
    ) -> Stat:
        stat, content = self._blob(key)
        bring(
            stat,
            self._where(key),
            file,
            lambda start, size: content[start : start + size],
            expected=checksum,
            progress=progress,
        )
        return stat

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        content = self._blob(key)[1]
        return content[start:] if length is None else content[start : start + length]

    def stat(self, key: str) -> Stat:
        return self._blob(key)[0]

    def list(self, prefix: str = "") -> Iterator[Stat]:
        with self._lock:
            found = sorted(stat for key, (stat, _) in self._blobs.items() if key.startswith(prefix))
        yield from (stat._replace(checksum=None) for stat in found)

    def delete(self, key: str) -> None:
        with self._lock:
            self._blobs.pop(valid(key), None)

    def free(self) -> int | None:
        return None

    def _blob(self, key: str) -> tuple[Stat, bytes]:
        try:
            return self._blobs[valid(key)]
        except KeyError:
            raise Trouble.GONE.of(self._where(key)) from None

    def _where(self, key: str) -> str:
        return f"{self.url}{valid(key)}"
