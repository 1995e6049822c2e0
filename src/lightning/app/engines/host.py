"""The process of a work, from its first line to its last.

The main thread runs the user's code, and between calls it reads the channel itself, so that a short call
costs no change of threads. While a call runs, a listener takes what comes: it waits on an epoll of its own,
which the main thread arms before the user's code and disarms after it, without waking anybody.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import Any

from lightning.app.core.component import ELSEWHERE
from lightning.app.engines.channel import Channel
from lightning.app.engines.live import Host, WorkStopped
from lightning.app.errors import ChannelClosed
from lightning.app.kernel import messages as m

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_current: Host | None = None


def current() -> Host | None:
    """The host of this process; None outside a work's process."""
    return _current


def main(sock: socket.socket, app: Any = None) -> int:
    """Be the work that the first message describes, until told to end. Returns the exit code."""
    if app is not None:
        for component in app.root._walk():
            component._binding = ELSEWHERE
            if component._kind == "work":
                component._bind(ELSEWHERE, records=True)
    return Resident(sock).live()


class Resident:
    """A host with a process of its own: threads, signals, and waiting."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self.channel = Channel(sock, m.ToHost, patient=True)
        self.host = Host(self.channel)
        self.host.wait_for_room = self._wait_for_room
        self.host.after_write = self._after_write
        self._main = threading.get_ident()
        self._reading = threading.Lock()
        self._armed = False
        self._waiting = False  # the main thread waits for a message: it may be interrupted there
        self._ending = False  # it is on its way out: it is not interrupted any more
        self._listener: threading.Thread | None = None
        self._epoll = select.epoll()
        self._epoll.register(sock.fileno(), 0)

    def live(self) -> int:
        global _current
        _current = self.host
        signal.signal(signal.SIGTERM, self._terminate)
        os.register_at_fork(after_in_child=self._forked)
        begun = False
        try:
            begun = self._begin()
            if begun:
                self._serve()
        except (WorkStopped, ChannelClosed):
            pass
        self._ending = True
        if begun:
            self.host.leave()
        return 0

    def _begin(self) -> bool:
        while True:
            frames = self._receive()
            for position, (seq, _, message) in enumerate(frames):
                if isinstance(message, m.Begin):
                    self.channel.acknowledge(seq)
                    if not self.host.begin(message, _load_app):
                        return False
                    self.host.say(m.Ready(os.getpid()))
                    self.host.take(frames[position + 1 :])
                    return True

    def _serve(self) -> None:
        host = self.host
        while not host.stopping:
            if host.calls:
                self._run(host.calls.popleft())
            else:
                host.take(self._receive())

    def _receive(self) -> list[tuple[int, int, m.Message]]:
        self._waiting = True
        try:
            if self.host.stopping:
                raise WorkStopped
            return self.channel.receive(wait=True)
        finally:
            self._waiting = False

    def _run(self, call: m.Call) -> None:
        if self._listener is None:
            self._listener = threading.Thread(target=self._listen, name="lightning-listener", daemon=True)
            self._listener.start()
        self._armed = True
        self._epoll.modify(self.channel, select.EPOLLIN)
        try:
            reply = self.host.execute(call)
        finally:
            self._epoll.modify(self.channel, 0)
            with self._reading:
                self._armed = False
        self.host.say(reply)  # disarmed: what this brings is for the main thread

    # -- while a call runs ------------------------------------------------------------------------

    def _listen(self) -> None:
        while True:
            self._epoll.poll()
            with self._reading:
                if not self._armed:
                    continue
                try:
                    frames = self.channel.receive()
                except ChannelClosed:
                    self._epoll.modify(self.channel, 0)
                    self._interrupt()
                    return
                self.host.take(frames)
                if self.host.stopping:
                    self._interrupt()

    def _interrupt(self) -> None:
        """Out of the user's code, wherever the main thread is."""
        self.host.stopping = True
        signal.pthread_kill(self._main, signal.SIGTERM)

    def _wait_for_room(self) -> None:
        """Too much is unacknowledged: wait until the runtime has caught up."""
        while self.channel.crowded and not self.host.stopping:
            if self._armed and threading.get_ident() != self._listener_id():
                time.sleep(0.001)
            else:
                self.host.take(self.channel.receive(wait=True))

    def _listener_id(self) -> int | None:
        return self._listener.ident if self._listener is not None else None

    def _after_write(self) -> None:
        if self.host.stopping and not self._ending and threading.get_ident() == self._main:
            raise WorkStopped

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self.host.stopping = True
        if self._ending:
            return
        if self._waiting or frame is None or not frame.f_code.co_filename.startswith(_OURS):
            raise WorkStopped

    def _forked(self) -> None:
        """A process that the work forked (a data loader's, say) is no work: it must not speak for one."""
        global _current
        _current = None
        self.host.deaf = True
        self.host.lock = threading.RLock()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.close(self.channel.fileno())
        self._epoll.close()


def _load_app(message: m.Begin) -> None:
    """Import the app's file, unless this process was forked from one that had."""
    if message.app_file and message.app_module not in sys.modules:
        from importlib import import_module

        import_module("lightning.app.runtime.loader").load_module(message.app_file, message.app_module)


if __name__ == "__main__":
    from lightning.app.engines import host

    code = host.main(socket.socket(fileno=int(sys.argv[-1])))
    sys.exit(code)
