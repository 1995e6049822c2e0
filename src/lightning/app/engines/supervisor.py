"""The parent of every work: starts them, carries their output, stops them, and ends all when orphaned.

It is forked from the runtime right after the app's import, so that works forked from it have everything
imported, or else started by exec (``process.py`` decides). It has one thread, which waits on one selector and
never blocks: PDEATHSIG follows the forking thread, and a stop must get through whatever the terminal does.

*What is left of a work.* A work is the head of a process group. When it has ended, its group is killed, or,
if it had been asked to stop, given the rest of the grace. What left the group becomes a child of the
supervisor when its parent dies, and is recognised by its marks (``orphans.py``) or by its cgroup, which is
killed as a whole at the end (``cgroups.py``).

*The runtime is gone* when its pidfd says so or the control socket ends: everything below is killed, with no
grace, until no child is left.
"""

from __future__ import annotations

import errno
import gc
import os
import pkgutil
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec

from lightning.app import pdb
from lightning.app.core.app import LightningApp
from lightning.app.core.component import send_elsewhere
from lightning.app.engines import birth, cgroups, files, orphans
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
from lightning.app.engines.output import Relay, Source
from lightning.app.journal.output import OutputWriter

Body = Callable[[socket.socket, object], int]
"""What a forked work does with its channel and the app; its answer is the exit code."""

_SERVER_STARTS = 4
_ORDERS_A_ROUND = 16  # then output and exits get their turn
_LARGEST = 1 << 20


@dataclass(eq=False)
class Child:
    """A work's process, or the server's (whose number is 0)."""

    number: int
    name: str
    pid: int
    sources: list[Source] = field(default_factory=list)
    cgroup: str = ""
    deadline: float | None = None  # stop it by force then
    grace: float = 0.0
    forced: bool = False
    asked: set[int] = field(default_factory=set)  # what had left its group, and was asked to end too


class Supervisor:
    def __init__(
        self,
        control: socket.socket,
        lifeline: int,
        origin: int,
        settings: Settings,
        kept: list[int],
        app: object,
        body: Body | None,
    ) -> None:
        self._control = control
        self._settings = settings
        self._origin = origin
        self._first_folder = Origin.read(origin).first_folder
        self._kept = kept
        self._app = app
        self._body = body
        self._me = os.getpid()
        self._plate = orphans.Nameplate()
        self._plate.show(f"lightning: supervisor of {settings.run}", {orphans.RUN: settings.run})
        self._selector = selectors.DefaultSelector()
        self._relay = Relay(self._selector, lambda text: self._tell(Noted(text)))
        self._orders = msgspec.msgpack.Decoder(Order)
        self._news = msgspec.msgpack.Encoder()
        self._outbox: deque[bytes] = deque()
        self._awaiting_room = False
        self._children: dict[int, Child] = {}  # by pid
        self._works: dict[int, Child] = {}  # by number
        self._fading: dict[int, Child] = {}  # ended, but what they started still has grace
        self._emptying: list[str] = []  # cgroups in which everything has been killed
        self._service: tuple[Serve, int] | None = None
        self._server: Child | None = None
        self._server_starts = 0
        self._syncs = 0
        self._closing: float | None = None
        self._orphaned = False
        self._finished = False
        self._memory_kills = orphans.memory_kills()
        pdb.remember_foreground()
        control.setblocking(False)
        self._selector.register(control, selectors.EVENT_READ, self._talk)
        self._selector.register(lifeline, selectors.EVENT_READ, self._runtime_gone)
        self._selector.register(birth.wake_on_children(), selectors.EVENT_READ, self._reap)

    def run(self) -> None:
        """Until the runtime is done or gone, and with it everything below."""
        try:
            self._rounds()
        finally:
            self._relay.close()

    def _rounds(self) -> None:
        while not self._finished:
            for key, _ in self._selector.select(self._timeout()):
                key.data()
                if self._orphaned:
                    self._end_everything()
                    return
            now = time.monotonic()
            self._enforce(now)
            self._relay.push(now)
            if self._syncs and self._relay.idle:
                self._syncs -= 1
                self._tell(Synced())
            if self._closing is not None:
                self._close_if_empty()
            self._send()

    def _timeout(self) -> float | None:
        now = time.monotonic()
        waits = [child.deadline - now for child in self._children.values() if child.deadline is not None]
        waits += [child.deadline - now for child in self._fading.values() if child.deadline is not None]
        if (partial := self._relay.timeout(now)) is not None:
            waits.append(partial)
        return max(0.0, min(waits)) if waits else None

    # -- the runtime ------------------------------------------------------------------------------

    def _talk(self) -> None:
        self._send()
        for _ in range(_ORDERS_A_ROUND):
            try:
                data, fds, flags, _ = socket.recv_fds(self._control, _LARGEST, 4, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except OSError:
                data, fds, flags = b"", [], 0
            if not data:
                self._runtime_gone()
                return
            self._obey(self._orders.decode(data), fds, whole=not flags & socket.MSG_CTRUNC)

    def _obey(self, order: Order, fds: list[int], *, whole: bool) -> None:
        match order:
            case Start():
                self._start(order, fds, whole=whole)
            case Stop():
                if (child := self._works.get(order.process)) is not None:
                    self._stop(child, order.grace)
            case Serve():
                self._service = (order, fds[0])
                self._start_server()
            case Carry():
                self._relay.add(*fds, name="flow", flow=True)
            case Sync():
                self._relay.drain_all()
                self._syncs += 1
            case Shutdown():
                self._shut_down(order.grace)
            case Keep():
                writer = OutputWriter(
                    order.folder, order.bound, order.secrets, lambda text: self._tell(Noted(text))
                )
                self._relay.keep(writer, masks=order.masks)

    def _tell(self, news: News) -> None:
        self._outbox.append(self._news.encode(news))

    def _send(self) -> None:
        try:
            while self._outbox:
                self._control.send(self._outbox[0])
                self._outbox.popleft()
        except BlockingIOError:
            self._await_room(True)
        except OSError:
            self._runtime_gone()
        else:
            self._await_room(False)

    def _await_room(self, wanted: bool) -> None:
        if wanted is not self._awaiting_room:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
            self._selector.modify(self._control, events, self._talk)
            self._awaiting_room = wanted

    def _runtime_gone(self) -> None:
        self._orphaned = True

    # -- starting ---------------------------------------------------------------------------------

    def _start(self, order: Start, fds: list[int], *, whole: bool) -> None:
        try:
            if self._closing is not None:
                raise OSError(errno.ECANCELED, "the app is ending")
            if not whole or not fds:
                raise OSError(errno.EMFILE, "too many open files")
            child = self._launch(order, fds[0])
        except OSError as error:
            self._tell(Ended(order.process, f"could not be started: {_remedy(error, len(self._works))}"))
        else:
            self._works[child.number] = child
            self._tell(Began(child.number, child.pid))
        finally:
            for fd in fds:
                os.close(fd)

    def _launch(self, order: Start, channel: int) -> Child:
        marks = {
            **order.environment,
            orphans.RUN: self._settings.run,
            orphans.WORK: order.work,
            orphans.PROCESS: str(order.process),
        }
        reads, writes = self._pipes()
        cgroup = cgroups.make_inner(self._settings.cgroup, order.process)
        try:
            pid = birth.fork(self._me)
            if pid == 0:
                self._live(order, channel, writes, marks, cgroup)
        except OSError:
            for fd in reads:
                os.close(fd)
            self._emptying.append(cgroup)
            raise
        finally:
            for fd in writes:
                os.close(fd)
        sources = self._relay.add(*reads, name=order.work)
        child = Child(order.process, order.work, pid, sources, cgroup)
        self._children[pid] = child
        return child

    def _pipes(self) -> tuple[list[int], list[int]]:
        reads, writes = [], []
        try:
            for _ in range(1 if self._relay.merged else 2):
                read, write = os.pipe()
                reads.append(read)
                writes.append(write)
                files.keep_spare(write)
        except OSError:
            for fd in reads + writes:
                os.close(fd)
            raise
        return reads, writes

    def _live(
        self, order: Start, channel: int, writes: list[int], marks: dict[str, str], cgroup: str
    ) -> NoReturn:
        with birth.last_breath():
            cgroups.enter(cgroup)
            birth.take_streams(writes[0], writes[-1])
            origin = [self._origin] if order.method == "spawn" else []
            birth.close_all_but([*self._kept, channel, *origin], self._settings.files)
            if order.method == "spawn":
                arguments = [*self._settings.program, "--fd", str(channel), "--origin", str(self._origin)]
                birth.become(arguments, [channel, self._origin], marks, self._first_folder)
            birth.settle(self._plate, f"lightning: {order.work} of {self._settings.run}", marks)
            if self._body is None:
                raise RuntimeError(f"{order.work} was to be forked from a supervisor without the app")
            birth.leave(self._body(socket.socket(fileno=channel), self._app))

    def _start_server(self) -> None:
        if self._service is None or self._closing is not None:
            return
        order, listener = self._service
        self._server_starts += 1
        ends: tuple[int, ...] = ()
        try:
            read, write = ends = os.pipe()
            pid = birth.fork(self._me)
        except OSError as error:
            for fd in ends:
                os.close(fd)
            self._tell(Noted(f"the server could not be started: {_remedy(error, len(self._works))}"))
            return
        if pid == 0:
            with birth.last_breath():
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                birth.take_streams(write, write)
                birth.close_all_but([*self._kept, listener], self._settings.files)
                marks = {orphans.RUN: self._settings.run}
                birth.settle(self._plate, f"lightning: server of {self._settings.run}", marks)
                birth.leave(pkgutil.resolve_name(order.main)(listener, **order.arguments) or 0)
        os.close(write)
        self._server = Child(0, "server", pid, [self._relay.add_error(read, "server")])
        self._children[pid] = self._server

    # -- ending -----------------------------------------------------------------------------------

    def _stop(self, child: Child, grace: float) -> None:
        child.grace = grace
        if grace <= 0:
            self._force(child)
            return
        deadline = time.monotonic() + grace
        child.deadline = deadline if child.deadline is None else min(child.deadline, deadline)
        _signal_group(child, signal.SIGTERM)

    def _force(self, child: Child) -> None:
        child.forced = True
        child.deadline = None
        _signal_group(child, signal.SIGKILL)

    def _enforce(self, now: float) -> None:
        """What was asked to stop and is still there when its grace is over, ends now."""
        for child in list(self._children.values()):
            if child.deadline is not None and child.deadline <= now:
                self._force(child)
        if any(child.deadline is not None and child.deadline <= now for child in self._fading.values()):
            self._hunt()

    def _reap(self) -> None:
        """Take leave of every child that ended: works, the server, and orphans that had become ours."""
        birth.awake()
        while True:
            try:
                status = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if status is None:
                break
            child = self._children.pop(status.si_pid, None)
            if child is not None:  # not reaped yet: so its number, which is its group's, cannot be given anew
                self._ended(child, status)
            os.waitpid(status.si_pid, 0)
            pdb.give_back(
                status.si_pid
            )  # only now: a prompt that ends just before may still give it to the dead
        if not (self._closing is not None and self._closing <= time.monotonic()):
            self._hunt()
        self._emptying = [cgroup for cgroup in self._emptying if not cgroups.remove(cgroup)]

    def _ended(self, child: Child, status: os.waitid_result) -> None:
        if child.deadline is not None and child.deadline > time.monotonic():
            self._fading[child.number] = child
        else:
            _signal_group(child, signal.SIGKILL)
            self._empty(child.cgroup)
        self._relay.drain(child.sources)
        if child is self._server:
            self._server_ended(orphans.reason(status))
            return
        del self._works[child.number]
        self._tell(Ended(child.number, self._why(child, status)))

    def _why(self, child: Child, status: os.waitid_result) -> str:
        why = orphans.reason(status)
        if status.si_code == os.CLD_EXITED or status.si_status != signal.SIGKILL:
            return why
        if child.forced:
            return f"{why}, {child.grace:g} s after it was asked to stop" if child.grace > 0 else why
        if (kills := orphans.memory_kills()) > self._memory_kills:
            self._memory_kills = kills
            why += " (possibly out of memory: the kernel has just ended a process for lack of it)"
        return why

    def _server_ended(self, why: str) -> None:
        self._server = None
        if self._closing is not None:
            return
        if self._server_starts < _SERVER_STARTS:
            self._tell(Noted(f"the server ended ({why or 'exit code 0'}) and is started again"))
            self._start_server()
        else:
            self._tell(
                Noted(f"the server ended {_SERVER_STARTS} times ({why or 'exit code 0'}) and stays so")
            )

    def _hunt(self) -> bool:
        """End what has become our child and whose work has ended; answer whether some still has grace."""
        now = time.monotonic()
        spared = False
        fading = {child.pid: child for child in self._fading.values()}
        for pid in orphans.children():
            if pid in self._children:
                continue
            number = orphans.marks(pid).get(orphans.PROCESS) or cgroups.number_of(self._settings.cgroup, pid)
            group = os.getpgid(pid)
            if group in self._children or (number and int(number) in self._works):
                continue
            work = self._fading.get(int(number)) if number else fading.get(group)
            if work is not None and work.deadline is not None and work.deadline > now:
                spared = True
                if group != work.pid and pid not in work.asked:  # those in its group have been asked
                    work.asked.add(pid)
                    os.kill(pid, signal.SIGTERM)
            elif work is not None or number:
                os.kill(pid, signal.SIGKILL)
        if not spared:
            for child in self._fading.values():
                self._empty(child.cgroup)
            self._fading.clear()
        return spared

    def _empty(self, cgroup: str) -> None:
        """End what is in it; it is removed when that is gone, which is told as the end of a child."""
        if cgroup and not cgroups.remove(cgroup):
            cgroups.kill(cgroup)
            self._emptying.append(cgroup)

    def _shut_down(self, grace: float) -> None:
        self._closing = time.monotonic() + grace
        for child in list(self._children.values()):
            self._stop(child, grace)

    def _close_if_empty(self) -> None:
        if self._children or (self._fading and self._hunt()):
            return
        leftovers = orphans.end_children() + cgroups.end(self._settings.cgroup, patience=2.0)
        self._relay.drain_all()
        self._relay.finish(patience=2.0)
        self._tell(Finished(leftovers))
        self._control.setblocking(True)
        self._send()
        self._finished = True

    def _end_everything(self) -> None:
        for child in self._children.values():
            _signal_group(child, signal.SIGKILL)
            pdb.give_back(child.pid)
        cgroups.kill(self._settings.cgroup)
        orphans.end_children()
        orphans.sweep(self._settings.run, cgroup=self._settings.cgroup)
        self._relay.drain_all()
        self._relay.finish(patience=0.3)


def _signal_group(child: Child, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _remedy(error: OSError, works: int) -> str:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return files.too_many(works)
    if error.errno == errno.EAGAIN:
        return f"no more processes are allowed with {works} works running; raise the limit (ulimit -u)"
    return error.strerror or str(error)


def supervise(
    control: socket.socket, lifeline: int, origin: int, settings: Settings, app: object, body: Body | None
) -> NoReturn:
    """Be the supervisor, in a process made for it, until the runtime is done or gone."""
    with birth.last_breath():
        kept = birth.withdraw([control.fileno(), lifeline, origin])
        orphans.adopt_orphans(True)
        os.environ[orphans.RUN] = settings.run
        if settings.forks and body is None:
            from lightning.app.engines import host

            body = host.main
        if isinstance(app, LightningApp):
            send_elsewhere(app.root)  # each work gets an object of its own; these are the runtime's
        gc.freeze()  # so that collections in works do not touch, and copy, what they share with us
        Supervisor(control, lifeline, origin, settings, kept, app, body).run()
        birth.leave(0)


if __name__ == "__main__":
    _control, _lifeline, _origin, _settings = sys.argv[1:]
    supervise(
        socket.socket(fileno=int(_control)),
        int(_lifeline),
        int(_origin),
        msgspec.json.decode(_settings, type=Settings),
        None,
        None,
    )
