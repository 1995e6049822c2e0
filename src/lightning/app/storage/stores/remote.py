"""A store at any URL that fsspec reads: an S3 or GCS bucket, Azure, a web server to read from.

A place that answers too late, breaks off or sends less than it should is asked again, with growing pauses, until
patience ends. An object store makes an object appear whole by itself; any other place gets it under a name in
``.arriving`` first, which is then renamed. Checksums are kept as metadata of the object by S3 and GCS.
"""

from __future__ import annotations

import datetime
import errno
import logging
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from lightning.app.config import guess
from lightning.app.errors import StorageError, StoreUnreachableError, UsageError
from lightning.app.storage.stores.arrival import bring
from lightning.app.storage.stores.store import (
    BLOCK,
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

T = TypeVar("T")

EXTRAS = {"s3": "aws", "gs": "gcs", "abfs": "azure", "http": "http"}
"""The extra that brings what a kind of place needs."""

_PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "abfs": "adlfs", "http": "aiohttp"}
_KINDS = {"s3a": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs", "https": "http"}
_WHOLE = ("s3", "gs", "abfs", "memory")  # where an object appears whole, whoever writes it how
_CHECKSUM = "lightning-blake2b"
_EXCLUSIVE = (
    "s3",
    "gs",
)  # refuse the second of two writers, if asked to (not all that speak S3 do); keep metadata
_SMALL = 1 << 25  # sent in one request, from memory
_TRIES = 7
_ATTEMPTS = 20  # to win a race against who deletes
_LANES = 4  # windows of a blob under way at once
_CONNECT, _ANSWER = 10.0, 30.0  # seconds until a connection, or an answer, counts as lost
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")
_PLAIN = (Trouble.GONE, Trouble.NO_PLACE, Trouble.OCCUPIED)
_HOPELESS = (TypeError, ValueError, AttributeError, ImportError)  # asking again gives the same


class RemoteStore:
    """Blobs as objects under a URL.

    >>> RemoteStore("s3://bucket/prefix").put("notes/1", b"hello").size
    5
    """

    def __init__(self, url: str, *, patience: float = 60.0, **options: Any) -> None:
        """``patience``: seconds until a place that fails is given up. ``options``: fsspec's for this place."""
        protocol, _, rest = url.partition("://")
        parts = urlsplit(url)
        self.url = f"{protocol}://{rest.rstrip('/').removeprefix(parts.netloc.rpartition('@')[0] + '@')}"
        self._given, self._patience, self._options = url, patience, options
        self._kind = _KINDS.get(protocol, protocol)
        self._lock = threading.Lock()
        self._made: tuple[int, Any] | None = None
        self._swept = False
        self._class = _filesystem(self.url, protocol, self._kind)
        self._root = str(self._class._strip_protocol(url)).rstrip("/")

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._given, self._patience, self._options)

    def put(
        self,
        key: str,
        data: Data,
        *,
        checksum: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> Stat:
        where, size = self._where(key), length(data)
        if self._kind == "http":
            raise Trouble.READ_ONLY.of(where)
        if not replace and size is not None and (known := self._known(key)):
            return same(known, where, size, checksum)  # before anything is read or sent
        with _at_hand(where, data, checksum) as content:
            size = length(content) or 0
            if not replace and length(data) is None and (known := self._known(key)):
                return same(known, where, size, checksum)
            try:
                self._ask(where, lambda: self._send(key, content, checksum, replace, progress), writing=True)
            except FileExistsError as err:
                if isinstance(err, StorageError):
                    raise
                return same(self.stat(key), where, size, checksum)
        if progress:
            progress(size, size)
        return Stat(key, size, checksum if self._kind in _EXCLUSIVE else None, time.time())

    def get(
        self, key: str, file: Path, *, checksum: str | None = None, progress: Progress | None = None
    ) -> Stat:
        where = self._where(key)
        while True:
            stat, info = self._look(key)
            if self._kind == "http" and not info.get("partial"):
                self._get_whole(stat, where, file, checksum, progress)
                return stat
            version = _version(info)
            if bring(
                stat,
                where,
                file,
                lambda start, size, end=stat.size: self._range(key, start, size, end),  # type: ignore[misc]
                expected=checksum,
                progress=progress,
                lanes=_LANES,
                settled=lambda version=version: version == _version(self._look(key)[1]),  # type: ignore[misc]
            ):
                return stat

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if length is not None:
            return self._range(key, start, length, None)
        size = self.stat(key).size
        return self._range(key, start, max(0, size - start), size)

    def stat(self, key: str) -> Stat:
        return self._look(key)[0]

    def list(self, prefix: str = "") -> Iterator[Stat]:
        for key, info in sorted(self._find(prefix).items()):
            if key.startswith(prefix) and not key.startswith(f"{PRIVATE}/"):
                yield Stat(key, info["size"] or 0, None, _moment(info))

    def versions(self) -> Iterator[tuple[Stat, str]]:
        """All that is under the URL, whoever put it there, with what changes when an object is replaced."""
        for key, info in sorted(self._find("").items()):
            yield (
                Stat(key, info["size"] or 0, None, _moment(info)),
                " ".join(str(each) for each in _version(info) if each),
            )

    def _find(self, prefix: str) -> dict[str, dict[str, Any]]:
        folder, _, rest = prefix.rpartition("/")
        if folder:
            valid(folder)
        place = "/".join(part for part in (self._root, folder) if part)
        more = {"prefix": rest} if rest and self._kind in _EXCLUSIVE else {}
        try:
            found = self._ask(f"{self.url}/{prefix}", lambda: self._fs.find(place, detail=True, **more))
        except FileNotFoundError:
            return {}
        return {self._key(path): info for path, info in found.items() if info["type"] == "file"}

    def delete(self, key: str) -> None:
        where = self._where(key)
        if self._kind == "http":
            raise Trouble.READ_ONLY.of(where)
        try:
            self._ask(where, lambda: self._fs.rm_file(self._path(key)))
        except FileNotFoundError:
            return
        if self._kind not in _WHOLE:
            parts = key.split("/")[:-1]
            with suppress(OSError, NotImplementedError):  # until one is not empty
                for depth in range(len(parts), 0, -1):
                    self._fs.rmdir("/".join([self._root, *parts[:depth]]))

    def free(self) -> int | None:
        return None

    # One request each; `_ask` says what their failures mean

    def _send(
        self, key: str, content: Data, checksum: str | None, replace: bool, progress: Progress | None
    ) -> None:
        path = self._path(key)
        if self._kind in _WHOLE:
            self._upload(path, content, _told(self._kind, checksum, replace), progress)
            return
        self._sweep()
        aside = f"{self._root}/{PRIVATE}/{token_hex(8)}"
        try:
            self._make_folder_of(aside)
            self._make_folder_of(path)
            if self._fs.isdir(path):
                raise Trouble.OCCUPIED.of(self._where(key))
            self._upload(aside, content, {}, progress)
            self._rename(aside, path)
        except BaseException as err:
            if self._fs.exists(aside):
                self._fs.rm_file(aside)
            if isinstance(err, FileExistsError) and not isinstance(err, StorageError):
                raise Trouble.OCCUPIED.of(self._where(key)) from err  # a file where a folder should be
            raise

    def _rename(self, aside: str, path: str) -> None:
        while True:
            try:
                self._fs.mv(aside, path)
                return
            except FileNotFoundError:  # a blob was deleted just now, and its empty folder with it
                if not self._fs.exists(aside):
                    raise
            self._make_folder_of(path)

    def _make_folder_of(self, path: str) -> None:
        """Also while others remove it whenever it is empty."""
        folder = path.rpartition("/")[0]
        for _ in range(_ATTEMPTS):
            with suppress(FileExistsError, FileNotFoundError):
                self._fs.makedirs(folder, exist_ok=True)
                return
        self._fs.makedirs(folder, exist_ok=True)

    def _upload(self, path: str, content: Data, told: dict[str, Any], progress: Progress | None) -> None:
        if not isinstance(content, Path):
            self._fs.pipe_file(path, content, **told)
            return
        from fsspec.callbacks import Callback

        class Told(Callback):  # type: ignore[misc]
            def call(self, hook_name: str | None = None, **kwargs: Any) -> None:
                if progress:
                    progress(self.value, self.size)

        self._fs.put_file(str(content), path, callback=Told(), **told)

    def _range(self, key: str, start: int, size: int, end: int | None) -> bytes:
        """``size`` bytes from ``start``; fewer only where the blob, which has ``end`` bytes, ends before."""
        if size <= 0 or (end is not None and start >= end):
            return b""

        def ask() -> bytes:
            try:
                block = bytes(self._fs.cat_file(self._path(key), start=start, end=start + size))
            except (FileNotFoundError, PermissionError):
                raise
            except Exception:  # some places refuse to give what lies behind the end
                if end is None and start and start >= self._look(key)[0].size:
                    return b""
                raise
            if len(block) == size:
                return block
            whole = self._look(key)[0].size if end is None else end
            if len(block) == whole > size:  # a web server that does not know of ranges
                block = block[start : start + size]
            if len(block) != max(0, min(size, whole - start)):
                raise OSError(errno.EIO, f"{len(block)} bytes came instead of {min(size, whole - start)}")
            return block

        return self._ask(self._where(key), ask)

    def _look(self, key: str) -> tuple[Stat, dict[str, Any]]:
        path, where = self._path(key), self._where(key)
        if self._kind == "s3":  # one request instead of two: s3fs leaves out the metadata
            bucket, name, _ = self._class.split_path(self._fs, path)
            info = self._ask(where, lambda: self._fs.call_s3("head_object", Bucket=bucket, Key=name))
            info = {**info, "size": info["ContentLength"], "type": "file", "metadata": info.get("Metadata")}
        else:
            info = self._ask(where, lambda: self._fs.info(path))
        if info["type"] != "file":
            raise Trouble.GONE.of(where)
        if info["size"] is None:
            raise Trouble.FAILED.of(where, "the server does not say how long it is")
        kept = (info.get("metadata") or {}).get(_CHECKSUM)
        return Stat(key, info["size"], kept, _moment(info)), info

    def _known(self, key: str) -> Stat | None:
        try:
            return self.stat(key)
        except (FileNotFoundError, PermissionError):  # who may not list is not told that something is missing
            return None

    def _get_whole(
        self, stat: Stat, where: str, file: Path, checksum: str | None, progress: Progress | None
    ) -> None:
        began = time.monotonic()
        for attempt in count(1):
            try:
                with self._stream(stat.key) as read:
                    bring(stat, where, file, read, expected=checksum, progress=progress)
                return
            except StoreUnreachableError:
                if attempt == _TRIES or time.monotonic() - began > self._patience:
                    raise

    @contextmanager
    def _stream(self, key: str) -> Iterator[Callable[[int, int], bytes]]:
        """For a web server that only sends all of it: read on and on."""
        where = self._where(key)
        file = self._ask(where, lambda: self._fs.open(self._path(key), "rb", block_size=0))
        at = 0

        def read(start: int, size: int) -> bytes:
            nonlocal at
            taken = []
            try:
                while at < start + size and (block := file.read(min(BLOCK, start + size - at))):
                    taken.append(block[max(0, start - at) :])
                    at += len(block)
            except Exception as err:
                raise _trouble(err).of(where, _said(err)) from err
            return b"".join(taken)

        with file:
            yield read

    def _sweep(self) -> None:
        """Remove what killed writers have left. Nobody can tell the dead from the slow but by the time."""
        if self._swept:
            return
        self._swept = True
        try:
            for info in self._fs.ls(f"{self._root}/{PRIVATE}", detail=True):
                if info["type"] == "file" and 0 < _moment(info) < time.time() - 86400:
                    self._fs.rm_file(info["name"])
        except FileNotFoundError:
            return

    def _ask(self, where: str, request: Callable[[], T], *, writing: bool = False) -> T:
        """What ``request`` gives, asked again while there is hope."""
        meant = {Trouble.GONE: Trouble.NO_PLACE} if writing else {Trouble.OCCUPIED: Trouble.GONE}
        began = time.monotonic()
        for attempt in count(1):
            try:
                return request()
            except StorageError:
                raise
            except FileExistsError:
                raise
            except Exception as err:
                if self._kind == "http" and isinstance(err, FileNotFoundError):
                    err = _reason(err)
                trouble = _trouble(err)
                trouble = meant.get(trouble, trouble)
                pause = min(8.0, 0.1 * 2**attempt) * random.uniform(0.5, 1.0)
                patient = attempt < _TRIES and time.monotonic() - began + pause < self._patience
                if trouble is not Trouble.UNREACHABLE or not patient:
                    raise trouble.of(where, "" if trouble in _PLAIN else _said(err)) from err
            time.sleep(pause)
        raise AssertionError("count ends never")

    @property
    def _fs(self) -> Any:
        """fsspec's filesystem, one in each process: its thread does not come along when a process is forked."""
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():
                options = {**_defaults(self._kind), **self._options}
                made = self._class(
                    **{**self._class._get_kwargs_from_urls(self._given), **options},
                    skip_instance_cache=True,
                    use_listings_cache=False,
                )
                if self._kind == "s3":
                    made.retries = 3  # of one part of a large upload; all else is decided here
                self._made = (os.getpid(), made)
            return self._made[1]

    def _key(self, path: str) -> str:
        return path.removeprefix(self._root).lstrip("/")

    def _path(self, key: str) -> str:
        return f"{self._root}/{quote(valid(key)) if self._kind == 'http' else valid(key)}"

    def _where(self, key: str) -> str:
        return f"{self.url}/{valid(key)}"


def check(url: str) -> None:
    """An error if there is no such kind of place, or if it needs a package that is not installed."""
    protocol = url.partition(":")[0]
    kind = _KINDS.get(protocol, protocol)
    package = _PACKAGES.get(kind)
    if package is None:
        _filesystem(url, protocol, kind)
    elif find_spec(package) is None:  # quicker than to import it
        raise StorageError(_needs(url, kind))


def _needs(url: str, kind: str) -> str:
    return f"{url} needs a package that is not installed: pip install 'lightning-apps[{EXTRAS[kind]}]'"


def _again(url: str, patience: float, options: dict[str, Any]) -> RemoteStore:
    return RemoteStore(url, patience=patience, **options)


def _filesystem(url: str, protocol: str, kind: str) -> Any:
    try:
        import fsspec
    except ImportError as err:  # pragma: no cover - it comes with this package
        raise StorageError(f"{url} needs fsspec: pip install fsspec") from err
    try:
        found = fsspec.get_filesystem_class(protocol)
    except ValueError as err:
        hint = guess(protocol, sorted(fsspec.available_protocols()))
        raise UsageError(
            f"{url}: there is no kind of storage {protocol!r}{hint}; write a folder, or a URL such as "
            "s3://bucket/prefix or gs://bucket/prefix"
        ) from err
    except ImportError as err:
        known = kind in EXTRAS
        raise StorageError(
            _needs(url, kind) if known else f"{url} needs a package that is not installed: {_said(err)}"
        ) from err
    logging.getLogger("gcsfs").addHandler(logging.NullHandler())  # it prints what it then raises
    return found


def _defaults(kind: str) -> dict[str, Any]:
    if kind == "s3":
        return {
            "config_kwargs": {
                "connect_timeout": _CONNECT,
                "read_timeout": _ANSWER,
                "retries": {"max_attempts": 0},
                "max_pool_connections": 32,
            }
        }
    if kind == "gs":
        return {"requests_timeout": _ANSWER}
    if kind == "http":
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_ANSWER)
        return {"client_kwargs": {"timeout": timeout}}
    return {}


def _told(kind: str, checksum: str | None, replace: bool) -> dict[str, Any]:
    """What an upload tells the object store beside the bytes."""
    if kind not in _EXCLUSIVE:
        return {}
    told: dict[str, Any] = {} if replace else {"mode": "create"}  # the store itself refuses the second of two
    if checksum:
        told["Metadata" if kind == "s3" else "metadata"] = {_CHECKSUM: checksum}
    return told


@contextmanager
def _at_hand(where: str, data: Data, checksum: str | None) -> Iterator[bytes | Path]:
    """``data`` as something that can be sent twice, checked, and small if in memory."""
    size = length(data)
    if size is not None and size <= _SMALL:
        yield b"".join(flow(where, data, checksum, None))
    elif isinstance(data, Path):
        if checksum:
            for _ in flow(where, data, checksum, None):
                pass
        yield data
    else:
        try:
            with tempfile.NamedTemporaryFile(prefix="lightning-") as file:
                for piece in flow(where, data, checksum, None):
                    file.write(piece)
                file.flush()
                if file.tell() > _SMALL:
                    yield Path(file.name)
                    return
                file.seek(0)
                content = file.read()
        except OSError as err:
            if isinstance(err, StorageError):
                raise
            raise named(tempfile.gettempdir(), err) from err
        yield content


def _reason(err: Exception) -> Exception:
    """What has happened: fsspec's web takes whatever it is for a file that is not there."""
    return err.__cause__ if isinstance(err.__cause__, Exception) else err


def _trouble(err: Exception) -> Trouble:
    """What a failed request means."""
    chain: BaseException | None = err
    while chain:
        if type(chain).__name__ in _NO_CREDENTIALS:
            return Trouble.CREDENTIALS
        chain = chain.__cause__ or chain.__context__
    code = getattr(err, "status", None) or getattr(err, "code", None)
    if isinstance(err, FileNotFoundError | KeyError) or code == 404:
        return Trouble.GONE
    if isinstance(err, PermissionError) or code in (401, 403, "401", "403") or "Forbidden" in str(err):
        return Trouble.DENIED
    if isinstance(err, NotImplementedError) or code in (405, 501):
        return Trouble.READ_ONLY
    if isinstance(err, OSError) and err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return Trouble.READ_ONLY if err.errno == errno.EROFS else Trouble.FULL
    if isinstance(err, OSError) and err.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST):
        return Trouble.OCCUPIED
    return Trouble.FAILED if isinstance(err, _HOPELESS) else Trouble.UNREACHABLE


def _said(err: BaseException) -> str:
    return f"{type(err).__name__}: {err}" if str(err) else type(err).__name__


def _version(info: dict[str, Any]) -> tuple[object, ...]:
    """What changes when an object is replaced."""
    return (info["size"], _moment(info), *(info.get(name) for name in ("ETag", "etag", "generation", "ino")))


def _moment(info: dict[str, Any]) -> float:
    """When an object was written, by whatever name its place has for that."""
    for name in ("LastModified", "mtime", "updated", "last_modified", "modified", "created"):
        value = info.get(name)
        if isinstance(value, str) and value:
            try:
                value = datetime.datetime.fromisoformat(value)
            except ValueError:
                continue
        if isinstance(value, datetime.datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return 0.0
