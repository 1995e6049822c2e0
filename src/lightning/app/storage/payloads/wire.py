"""What machines say to each other about payloads, and the sockets over which they say it.

Both ends prove that they know the run's token before either believes the other: the token itself is never sent.
Then the client asks for pieces of payloads by name, and gets each with its checksum. All messages have a fixed
size but for the piece itself, which is no longer than was asked for.

    server   greeting   is it too busy, and a number that is used once
    client   proof      such a number of its own, and both under the token
    server   welcome    both numbers under the token, the other way round
    client   ask        name, start, length                                   again and again
    server   answer     is it here, the payload's size, length; then the piece, and its checksum
"""

from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from time import monotonic
from zlib import crc32

PIECE = 4 << 20
"""Bytes of a payload that are asked for, checked and remembered at once."""

AT_ONCE = 256 << 10
"""Bytes that are moved, and looked at while the processor still has them at hand."""

PATIENCE = 10.0
"""Seconds that the other end may be silent in the middle of something."""

SHORTEST_TOKEN = 16

_MAGIC = b"LPEER1"
_GREETING = Struct("!6sB32s")  # magic, word, number
_PROOF = Struct("!32s32s")  # number, proof
_WELCOME = Struct("!B32s")  # word, proof
_ASK = Struct("!35sQI")  # name, start, length
_ANSWER = Struct("!BQI")  # word, size of the payload, length
_CHECKSUM = Struct("!Q")  # of a piece
_SUM = Struct("!I")  # of a question or an answer


class Word(IntEnum):
    """What a server may answer."""

    HERE = 0
    GONE = 1
    BUSY = 2
    DENIED = 3
    WRONG = 4


class Broken(Exception):
    """The conversation cannot go on. The message says why, and goes on after "payload NAME from ADDRESS: "."""


class Denied(Broken):
    """The two ends do not know the same token."""


def channel(raw: socket.socket) -> socket.socket:
    """The socket over which two machines speak, at either end: every one of them is made here."""
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    patience(raw, PATIENCE)
    return raw


def patience(sock: socket.socket, seconds: float) -> None:
    """How long the system waits for the other end. Not Python: the socket stays a blocking one, and moves more at once."""
    sock.settimeout(None)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, _TIME.pack(int(seconds), int(seconds % 1 * 1e6)))


_TIME = Struct("@ll")


def listen(address: tuple[str, int]) -> socket.socket:
    """A socket that hears who dials this address, and no other."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=128)


def dial(address: str, token: bytes, begun: Callable[[socket.socket], None]) -> socket.socket:
    """A channel to the server at ``host:port``. ``begun`` is told of the socket before anything can take long."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError, OverflowError) as err:
        raise Broken(f"there is no such address ({err})") from err
    family, kind, protocol, _, where = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        begun(sock)
        sock.settimeout(PATIENCE / 2)
        sock.connect(where)
        sock = channel(sock)
        _introduce(sock, token)
    except BaseException as err:
        sock.close()
        if isinstance(err, OSError):
            raise Broken(_reason(err)) from err
        raise
    return sock


def _introduce(sock: socket.socket, token: bytes) -> None:
    magic, word, theirs = _GREETING.unpack(receive(sock, _GREETING.size))
    if magic != _MAGIC:
        raise Broken("what listens there is no server of payloads")
    if word != Word.HERE:
        raise Broken("it is busy with others")
    ours = secrets.token_bytes(32)
    sock.sendall(_PROOF.pack(ours, _proof(token, b"client", theirs, ours)))
    word, proof = _WELCOME.unpack(receive(sock, _WELCOME.size))
    if word != Word.HERE or not hmac.compare_digest(proof, _proof(token, b"server", theirs, ours)):
        raise Denied("it has another token than this machine: it belongs to another run")


def welcome(sock: socket.socket, token: bytes, seconds: float) -> bool:
    """Whether the client that dialed knows the token. It has so many seconds to show it."""
    number, until = secrets.token_bytes(32), monotonic() + seconds
    sock.sendall(_GREETING.pack(_MAGIC, Word.HERE, number))
    said = b""
    while len(said) < _PROOF.size:
        sock.settimeout(max(0.001, until - monotonic()))
        more = sock.recv(_PROOF.size - len(said))
        if not more:
            return False
        said += more
    patience(sock, PATIENCE)
    theirs, proof = _PROOF.unpack(said)
    if not hmac.compare_digest(proof, _proof(token, b"client", number, theirs)):
        sock.sendall(_WELCOME.pack(Word.DENIED, bytes(32)))
        return False
    sock.sendall(_WELCOME.pack(Word.HERE, _proof(token, b"server", number, theirs)))
    return True


def turn_away(sock: socket.socket) -> None:
    """Tell a client that there are too many."""
    sock.settimeout(0)
    sock.send(_GREETING.pack(_MAGIC, Word.BUSY, bytes(32)))


def ask(sock: socket.socket, name: str, start: int, length: int) -> None:
    sock.sendall(_summed(_ASK.pack(name.encode(), start, length)))


def asked(sock: socket.socket) -> tuple[str, int, int] | None:
    """The name, start and length of what the client wants; None when it wants no more."""
    said = receive(sock, _ASK.size + _SUM.size, may_end=True)
    if not said:
        return None
    name, start, length = _ASK.unpack(_right(said))
    return name.decode("latin-1"), start, length


def answer(sock: socket.socket, word: Word, size: int = 0, length: int = 0) -> None:
    # The piece follows at once: the two go in one packet.
    sock.sendall(_summed(_ANSWER.pack(word, size, length)), socket.MSG_MORE if length else 0)


def answered(sock: socket.socket) -> tuple[int, int, int]:
    """Word, size of the payload, and length of what follows."""
    word, size, length = _ANSWER.unpack(_right(receive(sock, _ANSWER.size + _SUM.size)))
    return word, size, length


def seal(sock: socket.socket, checksum: int) -> None:
    """What the piece that was sent must come to."""
    sock.sendall(_CHECKSUM.pack(checksum))


def sealed(sock: socket.socket) -> int:
    checksum: int = _CHECKSUM.unpack(receive(sock, _CHECKSUM.size))[0]
    return checksum


def receive(sock: socket.socket, size: int, *, may_end: bool = False) -> bytes:
    """So many bytes; none if the other end may end the conversation here, and did."""
    said = bytearray(size)
    got = receive_into(sock, memoryview(said), may_end=may_end)
    return bytes(said) if got else b""


def receive_into(sock: socket.socket, room: memoryview, *, may_end: bool = False) -> int:
    """Fill ``room``."""
    got, size = 0, room.nbytes
    while got < size:
        try:
            count = sock.recv_into(room[got:], size - got, socket.MSG_WAITALL)
        except OSError as err:
            raise Broken(_reason(err)) from err
        if not count:
            if may_end and not got:
                return 0
            raise Broken("it broke off")
        got += count
    return got


def _summed(message: bytes) -> bytes:
    return message + _SUM.pack(crc32(message))


def _right(message: bytes) -> bytes:
    message, sum_ = message[: -_SUM.size], message[-_SUM.size :]
    if _SUM.pack(crc32(message)) != sum_:
        raise Broken("what comes has a wrong checksum")
    return message


def _proof(token: bytes, side: bytes, server: bytes, client: bytes) -> bytes:
    return hmac.digest(token, side + server + client, "sha256")


def _reason(err: OSError) -> str:
    if isinstance(err, BlockingIOError | TimeoutError):
        return f"it has not said anything for {PATIENCE:g} seconds"
    return err.strerror or str(err)
