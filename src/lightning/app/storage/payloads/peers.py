"""Bringing payloads here from the machines that have them, and from the app's object store when those are gone.

A payload comes piece by piece, over a few lines at once. A line that breaks, a piece whose checksum is wrong, a
machine that dies cost no more than the pieces that were under way: they come again, from the same machine or from
another one. What has come stays, whatever becomes of the process that fetched it.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Protocol

from xxhash import xxh3_64

from lightning.app.errors import BlobNotFoundError, StorageError, StoreUnreachableError, UsageError
from lightning.app.storage import home
from lightning.app.storage.home import Home
from lightning.app.storage.payloads import wire
from lightning.app.storage.payloads.coming import Coming
from lightning.app.storage.payloads.depot import Depot
from lightning.app.storage.payloads.names import valid
from lightning.app.storage.payloads.wire import Broken, Denied, Word
from lightning.app.storage.stores.arrival import NO_SPACE
from lightning.app.storage.stores.store import DIGEST, Progress, Store, Trouble, named

VARIABLE = "LIGHTNING_PEER_TOKEN"
"""The token, for those who are not told it in the file."""

TOKEN = "peer-token"
"""The file in a run's folder that has the token."""

LINES = 4
"""Over which a payload comes at once. One keeps a processor busy at each end; a few share a network's bad moments."""

ATTEMPTS = 6
"""After so many failures in a row, and nothing that came in between, a machine is given up."""

_PAUSES = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0)
_PARTING = (
    1.0  # seconds that whoever gives up waits for lines: only a store's can take longer, and harms nobody
)
_AHEAD = 2  # pieces that a line has asked for: while one comes, the other end reads the next


def fetch(
    name: str,
    size: int,
    depot: Depot,
    peers: Sequence[str] | None = None,
    progress: Progress | None = None,
    *,
    here: Home | None = None,
) -> bool:
    """Bring a payload of ``size`` bytes into ``depot``: from ``peers``, else from the object store.

    False when all of them could be asked and none has it. An error when one that could have it could not be asked.
    """
    if not valid(name) or size < 1:
        raise UsageError(f"{name!r} of {size} bytes cannot be a payload")
    here = here or home.current()
    peers = here.peers if peers is None else peers
    sources: list[list[_Source]] = [[], []]
    if peers:
        token = token_of(here)
        sources[0] = [_Peer(address, name, size, token) for address in dict.fromkeys(peers)]
    if here.url:
        sources[1] = [_Stored(here.store, f"payloads/{name}", size)]
    if not any(sources):
        return depot.has(name)
    coming = Coming(depot, name, size)
    try:
        try:
            return _brought(name, depot, coming, sources, progress)
        except OSError as err:
            if err.errno not in NO_SPACE or coming.folder == depot.disk:
                raise
        return _brought(name, depot, Coming(depot, name, size, depot.disk), sources, progress)
    except OSError as err:
        if isinstance(err, StorageError):
            raise
        raise named(f"payload {name} into {depot.memory} or {depot.disk}", err) from err


def token_of(here: Home) -> bytes:
    """The token that all machines of this run know."""
    told = os.environ.get(VARIABLE, "").encode()
    if not told:
        try:
            told = (here.folder / TOKEN).read_bytes().strip()
        except OSError as err:
            raise StorageError(
                f"{here.folder / TOKEN}: the token by which the machines of a run know each other cannot be read "
                f"({err.strerror}), and {VARIABLE} is not set: payloads of other machines cannot be fetched"
            ) from err
    return told


def make_token(here: Home) -> bytes:
    """The token of this run, made if there is none yet. Only this user can read it."""
    file = here.folder / TOKEN
    private = file.with_name(f".{TOKEN}-{secrets.token_hex(8)}")
    descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(32).encode())
        with suppress(FileExistsError):
            os.link(private, file)
    finally:
        os.close(descriptor)
        os.unlink(private)
    return file.read_bytes()


def _brought(
    name: str, depot: Depot, coming: Coming, sources: list[list[_Source]], progress: Progress | None
) -> bool:
    with coming:
        if depot.has(name):  # somebody else has brought it in the meantime
            coming.discard()
            return True
        return _bring(name, coming, sources, progress)


def _bring(name: str, coming: Coming, sources: list[list[_Source]], progress: Progress | None) -> bool:
    transfer = _Transfer(coming, progress)
    reasons: dict[str, str] = {}
    for each in sources:
        if transfer.left and each:
            transfer.run(each)
            reasons.update({source.where: source.reason for source in each if source.reason})
    if not transfer.left:
        expected = next((source.checksum for each in sources for source in each if source.checksum), None)
        if expected and _digest(coming) != expected:
            coming.discard()
            raise Trouble.CHECKSUM.of(f"payload {name} from {', '.join(_names(sources))}")
        coming.land()
        return True
    if not transfer.came or not reasons:  # nothing to go on with, or nobody who could give the rest
        coming.discard()
    if not reasons:
        return False
    part = f"{transfer.done / 1e6:,.1f} of {coming.size / 1e6:,.1f} MB have come and are kept. "
    raise StoreUnreachableError(
        f"payload {name}: nobody gives it. "
        + "".join(f"{where}: {reason}. " for where, reason in reasons.items())
        + (part if transfer.came else "")
        + "See that these machines run and can be reached from here, then ask again"
    )


def _names(sources: list[list[_Source]]) -> list[str]:
    return [source.where for each in sources for source in each]


def _digest(coming: Coming) -> str:
    digest = blake2b(digest_size=DIGEST)
    for block in coming.blocks():
        digest.update(block)
    return digest.hexdigest()


Sink = Callable[[memoryview], None]


class _Sink:
    """Where the bits of a piece go: one behind the other, from ``at`` on."""

    def __init__(self, coming: Coming, at: int) -> None:
        self._coming = coming
        self._at = at

    def __call__(self, bit: memoryview) -> None:
        self._coming.write(bit, self._at)
        self._at += bit.nbytes


class _Line(Protocol):
    """A way to a source. It is asked for pieces, and gives them in the order in which it was."""

    def ask(self, start: int, length: int) -> None: ...

    def take(self, room: memoryview, sink: Sink) -> int:
        """Give ``sink`` the next piece, bit by bit, through ``room``; its checksum, which is right."""

    def close(self) -> None: ...


class _Source:
    """Somebody who may have the payload."""

    checksum: str | None = None  # of all of it, where that is known

    def __init__(self, where: str) -> None:
        self.where = where
        self.lines = 0
        self.failures = 0  # since something came
        self.given_up = False
        self.reason = ""  # for which it was given up; none if it just does not have it

    def open(self, transfer: _Transfer) -> _Line:
        raise NotImplementedError

    def failed(self, err: Broken) -> None:
        # A bad line can make a wrong proof of a right one, but hardly twice.
        self.failures += ATTEMPTS // 2 if isinstance(err, Denied) else 1
        if isinstance(err, _Hopeless) or self.failures >= ATTEMPTS:
            self.given_up, self.reason = True, str(err)


class _Hopeless(Broken):
    """This source will not give it, however often it is asked."""


class _Peer(_Source):
    """A machine that has payloads."""

    def __init__(self, address: str, name: str, size: int, token: bytes) -> None:
        super().__init__(address)
        self._name = name
        self._size = size
        self._token = token

    def open(self, transfer: _Transfer) -> _Line:
        return _PeerLine(self._name, self._size, transfer.dial(self.where, self._token), transfer)


class _PeerLine:
    def __init__(self, name: str, size: int, sock: socket.socket, transfer: _Transfer) -> None:
        self._transfer = transfer
        self._name = name
        self._size = size
        self._sock = sock
        self._lengths: deque[int] = deque()

    def ask(self, start: int, length: int) -> None:
        try:
            wire.ask(self._sock, self._name, start, length)
        except OSError as err:
            raise Broken("it broke off") from err
        self._lengths.append(length)

    def take(self, room: memoryview, sink: Sink) -> int:
        word, size, length = wire.answered(self._sock)
        if word == Word.GONE:
            raise _Hopeless("")
        if word == Word.HERE and size != self._size:
            raise _Hopeless(f"there it has {size:,} bytes, and not {self._size:,}: it is damaged")
        if word != Word.HERE or length != self._lengths.popleft():
            raise Broken("it does not answer what was asked")
        found = xxh3_64()
        while length:
            bit = room[: min(length, room.nbytes)]
            wire.receive_into(self._sock, bit)
            found.update(bit)
            sink(bit)
            length -= bit.nbytes
        if found.intdigest() != wire.sealed(self._sock):
            raise Broken("what comes has a wrong checksum")
        return found.intdigest()

    def close(self) -> None:
        self._transfer.hang_up(self._sock)


class _Stored(_Source):
    """The app's object store. It tries again by itself."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        super().__init__("the object store")
        self._store = store
        self._key = key
        self._size = size
        self._lock = threading.Lock()
        self._found = False

    def open(self, transfer: _Transfer) -> _Line:
        with self._lock:
            if not self._found:
                self._look()
        return _StoreLine(self._store, self._key)

    def _look(self) -> None:
        try:
            there = self._store.stat(self._key)
        except BlobNotFoundError:
            raise _Hopeless("") from None
        except StorageError as err:
            raise _Hopeless(str(err)) from err
        if there.size != self._size:
            raise _Hopeless(f"there it has {there.size:,} bytes, and not {self._size:,}: it is damaged")
        self._found, self.checksum = True, there.checksum


class _StoreLine:
    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._key = key
        self._asked: deque[tuple[int, int]] = deque()

    def ask(self, start: int, length: int) -> None:
        self._asked.append((start, length))

    def take(self, room: memoryview, sink: Sink) -> int:
        start, length = self._asked.popleft()
        try:
            block = self._store.read(self._key, start, length)
        except BlobNotFoundError:
            raise _Hopeless("") from None
        except StorageError as err:
            raise _Hopeless(str(err)) from err
        if len(block) != length:
            raise Broken(f"{len(block)} bytes came, and not {length}")
        sink(memoryview(block))
        return xxh3_64(block).intdigest()

    def close(self) -> None:
        pass


class _Transfer:
    """The pieces of one payload that are missing, and the lines over which they come."""

    def __init__(self, coming: Coming, progress: Progress | None) -> None:
        self.left = {*coming.missing()}
        self.came = len(self.left) < coming.count  # whether there is anything of it
        self._todo = deque(sorted(self.left))
        self._coming = coming
        self._progress = progress
        self.done = coming.size - sum(coming.extent(index)[1] for index in self.left)
        self._change = threading.Condition()
        self._working = 0
        self._over = False
        self._sockets: set[socket.socket] = set()
        self._error: BaseException | None = None

    def run(self, sources: Sequence[_Source]) -> None:
        """Take what is missing from these, until it is all here or they are all given up."""
        self._over, self._working = False, min(LINES, len(self.left))
        threads = [
            threading.Thread(target=self._work, args=(sources,), name="storage", daemon=True)
            for _ in range(self._working)
        ]
        try:
            for thread in threads:
                thread.start()
            with self._change:
                self._change.wait_for(lambda: not self.left or not self._working or self._error is not None)
        finally:
            self._end()
            for thread in threads:
                if thread.ident:
                    thread.join(_PARTING)
        if self._error is not None:
            raise self._error

    def dial(self, address: str, token: bytes) -> socket.socket:
        return wire.dial(address, token, self._begun)

    def hang_up(self, sock: socket.socket) -> None:
        with self._change:
            self._sockets.discard(sock)
        sock.close()

    def _begun(self, sock: socket.socket) -> None:
        with self._change:
            if self._over:
                raise Broken("it is not wanted any more")
            self._sockets.add(sock)

    def _end(self) -> None:
        with self._change:
            self._over = True
            self._change.notify_all()
            for sock in self._sockets:
                with suppress(OSError):  # closed already
                    sock.shutdown(socket.SHUT_RDWR)

    def _work(self, sources: Sequence[_Source]) -> None:
        room = memoryview(bytearray(wire.AT_ONCE))
        try:
            while (source := self._choose(sources)) is not None:
                try:
                    self._fetch_from(source, room)
                except Broken as err:
                    self._pause(source, err)
                finally:
                    with self._change:
                        source.lines -= 1
        except BaseException as err:
            if isinstance(err, OSError) and err.errno in NO_SPACE:
                self._coming.discard()
            with self._change:
                self._error = self._error or err
        finally:
            with self._change:
                self._working -= 1
                self._change.notify_all()

    def _choose(self, sources: Sequence[_Source]) -> _Source | None:
        """The one that fails least and has least to do."""
        with self._change:
            if self._over or not self.left:
                return None
            hopeful = [source for source in sources if not source.given_up]
            if not hopeful:
                return None
            source = min(hopeful, key=lambda each: (each.failures, each.lines))
            source.lines += 1
            return source

    def _pause(self, source: _Source, err: Broken) -> None:
        with self._change:
            if self._over:
                return
            source.failed(err)
            self._change.wait_for(lambda: self._over, _PAUSES[min(source.failures, len(_PAUSES)) - 1])

    def _fetch_from(self, source: _Source, room: memoryview) -> None:
        asked: deque[int] = deque()
        line = source.open(self)
        try:
            while self._ask(line, asked):
                index = asked[0]
                start, length = self._coming.extent(index)
                checksum = line.take(room, _Sink(self._coming, start))
                self._coming.came(index, checksum)
                asked.popleft()
                self._has_come(source, index, length)
        finally:
            with self._change:
                self._todo.extendleft(reversed(asked))
                self._change.notify_all()
            line.close()

    def _ask(self, line: _Line, asked: deque[int]) -> bool:
        """Whether there is something to take, now that more has been asked for."""
        while len(asked) < _AHEAD:
            with self._change:
                if not asked:  # those of others come back when their line breaks
                    self._change.wait_for(lambda: self._todo or self._over or not self.left)
                if self._over or not self._todo:
                    break
                index = self._todo.popleft()
            asked.append(index)
            line.ask(*self._coming.extent(index))
        return bool(asked) and not self._over

    def _has_come(self, source: _Source, index: int, length: int) -> None:
        with self._change:
            self.came = True
            self.left.discard(index)
            self.done += length
            source.failures = 0
            done = self.done
            if not self.left:
                self._change.notify_all()
        if self._progress is not None:
            self._progress(done, self._coming.size)
