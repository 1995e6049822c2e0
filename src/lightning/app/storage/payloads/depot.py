"""The payloads of a run on one machine: files in shared memory, and their copies on the disk.

A file has its name when it is whole, and never changes afterwards. It is written, not copied into a mapping: the
system then neither clears its pages first nor is asked for them one by one, which takes half the time; and where
there is no room, it is an error, not the end of the process.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct, error
from typing import NamedTuple
from zlib import crc32

from lightning.app.errors import BlobNotFoundError, StorageError
from lightning.app.storage.payloads.names import new_name, valid
from lightning.app.storage.payloads.pickling import Parts
from lightning.app.storage.stores.arrival import NO_SPACE, free_at
from lightning.app.storage.stores.store import Progress, Trouble, named

FORMAT = 1
_MAGIC = b"LPAY"
_HEADER = Struct("<4sHHQI")  # magic, format, buffers, bytes of the head, checksum of this and the table
_LENGTH = Struct("<Q")
_OWN = 1 << 63  # in the table: whoever maps it may write to his copy
_ALIGNED = 64
_SMALL = 1 << 20  # what is smaller is not worth asking how much memory is left
_RESERVE = 64 << 20  # of memory, left to the processes
_PRIVATE = "."  # begins the name of what is in the making
_AT_ONCE = 1 << 27


class Opened(NamedTuple):
    head: memoryview
    buffers: list[memoryview]


class Depot:
    """Payloads by name, in the folder ``memory``, and in the folder ``disk``."""

    def __init__(self, memory: Path, disk: Path) -> None:
        self.memory = memory
        self.disk = disk

    def make(self, parts: Parts) -> tuple[str, int]:
        """A new file of these parts, whole when this returns. Its name and its size."""
        laid = _Layout.of(parts)
        name = new_name()
        for folder in self._folders(laid.size):
            try:
                with self.making(folder, name) as descriptor:
                    laid.write(descriptor, parts)
                return name, laid.size
            except OSError as err:
                if err.errno not in NO_SPACE or folder == self.disk:
                    raise named(folder / name, err) from err
        raise AssertionError("the disk decides")

    def path(self, name: str) -> Path:
        """Where it is; an error if it is nowhere here."""
        _check(name)
        for folder in (self.memory, self.disk):
            if (path := folder / name).exists():
                return path
        raise BlobNotFoundError(
            f"{self.memory / name}: this payload is not there any more. Nothing in the app's state or among its calls "
            "referred to it, or it was lost with the machine's memory: make it again"
        )

    def open(self, name: str, *, own: bool = False) -> Opened:
        """Map it. Nothing is copied. ``own``: all of it may be written to, which nobody else sees."""
        path = self.path(name)
        try:
            with open(path, "rb") as file:
                start = file.read(_HEADER.size)
                private = own or _Layout.read(start + file.read(_table_size(start)), path).has_own
                access = mmap.ACCESS_COPY if private else mmap.ACCESS_READ
                mapped = memoryview(mmap.mmap(file.fileno(), 0, access=access))
        except (OSError, ValueError) as err:
            if isinstance(err, OSError) and not isinstance(err, StorageError):
                raise named(path, err) from err
            raise
        return opened(mapped, path, own=own)

    def has(self, name: str) -> bool:
        return valid(name) and ((self.memory / name).exists() or (self.disk / name).exists())

    def saved(self, name: str) -> bool:
        """Whether there is a copy on the disk."""
        return (self.disk / name).exists()

    def names(self) -> set[str]:
        """What is here."""
        return {name for folder in (self.memory, self.disk) for name in _listed(folder) if valid(name)}

    def save(self, name: str, progress: Progress | None = None) -> None:
        """Copy it to the disk, if it is not there already. It is safe there when this returns."""
        if not self.saved(name):
            self._copy(self.memory / name, self.disk, progress)

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
                    break
                except FileExistsError:
                    break
                except OSError:  # on another file system
                    continue
            else:
                self._copy(source, self.disk, None)

    def place(self, size: int) -> Path:
        """The folder for a payload of so many bytes, by what is free."""
        return next(self._folders(size))

    def _folders(self, size: int) -> Iterator[Path]:
        """Where it may go, the better place first."""
        if size < _SMALL or size + _RESERVE < min(free_at(self.memory) or sys.maxsize, free_memory()):
            yield self.memory
        free = free_at(self.disk)
        if free is not None and size > free:
            raise Trouble.FULL.of(self.disk, f"a payload of {size / 1e6:,.0f} MB, {free / 1e6:,.0f} MB free")
        yield self.disk

    def making(self, folder: Path, name: str) -> _Making:
        """A file in the making: it gets its name when the context is left in order."""
        return _Making(folder, name)

    def _copy(self, source: Path, folder: Path, progress: Progress | None) -> None:
        try:
            with open(source, "rb") as file, self.making(folder, source.name) as descriptor:
                total, done = os.fstat(file.fileno()).st_size, 0
                while done < total:
                    done += os.sendfile(descriptor, file.fileno(), done, min(_AT_ONCE, total - done))
                    if progress is not None:
                        progress(done, total)
                os.fsync(descriptor)
            _sync(folder)
        except OSError as err:
            raise named(folder / source.name, err) from err


class _Making:
    """A file that nobody sees until it is whole. What a killed process leaves of it has no name of a payload."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path = folder / name
        self._private = folder / f"{_PRIVATE}{name}"

    def __enter__(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._private, flags, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self._private, flags, 0o600)
        return self._descriptor

    def __exit__(self, kind: object, err: object, trace: object) -> None:
        os.close(self._descriptor)
        if kind is None:
            os.rename(self._private, self._path)
        else:
            _remove(self._private)


class _Layout:
    """How the parts lie in a file."""

    def __init__(self, head: int, lengths: list[int]) -> None:
        self.head = head
        self.lengths = lengths
        self.begin = _HEADER.size + _LENGTH.size * len(lengths)
        self.starts: list[int] = []
        at = self.begin + head
        for length in lengths:
            at = -(-at // _ALIGNED) * _ALIGNED
            self.starts.append(at)
            at += length & ~_OWN
        self.size = at

    @classmethod
    def of(cls, parts: Parts) -> _Layout:
        return cls(len(parts.head), [each.size | (_OWN if each.own else 0) for each in parts.buffers])

    @classmethod
    def read(cls, start: bytes | memoryview, where: object) -> _Layout:
        """What the beginning of a file says."""
        try:
            magic, version, count, head, sum_ = _HEADER.unpack_from(start)
            lengths = [_LENGTH.unpack_from(start, _HEADER.size + 8 * each)[0] for each in range(count)]
        except error:
            magic, version, head, sum_, lengths = b"", 0, 0, 0, []
        laid = cls(head, lengths)
        if magic != _MAGIC or sum_ != laid.checksum:
            raise Trouble.CHECKSUM.of(where)
        if version != FORMAT:
            raise StorageError(f"{where}: a newer version made it: pip install --upgrade lightning-apps")
        return laid

    @property
    def has_own(self) -> bool:
        return any(length & _OWN for length in self.lengths)

    @property
    def table(self) -> bytes:
        return b"".join(map(_LENGTH.pack, self.lengths))

    @property
    def checksum(self) -> int:
        return crc32(self.table, crc32(_HEADER.pack(_MAGIC, FORMAT, len(self.lengths), self.head, 0)))

    @property
    def start(self) -> bytes:
        return _HEADER.pack(_MAGIC, FORMAT, len(self.lengths), self.head, self.checksum) + self.table

    def write(self, descriptor: int, parts: Parts) -> None:
        _write(descriptor, memoryview(self.start + parts.head), 0)
        for start, buffer in zip(self.starts, parts.buffers, strict=True):
            at = start
            for piece in buffer.pieces():
                at = _write(descriptor, piece, at)
        os.ftruncate(descriptor, self.size)

    def joined(self, parts: Parts) -> bytes:
        """The same, in one piece of memory."""
        joined = bytearray(self.size)
        joined[: self.begin + self.head] = self.start + parts.head
        for start, buffer in zip(self.starts, parts.buffers, strict=True):
            at = start
            for piece in buffer.pieces():
                joined[at : at + piece.nbytes] = piece
                at += piece.nbytes
        return bytes(joined)


def size_of(parts: Parts) -> int:
    """The bytes of a file of these."""
    return _Layout.of(parts).size


def joined(parts: Parts) -> bytes:
    """What a file of these would hold, for what is too small for one."""
    return _Layout.of(parts).joined(parts)


def opened(data: memoryview, where: object, *, own: bool = False) -> Opened:
    """The parts that lie in ``data``, which stay there."""
    laid = _Layout.read(data, where)
    if laid.size != data.nbytes:
        raise Trouble.SHORT.of(where, f"{data.nbytes} bytes of {laid.size}")
    buffers = []
    for start, length in zip(laid.starts, laid.lengths, strict=True):
        piece = data[start : start + (length & ~_OWN)]
        buffers.append(piece if own or length & _OWN else piece.toreadonly())
    return Opened(data[laid.begin : laid.begin + laid.head], buffers)


def free_memory() -> int:
    """Bytes that may be taken before the system, or the group this process is in, has none left."""
    free = sys.maxsize
    with suppress(OSError, StopIteration, ValueError), open("/proc/meminfo") as file:
        free = int(next(line for line in file if line.startswith("MemAvailable:")).split()[1]) << 10
    for most, used in _LIMITS:
        with suppress(OSError, ValueError):  # none, or "max"
            free = min(free, int(Path(most).read_text()) - int(Path(used).read_text()))
    return free


_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def _table_size(start: bytes) -> int:
    return _LENGTH.size * int(_HEADER.unpack(start)[2]) if len(start) == _HEADER.size else 0


def _check(name: str) -> None:
    if not valid(name):
        raise StorageError(
            f"{name!r} is not the name of a payload: those are lp- and 32 digits of 0-9 and a-f"
        )


def _write(descriptor: int, data: memoryview, at: int) -> int:
    data = data.cast("B") if data.nbytes and (data.format != "B" or data.ndim != 1) else data
    while data.nbytes:
        count = os.pwrite(descriptor, data, at)
        data, at = data[count:], at + count
    return at


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
