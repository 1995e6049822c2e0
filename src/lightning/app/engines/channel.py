"""One end of a stream between a runtime and a host: frames in order, none lost, none twice.

A frame is a 4-byte big-endian length and a msgpack array ``[seq, ack, message]``. ``seq`` counts what this
end has posted, from 1; ``ack`` says how much of the other end's it had taken in *when it was posted*. So who
posts decides what a message knows of the other side: ``acknowledge`` first, then ``post``.

A frame is kept until the other end has acknowledged it, and is sent again, the same bytes, after a reconnect
(``reattach``). What arrives is decoded by type: nothing else than the messages of ``kernel.messages`` gets
in, nothing larger than 64 MB, nothing out of order.

The end of a channel is told by ``receive`` alone, after all that had arrived. Sending to a peer that is gone
is not an error: what was posted is kept for the peer that may come back.
"""

from __future__ import annotations

import functools
import select
import socket
import struct
from collections import deque
from typing import Annotated, Any, Protocol

import msgspec

from lightning.app.errors import ChannelClosed, ProtocolError
from lightning.app.kernel.messages import LARGEST_FRAME, Ack, Message

LARGEST = LARGEST_FRAME
"""Bytes of one frame, and of all frames that a host may have waiting for their acknowledgement."""

_HEAD = struct.Struct(">I")
_INBOX = 256 << 10
_CHUNK = 64 << 10  # small frames are sent together up to this
_WITHOUT_WAITING = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

_encode = msgspec.msgpack.Encoder().encode


class Stream(Protocol):
    """What a channel needs of a socket."""

    def send(self, data: bytes | memoryview, flags: int = ..., /) -> int: ...
    def recv_into(self, buffer: memoryview, nbytes: int = ..., flags: int = ..., /) -> int: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class TooLarge(ProtocolError):
    """A message that was to be posted needs a larger frame than allowed. Nothing was posted."""


@functools.cache
def _decoder(inbound: Any) -> Any:
    count = Annotated[int, msgspec.Meta(ge=0)]
    return msgspec.msgpack.Decoder(tuple[count, count, inbound]).decode


class Channel:
    """``inbound`` is the union of what may arrive: ``ToRuntime`` or ``ToHost``.

    With ``patient``, ``flush`` waits until everything is sent: a host's way. A runtime never waits.
    Posting and receiving may be done by two threads at a time, each by one.
    """

    def __init__(self, stream: Stream, inbound: Any, *, patient: bool = False) -> None:
        self._stream = stream
        self._decode = _decoder(inbound)
        self._patient = patient
        self._outbox: deque[bytes | memoryview] = deque()
        self._posted = 0
        self._kept: deque[bytes] = deque()  # posted and not yet acknowledged
        self._kept_bytes = 0  # ever; counted by who posts
        self._freed_bytes = 0  # ever; counted by who receives
        self._acknowledged = 0  # of what was posted
        self._received = 0
        self._taken = 0  # what the next frame acknowledges
        self._told = 0  # what the last one did
        self._untold_bytes = 0
        self._inbox = memoryview(bytearray(_INBOX))
        self._fill = 0  # bytes of a frame that has not arrived to its end

    # -- sending ----------------------------------------------------------------------------------

    def post(self, message: Message, largest: int = LARGEST) -> int:
        """Line a message up for ``flush`` and give its ``seq``. ``TooLarge`` says that it was not."""
        seq = self._posted + 1
        body = _encode((seq, self._taken, message))
        size = len(body)
        if size > largest:
            raise TooLarge(
                f"a {type(message).__name__} message of {size / 1e6:.1f} MB is more than the "
                f"{largest / 1e6:.1f} MB that may cross a channel at once"
            )
        frame = _HEAD.pack(size) + body
        self._kept.append(frame)
        self._kept_bytes += size
        self._outbox.append(frame)
        self._posted = seq
        self._told = self._taken
        self._untold_bytes = 0
        return seq

    def acknowledge(self, upto: int) -> None:
        """All up to this ``seq`` has been taken in. Rides on the next message, or goes by ``post_ack``."""
        if upto > self._taken:
            self._taken = upto

    def post_ack(self) -> None:
        """Line up a bare acknowledgement, unless the last message carried it."""
        if self._taken > self._told:
            body = _encode((0, self._taken, Ack()))
            self._outbox.append(_HEAD.pack(len(body)) + body)
            self._told = self._taken
            self._untold_bytes = 0

    def flush(self) -> bool:
        """Send what waits, as far as the stream takes it; say whether all went."""
        outbox = self._outbox
        while outbox:
            data = outbox.popleft() if len(outbox) == 1 else self._chunk()
            try:
                sent = self._stream.send(data, _WITHOUT_WAITING)
            except BlockingIOError:
                outbox.appendleft(data)
                if not self._patient:
                    return False
                self.await_room()
                continue
            except OSError:
                outbox.clear()  # the peer is gone, which receive tells; a reconnect replays what is kept
                break
            if sent < len(data):
                outbox.appendleft(memoryview(data)[sent:])
        return True

    def _chunk(self) -> bytes | memoryview:
        """As many waiting frames as make one good ``send``."""
        outbox = self._outbox
        parts = [outbox.popleft()]
        size = len(parts[0])
        while outbox and size + len(outbox[0]) <= _CHUNK:
            size += len(outbox[0])
            parts.append(outbox.popleft())
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def await_room(self) -> None:
        """Wait until the stream takes more. The one place where a host's sending waits."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLOUT)
        poll.poll()

    # -- receiving --------------------------------------------------------------------------------

    def receive(self, *, wait: bool = False) -> list[tuple[int, int, Message]]:
        """Read once and give the messages that are whole, each as ``(seq, ack, message)``.

        A bare acknowledgement is given as well, with the ``seq`` 0. Raises ``ChannelClosed`` at the end.
        """
        inbox, fill = self._inbox, self._fill
        try:
            flags = 0 if wait else socket.MSG_DONTWAIT
            read = self._stream.recv_into(inbox[fill:] if fill else inbox, 0, flags)
        except BlockingIOError:
            return []
        except OSError as error:
            raise ChannelClosed(f"the other end of the channel is gone: {error.strerror}") from error
        if not read:
            raise ChannelClosed("the other end of the channel is gone")
        self._untold_bytes += read
        end = fill + read
        start = 0
        needed = 4
        messages: list[tuple[int, int, Message]] = []
        while end - start >= 4:
            size = _HEAD.unpack_from(inbox, start)[0]
            if size > LARGEST:
                raise ProtocolError(f"a frame of {size} bytes arrived; the largest allowed has {LARGEST}")
            stop = start + 4 + size
            if stop > end:
                needed = 4 + size
                break
            frame = self._open(inbox[start + 4 : stop])
            start = stop
            if self._is_new(frame):
                messages.append(frame)
        self._keep_rest(start, end, needed)
        return messages

    def _open(self, body: memoryview) -> tuple[int, int, Message]:
        try:
            return self._decode(body)  # type: ignore[no-any-return]  # by its own type, checked by msgspec
        except (msgspec.DecodeError, RecursionError, TypeError, ValueError, OverflowError) as error:
            raise ProtocolError(f"a frame arrived that is no message of this channel: {error}") from error

    def _is_new(self, frame: tuple[int, int, Message]) -> bool:
        seq, ack, message = frame
        if ack > self._acknowledged:
            self._forget(ack)
        if (seq == 0) is not (type(message) is Ack):
            raise ProtocolError(f"a {type(message).__name__} arrived with the number {seq}")
        if seq == 0:
            return True
        if seq <= self._received:
            return False  # sent again after a reconnect
        if seq != self._received + 1:
            raise ProtocolError(f"message {seq} arrived after {self._received}: what is between is lost")
        self._received = seq
        return True

    def _forget(self, upto: int) -> None:
        if upto > self._posted:
            raise ProtocolError(f"message {upto} was acknowledged, and only {self._posted} were ever posted")
        for _ in range(upto - self._acknowledged):
            self._freed_bytes += len(self._kept.popleft()) - 4
        self._acknowledged = upto

    def _keep_rest(self, start: int, end: int, needed: int) -> None:
        """Move the beginning of an unfinished frame to the front of an inbox that will hold all of it."""
        rest = end - start
        inbox = self._inbox
        room = max(needed, _INBOX)
        if room != len(inbox):
            self._inbox = memoryview(bytearray(room))
        if rest and (start or self._inbox is not inbox):
            self._inbox[:rest] = inbox[start:end]
        self._fill = rest

    # -- the ends ---------------------------------------------------------------------------------

    @property
    def received(self) -> int:
        """The ``seq`` of the last message that arrived."""
        return self._received

    @property
    def acknowledged(self) -> int:
        """The ``seq`` of the last posted message that the other end has taken in."""
        return self._acknowledged

    @property
    def unacknowledged(self) -> int:
        """How many posted messages the other end has not acknowledged."""
        return self._posted - self._acknowledged

    @property
    def untold(self) -> tuple[int, int]:
        """What the other end keeps for want of an acknowledgement: messages, and about how many bytes."""
        return self._taken - self._told, self._untold_bytes

    @property
    def crowded(self) -> bool:
        """Whether so much is unacknowledged that a host should wait before it posts more."""
        return self._kept_bytes - self._freed_bytes > LARGEST

    @property
    def bytes_waiting(self) -> int:
        """What ``flush`` would still have to send: wait for the stream to take more, then ``flush`` again."""
        return sum(map(len, self._outbox))

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        self._stream.close()

    def reattach(self, stream: Stream, peer_received: int) -> None:
        """Go on over a new stream: line up again, byte for byte, what the peer has not received."""
        if not self._acknowledged <= peer_received <= self._posted:
            raise ProtocolError(
                f"the peer says it has received {peer_received} messages; "
                f"it had acknowledged {self._acknowledged} of {self._posted}"
            )
        self._stream.close()
        self._stream = stream
        self._fill = 0
        self._outbox.clear()
        first = self._acknowledged + 1
        self._outbox.extend(frame for seq, frame in enumerate(self._kept, first) if seq > peer_received)
