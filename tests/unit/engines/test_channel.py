"""Frames in order, none lost, none twice; nothing gets in that no honest peer sends."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.app.engines.channel import LARGEST, Channel, TooLarge
from lightning.app.errors import ChannelClosed, ProtocolError
from lightning.app.kernel.messages import (
    Ack,
    Call,
    Changed,
    Delta,
    Noticed,
    Returned,
    Stop,
    ToHost,
    ToRuntime,
    Write,
)

Pair = tuple[Channel, Channel]


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two


@pytest.fixture
def pair(sockets: tuple[socket.socket, socket.socket]) -> Pair:
    """The runtime's end and the host's."""
    return Channel(sockets[0], ToRuntime), Channel(sockets[1], ToHost, patient=True)


def write(number: int) -> Write:
    return Write([Delta(0, ("x",), number)])


def raw(seq: Any, ack: Any, message: Any) -> bytes:
    body = msgspec.msgpack.encode([seq, ack, message])
    return struct.pack(">I", len(body)) + body


def test_messages_arrive_in_order_with_their_numbers(pair: Pair) -> None:
    runtime, host = pair
    for number in range(3):
        assert runtime.post(write(number)) == number + 1
    assert runtime.flush()
    assert host.receive() == [(1, 0, write(0)), (2, 0, write(1)), (3, 0, write(2))]
    assert host.received == 3


def test_receiving_when_nothing_is_there_gives_nothing(pair: Pair) -> None:
    assert pair[0].receive() == []


def test_a_message_says_what_its_sender_had_taken_in_when_it_was_posted(pair: Pair) -> None:
    runtime, host = pair
    runtime.post(write(1))
    runtime.post(write(2))
    runtime.flush()
    host.receive()
    host.acknowledge(1)
    host.post(Changed([]))
    host.acknowledge(2)
    host.post(Changed([]))
    host.flush()
    assert [ack for _, ack, _ in runtime.receive()] == [1, 2]
    assert runtime.unacknowledged == 0


def test_a_bare_acknowledgement_goes_only_when_no_message_carried_it(pair: Pair) -> None:
    runtime, host = pair
    runtime.post(write(1))
    runtime.flush()
    host.receive()
    host.acknowledge(1)
    host.post(Noticed("hello"))
    host.post_ack()
    host.flush()
    assert [type(message) for _, _, message in runtime.receive()] == [Noticed]
    runtime.post(write(2))
    runtime.flush()
    host.receive()
    host.acknowledge(2)
    assert host.untold[0] == 1
    host.post_ack()
    assert host.untold == (0, 0)
    host.flush()
    assert runtime.receive() == [(0, 2, Ack())]
    assert runtime.acknowledged == 2


def test_what_arrived_before_the_end_is_given_before_the_end_is_told(pair: Pair) -> None:
    runtime, host = pair
    host.post(Noticed("last words"))
    host.flush()
    host.close()
    assert runtime.receive() == [(1, 0, Noticed("last words"))]
    with pytest.raises(ChannelClosed):
        runtime.receive()


def test_sending_to_a_peer_that_is_gone_keeps_what_was_posted(pair: Pair) -> None:
    runtime, host = pair
    host.close()
    runtime.post(write(1))
    assert runtime.flush()
    assert runtime.unacknowledged == 1


def test_a_runtime_never_waits_for_a_host_that_does_not_read(pair: Pair) -> None:
    runtime, host = pair
    sent = 0
    while True:
        runtime.post(Write([Delta(0, ("x",), "y" * 10_000)]))
        sent += 1
        if not runtime.flush():
            break
    assert runtime.bytes_waiting > 0
    arrived = 0
    while arrived < sent:
        arrived += len(host.receive())
        runtime.flush()
    assert runtime.bytes_waiting == 0


def test_a_host_waits_until_everything_is_sent(pair: Pair) -> None:
    runtime, host = pair
    value = "y" * 2_000_000
    host.post(Returned(1, value))
    sending = threading.Thread(target=host.flush)
    sending.start()
    got: list[Any] = []
    while not got:
        got = runtime.receive(wait=True)
    sending.join()
    assert got == [(1, 0, Returned(1, value))]


def test_a_message_that_is_too_large_is_refused_before_anything_is_posted(pair: Pair) -> None:
    runtime, host = pair
    with pytest.raises(TooLarge, match=r"Returned message of 70\.0 MB"):
        host.post(Returned(1, b"x" * 70_000_000))
    with pytest.raises(TooLarge, match=r"the 0\.1 MB"):
        host.post(Returned(1, b"x" * 200_000), 100_000)
    assert host.post(Returned(1, 2)) == 1
    host.flush()
    assert runtime.receive() == [(1, 0, Returned(1, 2))]


def test_a_host_is_crowded_until_enough_is_acknowledged(pair: Pair) -> None:
    runtime, host = pair
    part = b"x" * (LARGEST // 2 - 100)
    sending = threading.Thread(target=host.flush)
    for _ in range(2):
        host.post(Returned(1, part))
    before = host.crowded
    host.post(Returned(1, part))
    assert (before, host.crowded) == (False, True)
    sending.start()
    arrived = 0
    while arrived < 3:
        arrived += len(runtime.receive(wait=True))
    sending.join()
    runtime.acknowledge(1)
    runtime.post_ack()
    runtime.flush()
    host.receive()
    assert not host.crowded


# -- reconnecting ---------------------------------------------------------------------------------


def test_after_a_reconnect_exactly_what_is_missing_is_sent_again(pair: Pair) -> None:
    runtime, host = pair
    for number in range(5):
        host.post(Changed([Delta(0, ("x",), number)]))
    host.flush()
    assert len(runtime.receive()) == 5
    runtime.acknowledge(2)
    runtime.post_ack()
    runtime.flush()
    host.receive()
    one, two = socket.socketpair()
    with one, two:
        # The runtime was killed, and has only the first three in its journal.
        revived = Channel(one, ToRuntime)
        revived._received = 3
        host.reattach(two, peer_received=3)
        host.post(Changed([Delta(0, ("x",), 5)]))
        host.flush()
        assert [(seq, message.deltas[0].value) for seq, _, message in revived.receive()] == [  # type: ignore[attr-defined]
            (4, 3),
            (5, 4),
            (6, 5),
        ]


def test_what_is_sent_again_although_it_had_arrived_is_dropped(pair: Pair) -> None:
    runtime, host = pair
    host.post(Noticed("one"))
    host.post(Noticed("two"))
    host.flush()
    runtime.receive()
    one, two = socket.socketpair()
    with one, two:
        runtime.reattach(one, peer_received=0)
        host.reattach(two, peer_received=0)
        host.post(Noticed("three"))
        host.flush()
        assert runtime.receive() == [(3, 0, Noticed("three"))]


def test_half_a_frame_is_forgotten_with_its_stream(
    pair: Pair, sockets: tuple[socket.socket, socket.socket]
) -> None:
    runtime, host = pair
    host.post(Noticed("whole"))
    sockets[1].send(raw(1, 0, Noticed("whole"))[:7])
    assert runtime.receive() == []
    one, two = socket.socketpair()
    with one, two:
        runtime.reattach(one, peer_received=0)
        host.reattach(two, peer_received=runtime.received)
        host.flush()
        assert runtime.receive() == [(1, 0, Noticed("whole"))]


@pytest.mark.parametrize("received", [-1, 0, 4])
def test_a_peer_that_claims_to_have_received_what_cannot_be_is_refused(pair: Pair, received: int) -> None:
    runtime, host = pair
    for _ in range(3):
        host.post(Noticed(""))
    host.flush()
    runtime.receive()
    runtime.acknowledge(1)
    runtime.post_ack()
    runtime.flush()
    host.receive()
    one, two = socket.socketpair()
    with one, two, pytest.raises(ProtocolError, match=f"received {received}"):
        host.reattach(two, peer_received=received)


@given(st.lists(st.sampled_from(["post", "flush", "take", "ack", "break"]), max_size=40))
def test_every_message_arrives_once_and_in_order_however_often_the_stream_breaks(steps: list[str]) -> None:
    one, two = socket.socketpair()
    runtime, host = Channel(one, ToRuntime), Channel(two, ToHost)
    posted = 0
    arrived: list[int] = []

    def take() -> None:
        for seq, _, message in runtime.receive():
            if isinstance(message, Returned):
                arrived.append(message.call)
                runtime.acknowledge(seq)

    for step in steps:
        if step == "post":
            posted += 1
            host.post(Returned(posted, "x" * (posted % 7) * 100))
        elif step == "flush":
            host.flush()
        elif step == "take":
            take()
        elif step == "ack":
            runtime.post_ack()
            runtime.flush()
            host.receive()
        else:
            runtime_has, host_has = runtime.received, host.received
            one, two = socket.socketpair()
            runtime.reattach(one, host_has)
            host.reattach(two, runtime_has)
    host.flush()
    take()
    runtime.close()
    host.close()
    assert arrived == list(range(1, posted + 1))


# -- what no honest peer sends --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (raw(2, 0, Stop()), "message 2 arrived after 0"),
        (raw(0, 0, Stop()), "Stop arrived with the number 0"),
        (raw(1, 0, Ack()), "Ack arrived with the number 1"),
        (raw(1, 3, Stop()), "message 3 was acknowledged, and only 0"),
        (raw(-1, 0, Stop()), "no message of this channel"),
        (raw(1, 0, Returned(1, 2)), "no message of this channel"),
        (raw(1, 0, [99]), "no message of this channel"),
        (raw(1, 0, {"type": 4}), "no message of this channel"),
        (raw("1", 0, Stop()), "no message of this channel"),
        (raw(1, 0, [2, "not a number", "id", [], {}]), "no message of this channel"),
        (struct.pack(">I", 3) + b"abc", "no message of this channel"),
        (struct.pack(">I", 0), "no message of this channel"),
        (struct.pack(">I", LARGEST + 1), "the largest allowed"),
        (struct.pack(">I", 100_000) + b"\x91" * 100_000, "no message of this channel"),
        (
            struct.pack(">I", 90_005) + b"\x93\x01\x00\x92\x03" + b"\x91" * 90_000,
            "no message of this channel",
        ),
    ],
)
def test_a_frame_that_is_no_message_is_a_protocol_error(
    pair: Pair, sockets: tuple[socket.socket, socket.socket], frame: bytes, said: str
) -> None:
    sockets[0].sendall(frame)
    with pytest.raises(ProtocolError, match=said):
        pair[1].receive()


def test_a_value_nested_as_deep_as_the_stack_is_a_protocol_error(
    pair: Pair, sockets: tuple[socket.socket, socket.socket]
) -> None:
    deep = b"\x93\x01\x00\x93\x16\x01" + b"\x91" * 100_000 + b"\xc0"
    sockets[1].sendall(struct.pack(">I", len(deep)) + deep)
    with pytest.raises(ProtocolError, match="recursion"):
        pair[0].receive()


@given(st.binary(max_size=200))
def test_no_bytes_whatsoever_bring_anything_but_a_protocol_error(body: bytes) -> None:
    one, two = socket.socketpair()
    with one, two:
        one.sendall(struct.pack(">I", len(body)) + body)
        try:
            for _, _, message in Channel(two, ToHost).receive():
                assert isinstance(message, ToHost)
        except ProtocolError:
            pass


@given(st.lists(st.integers(0, 300_000), max_size=6), st.integers(1, 65_536))
def test_frames_of_any_size_survive_any_cutting(sizes: list[int], cut: int) -> None:
    class Dripping:
        """A stream that gives ``cut`` bytes at a time."""

        def __init__(self) -> None:
            self.held = bytearray()

        def send(self, data: bytes | memoryview, flags: int = 0, /) -> int:
            self.held += data[: cut * 3]
            return len(data[: cut * 3])

        def recv_into(self, buffer: memoryview, nbytes: int = 0, flags: int = 0, /) -> int:
            if not self.held:
                raise BlockingIOError
            part = self.held[: min(cut, len(buffer))]
            buffer[: len(part)] = part
            del self.held[: len(part)]
            return len(part)

        def fileno(self) -> int:
            return -1

        def close(self) -> None:
            pass

    stream = Dripping()
    sender, receiver = Channel(stream, ToRuntime), Channel(stream, ToHost)
    for number, size in enumerate(sizes):
        sender.post(Call(number, "id", [b"x" * size], {}))
    assert sender.flush()
    got: list[Any] = []
    while stream.held:
        got += receiver.receive()
    assert [len(message.args[0]) for _, _, message in got] == sizes
