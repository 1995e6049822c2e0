"""The link at a mount's path, which leads to the files of its source, and is there while somebody needs it.

Each path has a record, a file that everybody who needs the link holds locked (shared). Who can lock it alone is the
last: it takes the link away. So does the end of every run, for those that were killed. Locks end with their process,
however it ends, so that no link is held by the dead.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from lightning.app.errors import BlobConflictError, StorageDeniedError, StorageError
from lightning.app.storage.mounts.cache import DIGEST, FILES, digest
from lightning.app.storage.stores.arrival import make_folder
from lightning.app.storage.stores.store import named

if TYPE_CHECKING:
    from lightning.app.storage.mount import Mount

_RECORDS = "links"
_ALONE = fcntl.LOCK_EX | fcntl.LOCK_NB


@contextmanager
def linked(mount: Mount, files: Path, mounts: Path) -> Iterator[None]:
    """Have the mount's path lead to ``files``."""
    place = Path(os.path.abspath(mount.mount_path))
    try:
        make_folder(mounts / _RECORDS)
        record = mounts / _RECORDS / digest(str(place))
        held = _hold(record, place, files, mount)
    except OSError as err:
        if isinstance(err, StorageError):
            raise
        raise named(err.filename or place, err) from err
    try:
        yield
    finally:
        _let_go(held, record, place)


def sweep(mounts: Path) -> None:
    """Take away the links that nobody holds."""
    with suppress(OSError):  # none was ever made
        for record in (mounts / _RECORDS).iterdir():
            with suppress(OSError):
                descriptor = os.open(record, os.O_RDWR | os.O_CLOEXEC)
                _let_go(descriptor, record, Path(os.fsdecode(os.read(descriptor, 1 << 16))))


def _hold(record: Path, place: Path, files: Path, mount: Mount) -> int:
    """A lock on the record, under which the link is right."""
    while True:
        descriptor = os.open(record, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            alone = _locked(descriptor, _ALONE)
            if not alone:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            if _is_at(descriptor, record):
                if alone:
                    os.pwrite(descriptor, os.fsencode(place), 0)
                    _make(place, files, mount, record)
                    fcntl.flock(descriptor, fcntl.LOCK_SH)  # somebody may take it for unheld in between
                there = _target(place)
                if _is_at(descriptor, record) and there == str(files):
                    return descriptor
                if not alone and there is None and not os.path.lexists(place):
                    _make(place, files, mount, record)  # somebody has removed it
                    return descriptor
                if not alone and _is_at(descriptor, record):
                    raise _in_use(mount, there or "something else")
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _make(place: Path, files: Path, mount: Mount, record: Path) -> None:
    """Make the link, in place of one that nobody needs any more."""
    there = _target(place)
    if there == str(files):
        return
    try:
        if there is not None and _is_free(there, mount, record):
            aside = place.with_name(f".{place.name}-{token_hex(8)}")
            aside.symlink_to(files)
            os.replace(aside, place)
            return
        make_folder(place.parent)
        place.symlink_to(files)
    except StorageError:
        raise
    except FileExistsError as err:
        raise BlobConflictError(
            f"{mount}: there is something already at {place}, which is not ours. Nothing was changed: remove it, or "
            f"choose another mount_path, such as './{place.name}'"
        ) from err
    except OSError as err:
        raise StorageDeniedError(
            f"{mount}: {place} cannot be made: {err.strerror}. Choose another mount_path, such as './{place.name}', or "
            "give this user the right to make it"
        ) from err


def _is_free(target: str, mount: Mount, record: Path) -> bool:
    """Whether a link was made by a mount that is over: of these runs, or of those in another folder."""
    mounts = _mounts_of(target)
    if mounts is None or mounts == record.parent.parent:
        return mounts is not None  # of these, we are the only ones who have the record
    try:
        descriptor = os.open(mounts / _RECORDS / record.name, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        if _locked(descriptor, _ALONE):
            return True
    finally:
        os.close(descriptor)
    raise _in_use(mount, target)


def _let_go(descriptor: int, record: Path, place: Path) -> None:
    """Let go of a record, and take the link away if nobody else needs it."""
    try:
        if _locked(descriptor, _ALONE) and _is_at(descriptor, record):
            there = _target(place)
            if there is not None and _mounts_of(there) == record.parent.parent:
                place.unlink()
            record.unlink()
    except OSError:
        pass  # the next one will
    finally:
        os.close(descriptor)


def _mounts_of(target: str) -> Path | None:
    """The folder of mounts in which the files are that a link leads to, if it is one of ours."""
    files = Path(target)
    ours = files.is_absolute() and files.name == FILES and re.fullmatch(DIGEST, files.parent.name)
    return files.parent.parent if ours else None


def _in_use(mount: Mount, target: str) -> BlobConflictError:
    return BlobConflictError(
        f"{mount}: another work that runs has {target} there. Nothing was changed: choose another mount_path for one of "
        "them"
    )


def _locked(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, record: Path) -> bool:
    """Whether it is still the record that others find."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(record))
    except FileNotFoundError:
        return False


def _target(place: Path) -> str | None:
    try:
        return os.readlink(place)
    except OSError:
        return None
