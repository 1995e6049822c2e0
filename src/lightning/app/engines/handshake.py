"""How a host that lost its stream finds back to the runtime: over a UNIX socket, by a short exchange.

The host says who it is and what it has received (``Hello``); the runtime answers what it has received of that
host (``Welcome``) and both go on with ``Channel.reattach``; or it says why not (``Refused``). Refused are
other users, wrong tokens, and whoever is of another time: a process that was replaced meanwhile (its
generation), a host or a runtime from before a takeover of the run (its epoch).

``Listener`` never waits: it hangs in the runtime's selector, and a caller that says nothing is hung up on
when others want its place. Frames are as on a channel: a 4-byte length and msgpack.
"""

from __future__ import annotations

import hmac
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lightning.app.errors import ChannelClosed, ConflictError, NotAllowedError, ProtocolError

_NAME = "runtime.sock"
_HEAD = struct.Struct(">I")
_LARGEST = 4096
_PLACES = 64  # callers who have not said who they are
_SECONDS = 5.0


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """A host calls."""

    run: str
    work: str
    generation: int
    epoch: int
    token: str
    received: int  # the ``seq`` of the last message that it has of the runtime


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=1):
    received: int


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=2):
    reason: str


@dataclass(frozen=True)
class Known:
    """What the runtime knows of a work that may call."""

    generation: int
    received: int


@dataclass(frozen=True)
class Joined:
    """A host is back. Its stream goes to ``Channel.reattach`` together with ``hello.received``."""

    hello: Hello
    stream: socket.socket


class Listener:
    """The runtime's ear. ``known`` tells what is known of a work; None: there is none of that name."""

    def __init__(
        self, folder: Path, run: str, epoch: int, token: str, known: Callable[[str], Known | None]
    ) -> None:
        self._run = run
        self._epoch = epoch
        self._token = token.encode()
        self._known = known
        self._callers: dict[int, tuple[socket.socket, bytearray]] = {}  # by descriptor, oldest first
        self._decode = msgspec.msgpack.Decoder(Hello).decode
        self.path = folder / _NAME
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with suppress(FileNotFoundError):
            self.path.unlink()  # of an earlier runtime; the run's lock says that it is gone
        with _short(self.path) as name:
            self._socket.bind(name)
        self._socket.listen()
        self._poll = select.epoll()
        self._poll.register(self._socket, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable when ``ready`` has something to do."""
        return self._poll.fileno()

    def ready(self) -> list[Joined]:
        """Take in what has happened, and give who is back."""
        joined = []
        for fd, _ in self._poll.poll(0):
            if fd == self._socket.fileno():
                self._accept()
            elif (back := self._hear(fd)) is not None:
                joined.append(back)
        return joined

    def close(self) -> None:
        for fd in list(self._callers):
            self._hang_up(fd)
        self._poll.close()
        self._socket.close()
        with suppress(FileNotFoundError):
            self.path.unlink()

    def _accept(self) -> None:
        try:
            caller, _ = self._socket.accept()
        except OSError:
            return  # gone again, or no descriptor left for it: it will call again
        user = _peer_user(caller)
        if user != os.getuid():
            _say(caller, Refused(f"this run belongs to user {os.getuid()}, and you are user {user}"))
            caller.close()
            return
        caller.setblocking(False)
        if len(self._callers) >= _PLACES:
            self._hang_up(next(iter(self._callers)))
        self._callers[caller.fileno()] = caller, bytearray()
        self._poll.register(caller, select.EPOLLIN)

    def _hear(self, fd: int) -> Joined | None:
        caller, heard = self._callers[fd]
        try:
            data = caller.recv(_LARGEST + _HEAD.size - len(heard))
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        heard += data
        try:
            if not data:
                raise ProtocolError("the caller hung up")
            if (frame := _whole(heard)) is None:
                return None
            hello = self._decode(frame)
            answer = self._answer(hello)
        except (ProtocolError, msgspec.DecodeError) as error:
            answer = Refused(str(error))
        _say(caller, answer)
        if isinstance(answer, Refused):
            self._hang_up(fd)
            return None
        self._poll.unregister(caller)
        del self._callers[fd]
        return Joined(hello, caller)

    def _answer(self, hello: Hello) -> Welcome | Refused:
        if not hmac.compare_digest(hello.token.encode(), self._token):
            return Refused("the token is not that of this run")
        if hello.run != self._run:
            return Refused(f"this is run {self._run}, not {hello.run}")
        if hello.epoch < self._epoch:
            return Refused(f"{hello.work} is of epoch {hello.epoch}, the run is in {self._epoch} by now")
        if hello.epoch > self._epoch:
            return Refused(f"this runtime is of epoch {self._epoch}, and another took over: {hello.epoch}")
        known = self._known(hello.work)
        if known is None:
            return Refused(f"there is no work {hello.work} in this run")
        if hello.generation != known.generation:
            return Refused(
                f"this process of {hello.work} (number {hello.generation}) was replaced: {known.generation}"
            )
        return Welcome(known.received)

    def _hang_up(self, fd: int) -> None:
        caller, _ = self._callers.pop(fd)
        self._poll.unregister(caller)
        caller.close()


def dial(path: Path, hello: Hello, timeout: float = _SECONDS) -> tuple[socket.socket, int]:
    """Call the runtime. Gives the stream for ``Channel.reattach``, and what the runtime has received."""
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        stream.settimeout(timeout)
        with _short(path) as name:
            stream.connect(name)
        if (user := _peer_user(stream)) != os.getuid():
            raise NotAllowedError(f"{path} is answered by user {user}, not by this one ({os.getuid()})")
        _say(stream, hello)
        answer = _listen(stream)
        if isinstance(answer, Refused):
            raise ConflictError(f"{hello.work} may not join run {hello.run} again: {answer.reason}")
        stream.settimeout(None)
    except OSError as error:
        stream.close()
        raise ChannelClosed(f"no runtime answers at {path}: {error}") from error
    except BaseException:
        stream.close()
        raise
    return stream, answer.received


def _listen(stream: socket.socket) -> Welcome | Refused:
    """Exactly one frame: what follows it is the channel's."""
    heard = bytearray()
    needed = _HEAD.size
    while len(heard) < needed:
        data = stream.recv(needed - len(heard))
        if not data:
            raise ConnectionResetError("it hung up")
        heard += data
        if needed == _HEAD.size == len(heard):
            needed += min(_HEAD.unpack(heard)[0], _LARGEST)
    try:
        return msgspec.msgpack.decode(heard[_HEAD.size :], type=Welcome | Refused)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"the runtime's answer is none: {error}") from error


def _whole(heard: bytearray) -> bytes | None:
    """The one frame that a caller sends; None while some of it is missing."""
    if len(heard) < _HEAD.size:
        return None
    size = _HEAD.unpack_from(heard)[0]
    if size > _LARGEST or len(heard) > size + _HEAD.size:
        raise ProtocolError("a Hello is one frame, and a small one")
    return bytes(heard[_HEAD.size :]) if len(heard) == size + _HEAD.size else None


def _say(stream: socket.socket, message: Hello | Welcome | Refused) -> None:
    body = msgspec.msgpack.encode(message)
    with suppress(BrokenPipeError, ConnectionResetError):  # it does not wait for the answer
        stream.sendall(_HEAD.pack(len(body)) + body)


def _peer_user(stream: socket.socket) -> int:
    """The user who runs the other end, as the kernel knows."""
    _, user, _ = struct.unpack("3i", stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(user)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for a path of any length: that of a socket has room for 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
