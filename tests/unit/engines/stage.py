"""A place to try the process engine on: real processes, waited for by events, and nothing left at the end."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from lightning.app.engines import orphans, process
from lightning.app.engines.engine import Exited, Placement, Started
from lightning.app.engines.process import ProcessEngine, ProcessWorker
from lightning.app.testing.seats import run_id

PATIENCE = 30.0
HERE = Path(__file__).parent
SPAWNED = (str(HERE / "spawned.py"),)

# A parallel test run has a thread that waits for orders in every worker. It holds nothing that a fork needs.
THREADS_OF_THE_RUNNER = set(sys._current_frames())

T = TypeVar("T", Started, Exited)
Part = Callable[[socket.socket], int | None]


def play(channel: socket.socket, parts: object) -> int:
    """The body of every work here: plays the part whose name it is told first."""
    assert isinstance(parts, Mapping)
    name = channel.recv(100).decode()
    return parts[name](channel) or 0


def say(channel: socket.socket, text: object) -> None:
    channel.sendall(f"{text}\n".encode())


def until(ready: Callable[[], bool], what: str = "it") -> None:
    """For what has no descriptor to wait on: the end of a process that is nobody's here."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def await_end(pid: int) -> None:
    until(lambda: gone(pid), f"the end of process {pid}")


class Actor:
    """One work on the stage."""

    def __init__(self, stage: Stage, worker: ProcessWorker) -> None:
        self.stage = stage
        self.worker = worker

    def tell(self, text: str) -> None:
        os.write(self.worker.channel.fileno(), text.encode())

    def hear(self) -> str:
        """The next line it says."""
        line = b""
        while not line.endswith(b"\n"):
            self.stage.turn(self.worker.channel.fileno())
            piece = os.read(self.worker.channel.fileno(), 1)
            assert piece, "the work's end of the channel is closed"
            line += piece
        return line.decode().rstrip("\n")

    @property
    def name(self) -> str:
        return self.worker.placement.work

    def started(self) -> Started:
        return self.stage.await_report(Started, self.name)

    def exited(self) -> Exited:
        return self.stage.await_report(Exited, self.name)


class Stage:
    """An engine with a record of what it reported."""

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.run = run_id()
        self.reports: list[Started | Exited] = []
        with pytest.MonkeyPatch.context() as patch:
            if "PYTEST_XDIST_WORKER" in os.environ and set(sys._current_frames()) <= THREADS_OF_THE_RUNNER:
                patch.setattr(process, "obstacle", str)
            self.engine = ProcessEngine(self.reports.append, self.run, app=parts, body=play, program=SPAWNED)
        self.actors: list[Actor] = []

    def start(self, part: str, work: str = "root.w", method: str | None = None, **environment: str) -> Actor:
        actor = Actor(self, self.engine.start(Placement(work, 1, method, environment)))
        self.actors.append(actor)
        actor.tell(part)
        return actor

    def turn(self, *fds: int) -> None:
        """Wait until one of these or the engine has something; the engine's is taken in."""
        waiting = select.poll()
        ours = set(self.engine.filenos())
        while True:
            for fd in (*fds, *ours):
                waiting.register(fd, select.POLLIN)
            found = {fd for fd, _ in waiting.poll(PATIENCE * 1000)}
            assert found, f"nothing happened; reported so far: {self.reports}"
            if found & ours:
                self.engine.ready()
            if not fds or found - ours:
                return

    def turn_for_ever(self) -> None:
        while True:
            self.turn()

    def await_report(self, kind: type[T], work: str) -> T:
        while True:
            for report in self.reports:
                if isinstance(report, kind) and report.work == work:
                    return report
            self.turn()

    def close(self, grace: float = 0.0) -> None:
        self.engine.close(grace)
        for actor in self.actors:
            actor.worker.channel.close()
        assert orphans.members(self.run) == []
