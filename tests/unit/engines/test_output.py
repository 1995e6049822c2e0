"""The relay: lines whole and in order, a flow that is never ahead, a terminal that is never waited for."""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning.app.engines.output import BOUND, PARTIAL, Relay, Source
from lightning.app.journal.output import FOLDER, OutputReader, OutputWriter

FAR = 1e12  # a time at which everything is due


class Desk:
    """A relay whose sinks are pipes that the test reads, turned by hand."""

    def __init__(self, out: int | None = None, *, merged: bool = False) -> None:
        self.selector = selectors.DefaultSelector()
        self.notices: list[str] = []
        self.fds: list[int] = []
        self.out, into_out = self.pipe() if out is None else (-1, out)
        self.err, into_err = (self.out, into_out) if merged else self.pipe()
        self.relay = Relay(self.selector, self.notices.append, into_out, into_err)

    def pipe(self) -> tuple[int, int]:
        read, write = os.pipe()
        os.set_blocking(read, False)
        self.fds += [read, write]
        return read, write

    def component(self, *, flow: bool = False) -> tuple[int, Source]:
        read, write = os.pipe()
        self.fds.append(write)
        return write, self.relay.add(read, flow=flow)[0]

    def turn(self, now: float = 0.0) -> int:
        """One round; answers how many things were ready."""
        ready = self.selector.select(0)
        for key, _ in ready:
            key.data()
        self.relay.push(now)
        return len(ready)

    def settle(self, now: float = 0.0) -> None:
        while self.turn(now):
            pass

    def read(self, fd: int | None = None) -> bytes:
        found = b""
        try:
            while piece := os.read(self.out if fd is None else fd, 1 << 20):
                found += piece
        except BlockingIOError:
            pass
        return found

    def leave(self, fd: int) -> None:
        os.close(fd)
        self.fds.remove(fd)

    def close(self) -> None:
        self.relay.close()
        for fd in self.fds:
            os.close(fd)
        self.selector.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


def test_lines_are_passed_on_whole(desk: Desk) -> None:
    work, _ = desk.component()
    os.write(work, b"one\ntw")
    desk.turn()
    assert desk.read() == b"one\n"
    os.write(work, b"o\n")
    desk.turn()
    assert desk.read() == b"two\n"


def test_a_line_without_an_end_is_passed_on_after_a_while(desk: Desk) -> None:
    work, _ = desk.component()
    os.write(work, b"\r 40%")
    desk.turn()
    assert desk.read() == b""
    timeout = desk.relay.timeout(0.0)
    assert timeout is not None
    assert desk.relay.timeout(FAR) == 0
    desk.turn(timeout - PARTIAL / 2)
    assert desk.read() == b""
    desk.turn(timeout)
    assert desk.read() == b"\r 40%"
    assert desk.relay.timeout(0.0) is None


def test_the_lines_of_two_works_do_not_mix(desk: Desk) -> None:
    (first, _), (second, _) = desk.component(), desk.component()
    os.write(first, b"a long ")
    os.write(second, b"other\n")
    desk.turn()
    os.write(first, b"line\n")
    desk.turn()
    assert desk.read() == b"other\na long line\n"


def test_the_flow_is_never_ahead_of_what_works_had_printed(desk: Desk) -> None:
    flow, source = desk.component(flow=True)
    works = [desk.component()[0] for _ in range(3)]
    for work in works:
        os.write(work, b"line\nlast")
    os.write(flow, b"done\n")
    desk.relay._ready(source)  # as when the flow's pipe is looked at first
    desk.relay.push(0.0)
    assert desk.read() == b"line\n" * 3 + b"last" * 3 + b"done\n"


def test_an_ended_work_is_drained_though_others_hold_its_pipe(desk: Desk) -> None:
    work, source = desk.component()
    os.write(work, b"the last words")
    desk.relay.drain([source])
    desk.relay.push(0.0)
    assert desk.read() == b"the last words"
    os.write(work, b"a grandchild's\n")
    desk.turn()
    assert desk.read() == b"a grandchild's\n"
    desk.leave(work)
    desk.turn()
    assert not source.open


def test_a_pipe_that_ends_ends_its_source_with_what_was_left(desk: Desk) -> None:
    work, source = desk.component()
    os.write(work, b"no newline")
    desk.leave(work)
    desk.settle()
    assert desk.read() == b"no newline"
    assert not source.open


def test_a_slow_terminal_stops_the_writer_and_loses_nothing(desk: Desk) -> None:
    work, _ = desk.component()
    os.set_blocking(work, False)
    line = b"x" * 99 + b"\n"
    sent = 0
    try:
        while True:
            sent += os.write(work, line * 100)
            desk.turn()
            assert sent < 4 * BOUND, "the writer was never stopped"
    except BlockingIOError:
        assert sent > BOUND
    received = 0
    while received < sent:
        received += len(desk.read())
        desk.turn(FAR)
    desk.settle()
    assert received == sent
    os.write(work, b"it goes on\n")
    desk.turn()
    assert desk.read() == b"it goes on\n"


def test_a_sink_that_nobody_reads_swallows_and_says_so_once(desk: Desk) -> None:
    work, _ = desk.component()
    desk.leave(desk.out)
    for _ in range(3):
        os.write(work, b"line\n")
        desk.turn()
    assert desk.notices == [
        "stdout does not take output (nobody reads it any more): what is printed from here on is dropped"
    ]


def test_a_full_disk_is_named() -> None:
    with open("/dev/full", "wb") as full:
        desk = Desk(full.fileno())
        work, _ = desk.component()
        os.write(work, b"line\n")
        desk.turn()
        assert "No space left on device" in desk.notices[0]
        desk.close()


def test_a_file_receives_all(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as log:
        desk = Desk(log.fileno())
        work, _ = desk.component()
        os.write(work, b"line\n")
        desk.turn()
        desk.close()
    assert (tmp_path / "log").read_bytes() == b"line\n"


def test_a_socket_receives_all_and_is_not_made_nonblocking() -> None:
    near, far = socket.socketpair()
    with near, far:
        desk = Desk(near.fileno())
        work, _ = desk.component()
        os.write(work, b"line\n")
        desk.turn()
        assert far.recv(10) == b"line\n"
        assert os.get_blocking(near.fileno())
        desk.close()


def test_a_terminal_that_stands_still_is_not_waited_for() -> None:
    screen, terminal = os.openpty()
    desk = Desk(terminal)
    work, _ = desk.component()
    termios.tcflow(terminal, termios.TCOOFF)  # Ctrl-S
    os.write(work, b"line\n" * 5000)
    desk.settle()
    assert not desk.relay.idle
    assert os.get_blocking(terminal)
    termios.tcflow(terminal, termios.TCOON)
    received: list[bytes] = []

    def watch() -> None:
        while sum(map(len, received)) < 6 * 5000:  # a terminal makes \n into \r\n
            received.append(os.read(screen, 65536))

    watcher = threading.Thread(target=watch)
    watcher.start()
    desk.relay.finish(patience=20)
    watcher.join()
    assert b"".join(received) == b"line\r\n" * 5000
    desk.close()
    os.close(terminal)
    os.close(screen)


def test_a_terminal_that_cannot_be_opened_again_is_written_with_care(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        desk = Desk()
    work, _ = desk.component()
    os.write(work, b"line\n" * 2000)
    desk.settle()
    os.write(work, b"line\n" * 12000)
    desk.settle()
    os.write(work, b"line\n" * 12000)
    desk.settle()
    assert not desk.relay.idle
    received = desk.read()
    while desk.turn():
        received += desk.read()
    assert received == b"line\n" * 26000
    desk.close()


def test_one_destination_for_both_streams_is_noticed() -> None:
    desk = Desk(merged=True)
    assert desk.relay.merged
    desk.close()
    desk = Desk()
    assert not desk.relay.merged
    desk.close()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([b"a", b"bc\n", b"\n", b"d\ne", b"\rf", b"g" * 500])),
        max_size=60,
    )
)
def test_every_component_is_complete_and_in_order(writes: list[tuple[int, bytes]]) -> None:
    desk = Desk()
    components = [desk.component(flow=number == 0) for number in range(4)]
    expected = [b""] * 4
    marks = [b"ABCDEFG", b"HIJKLMN", b"OPQRSTU", b"VWXYZ01"]  # so that each byte tells whose it is
    received = b""
    for number, text in writes:
        told = text.translate(bytes.maketrans(b"abcdefg", marks[number]))
        expected[number] += told
        os.write(components[number][0], told)
        if len(text) % 2:
            desk.turn(FAR if text == b"a" else 0.0)
        received += desk.read()
    desk.relay.drain_all()
    desk.relay.finish(patience=1)
    received += desk.read()
    for number, mark in enumerate(marks):
        own = bytes(byte for byte in received if byte in mark)
        assert own == bytes(byte for byte in expected[number] if byte in mark)
    assert len(received) == sum(map(len, expected))
    desk.close()


def test_the_shared_description_keeps_its_flags(desk: Desk) -> None:
    _, write = desk.fds[0], desk.fds[1]
    work, _ = desk.component()
    os.write(work, b"line\n")
    desk.turn()
    assert not fcntl.fcntl(write, fcntl.F_GETFL) & os.O_NONBLOCK


# -- what is kept -------------------------------------------------------------------------------------


class Kept:
    """A desk whose relay keeps what named components print."""

    def __init__(self, folder: Path, *secrets: str, masks: bool = False) -> None:
        self.desk = Desk()
        self.folder = folder
        writer = OutputWriter(str(folder / FOLDER), BOUND, secrets, self.desk.notices.append)
        self.desk.relay.keep(writer, masks=masks)

    def component(self, name: str, *, flow: bool = False) -> int:
        read, write = os.pipe()
        self.desk.fds.append(write)
        self.desk.relay.add(read, name=name, flow=flow)
        return write

    def lines(self) -> list[tuple[str, str, str]]:
        return [(line.component, line.stream, line.text) for line in OutputReader(self.folder).read()]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.desk.close()


def test_what_is_on_the_terminal_is_kept_already(kept: Kept) -> None:
    work = kept.component("root.work")
    os.write(work, b"one\ntwo\n")
    kept.desk.turn()
    assert kept.desk.read() == b"one\ntwo\n"
    assert kept.lines() == [("root.work", "both", "one"), ("root.work", "both", "two")]


def test_two_pipes_are_two_streams_and_what_has_no_name_is_not_kept(kept: Kept) -> None:
    pipes = [os.pipe() for _ in range(3)]
    kept.desk.fds += [write for _, write in pipes]
    kept.desk.relay.add(pipes[0][0], pipes[1][0], name="root.work")
    kept.desk.relay.add_error(pipes[2][0])
    for (_, write), text in zip(pipes, (b"to out\n", b"to err\n", b"nobody's\n"), strict=True):
        os.write(write, text)
    kept.desk.settle()
    assert sorted(kept.lines()) == [("root.work", "err", "to err"), ("root.work", "out", "to out")]


def test_what_a_terminal_does_not_take_is_kept(kept: Kept) -> None:
    work = kept.component("root.work")
    kept.desk.leave(kept.desk.out)
    for number in range(3):
        os.write(work, b"line %d\n" % number)
        kept.desk.turn()
    assert [text for _, _, text in kept.lines()] == ["line 0", "line 1", "line 2"]


def test_a_secret_is_masked_where_it_is_kept_and_not_on_the_terminal(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "canary")
    work = kept.component("root.work")
    os.write(work, b"can")
    kept.desk.turn(FAR)
    os.write(work, b"ary\n")
    kept.desk.settle(FAR)
    assert kept.desk.read() == b"canary\n"
    assert kept.lines() == [("root.work", "both", "***")]
    kept.desk.close()


def test_where_the_terminal_is_a_file_that_is_kept_it_is_masked_too(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "canary", masks=True)
    work = kept.component("root.work")
    for part in (b"a can", b"ary\nan open end: can"):
        os.write(work, part)
        kept.desk.settle(FAR)
    kept.desk.leave(work)
    kept.desk.settle(FAR)
    assert kept.desk.read() == b"a ***\nan open end: can"
    kept.desk.close()
