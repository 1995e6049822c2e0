"""Works without processes: they run in the runtime's own thread, at their turn. For tests and --debug.

The same ``Host`` as in a process of its own, over the same kind of channel, whose stream is in memory. A call
runs to its end when it is taken up in ``ready``; what it wrote then lies in the channel, in order. Calls are
stopped between, not within.
"""

from __future__ import annotations

import os
import select
from collections import deque
from contextlib import suppress

from lightning.app.engines.channel import Channel
from lightning.app.engines.engine import Exited, Placement, Report, Started
from lightning.app.engines.host import Host
from lightning.app.errors import ChannelClosed
from lightning.app.kernel.messages import Begin, Call, Message, Stop, ToHost, ToRuntime, Write


class _Wire:
    """One end of a stream in memory. It never takes too long and never takes too much.

    Its descriptor is readable while something waits to be read, or when the other end is closed.
    """

    def __init__(self) -> None:
        self.other = self
        self._waiting: deque[memoryview] = deque()
        self._readable = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._open = True

    @classmethod
    def pair(cls) -> tuple[_Wire, _Wire]:
        one, two = cls(), cls()
        one.other, two.other = two, one
        return one, two

    def send(self, data: bytes | memoryview, flags: int = 0, /) -> int:
        if not self.other._open:
            raise BrokenPipeError("the other end is closed")
        self.other._waiting.append(memoryview(data))
        self.other._wake()
        return len(data)

    def recv_into(self, buffer: memoryview, nbytes: int = 0, flags: int = 0, /) -> int:
        if not self._waiting:
            if not self.other._open:
                return 0
            raise BlockingIOError("nothing waits to be read")
        size = 0
        while self._waiting and size < len(buffer):
            data = self._waiting.popleft()
            part = min(len(data), len(buffer) - size)
            buffer[size : size + part] = data[:part]
            size += part
            if part < len(data):
                self._waiting.appendleft(data[part:])
        if not self._waiting and self.other._open:
            os.eventfd_read(self._readable)
        return size

    def _wake(self) -> None:
        if self._open:
            os.eventfd_write(self._readable, 1)

    def fileno(self) -> int:
        return self._readable if self._open else -1

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self._readable)
            self.other._wake()


class InlineWorker:
    """One work that lives here."""

    def __init__(self, engine: InlineEngine, placement: Placement) -> None:
        ours, theirs = _Wire.pair()
        self.placement = placement
        self.reason = ""
        self._engine = engine
        self._channel = Channel(ours, ToRuntime)
        self._hosts_end = Channel(theirs, ToHost)
        self._host = Host(self._hosts_end)
        self._stopping = False

    @property
    def channel(self) -> Channel:
        return self._channel

    def stop(self, grace: float) -> None:
        """Between two calls, or before the first."""
        self._stopping = True
        self._engine.wake()

    def work(self) -> bool:
        """Do what was asked for; False when this was the last."""
        with self._host.present():
            try:
                while not self._stopping and (said := self._hosts_end.receive()):
                    for seq, acknowledged, message in said:
                        if not self._stopping and not self._take(seq, acknowledged, message):
                            self._stopping = True
                            self.reason = "exit code 1"
                self._host.live.settle()
            except ChannelClosed:
                self._stopping = True
        return not self._stopping

    def _take(self, seq: int, acknowledged: int, message: Message) -> bool:
        host = self._host
        if isinstance(message, Write):
            host.live.take(seq, acknowledged, message.deltas)
            return True
        host.live.hear(seq, acknowledged)
        match message:
            case Begin():
                return host.open(message) and host.start()
            case Call():
                host.answer(host.run(message))
            case Stop():
                self._stopping = True
        return True

    def leave(self) -> None:
        """The orderly end."""
        with self._host.present():
            self._host.leave()
        self.drop()

    def drop(self) -> None:
        """The end as by a kill."""
        self._hosts_end.close()

    def fileno(self) -> int:
        """Readable while the runtime has something for it."""
        return self._hosts_end.fileno()


class InlineEngine:
    """Places works in the runtime's own process."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._workers: list[InlineWorker] = []
        self._news: deque[Started | Exited] = deque()
        self._poll = select.epoll()
        self._waking = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._waking, select.EPOLLIN)

    def start(self, placement: Placement) -> InlineWorker:
        worker = InlineWorker(self, placement)
        self._workers.append(worker)
        self._poll.register(worker, select.EPOLLIN)
        self._news.append(Started(placement.work, placement.generation, os.getpid(), "inline"))
        self.wake()
        return worker

    def wake(self) -> None:
        os.eventfd_write(self._waking, 1)

    def filenos(self) -> list[int]:
        return [self._poll.fileno()]

    def ready(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._waking)
        for worker in list(self._workers):
            if not worker.work():
                self._workers.remove(worker)
                self._poll.unregister(worker)
                worker.leave()
                self._news.append(Exited(worker.placement.work, worker.placement.generation, worker.reason))
        while self._news:
            self._report(self._news.popleft())

    def close(self, grace: float) -> None:
        """With some grace in order, with none as by a kill."""
        while self._workers:
            worker = self._workers.pop()
            self._poll.unregister(worker)
            if grace > 0:
                worker.leave()
            else:
                worker.drop()
        if not self._poll.closed:
            self._poll.close()
            os.close(self._waking)
