"""The payloads of a run on one machine: files in shared memory, and their copies on the disk.

A file has its name when it is whole, and never changes afterwards. It is written, not copied into a mapping: the
system then neither clears its pages first nor is asked for them one by one, which takes half the time; and where
there is no room, it is an error, not the end of the process.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.app.errors import BlobNotFoundError, StorageError
from lightning.app.storage.payloads.layout import Opened, laid_out, opened, size_of
from lightning.app.storage.payloads.names import new_name, valid
from lightning.app.storage.payloads.pickling import Parts
from lightning.app.storage.payloads.space import SMALL, amount, free_memory
from lightning.app.storage.stores.arrival import NO_SPACE, free_at, write
from lightning.app.storage.stores.store import Progress, named

_AT_ONCE = 32 << 20  # bytes: for so long a signal waits
_SYNCED = 4 << 20  # bytes of a copy between two syncs: whoever commits to the same disk waits for so many
_PIECES = 1024  # so many the system takes at once
_PRIVATE = "."  # begins the name of what is in the making, where it needs one
_NAMELESS = getattr(os, "O_TMPFILE", 0)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value
_NO_RESERVE = (
    0x4000 if mmap.MAP_PRIVATE == 2 and _NAMELESS else 0
)  # Linux's: what is not written to costs nothing
_ADDRESS = 64  # bits


class Depot:
    """Payloads by name, in the folder ``memory``, and in the folder ``disk``.

    What is on the disk is safe there. Any number of threads and processes may use the same folders at once.
    """

    def __init__(self, memory: Path, disk: Path) -> None:
        self.memory = memory
        self.disk = disk

    def make(self, parts: Parts, name: str = "") -> tuple[str, int]:
        """A new file of these parts, whole when this returns. Its name, a new one if none is given, and its size."""
        name, size = name or new_name(), size_of(parts)
        if self.place(size) == self.memory:
            try:
                with self.making(self.memory, name) as descriptor:
                    _write(descriptor, laid_out(parts))
                return name, size
            except OSError as err:
                if err.errno not in NO_SPACE:
                    raise named(self.memory / name, err) from err
        self._room(name, size)
        try:
            with self.making(self.disk, name) as descriptor:
                _write(descriptor, laid_out(parts))
        except OSError as err:
            raise self._refused(self.disk / name, size, err) from err
        return name, size

    def place(self, size: int) -> Path:
        """Where a file of ``size`` bytes is to go: into shared memory if there is room, else to the disk."""
        return self.memory if size < SMALL or size <= free_memory(self.memory) else self.disk

    def path(self, name: str) -> Path:
        """Where it is; an error if it is nowhere here."""
        _check(name)
        for folder in (self.memory, self.disk):
            if (path := folder / name).exists():
                return path
        raise self._gone(name)

    def open(self, name: str, *, own: bool = False) -> Opened:
        """Map it. Nothing is copied. ``own``: all of it may be written to, which nobody else sees."""
        _check(name)
        for path in (self.memory / name, self.disk / name):
            try:
                with _reading(path) as descriptor:
                    data = _mapped(descriptor)
            except FileNotFoundError:
                continue
            except OSError as err:
                raise named(path, err) from err
            return opened(data, path, own=own)
        raise self._gone(name)

    def has(self, name: str) -> bool:
        return valid(name) and (os.path.exists(self.memory / name) or self.saved(name))

    def saved(self, name: str) -> bool:
        """Whether there is a copy on the disk."""
        return os.path.exists(self.disk / name)

    def names(self) -> set[str]:
        """What is here."""
        return {name for folder in (self.memory, self.disk) for name in _listed(folder) if valid(name)}

    def save(self, name: str, progress: Progress | None = None) -> None:
        """Copy it to the disk, if it is not there already. It is safe there when this returns.

        The system copies: threads of Python go on meanwhile.
        """
        if self.saved(name):
            return
        try:
            self._copy(self.memory / name, self.disk, progress)
        except FileNotFoundError:
            if not self.saved(name):
                raise self._gone(name) from None

    def release(self, name: str) -> None:
        """Take it out of shared memory, if there is a copy on the disk. Who has mapped it keeps what he has."""
        if self.saved(name):
            _remove(self.memory / name)

    def drop(self, names: Iterable[str]) -> None:
        """Take them away."""
        for name in names:
            _remove(self.memory / name)
            _remove(self.disk / name)

    def adopt(self, other: Depot, names: Iterable[str] | None = None) -> None:
        """Have what another depot of this machine has, under the same names. Of all its ``names``, if none are given."""
        for name in other.names() if names is None else names:
            source = other.path(name)
            for folder in (self.memory, self.disk):
                try:
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    os.link(source, folder / name)
                    if folder == self.disk:
                        _sync(source)
                        _sync(folder)
                    break
                except FileExistsError:
                    break
                except OSError:  # on another file system
                    continue
            else:
                self._copy(source, self.disk, None)

    @contextmanager
    def making(self, folder: Path, name: str) -> Iterator[int]:
        """A file in the making. It gets its name when the context is left in order: else there never was one."""
        private = None
        descriptor = _nameless(folder)
        if descriptor is None:
            private = folder / f"{_PRIVATE}{name}-{os.getpid()}"
            descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            yield descriptor
            if folder == self.disk:
                os.fsync(descriptor)
            if private is not None:
                os.rename(private, folder / name)
                private = None
            else:
                with suppress(FileExistsError):  # somebody else has made the same copy
                    # With a folder's descriptor given, needed or not, Python lets the system follow the link.
                    os.link(f"/proc/self/fd/{descriptor}", folder / name, src_dir_fd=descriptor)
            if folder == self.disk:
                _sync(folder)
        finally:
            os.close(descriptor)
            if private is not None:
                _remove(private)

    def _copy(self, source: Path, folder: Path, progress: Progress | None) -> None:
        name = source.name
        with _reading(source) as descriptor:
            size, done = os.fstat(descriptor).st_size, 0
            self._room(name, size)
            try:
                with self.making(folder, name) as out:
                    while done < size:
                        done += os.sendfile(out, descriptor, done, min(_SYNCED, size - done))
                        if folder == self.disk:
                            os.fdatasync(out)
                        if progress is not None:
                            progress(done, size)
            except OSError as err:
                raise self._refused(folder / name, size, err) from err

    def _room(self, name: str, size: int) -> None:
        free = free_at(self.disk)
        if free is not None and size > free:
            raise self._no_space(name, size, f"{amount(free)} free")

    def _refused(self, path: Path, size: int, err: OSError) -> StorageError:
        return self._no_space(path.name, size, "full") if err.errno in NO_SPACE else named(path, err)

    def _no_space(self, name: str, size: int, disk: str) -> StorageError:
        return StorageError(
            f"payload {name} of {amount(size)}: there is no space for it, neither in {self.memory} "
            f"({amount(max(0, free_memory(self.memory)))} to be had) nor in {self.disk} ({disk}). Nothing was left "
            "behind: free some, or have the runs on a larger disk with --runs-dir"
        )

    def _gone(self, name: str) -> BlobNotFoundError:
        return BlobNotFoundError(
            f"{self.memory / name}: this payload is not there any more. Nothing in the app's state or among its calls "
            "referred to it, or it was lost with the machine's memory: make it again"
        )


def _nameless(folder: Path) -> int | None:
    """A file without a name, of which nothing is left when its maker is killed; None where there are none."""
    if not _NAMELESS:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return None
    flags = _NAMELESS | os.O_WRONLY | os.O_CLOEXEC
    try:
        try:
            return os.open(folder, flags, 0o400)
        except FileNotFoundError:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(folder, flags, 0o400)
    except OSError as err:
        if err.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            return None
        raise


def _write(descriptor: int, pieces: Iterable[memoryview]) -> None:
    """All of them, as many at once as the system takes."""
    batch: list[memoryview] = []
    size = 0
    for piece in pieces:
        flat = piece.cast("B") if piece.nbytes else memoryview(b"")
        for start in range(0, flat.nbytes, _AT_ONCE):
            part = flat[start : start + _AT_ONCE]
            if len(batch) == _PIECES or size + part.nbytes > _AT_ONCE:
                _write_batch(descriptor, batch)
                batch, size = [], 0
            batch.append(part)
            size += part.nbytes
    _write_batch(descriptor, batch)


def _write_batch(descriptor: int, batch: list[memoryview]) -> None:
    written = os.writev(descriptor, batch) if batch else 0
    for piece in batch:
        if written < piece.nbytes:
            write(descriptor, piece[written:])  # it is nearly full: the system took a part only
        written = max(0, written - piece.nbytes)


class _Mapping(int):
    """Address and size of a mapping that ends with the last reference to this.

    A number, which the collector of cycles does not look at. It ends what it has found in any order; so it could end
    a mapping that something else it has found still looks at.
    """

    __slots__ = ()

    def __del__(
        self, unmap: Any = _libc.munmap, low: int = (1 << _ADDRESS) - 1, bits: int = _ADDRESS
    ) -> None:
        unmap(self & low, self >> bits)


def _mapped(descriptor: int) -> memoryview:
    """A file, mapped for as long as somebody looks at it. One of Python's mappings would keep a descriptor as long.

    What is written to it stays with who wrote: also where somebody gets around a view that can only be read.
    """
    size = os.fstat(descriptor).st_size
    if not size:
        return memoryview(b"")
    access, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | _NO_RESERVE
    address = _libc.mmap(None, size, access, kind, descriptor, 0)
    if address == _FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    array = (ctypes.c_ubyte * size).from_address(address)
    array.mapping = _Mapping(size << _ADDRESS | address)  # type: ignore[attr-defined]
    return memoryview(array).cast("B")


@contextmanager
def _reading(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check(name: str) -> None:
    if not valid(name):
        raise StorageError(
            f"{name!r} is not the name of a payload: those are lp- and 32 digits of 0-9 and a-f"
        )


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _sync(path: Path) -> None:
    with _reading(path) as descriptor:
        os.fsync(descriptor)
