"""A store in a folder, of this machine or one that machines share. What `put` has returned survives a power cut.

A blob is a file by the name of its key. It is written in ``.arriving``, synced, and renamed. Its checksum, if
one was given, is an extended attribute of the file; a disk that has none keeps none.
"""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lightning.app.errors import StorageError
from lightning.app.storage.stores.arrival import Arrival, bring, free_at, make_folder, room, write
from lightning.app.storage.stores.store import (
    PRIVATE,
    Data,
    Progress,
    Stat,
    Trouble,
    flow,
    length,
    named,
    same,
    valid,
)

_CHECKSUM = "user.lightning.blake2b"


class FileStore:
    """Blobs as files under ``folder``, which is made when the first one comes."""

    def __init__(self, folder: Path | str) -> None:
        self._root = Path(folder).expanduser().absolute()
        self.url = f"file://{self._root}"

    def put(
        self,
        key: str,
        data: Data,
        *,
        checksum: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> Stat:
        file, size = self._file(key), length(data)
        if not replace and size is not None and (known := self._known(key)):
            return same(known, str(file), size, checksum)
        if size:
            room(file, size)
        try:
            with Arrival(file, room=self._root / PRIVATE) as coming:
                with open(coming.path, "wb", buffering=0) as out:
                    for piece in flow(str(file), data, checksum, progress):
                        write(out.fileno(), piece)
                    if checksum:
                        with suppress(OSError):
                            os.setxattr(out.fileno(), _CHECKSUM, checksum.encode())
                    os.fsync(out.fileno())
                    stat = _stat(key, out.fileno())
                if known := self._land(coming, file, key, replace):
                    return same(known, str(file), stat.size, checksum)
        except OSError as err:
            raise err if isinstance(err, StorageError) else named(file, err) from err
        return stat

    def get(
        self, key: str, file: Path, *, checksum: str | None = None, progress: Progress | None = None
    ) -> Stat:
        descriptor = self._open(key)  # one blob from beginning to end, also when another takes its place
        try:
            stat = _stat(key, descriptor)
            bring(
                stat,
                str(self._file(key)),
                file,
                lambda start, size: _read(descriptor, start, size),
                expected=checksum,
                progress=progress,
            )
        finally:
            os.close(descriptor)
        return stat

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        descriptor = self._open(key)
        try:
            size = max(0, os.fstat(descriptor).st_size - start)
            return _read(descriptor, start, size if length is None else min(length, size))
        except OSError as err:
            raise named(self._file(key), err) from err
        finally:
            os.close(descriptor)

    def stat(self, key: str) -> Stat:
        descriptor = self._open(key)
        try:
            return _stat(key, descriptor)
        finally:
            os.close(descriptor)

    def list(self, prefix: str = "") -> Iterator[Stat]:
        folder = prefix.rpartition("/")[0]
        if folder:
            valid(folder)
        return self._walk(f"{folder}/" if folder else "", prefix)

    def delete(self, key: str) -> None:
        file = self._file(key)
        try:
            os.unlink(file)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as err:
            raise named(file, err) from err
        for folder in file.parents:
            if folder == self._root:
                break
            try:
                os.rmdir(folder)
            except OSError:
                break

    def free(self) -> int | None:
        return free_at(self._root)

    def _land(self, coming: Arrival, file: Path, key: str, replace: bool) -> Stat | None:
        """The blob that was there first, be it by a moment, and stays."""
        while True:
            made = [folder for folder in (file.parent, *file.parent.parents) if not folder.exists()]
            make_folder(file.parent)
            if file.is_dir():
                raise Trouble.OCCUPIED.of(file)
            try:
                coming.land(overwrite=replace)
            except FileNotFoundError:
                if coming.path.exists():
                    continue  # a blob was deleted just now, and its empty folder with it
                raise
            except FileExistsError:
                if replace:
                    raise
                if (known := self._known(key)) is None:
                    continue  # it was deleted just now
                return known
            for folder in {file.parent, *(each.parent for each in made)}:
                with suppress(FileNotFoundError):
                    _sync(folder)
            return None

    def _walk(self, folder: str, prefix: str) -> Iterator[Stat]:
        try:
            with os.scandir(self._root / folder) as entries:
                named_so = {
                    f"{folder}{entry.name}/"
                    if entry.is_dir(follow_symlinks=False)
                    else f"{folder}{entry.name}": entry
                    for entry in entries
                    if folder or entry.name != PRIVATE
                }
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as err:
            raise named(self._root / folder, err) from err
        for key in sorted(named_so):
            if key.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix):
                with suppress(FileNotFoundError):  # deleted just now
                    there = named_so[key].stat()
                    yield Stat(key, there.st_size, None, there.st_mtime)

    def _known(self, key: str) -> Stat | None:
        try:
            return self.stat(key)
        except FileNotFoundError:
            return None

    def _open(self, key: str) -> int:
        file = self._file(key)
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            raise Trouble.GONE.of(file) from None
        except OSError as err:
            raise named(file, err) from err
        if modes.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        raise Trouble.GONE.of(file)

    def _file(self, key: str) -> Path:
        return self._root / valid(key)


def _stat(key: str, descriptor: int) -> Stat:
    there = os.fstat(descriptor)
    try:
        checksum = os.getxattr(descriptor, _CHECKSUM).decode()
    except OSError:
        checksum = None
    return Stat(key, there.st_size, checksum, there.st_mtime)


def _read(descriptor: int, start: int, size: int) -> bytes:
    block = os.pread(descriptor, size, start)
    while len(block) < size and (more := os.pread(descriptor, size - len(block), start + len(block))):
        block += more  # more than the system reads at once: 2 GB
    return block


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
