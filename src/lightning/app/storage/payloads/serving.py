"""Giving the payloads of this machine to the other machines of the run.

A server reads nothing but payloads of one depot, by name, and gives them to nobody who does not know the token. Each
client has a thread of its own. The bytes are read, summed and sent a little at a time, so that the processor has them
at hand: sending them from the file itself costs as much, once they have to be read for their checksum anyhow.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from xxhash import xxh3_64

from lightning.app.errors import StorageError, UsageError
from lightning.app.storage.payloads import wire
from lightning.app.storage.payloads.depot import Depot
from lightning.app.storage.payloads.names import valid
from lightning.app.storage.payloads.wire import Broken, Word

MOST = 64
"""Clients at once, those included that have not shown yet that they know the token."""

INTRODUCTION = 5.0
"""Seconds in which a client has to show that it knows the token."""

IDLE = 60.0
"""Seconds after which a client goes that asks for nothing."""


class PeerServer:
    """Gives what ``depot`` has to whoever knows ``token``. It listens until the context is left, at ``address``.

    >>> with PeerServer(depot, token) as server:
    ...     server.address
    '127.0.0.1:40123'
    """

    def __init__(
        self,
        depot: Depot,
        token: bytes,
        address: tuple[str, int] = ("127.0.0.1", 0),
        *,
        most: int = MOST,
        introduction: float = INTRODUCTION,
    ) -> None:
        if len(token) < wire.SHORTEST_TOKEN:
            raise UsageError(
                f"a token of {len(token)} bytes can be guessed: take at least {wire.SHORTEST_TOKEN}"
            )
        self._depot = depot
        self._token = token
        self._most = most
        self._introduction = introduction
        self._lock = threading.Lock()
        self._known: dict[socket.socket, bool] = {}  # the clients, and whether they have shown the token
        self._threads: set[threading.Thread] = set()
        self._over = threading.Event()
        self.sent = 0  # bytes of payloads
        try:
            self._listener = wire.listen(address)
        except OSError as err:
            raise StorageError(
                f"payloads cannot be given to other machines at {address[0]}:{address[1]}: {err.strerror or err}. "
                "Choose an address of this machine and a free port"
            ) from err
        host, port = self._listener.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._accepting = threading.Thread(target=self._accept, name="payloads", daemon=True)
        self._accepting.start()

    def __enter__(self) -> PeerServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more, and break off what is under way."""
        with self._lock:
            self._over.set()
            sockets, threads = [self._listener, *self._known], [*self._threads]
        for sock in sockets:
            with suppress(OSError):  # it is gone already
                sock.shutdown(socket.SHUT_RDWR)
        for thread in (self._accepting, *threads):
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                raw, _ = self._listener.accept()
            except OSError:
                self._over.wait(0.1)  # too many descriptors, or the client has gone already; or it is over
                continue
            with suppress(OSError):
                self._admit(raw)

    def _admit(self, raw: socket.socket) -> None:
        client = wire.channel(raw)
        with self._lock:
            if self._over.is_set() or not self._has_room():
                with suppress(OSError):
                    wire.turn_away(client)
                client.close()
                return
            self._known[client] = False
            thread = threading.Thread(target=self._attend, args=(client,), name="payloads", daemon=True)
            self._threads.add(thread)
        thread.start()

    def _has_room(self) -> bool:
        """Strangers make room for whoever comes after them: they must not keep the others out by saying nothing."""
        if len(self._known) < self._most:
            return True
        stranger = next((client for client, known in self._known.items() if not known), None)
        if stranger is None:
            return False
        del self._known[stranger]
        with suppress(OSError):
            stranger.shutdown(socket.SHUT_RDWR)
        return True

    def _attend(self, client: socket.socket) -> None:
        try:
            with client, _Reading(self._depot) as reading, suppress(OSError, Broken):
                if not wire.welcome(client, self._token, self._introduction):
                    return
                with self._lock:
                    if client not in self._known:
                        return
                    self._known[client] = True
                while (wanted := self._wanted(client)) is not None:
                    if not self._give(client, reading, *wanted):
                        return
        finally:
            with self._lock:
                self._known.pop(client, None)
                self._threads.discard(threading.current_thread())

    def _wanted(self, client: socket.socket) -> tuple[str, int, int] | None:
        wire.patience(client, IDLE)
        wanted = wire.asked(client)
        wire.patience(client, wire.PATIENCE)
        return wanted

    def _give(self, client: socket.socket, reading: _Reading, name: str, start: int, length: int) -> bool:
        """Whether the client may go on."""
        if not valid(name) or not 0 < length <= wire.PIECE:
            wire.answer(client, Word.WRONG)
            return False
        if not reading.turn_to(name):
            wire.answer(client, Word.GONE)
            return True
        length = max(0, min(length, reading.size - start))
        wire.answer(client, Word.HERE, reading.size, length)
        sum_ = xxh3_64()
        for bit in reading.bits(start, length):
            sum_.update(bit)
            client.sendall(bit)
        wire.seal(client, sum_.intdigest())
        with self._lock:
            self.sent += length
        return True


class _Reading:
    """The payload that a client asked for last, open."""

    def __init__(self, depot: Depot) -> None:
        self._depot = depot
        self._name = ""
        self._room = memoryview(bytearray(wire.AT_ONCE))
        self.descriptor = -1
        self.size = 0

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def turn_to(self, name: str) -> bool:
        """Whether it is here."""
        if name == self._name:
            return True
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self._name, self.descriptor = "", -1
        for folder in (self._depot.memory, self._depot.disk):
            with suppress(OSError):
                self.descriptor = _opened(folder / name)
                break
        else:
            return False
        self._name, self.size = name, os.fstat(self.descriptor).st_size
        return True

    def bits(self, start: int, length: int) -> Iterator[memoryview]:
        """Read, and not mapped: what is wrong with the disk is an error, and not the end of the process."""
        while length:
            count = os.preadv(self.descriptor, [self._room[: min(self._room.nbytes, length)]], start)
            if not count:
                raise Broken("the file has become shorter, which no payload does")
            yield self._room[:count]
            start, length = start + count, length - count


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
