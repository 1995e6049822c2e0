"""Versions of the files that components make: putting one into the app's store, and bringing one here.

A version is the tree that a file or folder is in the store, by its content. Under ``names/`` the store has the
newest version of each path, for those who know its maker only: it is written when the tree is there as a whole.
"""

from __future__ import annotations

import os
import stat as modes
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from lightning.app.errors import BlobConflictError, BlobNotFoundError
from lightning.app.storage.home import current
from lightning.app.storage.progress import reported, waiting
from lightning.app.storage.stores.store import DIGEST, PRIVATE, Store
from lightning.app.storage.trees.comparing import is_same
from lightning.app.storage.trees.manifest import tree_key
from lightning.app.storage.trees.trees import Trees

SHORTEST, LONGEST = 0.02, 1.0
"""Seconds between two looks for what is not there yet: the first, and any later one."""

_NAMES = "names/"
_SETTLED = 100_000_000  # nanoseconds: what is younger may change again without its times telling
_LONGEST_NAME = 200  # bytes of a part of a key


class _Look(NamedTuple):
    """What a file, or all that is in a folder, looks like from outside."""

    digest: bytes
    settled: bool  # whether a change from here on would show


class _Published(NamedTuple):
    look: _Look
    version: str


_published: dict[str, _Published] = {}  # by the place; the last version that this process has put
_turn = threading.RLock()


def _new_lock() -> None:
    global _turn
    _turn = threading.RLock()


os.register_at_fork(after_in_child=_new_lock)  # the thread that held it does not exist in the child


def publish(place: str, origin: str, name: str, before: str = "") -> str:
    """The version of what is at ``place`` now, which is in the store when this returns.

    ``before`` is the version that was last told of; of it only what has changed is sent. Nothing is read when
    nothing has changed since this process has last put it. What was here and is gone has no version; of what was
    never here the version stays as it was told.
    """
    with _turn:
        known = _published.get(place)
        look = _look(place)
        if look is None:
            if known is None:
                return before
            if known.version:
                current().store.delete(_key(origin, name))
                _published[place] = known._replace(version="")
            return ""
        if known is not None and known.version and known.look.settled and known.look.digest == look.digest:
            return known.version
        store = current().store
        base = known.version if known is not None else before or newest(origin, name)
        with reported(f"{name} of {origin}") as progress:
            version = Trees(store).put(Path(place), base=[base] if base else [], progress=progress).id
        if version != base:
            store.put(_key(origin, name), version.encode(), replace=True)
        _published[place] = _Published(look, version)
        return version


def newest(origin: str, name: str) -> str:
    """The newest version that is in the store; empty while there is none."""
    try:
        return current().store.read(_key(origin, name)).decode()
    except BlobNotFoundError:
        return ""


def newest_of_all(store: Store) -> Iterator[str]:
    """The newest version of every path that the store knows."""
    for stat in store.list(_NAMES):
        with suppress(BlobNotFoundError):  # it was replaced or deleted just now
            yield store.read(stat.key).decode()


def awaited(origin: str, name: str, timeout: float | None) -> str:
    """The newest version, as soon as there is one."""
    pause, began = SHORTEST, time.monotonic()
    with waiting(f"waiting for {name}, which {origin} has not made yet") as still:
        while not (version := newest(origin, name)):
            spent = time.monotonic() - began
            if timeout is not None and spent >= timeout:
                raise BlobNotFoundError(
                    f"{name} was not made by {origin} within {timeout:g} s: call its run first, assign the path there "
                    "when the file is complete, or wait longer"
                )
            still()
            time.sleep(pause if timeout is None else min(pause, timeout - spent))
            pause = min(2 * pause, LONGEST)
    return version


def bring(version: str, target: Path, what: str, *, overwrite: bool = False) -> None:
    """Have that version at ``target``, where it appears as a whole. What is there already is that version."""
    if not overwrite and os.path.lexists(target):
        if not _before_the_boot(target) or is_same(Trees(current().store).entries(version), target):
            return
        overwrite = True
    try:
        with reported(what) as progress:
            Trees(current().store).get(version, target, overwrite=overwrite, progress=progress)
    except BlobConflictError:
        if not os.path.lexists(target):  # else somebody else was faster
            raise
    except BlobNotFoundError as err:
        if not is_there(version):
            raise BlobNotFoundError(
                f"{what}: this version ({version[:10]}) is no longer in the store {current().store.url}: let the work "
                "that made it run again, with other arguments or cache_calls=False"
            ) from err
        raise


def _before_the_boot(target: Path) -> bool:
    """Whether it arrived before the machine was started: with the power its content may have gone."""
    began = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return target.lstat().st_ctime < began


def is_there(version: str) -> bool:
    """Whether the store has that version."""
    return _has(current().store, tree_key(version))


def link(place: Path, target: Path) -> None:
    """Let ``place`` lead to ``target``, from one moment to the next."""
    told = os.path.relpath(target, place.parent)
    with suppress(OSError):
        if os.readlink(place) == told:
            return
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_name(f".{os.getpid()}-{threading.get_ident()}-{place.name}"[:255])
    with suppress(FileNotFoundError):
        aside.unlink()
    aside.symlink_to(told)
    os.replace(aside, place)


def _has(store: Store, key: str) -> bool:
    try:
        store.stat(key)
    except BlobNotFoundError:
        return False
    return True


def _key(origin: str, name: str) -> str:
    return f"{_NAMES}{_part(origin)}/{_part(name)}"


def _part(name: str) -> str:
    quoted = quote(name, safe=" ", errors="surrogateescape")
    if len(quoted) <= _LONGEST_NAME and quoted not in (".", ".."):
        return quoted
    return blake2b(os.fsencode(name), digest_size=DIGEST).hexdigest()


def _look(place: str) -> _Look | None:
    try:
        top = os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    digest, newest, now = blake2b(digest_size=DIGEST), 0, time.time_ns()
    for path, found in _walk(place, top):
        if modes.S_ISDIR(found.st_mode):  # its times change with what is in it, which is looked at
            told = f"{path}\0{found.st_mode}\0"
        else:
            told = f"{path}\0{found.st_mode}\0{found.st_ino}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ctime_ns}\0"
            newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
        digest.update(os.fsencode(told))
    return _Look(digest.digest(), newest < now - _SETTLED)


def _walk(place: str, found: os.stat_result) -> Iterator[tuple[str, os.stat_result]]:
    folders = [(place, found)]
    while folders:
        place, found = folders.pop()
        yield place, found
        if not modes.S_ISDIR(found.st_mode):
            continue
        try:
            with os.scandir(place) as entries:
                inner = sorted((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)
        except FileNotFoundError:  # gone just now: whoever puts it finds out
            continue
        folders += [(os.path.join(place, name), stat) for name, stat in inner if name != PRIVATE]
