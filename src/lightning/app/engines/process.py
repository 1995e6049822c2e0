"""Works as processes of this machine. The runtime's side; the other is ``supervisor.py``.

Construct the engine right after the app's import, before any thread or socket of one's own: it forks the
supervisor at once. Where forking would be wrong (``forking.py``), the supervisor and every work start as new
Pythons instead; ``Started.method`` and ``Started.why`` tell.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from lightning.app.engines import birth, cgroups, files, orphans
from lightning.app.engines.channel import Channel
from lightning.app.engines.engine import ASKED, Exited, Placement, Report, Started
from lightning.app.engines.forking import obstacle
from lightning.app.engines.orders import (
    Began,
    Carry,
    Ended,
    Finished,
    Keep,
    News,
    Noted,
    Order,
    Serve,
    Settings,
    Shutdown,
    Start,
    Stop,
    Sync,
    Synced,
)
from lightning.app.engines.origin import Origin
from lightning.app.engines.output import same_file
from lightning.app.engines.supervisor import Body, supervise
from lightning.app.errors import EngineError
from lightning.app.kernel.messages import ToRuntime

HOST = ("-m", "lightning.app.engines.host")
_METHODS = (None, "fork", "spawn")
_LARGEST = 1 << 16

_log = logging.getLogger(__name__)


class ProcessWorker:
    """One work's process."""

    def __init__(self, engine: ProcessEngine, process: int, placement: Placement, channel: Channel) -> None:
        self.placement = placement
        self.pid = 0  # until it has started
        self._engine = engine
        self._process = process
        self._channel = channel

    @property
    def channel(self) -> Channel:
        return self._channel

    def stop(self, grace: float) -> None:
        self._engine._post(Stop(self._process, grace))


class ProcessEngine:
    """Places works in processes of this machine.

    ``body`` is what a forked work does with its channel and the app, ``program`` what a spawned one's Python
    runs; both are the host's ``main``, and others only in tests.
    """

    def __init__(
        self,
        report: Report,
        run_id: str,
        *,
        app: object | None,
        body: Body | None = None,
        program: Sequence[str] = HOST,
    ) -> None:
        birth.ensure_streams()
        files_before = files.raise_limit()
        self.why_spawn = obstacle()
        self.leftovers = 0  # after ``close``: how many processes had outlived their works
        self._report = report
        self._run = run_id
        self._workers: dict[int, tuple[ProcessWorker, str, str]] = {}
        self._last = 0
        self._reports: deque[Started | Exited] = deque()
        self._outbox: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(News)
        self._streams: list[tuple[int, int]] = []  # (1 or 2, where it really goes)
        self._synced = False
        self._closed = False
        birth.flush()
        self._cgroup = cgroups.make(run_id)
        settings = Settings(run_id, not self.why_spawn, list(program), files_before, self._cgroup)
        self._adopted_before = orphans.adopt_orphans(True)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._supervisor = self._fork(theirs, settings, app, body)
        self._control.setblocking(False)
        self._end = os.pidfd_open(self._supervisor)
        self._waking = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._control, select.EPOLLIN)
        self._poll.register(self._end, select.EPOLLIN)
        self._poll.register(self._waking, select.EPOLLIN)

    def _fork(self, theirs: socket.socket, settings: Settings, app: object, body: Body | None) -> int:
        # Opened before the fork, so that it is this process that it watches, whatever happens next.
        lifeline = os.pidfd_open(os.getpid())
        origin = Origin.here().kept()
        try:
            if self.why_spawn:
                return _execute(theirs.fileno(), lifeline, origin, settings)
            pid = birth.quiet_fork(signal.valid_signals())
            if pid == 0:
                self._control.close()
                supervise(theirs, lifeline, origin, settings, app, body)
            return pid
        finally:
            os.close(lifeline)
            os.close(origin)

    # -- what an engine does ----------------------------------------------------------------------

    def start(self, placement: Placement) -> ProcessWorker:
        if self._closed:
            raise EngineError(f"{placement.work} was not started: the engine has been closed")
        method, why = self._method(placement)
        try:
            ours, theirs = files.pair()
        except OSError as error:
            raise EngineError(
                f"{placement.work} could not be started: {files.too_many(len(self._workers))}"
            ) from error
        self._last += 1
        worker = ProcessWorker(self, self._last, placement, Channel(ours, ToRuntime))
        self._workers[self._last] = (worker, method, why)
        environment = dict(placement.environment)
        self._post(Start(self._last, placement.work, method, environment), theirs.detach())
        return worker

    def _method(self, placement: Placement) -> tuple[str, str]:
        wanted = placement.start_method
        if wanted not in _METHODS:
            raise EngineError(
                f"{placement.work}: start_method is {wanted!r}; it can be 'fork', 'spawn' or None"
            )
        if wanted == "fork" and self.why_spawn:
            return "spawn", f"the work asks for fork, but {self.why_spawn}"
        if wanted:
            return wanted, ASKED
        return ("spawn", self.why_spawn) if self.why_spawn else ("fork", "")

    def serve(self, listener: socket.socket, main: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Run the server in a process of its own: ``main`` ("module:function") with a listening descriptor.

        It is started again when it dies, three times at most.
        """
        self._post(Serve(main, dict(arguments or {})), os.dup(listener.fileno()))

    def filenos(self) -> list[int]:
        return [self._poll.fileno()]

    def ready(self) -> None:
        if self._closed:
            return
        with suppress(BlockingIOError):
            os.eventfd_read(self._waking)
        self._flush()
        alive = self._receive()
        while self._reports:
            self._report(self._reports.popleft())
        if not alive:
            raise self._supervisor_died()

    def close(self, grace: float) -> None:
        if self._closed:
            return
        birth.flush()
        self._post(Shutdown(grace))
        finished = self._wait_for_end(time.monotonic() + grace + 10)
        self.release_output()
        if not finished:
            signal.pidfd_send_signal(self._end, signal.SIGKILL)
        self._end_what_is_left()

    # -- output -----------------------------------------------------------------------------------

    def keep_output(
        self, folder: str, bound: int, secrets: Sequence[str] = (), *, masks: bool = False
    ) -> None:
        """Keep what is printed from here on in ``folder``, the values of ``secrets`` masked; with ``masks``,
        where it is printed, too. Call it before anything is started."""
        self._post(Keep(folder, bound, list(secrets), masks))

    def take_output(self) -> None:
        """Let what this process prints go through the relay too, in step with the works' output."""
        birth.flush()
        reads = []
        for targets in [(1, 2)] if same_file(1, 2) else [(1,), (2,)]:
            read, write = os.pipe()
            reads.append(read)
            for fd in targets:
                real = os.dup(fd)
                os.set_inheritable(real, False)
                self._streams.append((fd, real))
                os.dup2(write, fd)
            os.close(write)
        birth.print_by_lines(replace=False)
        self._post(Carry(), *reads)

    def release_output(self) -> None:
        """Wait until everything printed is written (but not for a terminal that stands still), and give the
        real stdout and stderr back."""
        if not self._streams:
            return
        birth.flush()
        self._synced = False
        self._post(Sync())
        deadline = time.monotonic() + 5
        while not self._synced and self._wait(deadline):
            pass
        if self._reports:
            os.eventfd_write(self._waking, 1)
        for fd, real in self._streams:
            os.dup2(real, fd)
            os.close(real)
        self._streams.clear()

    # -- the supervisor ---------------------------------------------------------------------------

    def _post(self, order: Order, *fds: int) -> None:
        """Send an order, and with it descriptors, which are closed here."""
        if self._closed:  # and with it every work: there is nobody to tell
            for fd in fds:
                os.close(fd)
            return
        self._outbox.append((self._encoder.encode(order), fds))
        self._flush()

    def _flush(self) -> None:
        before = bool(self._outbox)
        while self._outbox:
            data, fds = self._outbox[0]
            try:
                socket.send_fds(self._control, [data], fds)
            except BlockingIOError:
                break
            except (BrokenPipeError, ConnectionResetError):
                pass  # the supervisor is gone, which ``ready`` says
            self._outbox.popleft()
            for fd in fds:
                os.close(fd)
        if before:  # what could not be sent goes when there is room; then ``ready`` is called
            self._poll.modify(self._control, select.EPOLLIN | (select.EPOLLOUT if self._outbox else 0))

    def _receive(self, timeout: float = 0) -> bool:
        """Take in what the supervisor says; False when it is gone."""
        ended = any(fd == self._end for fd, _ in self._poll.poll(timeout))
        while True:
            try:
                data = self._control.recv(_LARGEST)
            except BlockingIOError:
                return not ended
            except ConnectionResetError:
                return False
            if not data:
                return False
            self._hear(self._decoder.decode(data))

    def _hear(self, news: News) -> None:
        match news:
            case Began():
                worker, method, why = self._workers[news.process]
                worker.pid = news.pid
                placement = worker.placement
                self._reports.append(Started(placement.work, placement.generation, news.pid, method, why))
            case Ended():
                worker, _, _ = self._workers.pop(news.process)
                self._reports.append(Exited(worker.placement.work, worker.placement.generation, news.reason))
            case Noted():
                _log.warning(news.text)
            case Synced():
                self._synced = True
            case Finished():
                self.leftovers = news.leftovers

    def _wait(self, deadline: float) -> bool:
        """Wait for news; False when none will come, or not in time."""
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        heard = self._receive(left)
        self._flush()
        return heard

    def _wait_for_end(self, deadline: float) -> bool:
        while self._wait(deadline):
            pass
        ended = select.poll()
        ended.register(self._end, select.POLLIN)
        return bool(ended.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def _supervisor_died(self) -> EngineError:
        with suppress(ProcessLookupError):  # gone, or of no use: it no longer listens
            signal.pidfd_send_signal(self._end, signal.SIGKILL)
        why = ""
        with suppress(ChildProcessError):
            status = os.waitid(os.P_PID, self._supervisor, os.WEXITED | os.WNOWAIT)
            why = orphans.reason(status) if status else ""
        self.release_output()
        self._end_what_is_left()
        return EngineError(
            f"the supervisor of the works (process {self._supervisor}) died: {why or 'exit code 0'}. "
            "All works have been ended; start the app again with --resume to go on"
        )

    def _end_what_is_left(self) -> None:
        """After the supervisor: what it did not end, ends here."""
        with suppress(ChildProcessError):  # an app that ignores SIGCHLD has no children to wait for
            os.waitpid(self._supervisor, 0)
        self.leftovers += orphans.end_children({worker.pid for worker, _, _ in self._workers.values()} - {0})
        self.leftovers += orphans.sweep(self._run, works_only=True, cgroup=self._cgroup)
        orphans.adopt_orphans(self._adopted_before)
        self._closed = True
        for _, fds in self._outbox:
            for fd in fds:
                os.close(fd)
        self._poll.close()
        self._control.close()
        os.close(self._end)
        os.close(self._waking)


def _execute(control: int, lifeline: int, origin: int, settings: Settings) -> int:
    """Start the supervisor as a new Python."""
    described = msgspec.json.encode(settings).decode()
    descriptors = (control, lifeline, origin)
    arguments = ["-m", "lightning.app.engines.supervisor", *map(str, descriptors), described]
    return os.posix_spawn(
        sys.executable,
        birth.python(arguments),
        {**os.environ, orphans.RUN: settings.run},
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd) for fd in descriptors],  # kept open over the exec
        setpgroup=0,
        setsigmask=signal.valid_signals(),  # until it is ready to ignore them
    )
