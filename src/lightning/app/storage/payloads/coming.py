"""A payload on its way to this machine: which of its pieces have come, and are right.

It lies in one private file: the payload, and behind it a mark for each piece, with its checksum. A mark is written
after its piece, so what a killed process leaves can be gone on with; the checksum shows what a power cut has taken
away. The file gets its name when it is whole, and loses the marks just before.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct

from xxhash import xxh3_64

from lightning.app.storage.payloads import wire
from lightning.app.storage.payloads.depot import Depot
from lightning.app.storage.stores.arrival import room

_MARK = Struct("<QQ")  # has it come, checksum
_CAME = 0x454D4F43_53414820


class Coming:
    """A payload of ``size`` bytes on its way into ``depot``. One process at a time sees to it; others wait for it.

    Leaving the context without `land` keeps what has come.
    """

    def __init__(self, depot: Depot, name: str, size: int, folder: Path | None = None) -> None:
        """It goes on where it was begun, else into ``folder``, or where there is room."""
        self.size = size
        self.folder = folder or depot.memory
        self.count = -(-size // wire.PIECE)
        self._depot = depot
        self._asked_for = folder
        self._name = name
        self._discarded = False
        # The system lets one write at a time, and has the others wait busily.
        self._writing = threading.Lock()
        self._file = -1

    def __enter__(self) -> Coming:
        while not self._open():
            pass
        try:
            self._whole = self._prepare(os.fstat(self._file).st_size)
        except BaseException:
            self.discard()
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._discarded:
            with suppress(FileNotFoundError):
                os.unlink(self._private)
        with self._writing:
            os.close(self._file)
            self._file = -1

    def _check(self) -> None:
        """What comes late, from somebody who was not waited for, must not go into what now has this descriptor."""
        if self._file < 0:
            raise ValueError(f"payload {self._name} is not fetched any more")

    def _open(self) -> bool:
        """Whether it is now this process's to see to."""
        private = f".{self._name}.coming"
        folder = next((each for each in self._folders if (each / private).exists()), None)
        if folder is None:
            folder = self._asked_for or self._depot.place(self.size)
            if folder == self._depot.disk:
                room(folder / self._name, self.size)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder, self._private = folder, folder / private
        self._file = os.open(self._private, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        mine = False
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):  # it has landed, or was given up
                mine = os.path.samestat(os.stat(self._private, follow_symlinks=False), os.fstat(self._file))
        finally:
            if not mine:
                os.close(self._file)
        return mine

    @property
    def _folders(self) -> tuple[Path, Path]:
        return self._depot.memory, self._depot.disk

    def _prepare(self, found: int) -> bool:
        """Whether all of it is there, as in a file that has lost its marks but has no name yet."""
        if found == self.size:
            return True
        if found != self.size + _MARK.size * self.count:
            os.ftruncate(self._file, 0)
            os.ftruncate(self._file, self.size + _MARK.size * self.count)
        return False

    def extent(self, index: int) -> tuple[int, int]:
        """Where the piece begins, and its length."""
        start = index * wire.PIECE
        return start, min(wire.PIECE, self.size - start)

    def missing(self) -> list[int]:
        """The pieces that have not come yet, or have not stayed."""
        return [] if self._whole else [index for index in range(self.count) if not self._has(index)]

    def write(self, data: memoryview, at: int) -> None:
        with self._writing:
            self._check()
            while data.nbytes:
                count = os.pwrite(self._file, data, at)
                data, at = data[count:], at + count

    def came(self, index: int, checksum: int) -> None:
        """The piece is here, and right."""
        with self._writing:
            self._check()
            os.pwrite(self._file, _MARK.pack(_CAME, checksum), self.size + _MARK.size * index)

    def blocks(self) -> Iterator[memoryview]:
        """All that is here, in order."""
        for index in range(self.count):
            yield from self._read(*self.extent(index))

    def discard(self) -> None:
        """Keep nothing of it."""
        self._discarded = True

    def land(self) -> None:
        """All of it is here: let it have its name."""
        safe = self.folder == self._depot.disk  # what is there counts as that
        if safe:
            os.fsync(self._file)
        os.ftruncate(self._file, self.size)
        if safe:
            os.fsync(self._file)
        os.fchmod(self._file, 0o400)
        os.rename(self._private, self.folder / self._name)

    def _has(self, index: int) -> bool:
        came, checksum = _MARK.unpack(os.pread(self._file, _MARK.size, self.size + _MARK.size * index))
        if came != _CAME:
            return False
        found = xxh3_64()
        for block in self._read(*self.extent(index)):
            found.update(block)
        return bool(found.intdigest() == checksum)

    def _read(self, start: int, length: int) -> Iterator[memoryview]:
        space = memoryview(bytearray(min(wire.AT_ONCE, length)))
        while length:
            count = os.preadv(self._file, [space[: min(space.nbytes, length)]], start)
            if not count:
                return
            yield space[:count]
            start, length = start + count, length - count
