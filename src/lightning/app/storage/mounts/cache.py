"""The files of a source on this machine, brought up to date when a work that mounts it starts.

Below the digest of the source:

| | |
| --- | --- |
| ``files/`` | what the work sees; a link, where the source is a folder of this machine |
| ``arrived`` | a line for each file that came or went: its key, and the version that it was |
| ``coming/`` | what is being fetched, under the digests of the keys, so that it is gone on with |
| ``lock`` | held while somebody fetches |

Each file is put in its place by a rename: who reads the old one reads it to its end.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat as modes
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from lightning.app.config import place
from lightning.app.errors import BlobNotFoundError, StorageError, UsageError
from lightning.app.storage.progress import reported, say, waiting
from lightning.app.storage.stores.arrival import make_folder, room
from lightning.app.storage.stores.opening import folder_at
from lightning.app.storage.stores.store import Progress, Stat, named, valid

if TYPE_CHECKING:
    from lightning.app.storage.mount import Mount
    from lightning.app.storage.stores.remote import RemoteStore

FILES = "files"
DIGEST = r"[0-9a-f]{24}"

_THREADS = 8
_READ_ONLY = 0o444
_LOOK = 0.05  # seconds, at first, between two looks whether the other one is through
_SELDOM = 0.5
_LISTED = 3


def filled(mount: Mount, mounts: Path) -> Path:
    """The folder with the files of a source, as they are there now. ``mounts``: where all sources have theirs."""
    source = place(mount.source, "source", Path.cwd())
    folder = mounts / digest(source)
    local = folder_at(source)
    try:
        make_folder(folder)
        with _alone(folder / "lock", mount):
            if local is None:
                _Cache(source, folder, mount).update()
            else:
                _show(local, folder / FILES, mount)
    except OSError as err:
        if isinstance(err, StorageError):
            raise
        raise named(err.filename or folder, err) from err
    return folder / FILES


def digest(text: str) -> str:
    return blake2b(os.fsencode(text), digest_size=12).hexdigest()


class _Cache:
    """The cache of one source, locked."""

    def __init__(self, source: str, folder: Path, mount: Mount) -> None:
        from lightning.app.storage.stores.remote import RemoteStore  # a folder needs none

        self._store: RemoteStore = RemoteStore(source)
        self._mount = mount
        self._files = folder / FILES
        self._coming = folder / "coming"
        self._record = folder / "arrived"
        self._lock = threading.Lock()

    def update(self) -> None:
        """Make it show what the source has."""
        versions = {stat.key: (stat, version) for stat, version in self._store.versions()}
        if not versions:
            raise BlobNotFoundError(
                f"{self._mount}: there is nothing at {self._store.url}. Look at the name of the bucket and at the path, "
                "and give this user the right to list it"
            )
        if "" in versions:
            raise UsageError(f"{self._mount}: the source is a file. Mount the folder that it is in")
        wanted = {key: versions[key] for key in self._fit(versions)}
        known = self._known()
        gone = [key for key in known if key not in wanted]
        new = [
            (stat, version)
            for key, (stat, version) in wanted.items()
            if known.get(key) != version or not self._has(stat)
        ]
        make_folder(self._files)
        with open(self._record, "a", encoding="utf-8", buffering=1) as record:
            for key in gone:
                self._remove(key)
                print(json.dumps([key, None]), file=record)
            if new:
                room(self._files, sum(stat.size for stat, _ in new))
                self._fetch(new, record)
        if gone or new:
            self._rewrite(wanted)

    def _fetch(self, new: list[tuple[Stat, str]], record: TextIO) -> None:
        with reported(f"{self._store.url} to {self._mount.mount_path}") as progress:
            told = _Sum(sum(stat.size for stat, _ in new), progress)
            pool, whole = ThreadPoolExecutor(_THREADS, thread_name_prefix="storage"), False
            try:
                coming = {pool.submit(self._bring, stat, told): (stat, version) for stat, version in new}
                for each in as_completed(coming):
                    stat, version = coming[each]
                    if each.result():
                        print(json.dumps([stat.key, version]), file=record)
                whole = True
            finally:
                pool.shutdown(wait=whole, cancel_futures=True)

    def _bring(self, stat: Stat, told: _Sum) -> bool:
        """Fetch one file; False if it was deleted meanwhile."""
        coming, target = self._coming / digest(stat.key), self._files / stat.key
        try:
            self._store.get(stat.key, coming, progress=told.part())
        except FileNotFoundError:
            return False
        try:
            os.chmod(coming, _READ_ONLY)
            make_folder(target.parent)
            os.replace(coming, target)
        except OSError as err:
            raise named(target, err) from err
        return True

    def _known(self) -> dict[str, str]:
        """Which version of which file is here."""
        known: dict[str, str] = {}
        with suppress(FileNotFoundError), open(self._record, encoding="utf-8") as record:
            for line in record:
                with suppress(ValueError):  # one that broke off: its file is fetched again
                    key, version = json.loads(line)
                    known[key] = version
        return {key: version for key, version in known.items() if version is not None}

    def _rewrite(self, wanted: dict[str, tuple[Stat, str]]) -> None:
        """Keep one line for each file, and nothing of what was given up."""
        lines = [
            json.dumps([key, version])
            for key, version in self._known().items()
            if key in wanted and self._has(wanted[key][0])
        ]
        aside = self._record.with_name("arrived.new")
        aside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.replace(aside, self._record)
        shutil.rmtree(self._coming, ignore_errors=True)

    def _has(self, stat: Stat) -> bool:
        try:
            there = os.lstat(self._files / stat.key)
        except OSError:
            return False
        return modes.S_ISREG(there.st_mode) and there.st_size == stat.size

    def _remove(self, key: str) -> None:
        file = self._files / key
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(file)
        for folder in file.parents:
            if folder == self._files:
                break
            try:
                os.rmdir(folder)
            except OSError:
                break

    def _fit(self, versions: Iterable[str]) -> list[str]:
        """Those that can be files here; the others are named."""
        keys = [key for key in versions if not key.endswith("/")]
        folders = {key[:at] for key in keys for at, each in enumerate(key) if each == "/"}
        fit: list[str] = []
        unfit: list[str] = []
        for key in keys:
            (fit if key not in folders and _is_name(key) else unfit).append(key)
        if unfit:
            names = ", ".join(map(repr, unfit[:_LISTED])) + (", ..." if len(unfit) > _LISTED else "")
            say(
                f"{self._store.url}: {len(unfit)} of {len(keys)} objects are left out, for no file here can be called so: "
                f"{names}"
            )
        return fit


class _Sum:
    """Many transfers as one."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()

    def part(self) -> Progress:
        before = 0

        def progress(done: int, total: int | None) -> None:
            nonlocal before
            with self._lock:
                self._done += done - before
                before = done
            self._progress(self._done, self._total)

        return progress


def _show(source: Path, files: Path, mount: Mount) -> None:
    if not source.is_dir():
        raise BlobNotFoundError(
            f"{mount}: there is no folder {source}. Correct the source, or make the folder"
        )
    if files.is_symlink() and os.readlink(files) == str(source):
        return
    aside = files.with_name(f"{FILES}.new")
    with suppress(FileNotFoundError):
        aside.unlink()
    aside.symlink_to(source)
    os.replace(aside, files)


@contextmanager
def _alone(lock: Path, mount: Mount) -> Iterator[None]:
    """Be the only one who fetches; who comes second finds what the first has fetched."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        pause = _LOOK
        with waiting(f"waiting for another work that fetches {mount.source}") as still:
            while True:
                with suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                still()
                time.sleep(pause)
                pause = min(_SELDOM, pause * 1.3)
        yield
    finally:
        os.close(descriptor)


def _is_name(key: str) -> bool:
    try:
        return valid(key) == key
    except UsageError:
        return False
