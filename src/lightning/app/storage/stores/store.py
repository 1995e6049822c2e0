"""What a store is, and how its troubles are worded.

A store holds blobs by key. A blob appears whole or not at all, and never changes in place: whoever reads it
reads all of what one writer put, even while it is replaced or deleted. What blobs mean is for those who put them.

Keys are relative paths with ``/`` between their parts: ``packs/3f/3fa9``. No key is the folder of another one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import NamedTuple, Protocol

from lightning.app.errors import (
    BlobConflictError,
    BlobNotFoundError,
    StorageDeniedError,
    StorageError,
    StoreUnreachableError,
    UsageError,
)

Data = bytes | bytearray | memoryview | Path | Iterable[bytes]
"""What can be put: bytes, a file, or chunks as they come."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes done and, where it is known, their sum, from whichever thread moves them. What it raises
ends the transfer."""

DIGEST = 20  # bytes: nobody finds two blobs with the same one

BLOCK = 1 << 22  # what is read of a file at once: large enough to be fast, small enough to be nothing

PRIVATE = ".arriving"
"""The folder beside what arrives, for what has not yet. No key begins with it."""


class Stat(NamedTuple):
    """What a store knows of a blob without reading it."""

    key: str
    size: int
    checksum: str | None = None  # as it was given to `put`; None where the store keeps none
    modified: float = 0.0  # seconds since 1970 by the store's clock; 0 where it does not say


class Store(Protocol):
    """Blobs by key. Every method may be called from several threads and processes at once.

    >>> store.put("notes/1", b"whole, or not at all", checksum=checksum(b"whole, or not at all")).size
    20
    """

    @property
    def url(self) -> str:
        """Where it is, for people. Holds no secret."""

    def put(
        self,
        key: str,
        data: Data,
        *,
        checksum: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> Stat:
        """Make ``data`` the blob ``key``; it has arrived when this returns.

        ``checksum`` is what the data must have, and is kept with the blob. A blob that is there already stays, and
        is an error if it is known to be another one, unless ``replace`` says that the new one takes its place.
        """

    def get(
        self, key: str, file: Path, *, checksum: str | None = None, progress: Progress | None = None
    ) -> Stat:
        """Bring a blob to ``file``, which appears, or is replaced, when all is there and is what it should be.

        A transfer that broke off goes on where it was when the same blob is fetched to the same file again.
        """

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes from ``start`` on; fewer where the blob ends before."""

    def stat(self, key: str) -> Stat:
        """What is known of a blob; an error if it is not there."""

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """The blobs whose keys begin with ``prefix``, in the order of their keys. Without their checksums."""

    def delete(self, key: str) -> None:
        """Take a blob away. One that is not there is no error."""

    def free(self) -> int | None:
        """The bytes there is room for, where that is known."""


class Trouble(Enum):
    """What can stand between somebody and a blob, each with what to do about it."""

    GONE = (
        "it is not there. It was deleted or has never arrived, or this is another store than the one it was "
        "put into: look at [storage] url, and make it again if it is gone",
        BlobNotFoundError,
    )
    NO_PLACE = (
        "the store itself is not there. Create the bucket or folder, or correct [storage] url",
        BlobNotFoundError,
    )
    NO_FILE = (
        "there is no such file or folder here",
        BlobNotFoundError,
    )
    CHECKSUM = (
        "its checksum is wrong: the bytes are not the ones that were put. Nothing of it was kept: try again, "
        "and make it again if that gives the same",
        StorageError,
    )
    SHORT = (
        "it is shorter or longer than it should be. Nothing of it was kept: try again, and make it again if "
        "that gives the same",
        StorageError,
    )
    CONFLICT = (
        "there is another blob of that name already. Nothing was changed: choose another name, or delete the "
        "old one first",
        BlobConflictError,
    )
    OCCUPIED = (
        "there is something already. Nothing was changed: remove it, or ask for it to be overwritten",
        BlobConflictError,
    )
    FULL = (
        "there is no space. Nothing was left behind: free some, then try again, or choose another place with "
        "[storage] url",
        StorageError,
    )
    READ_ONLY = (
        "it can only be read. Choose another place to write to with [storage] url",
        StorageDeniedError,
    )
    DENIED = (
        "permission denied. Give this user the right to it, or other credentials",
        StorageDeniedError,
    )
    CREDENTIALS = (
        "there are no credentials for it. Set those of the cloud in the environment or in its own "
        "configuration file",
        StorageDeniedError,
    )
    UNREACHABLE = (
        "the store does not answer, or breaks off. What has arrived is kept: look at the network and at "
        "[storage] url, then try again",
        StoreUnreachableError,
    )
    FAILED = (
        "the disk or the store failed. Look at what it says, then try again",
        StorageError,
    )

    def of(self, where: object, detail: object = "") -> StorageError:
        """The error: which object, what happened, what to do."""
        said = str(detail).strip()
        text: str = self.value[0]
        kind: type[StorageError] = self.value[1]
        return kind(f"{where}: {text}" + (f" ({said})" if said else ""))


_ERRNO = {
    errno.ENOENT: Trouble.NO_FILE,
    errno.ENOSPC: Trouble.FULL,
    errno.EDQUOT: Trouble.FULL,
    errno.EFBIG: Trouble.FULL,
    errno.EROFS: Trouble.READ_ONLY,
    errno.EACCES: Trouble.DENIED,
    errno.EPERM: Trouble.DENIED,
    errno.EEXIST: Trouble.OCCUPIED,
    errno.ENOTDIR: Trouble.OCCUPIED,
    errno.EISDIR: Trouble.OCCUPIED,
    errno.ENOTEMPTY: Trouble.OCCUPIED,
}


def named(where: object, err: OSError) -> StorageError:
    """The error for a refusal of the operating system, about a file of this machine."""
    trouble = _ERRNO.get(err.errno or 0, Trouble.FAILED)
    return trouble.of(where, (err.strerror or err) if trouble is Trouble.FAILED else "")


def checksum(data: bytes | bytearray | memoryview) -> str:
    """The checksum of a blob."""
    return blake2b(data, digest_size=DIGEST).hexdigest()


def checksum_of(file: Path) -> str:
    """The checksum of a blob that is the content of this file."""
    with open(file, "rb") as opened:
        return file_digest(opened, lambda: blake2b(digest_size=DIGEST)).hexdigest()


def valid(key: str) -> str:
    """The key, if it can be one in every store."""
    parts = key.split("/")
    wrong = (
        "is empty"
        if not key
        else "begins with '/'"
        if not parts[0]
        else "has an empty part, or ends with '/'"
        if not all(parts)
        else "has a part '.' or '..'"
        if "." in parts or ".." in parts
        else f"begins with {PRIVATE}, which is the store's own"
        if parts[0] == PRIVATE
        else "has a character that no file's name can have"
        if not key.isprintable() or "\\" in key
        else "is longer than 900 bytes, or one of its parts than 200"
        if len(key.encode()) > 900 or any(len(part.encode()) > 200 for part in parts)
        else ""
    )
    if wrong:
        raise UsageError(f"the key {key!r} {wrong}; a key is a relative path such as 'packs/3f/3fa9'")
    return key


def length(data: Data) -> int | None:
    """How many bytes ``data`` is, where that is known before it was read."""
    if isinstance(data, bytes | bytearray):
        return len(data)
    if isinstance(data, memoryview):
        return data.nbytes
    if isinstance(data, Path):
        try:
            return data.stat().st_size
        except OSError as err:
            raise named(data, err) from err
    return None


def flow(where: str, data: Data, expected: str | None, progress: Progress | None) -> Iterator[memoryview]:
    """``data`` piece by piece. Its end is an error if it was not what was ``expected``."""
    total, done = length(data), 0
    digest = blake2b(digest_size=DIGEST) if expected else None
    for piece in _pieces(data):
        if digest:
            digest.update(piece)
        yield piece
        done += piece.nbytes
        if progress:
            progress(done, total)
    if digest and digest.hexdigest() != expected:
        raise Trouble.CHECKSUM.of(where)
    if total is not None and done != total:
        raise Trouble.SHORT.of(where, f"{done} bytes of {total}")


def same(known: Stat, where: str, size: int | None, expected: str | None) -> Stat:
    """What is there already, if it can be what was to be put."""
    if (size is not None and known.size != size) or (
        expected and known.checksum and known.checksum != expected
    ):
        raise Trouble.CONFLICT.of(where)
    return known


def _pieces(data: Data) -> Iterator[memoryview]:
    if isinstance(data, Path):
        try:
            with open(data, "rb", buffering=0) as file:
                while block := file.read(BLOCK):
                    yield memoryview(block)
        except OSError as err:
            raise named(data, err) from err
    elif isinstance(data, bytes | bytearray | memoryview):
        view = memoryview(data).cast("B")
        for start in range(0, view.nbytes, BLOCK):
            yield view[start : start + BLOCK]
    else:
        for chunk in data:
            yield from _pieces(chunk)
