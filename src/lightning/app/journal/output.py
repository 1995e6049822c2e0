"""What components print, kept in the run's folder: ``output/000001.log`` and so on.

The supervisor's relay writes it, as it passes output on; ``lightning logs`` reads it, also while it grows. A
file is a row of records: a line ``@TIME STREAM LENGTH COMPONENT``, then so many bytes as they came, with
several lines or a part of one. So it costs a second write of what arrived together and no look at its lines,
and what is written outlives everybody's death. When all files together reach their bound, the oldest goes.

The file that is being written is locked (flock): by that a reader knows whether more may come. Each process
that writes begins a file of its own, so that a record that a dead one left unfinished spoils nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lightning.app.journal.masking import Mask

FOLDER = "output"
_FILES = 8  # the bound is kept to by whole files
_PORTION = 1 << 20
_LONGEST_LINE = 1 << 20  # what has no end by then, is shown in parts
_LONGEST_HEAD = 4096
_BEGIN = "new"  # the stream of the record with which a process begins: unfinished lines end there


class OutputWriter:
    """Writes what is given to its tracks, at most ``bound`` bytes of it; the oldest makes room.

    A disk that takes no more ends it, with one notice; nobody is kept from anything.
    """

    def __init__(
        self, folder: str, bound: int, secrets: Sequence[str], notice: Callable[[str], None]
    ) -> None:
        self.mask: Mask | None = None
        if secrets:
            from lightning.app.journal.masking import Mask  # not on the way to every app's first line

            self.mask = Mask(secrets)
        self._folder = folder
        self._bound = bound
        self._notice = notice
        self._waiting: list[bytes] = []
        self._size = 0  # of the file that is being written
        self._file = -1
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            self._begin()
        except OSError as error:
            self._give_up(error)
        self._put(f"@{time.time():.6f} {_BEGIN} 0 -\n".encode())

    def track(self, component: str, stream: str) -> Track:
        return Track(self, component, stream)

    def flush(self) -> None:
        """Write what has come since the last time."""
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        self._waiting.clear()
        try:
            if self._size and self._size + len(data) > self._bound // _FILES:
                self._begin()
            self._size += len(data)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        self.flush()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _put(self, record: bytes) -> None:
        if self._file >= 0:
            self._waiting.append(record)

    def _begin(self) -> None:
        """A new file; the oldest ones go when all would be more than the bound."""
        sizes = {file: _size(file) for file in _files(self._folder)}
        number = max((int(os.path.basename(file)[:-4]) for file in sizes), default=0)
        file = -1
        while file < 0:
            number += 1
            with suppress(FileExistsError):  # another process that ends at this moment writes, too
                name = os.path.join(self._folder, f"{number:06}.log")
                file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX)  # a reader's look at it is over in a moment
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size = file, 0
        total = sum(sizes.values())
        for oldest, size in sizes.items():
            if total <= self._bound - self._bound // _FILES:
                break
            with suppress(FileNotFoundError):
                os.unlink(oldest)
            total -= size

    def _give_up(self, error: OSError) -> None:
        self._waiting.clear()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        remedy = ": free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        self._notice(
            f"{self._folder}: what is printed from here on is not kept ({error.strerror}{remedy}); "
            "the app goes on"
        )


class Track:
    """What one process prints into one stream."""

    __slots__ = ("_component", "_held", "_open", "_stream", "_writer")

    def __init__(self, writer: OutputWriter, component: str, stream: str) -> None:
        self._writer = writer
        self._stream = stream
        self._component = component.replace("\n", " ")
        self._held = b""  # perhaps the beginning of a secret
        self._open = False  # its last line has no end yet

    def add(self, data: bytes) -> bytes:
        """Keep it; answers what was kept of it, masked."""
        if self._writer.mask is not None:
            data, self._held = self._writer.mask.cut(self._held + data)
        if data:
            self._keep(data)
        return data

    def end(self) -> bytes:
        """The process has closed it; answers what had been held back."""
        data, self._held = self._held, b""
        if data and self._writer.mask is not None:
            data = self._writer.mask.whole(data)
            self._keep(data)
        if self._open:
            self._keep(b"\n")
        return data

    def _keep(self, data: bytes) -> None:
        self._open = not data.endswith(b"\n")
        head = f"@{time.time():.6f} {self._stream} {len(data)} {self._component}\n"
        self._writer._put(head.encode(errors="replace"))
        self._writer._put(data)


class Line(NamedTuple):
    """One line that a component printed. ``stream`` is "both" where stdout and stderr go to one place."""

    at: float  # when it was complete, in seconds since 1970
    component: str
    stream: str  # "out", "err", "both"
    text: str


class OutputReader:
    """Reads what is kept of one run, from the oldest on; ``read`` goes on where it has stopped."""

    def __init__(self, folder: Path, first: int = 0) -> None:
        self._folder = os.fspath(folder / FOLDER)
        self._number = first  # of the file that is being read
        self._offset = 0
        self._begun: dict[tuple[str, str], tuple[float, bytes]] = {}  # lines without an end

    def read(self) -> Iterator[Line]:
        """The lines that are complete and have not been read yet."""
        while True:
            files = {int(os.path.basename(file)[:-4]): file for file in _files(self._folder)}
            later = [number for number in files if number > self._number]
            if (file := files.get(self._number)) is not None:
                yield from self._records(file, last=not later)
            if not later:
                return
            self._number, self._offset = min(later), 0

    def rest(self) -> Iterator[Line]:
        """What still has no end, when no more can come."""
        for (component, stream), (at, text) in self._begun.items():
            yield Line(at, component, stream, _shown(text))
        self._begun.clear()

    @property
    def growing(self) -> bool:
        """Whether somebody writes."""
        for path in reversed(_files(self._folder)):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(descriptor)
        return False

    def _records(self, path: str, *, last: bool) -> Iterator[Line]:
        """``last``: nothing has come behind this file yet, so what is incomplete may become complete."""
        try:
            file = open(path, "rb")  # noqa: SIM115 - it may have been the oldest, and be gone
        except FileNotFoundError:
            return
        with file:
            file.seek(self._offset)
            data = b""
            while True:
                more = file.read(_PORTION)
                data += more
                used = 0
                while (record := _record(data, used)) is not None:
                    at, stream, component, begin, used = record
                    yield from self._lines(at, stream, component, data[begin:used])
                self._offset += used
                data = data[used:]
                if not more:
                    break
            if not last and (record := _record(data, 0, torn=True)) is not None:
                at, stream, component, begin, end = record
                yield from self._lines(at, stream, component, data[begin:end])

    def _lines(self, at: float, stream: str, component: str, data: bytes) -> Iterator[Line]:
        if stream == _BEGIN:
            yield from self.rest()
            return
        key = component, stream
        pieces = data.split(b"\n")
        if (begun := self._begun.pop(key, None)) is not None:
            pieces[0] = begun[1] + pieces[0]
        unfinished = pieces.pop()
        for piece in pieces:
            yield Line(at, component, stream, _shown(piece))
        if len(unfinished) > _LONGEST_LINE:
            yield Line(at, component, stream, _shown(unfinished))
        elif unfinished:
            self._begun[key] = at, unfinished


def files_of(folder: Path) -> list[int]:
    """The numbers of the files kept of a run, the oldest first."""
    return [int(os.path.basename(file)[:-4]) for file in _files(os.fspath(folder / FOLDER))]


_Record = tuple[float, str, str, int, int]


def _record(data: bytes, start: int, *, torn: bool = False) -> _Record | None:
    """Time, stream, component, and where the bytes begin and end; None while it is incomplete."""
    head = data.find(b"\n", start, start + _LONGEST_HEAD)
    if head < 0:
        return None
    try:
        at, stream, length, component = data[start:head].decode().split(" ", 3)
        begin, end = head + 1, head + 1 + int(length)
        moment = float(at.removeprefix("@"))
    except ValueError:
        return None  # not of our making: what follows in this file cannot be read either
    if end > len(data):
        if not torn:
            return None
        end = len(data)
    return moment, stream, component, begin, end


def _shown(line: bytes) -> str:
    """A line as a terminal would have shown it in the end: a carriage return begins it anew."""
    return line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")


def _files(folder: str) -> list[str]:
    try:
        names = sorted(
            os.listdir(folder), key=lambda name: (len(name), name)
        )  # by number, also the millionth
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [os.path.join(folder, name) for name in names if name.endswith(".log") and name[:-4].isdigit()]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
