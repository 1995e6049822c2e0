"""A work's process: what it does while ``run`` goes on, and how it ends. With real processes."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning.app.engines import host, process
from lightning.app.engines.answering import answers
from lightning.app.engines.channel import LARGEST, Channel
from lightning.app.engines.origin import Origin
from lightning.app.engines.process import ProcessEngine
from lightning.app.kernel import messages as m
from lightning.app.runtime.loader import load_module
from lightning.app.testing.seats import PATIENCE, Seat, Stage, run_id

THREADS_OF_THE_RUNNER = set(
    sys._current_frames()
)  # of a parallel test run; they hold nothing that a fork needs

Play = Callable[[str], Seat]

HEAD = """
import asyncio, multiprocessing, os, signal, socket, sys, threading, time
import lightning.app as L
"""


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Gives a work, in a process of its own, of the class ``Played`` in the given source."""
    if "PYTEST_XDIST_WORKER" in os.environ and set(sys._current_frames()) <= THREADS_OF_THE_RUNNER:
        monkeypatch.setattr(process, "obstacle", str)
    stages: list[Stage] = []
    paths = list(sys.path)

    def played(source: str) -> Seat:
        file = tmp_path / "played.py"
        file.write_text(HEAD + textwrap.dedent(source))
        app = load_module(file, "played")
        stage = Stage(lambda report: ProcessEngine(report, run_id(), app=None, body=host.main), app)
        stages.append(stage)
        return stage.seat(app.Played())

    yield played
    for stage in stages:
        stage.close()
    sys.modules.pop("played", None)
    sys.path[:] = paths


def await_attribute(seat: Seat, name: str, value: Any = True) -> None:
    while seat.state.get(name) != value:
        assert not seat.closed, (
            f"the work has gone; {name} is {seat.state.get(name)!r}, and it said {seat.said[-3:]}"
        )
        seat.stage.turn()


# -- while run goes on ----------------------------------------------------------------------------


def test_writes_cross_in_both_directions_while_run_goes_on(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            ping = pong = 0

            def run(self):
                while self.ping < 50:
                    if self.pong < self.ping:
                        self.pong = self.ping
                    time.sleep(0)
                return self.ping
        """
    )
    call = seat.call()
    for number in range(1, 51):
        seat.write("ping", number)
        if number < 50:
            await_attribute(seat, "pong", number)
    assert seat.hear(m.Returned, call).value == 50


def test_threads_of_a_work_write_too_and_nothing_is_lost(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            items = []
            total = {}

            def write(self, name):
                for number in range(200):
                    self.items.append(name)
                    self.total[name] = number

            def run(self):
                threads = [threading.Thread(target=self.write, args=(name,)) for name in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
        """
    )
    seat.run()
    assert sorted(seat.state["items"]) == sorted([0, 1, 2, 3] * 200)
    assert seat.state["total"] == dict.fromkeys(range(4), 199)


def test_foreign_writes_to_a_list_that_run_iterates_over_disturb_nothing(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            items = [1, 2, 3]
            go = False

            def run(self):
                seen = []
                for item in self.items:
                    seen.append(item)
                    self.at = item
                    while len(self.items) == 3:
                        time.sleep(0)
                return [seen, len(self.items)]
        """
    )
    call = seat.call()
    await_attribute(seat, "at", 1)
    seat.change(m.Delta(2, ("items",), [0, [0, 0]]))
    assert seat.hear(m.Returned, call).value == [[1, 2, 3], 5]


def test_a_writer_waits_when_too_much_is_unacknowledged(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            data = b""

            def run(self, size, times):
                for number in range(times):
                    self.data = bytes(size)
        """
    )
    size, times = LARGEST // 16 - 100, 40  # 16 of them are a little less than the bound
    channel = seat.worker.channel
    call = seat.call(size, times)
    arrived = 0
    while arrived < 17:
        arrived += len(channel.receive(wait=True))
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    assert not poll.poll(200), "it goes on although nothing was acknowledged"
    seat.last += arrived
    channel.acknowledge(arrived)
    channel.post_ack()
    channel.flush()
    seat.hear(m.Returned, call)
    assert seat.last == times + 2  # with Ready and Returned


def test_the_url_is_there_while_the_port_answers_and_run_goes_on(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            close = listens = False

            def run(self):
                with socket.create_server(("127.0.0.1", self.port), backlog=1):
                    self.listens = True
                    while not self.close:
                        time.sleep(0.001)
        """
    )
    call = seat.call()
    while not seat.state["url"]:
        seat.stage.turn()
    assert seat.state["url"] == f"http://127.0.0.1:{seat.state['port']}"
    assert answers("127.0.0.1", seat.state["port"])
    seat.write("close", True)
    seat.hear(m.Returned, call)
    assert seat.state["url"] == ""
    assert not answers("127.0.0.1", seat.state["port"])


def test_a_port_that_is_only_read_makes_no_url(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            def run(self):
                return self.port
        """
    )
    assert seat.run() == seat.state["port"]
    assert ("url", "") not in seat.history


# -- stopping -------------------------------------------------------------------------------------

GOODBYE = """
    def on_exit(self):
        self.left = "properly"
"""


@pytest.mark.parametrize("by", ["signal", "message"])
@pytest.mark.parametrize(
    "waits",
    [
        "time.sleep(1000)",
        "threading.Event().wait()",
        "socket.create_server(('127.0.0.1', 0)).accept()",
        "asyncio.run(asyncio.sleep(1000))",
        "while True: self.x += 1",
        "while True: self.items.append(1); self.items.clear()",
        "while True: pass",
    ],
)
def test_a_work_is_stopped_wherever_it_is(play: Play, waits: str, by: str) -> None:
    seat = play(
        f"""
        class Played(L.LightningWork):
            x = 0
            items = []
            begun = False

            def run(self):
                self.begun = True
                try:
                    {waits}
                except Exception as error:
                    self.caught = repr(error)
        """
        + textwrap.indent(GOODBYE, "        ")
    )
    seat.call()
    await_attribute(seat, "begun")
    if by == "signal":
        seat.worker.stop(PATIENCE)
    else:
        seat.post(m.Stop())
    assert seat.exited().reason == ""
    seat.hear(m.Left)
    assert "caught" not in seat.state
    assert seat.state["left"] == "properly"


def test_a_stop_that_run_swallows_counts_when_it_returns(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            begun = False

            def run(self):
                try:
                    self.begun = True
                    time.sleep(1000)
                except:
                    self.swallowed = True
        """
        + textwrap.indent(GOODBYE, "        ")
    )
    seat.call()
    await_attribute(seat, "begun")
    seat.worker.stop(PATIENCE)
    assert seat.exited().reason == ""
    assert (seat.state["swallowed"], seat.state["left"]) == (True, "properly")


def test_what_run_itself_does_about_sigterm_comes_first(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            begun = False

            def run(self):
                over = threading.Event()
                signal.signal(signal.SIGTERM, lambda *_: over.set())
                self.begun = True
                over.wait()
                self.cleaned_up = True
        """
        + textwrap.indent(GOODBYE, "        ")
    )
    seat.call()
    await_attribute(seat, "begun")
    seat.post(m.Stop())
    assert seat.exited().reason == ""
    assert (seat.state["cleaned_up"], seat.state["left"]) == (True, "properly")


def test_a_second_stop_does_not_disturb_on_exit(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            def run(self):
                pass

            def on_exit(self):
                os.kill(os.getpid(), signal.SIGTERM)
                self.leaving = True
                self.left = "properly"
        """
    )
    seat.worker.stop(PATIENCE)
    assert seat.exited().reason == ""
    assert seat.state["left"] == "properly"


def test_a_hook_that_never_ends_is_stopped_too(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            def run(self):
                raise ValueError("so that the hook is called")

            def on_exception(self, error):
                self.begun = True
                time.sleep(1000)
        """
        + textwrap.indent(GOODBYE, "        ")
    )
    seat.call()
    await_attribute(seat, "begun")
    seat.worker.stop(PATIENCE)
    assert seat.exited().reason == ""
    assert seat.state["left"] == "properly"


@pytest.mark.parametrize("running", [True, False])
def test_without_a_runtime_a_work_ends_at_once(play: Play, tmp_path: Path, running: bool) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            begun = False

            def run(self):
                self.begun = True
                time.sleep(1000)

            def on_exit(self):
                with open(os.path.join(os.path.dirname(__file__), "left"), "w") as file:
                    file.write("properly")
        """
    )
    if running:
        seat.call()
        await_attribute(seat, "begun")
    seat.worker.channel.close()
    seat.closed = True
    assert seat.exited().reason == ""
    assert (tmp_path / "left").read_text() == "properly"


def test_a_runtime_that_talks_nonsense_ends_the_work(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            def run(self):
                pass
        """
    )
    os.write(seat.worker.channel.fileno(), b"\0\0\0\3abc")
    assert seat.exited().reason == "exit code 1"


def test_a_message_before_the_object_ends_the_process() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fds = {"--fd": theirs.fileno(), "--origin": Origin.here().kept()}
        options = [word for option, fd in fds.items() for word in (option, str(fd))]
        command = [sys.executable, "-m", "lightning.app.engines.host", *options]
        spawned = subprocess.Popen(command, pass_fds=fds.values(), stderr=subprocess.PIPE, text=True)
        theirs.close()
        os.close(fds["--origin"])
        runtime = Channel(ours, m.ToRuntime)
        runtime.post(m.Call(1, "id", [], {}))
        runtime.flush()
        _, told = spawned.communicate(timeout=PATIENCE)
    assert spawned.returncode == 1
    assert "a Call arrived before Begin" in told


# -- forks made by a work -------------------------------------------------------------------------


def test_a_process_that_a_work_forks_speaks_for_itself_alone(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            x = 0
            items = []

            def child(self, pipe):
                import warnings
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    self.x = 1
                    self.items.append(1)
                from lightning.app.engines import host
                pipe.send([self.x, len(self.items), [str(each.message) for each in told], host.current() is None,
                           signal.getsignal(signal.SIGTERM) == signal.SIG_DFL])

            def run(self):
                context = multiprocessing.get_context("fork")
                ours, theirs = context.Pipe()
                child = context.Process(target=self.child, args=(theirs,))
                child.start()
                told = ours.recv()
                child.join()
                self.x = 2
                return told
        """
    )
    x, items, warned, has_no_host, default = seat.run()
    assert (x, items, has_no_host, default) == (1, 1, True, True)
    assert len(warned) == 1
    assert "forked" in warned[0]
    assert seat.history == [("x", 2)]
    assert seat.state["items"] == []


def test_a_fork_does_not_keep_the_channel_open(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            def run(self):
                if os.fork() == 0:
                    os.setsid()
                    signal.pause()
                os._exit(7)
        """
    )
    seat.call()
    assert seat.exited().reason == "exit code 7"
    while not seat.closed:
        seat.stage.turn()


# -- the current host -----------------------------------------------------------------------------


def test_progress_is_a_works_own(play: Play) -> None:
    seat = play(
        """
        class Played(L.LightningWork):
            def run(self):
                return sum(L.progress(range(10)))
        """
    )
    assert seat.run() == 45
    assert seat.state["progress"] == 1.0


def test_outside_a_work_there_is_no_current_host() -> None:
    assert host.current() is None
