"""How something arrives in a folder: made aside where no reader looks, then put in place by one rename.

What is in the making lies in ``.arriving`` beside its target and is locked while somebody makes it. What a
killed process left there is found again by the next one that wants the very same thing, and goes on from
there; what nobody wants any more is swept by whoever comes next.

A rename makes it whole for every process of the machine. Whether it is still there after a power cut is for
those to see to who are the only ones to have it (``storage/stores/file.py`` syncs; what is fetched can be again).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import stat as modes
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from secrets import token_hex
from types import TracebackType

from lightning.app.errors import StorageError
from lightning.app.storage.stores.store import BLOCK, DIGEST, PRIVATE, Progress, Stat, Trouble, named

WINDOW = 1 << 23  # of a blob, asked for at once
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ATTEMPTS = 100  # nobody loses a race that often; what fails so often cannot be
_DAY = 86400.0
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


class Arrival:
    """A file or folder in the making. Leaving the context without `land` keeps what is `resumable`.

    >>> with Arrival(Path("model.bin")) as coming:
    ...     coming.path.write_bytes(b"...")
    ...     coming.land()
    """

    def __init__(
        self, target: Path, identity: str = "", *, folder: bool = False, room: Path | None = None
    ) -> None:
        """``identity`` tells what will be made: only who makes the same goes on with it. Without: nobody.

        ``room`` is where to make it, if not beside the target.
        """
        self.target = target
        self._folder = folder
        self._room = room or target.parent / PRIVATE
        self._all_mine = room is not None and not identity  # nothing in it is ever gone on with
        self._name = blake2b(os.fsencode(target.absolute()), digest_size=8).hexdigest()
        self._identity = identity and blake2b(identity.encode(), digest_size=8).hexdigest()
        self.resumable = bool(identity)
        self._in_place = False
        self.path, self._lock = self._open()
        self.fresh = not (os.listdir(self.path) if folder else os.fstat(self._lock).st_size)
        self._sweep()

    def __enter__(self) -> Arrival:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.resumable and not self._in_place:
            _remove(self.path)
        os.close(self._lock)
        with suppress(OSError):  # somebody else's are in it
            os.rmdir(self._room)

    def land(self, *, overwrite: bool = True) -> None:
        """Put it in place."""
        try:
            while not self._landed(overwrite):
                pass  # somebody else was there in the same moment
        except OSError as err:
            raise named(self.target, err) from err
        self._in_place = True

    def _landed(self, overwrite: bool) -> bool:
        """Whether it is in place now. Not, where something else came there, or went, just now."""
        if overwrite and (self._folder or _is_folder(self.target)) and os.path.lexists(self.target):
            self._take_the_place()
        elif overwrite and not self._folder:
            os.replace(self.path, self.target)
        elif self._folder:
            if os.path.lexists(self.target):  # or an empty folder would be replaced
                if overwrite:
                    return False
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            try:
                os.rename(self.path, self.target)
            except OSError as err:
                if overwrite and err.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                    return False
                raise
        else:
            _rename_new(self.path, self.target)
        return True

    def discard(self) -> None:
        """Keep nothing of what has been made so far."""
        self.resumable = False

    def _take_the_place(self) -> None:
        # Under a name of its own, or somebody could go on with what was there before.
        aside = self.path.with_name(f"{self._name}-{token_hex(8)}")
        os.rename(self.path, aside)
        self.path = aside
        _exchange(aside, self.target)
        _remove(aside)

    def _open(self) -> tuple[Path, int]:
        try:
            while True:
                make_folder(self._room)
                name = f"{self._name}-{self._identity or token_hex(8)}"
                try:
                    path, descriptor = self._room / name, _locked(self._room / name, self._folder)
                    if descriptor is None:  # somebody makes the same: neither waits, the last to land stays
                        path = self._room / f"{name}-{token_hex(8)}"
                        descriptor = _locked(path, self._folder)
                        self.resumable = False
                except FileNotFoundError:
                    continue  # the room was cleared away just now
                if descriptor is not None:
                    return path, descriptor
        except OSError as err:
            raise named(self.target, err) from err

    def _sweep(self) -> None:
        for entry in _entries(self._room):
            stale = entry.name.startswith(f"{self._name}-") or self._all_mine
            with suppress(OSError):
                stale = stale or time.time() - entry.stat(follow_symlinks=False).st_mtime > _DAY
                if stale and entry.name != self.path.name:
                    sweep(Path(entry.path))


def sweep(path: Path) -> None:
    """Remove one that nobody makes any more."""
    descriptor = _lock(path, os.O_RDONLY)
    if descriptor is not None:
        _remove(path)
        os.close(descriptor)


def bring(
    stat: Stat,
    where: str,
    target: Path,
    read: Callable[[int, int], bytes],
    *,
    expected: str | None,
    progress: Progress | None,
    lanes: int = 1,
    settled: Callable[[], bool] = lambda: True,
) -> bool:
    """Make ``target`` of what ``read`` gives, window by window, ``lanes`` of them at once.

    False, and nothing is made, when the blob was not ``settled``: replaced by another one in the meantime.
    """
    if expected and stat.checksum and expected != stat.checksum:
        raise Trouble.CHECKSUM.of(where)
    if _is_folder(target):
        raise Trouble.OCCUPIED.of(target)
    expected = expected or stat.checksum
    known = expected or stat.modified  # else nobody could tell this blob from another one of that name
    identity = f"{where} {stat.size} {expected} {stat.modified}" if known else ""
    while True:
        with Arrival(target, identity) as coming:
            try:
                begun = _fill(coming, stat, where, read, expected, progress, lanes)
            except OSError as err:
                if isinstance(err, StorageError):
                    raise
                if err.errno in NO_SPACE:
                    coming.discard()
                raise named(target, err) from err
            if not settled():
                coming.discard()
                return False
            if begun is None:
                coming.land()
                return True
            coming.discard()
        if begun == 0:  # all of it came from the store just now
            raise Trouble.CHECKSUM.of(where)


def _fill(
    coming: Arrival,
    stat: Stat,
    where: str,
    read: Callable[[int, int], bytes],
    expected: str | None,
    progress: Progress | None,
    lanes: int,
) -> int | None:
    """None when all is well, else how much was there before."""
    digest = blake2b(digest_size=DIGEST) if expected else None
    with open(coming.path, "r+b", buffering=0) as file:
        begun = os.fstat(file.fileno()).st_size
        if begun > stat.size:
            begun = file.truncate(0)
        room(coming.target, stat.size - begun)
        if digest:
            while block := file.read(BLOCK):
                digest.update(block)
        done = file.seek(begun)
        with windows(read, begun, stat.size, lanes) as coming_in:
            for block in coming_in:
                if len(block) != min(WINDOW, stat.size - done):
                    coming.discard()
                    raise Trouble.SHORT.of(where, f"{done + len(block)} bytes of {stat.size}")
                write(file.fileno(), memoryview(block))
                if digest:
                    digest.update(block)
                done += len(block)
                if progress:
                    progress(done, stat.size)
        if done != stat.size:
            coming.discard()
            raise Trouble.SHORT.of(where, f"{done} bytes of {stat.size}")
    return None if digest is None or digest.hexdigest() == expected else begun


def make_folder(folder: Path) -> None:
    """Like ``mkdir -p``, also while others remove it, or what is above it, whenever it is empty."""
    for _ in range(_ATTEMPTS):
        with suppress(FileExistsError, FileNotFoundError):
            folder.mkdir(parents=True, exist_ok=True)
            return
    folder.mkdir(parents=True, exist_ok=True)


def write(descriptor: int, block: memoryview) -> None:
    """All of ``block``: the system may take less of it at once, a full disk for one."""
    while block.nbytes:
        block = block[os.write(descriptor, block) :]


@contextmanager
def windows(read: Callable[[int, int], bytes], start: int, end: int, lanes: int) -> Iterator[Iterator[bytes]]:
    """The bytes from ``start`` to ``end`` in order, with ``lanes`` windows under way."""
    asks = ((at, min(WINDOW, end - at)) for at in range(start, end, WINDOW))
    if lanes == 1 or end - start <= WINDOW:
        yield (read(*ask) for ask in asks)
        return
    pool, whole = ThreadPoolExecutor(lanes, thread_name_prefix="storage"), False
    under_way = deque(pool.submit(read, *ask) for ask in islice(asks, lanes))

    def in_order() -> Iterator[bytes]:
        while under_way:
            block = under_way.popleft().result()
            if (ask := next(asks, None)) is not None:
                under_way.append(pool.submit(read, *ask))
            yield block

    try:
        yield in_order()
        whole = True
    finally:
        pool.shutdown(wait=whole, cancel_futures=True)  # whoever gives up does not wait for the network


def room(target: Path, size: int) -> None:
    """An error if ``size`` bytes more do not fit where ``target`` is going to be."""
    free = free_at(target)
    if free is not None and size > free:
        raise Trouble.FULL.of(target, f"{_amount(size)} to go, {_amount(free)} free")


def free_at(place: Path) -> int | None:
    """The bytes there is room for at ``place``, be it there already or not; None where nobody says."""
    for each in (place, *place.absolute().parents):
        try:
            there = os.statvfs(each)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
        return there.f_bavail * there.f_frsize if there.f_blocks else None  # what is no disk has no blocks
    return None


def _amount(size: int) -> str:
    return next(
        (
            f"{size / unit:.1f} {name}"
            for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
            if size >= unit
        ),
        f"{size} bytes",
    )


def _locked(path: Path, folder: bool) -> int | None:
    """A lock on ``path``, which it makes; None while somebody else has it."""
    if folder:
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
    return _lock(path, os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR | os.O_CREAT)


def _lock(path: Path, flags: int) -> int | None:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except FileNotFoundError:
        if flags & (os.O_CREAT | os.O_DIRECTORY):
            raise
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.stat(path, follow_symlinks=False)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except FileNotFoundError:  # swept, or landed, between the opening and the lock
        os.close(descriptor)
        return None
    if os.path.samestat(there, os.fstat(descriptor)):
        return descriptor
    os.close(descriptor)
    return None


def _rename_new(one: Path, other: Path) -> None:
    """Rename, but never over something."""
    try:
        os.link(one, other)
    except OSError as err:
        if err.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS) or os.path.lexists(other):
            raise
        os.rename(one, other)  # a disk without hard links
    else:
        os.unlink(one)


def _exchange(one: Path, other: Path) -> None:
    """Let two names change places in one step; in two, where the system or the disk cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename and not rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE):
        return
    aside = one.with_name(f"{one.name}-old")
    os.rename(other, aside)
    try:
        os.rename(one, other)
    except OSError:
        os.rename(aside, other)
        raise
    os.rename(aside, one)


def _remove(path: Path) -> None:
    if _is_folder(path):
        for folder, _, _ in os.walk(path):  # what is not writable could not be emptied
            with suppress(OSError):
                os.chmod(folder, 0o700)
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.unlink(path)


def _is_folder(path: Path) -> bool:
    try:
        return modes.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
