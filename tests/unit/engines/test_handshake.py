"""A host that lost its stream finds back; nobody else gets in."""

from __future__ import annotations

import os
import re
import select
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lightning.app.engines.channel import Channel
from lightning.app.engines.handshake import Hello, Joined, Known, Listener, dial
from lightning.app.errors import ChannelClosed, ConflictError, ProtocolError
from lightning.app.kernel.messages import Noticed, ToHost, ToRuntime

HELLO = Hello(run="r1", work="root.train", generation=4, epoch=2, token="secret", received=7)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    known = {"root.train": Known(generation=4, received=11)}
    listening = Listener(tmp_path / "sockets", "r1", 2, "secret", known.get)
    yield listening
    listening.close()


def serve(listener: Listener, callers: int = 1) -> list[Joined]:
    """Take in what comes, until so many are back."""
    joined: list[Joined] = []
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while len(joined) < callers:
        poll.poll()
        joined += listener.ready()
    return joined


def called(listener: Listener, hello: Hello) -> str:
    """Dial, and give why it was refused."""
    refusal: list[str] = []

    def call() -> None:
        with pytest.raises(ConflictError) as info:
            dial(listener.path, hello)
        refusal.append(str(info.value))

    calling = threading.Thread(target=call)
    calling.start()
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while not refusal:
        poll.poll(10)
        assert listener.ready() == []
    calling.join()
    return refusal[0]


def test_a_host_that_is_known_goes_on_where_it_was(listener: Listener) -> None:
    back: list[tuple[socket.socket, int]] = []
    calling = threading.Thread(target=lambda: back.append(dial(listener.path, HELLO)))
    calling.start()
    (joined,) = serve(listener)
    calling.join()
    stream, received = back[0]
    assert (joined.hello, received) == (HELLO, 11)
    runtime, host = Channel(joined.stream, ToRuntime), Channel(stream, ToHost)
    host.post(Noticed("back again"))
    host.flush()
    assert [message for _, _, message in runtime.receive(wait=True)] == [Noticed("back again")]
    runtime.close()
    host.close()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"token": "guess"}, "the token is not that of this run"),
        ({"token": ""}, "the token is not that of this run"),
        ({"run": "r2"}, "this is run r1, not r2"),
        ({"epoch": 1}, "is of epoch 1, the run is in 2 by now"),
        ({"epoch": 3}, "this runtime is of epoch 2, and another took over: 3"),
        ({"generation": 3}, r"this process of root.train \(number 3\) was replaced: 4"),
        ({"work": "root.gone"}, "no work root.gone in this run"),
    ],
)
def test_who_is_of_another_run_or_time_is_refused_with_the_reason(
    listener: Listener, changed: dict[str, object], said: str
) -> None:
    refusal = called(listener, msgspec.structs.replace(HELLO, **changed))
    assert re.search(said, refusal)


def test_the_folder_is_the_users_own(listener: Listener) -> None:
    assert stat.S_IMODE(listener.path.parent.stat().st_mode) == 0o700


def test_a_path_longer_than_a_sockets_name_may_be_works(tmp_path: Path) -> None:
    listening = Listener(tmp_path / ("x" * 120), "r1", 2, "secret", {"root.train": Known(4, 0)}.get)
    back: list[socket.socket] = []
    calling = threading.Thread(target=lambda: back.append(dial(listening.path, HELLO)[0]))
    calling.start()
    (joined,) = serve(listening)
    calling.join()
    back[0].close()
    joined.stream.close()
    listening.close()


def test_without_a_runtime_the_call_says_so(tmp_path: Path) -> None:
    with pytest.raises(ChannelClosed, match="no runtime answers"):
        dial(tmp_path / "runtime.sock", HELLO)


def test_a_runtime_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        with pytest.raises(ChannelClosed, match="timed out"):
            dial(tmp_path / "s", HELLO, timeout=0.05)


def test_an_answer_that_is_none_is_a_protocol_error(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as strange:
        strange.bind(str(tmp_path / "s"))
        strange.listen()

        def answer() -> None:
            caller, _ = strange.accept()
            with caller:
                caller.sendall(struct.pack(">I", 3) + b"abc")
                caller.recv(1 << 16)

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(ProtocolError, match="answer is none"):
            dial(tmp_path / "s", HELLO)
        answering.join()


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">I", 1 << 30),
        struct.pack(">I", 2) + b"\x91\x01",
        b"\0\0\0\0",
    ],
)
def test_noise_is_hung_up_on_and_the_next_caller_is_served(listener: Listener, noise: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as noisy:
        noisy.connect(str(listener.path))
        noisy.sendall(noise)
        noisy.shutdown(socket.SHUT_WR)
        back: list[socket.socket] = []
        calling = threading.Thread(target=lambda: back.append(dial(listener.path, HELLO)[0]))
        calling.start()
        (joined,) = serve(listener)
        calling.join()
        while data := noisy.recv(4096):  # a refusal may come first
            assert b"token" not in data
    back[0].close()
    joined.stream.close()


def test_callers_who_say_nothing_do_not_keep_others_out(listener: Listener) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    try:
        for each in silent:
            each.connect(str(listener.path))
            listener.ready()
        back: list[socket.socket] = []
        calling = threading.Thread(target=lambda: back.append(dial(listener.path, HELLO)[0]))
        calling.start()
        (joined,) = serve(listener)
        calling.join()
        assert silent[0].recv(1) == b""  # the oldest was hung up on
        back[0].close()
        joined.stream.close()
    finally:
        for each in silent:
            each.close()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_is_refused_even_with_the_token(listener: Listener) -> None:
    listener.path.parent.chmod(0o755)
    for folder in listener.path.parents:
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o111)
    listener.path.chmod(0o777)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(str(listener.path))
        os.write(write, caller.recv(4096))
        os._exit(0)
    os.close(write)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.poll()
    assert listener.ready() == []
    with open(read, "rb") as told:
        assert b"you are user 65534" in told.read()
    os.waitpid(pid, 0)
