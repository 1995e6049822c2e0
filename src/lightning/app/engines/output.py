"""What components print, carried to the terminal: complete, in order, and without ever waiting for it.

Each work writes into pipes of its own (*sources*), and so does the flow. The relay reads them and writes to
the real stdout and stderr (*sinks*).

- Lines stay whole. What has no newline yet (a progress bar's ``\\r``) is passed on after ``PARTIAL`` seconds.
- The flow is never ahead: before something that the flow printed goes out, everything goes out that works
  had printed by then.
- A slow terminal stops the writers, not the relay. A sink holds ``BOUND`` bytes; beyond that its sources are
  not read, their pipes fill up, and who prints waits.
- A sink that is gone (``| head``) or fails (a full disk) swallows, and says so once. Works live on.
- What is printed can be kept, too (``keep``); it is written there before a sink gets it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import selectors
import socket
import stat
import struct
import termios
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from lightning.app.journal.output import OutputWriter, Track

PARTIAL = 0.05
BOUND = 1 << 20
_CHUNK = 1 << 16
_PIECES = 64


def same_file(one: int, other: int) -> bool:
    """Whether two descriptors lead to the same place: then one pipe can serve both and keep their order."""
    first, second = os.fstat(one), os.fstat(other)
    return (first.st_dev, first.st_ino, first.st_rdev) == (second.st_dev, second.st_ino, second.st_rdev)


class Sink:
    """One real destination. What it cannot take now, waits in it."""

    def __init__(
        self, fd: int, name: str, selector: selectors.BaseSelector, notice: Callable[[str], None]
    ) -> None:
        self.sources: set[Source] = set()
        self.paused = False
        self.size = 0
        self._name = name
        self._selector = selector
        self._notice = notice
        self._waiting: deque[bytes | memoryview] = deque()
        self._broken = False
        self._blocked = False
        self._fd, self._write, self.close = _writer(fd)

    def put(self, data: bytes) -> None:
        if data and not self._broken:
            self._waiting.append(data)
            self.size += len(data)

    @property
    def full(self) -> bool:
        return self.size >= BOUND

    def push(self) -> None:
        """Write what the destination takes now; be called again when it takes more."""
        try:
            while self._waiting:
                self._written(self._write(list(islice(self._waiting, _PIECES))))
        except BlockingIOError:
            if not self._blocked:
                self._selector.register(self._fd, selectors.EVENT_WRITE, self.push)
                self._blocked = True
            return
        except OSError as error:
            self._break(error)
        if self._blocked:
            self._selector.unregister(self._fd)
            self._blocked = False

    def wait(self, seconds: float) -> None:
        """Until it takes more, or the time is over."""
        room = select.poll()
        room.register(self._fd, select.POLLOUT)
        room.poll(seconds * 1000)

    def _written(self, count: int) -> None:
        self.size -= count
        while count:
            first = self._waiting[0]
            if count < len(first):
                self._waiting[0] = memoryview(first)[count:]
                return
            count -= len(first)
            self._waiting.popleft()

    def _break(self, error: OSError) -> None:
        self._broken = True
        self._waiting.clear()
        self.size = 0
        what = "nobody reads it any more" if error.errno == errno.EPIPE else error.strerror
        self._notice(f"{self._name} does not take output ({what}): what is printed from here on is dropped")


class Source:
    """One pipe that somebody prints into."""

    def __init__(self, fd: int, sink: Sink, *, flow: bool, track: Track | None) -> None:
        self.fd = fd
        self.sink = sink
        self.track = track
        self.flow = flow
        self.held = b""  # a line without its end
        self.open = True


class Relay:
    """Reads sources, writes sinks. Its selector is its owner's, who calls the ``data`` of what is ready."""

    def __init__(
        self, selector: selectors.BaseSelector, notice: Callable[[str], None], out: int = 1, err: int = 2
    ) -> None:
        self._selector = selector
        self._out = Sink(out, "stdout", selector, notice)
        self.merged = same_file(out, err)
        self._err = self._out if self.merged else Sink(err, "stderr", selector, notice)
        self._sinks = [self._out] if self.merged else [self._out, self._err]
        self._sources: dict[int, Source] = {}
        self._due: dict[Source, float] = {}
        self._writer: OutputWriter | None = None
        self._masks = False

    def keep(self, writer: OutputWriter, *, masks: bool = False) -> None:
        """Keep what is printed by whoever is added from here on; with ``masks``, sinks get it masked, too."""
        self._writer = writer
        self._masks = masks

    def add(self, *fds: int, name: str = "", flow: bool = False) -> list[Source]:
        """Carry what arrives in these: stdout and stderr, or one pipe for both. What has a name, is kept."""
        if len(fds) == 1:
            return [self._add(fds[0], self._out, name, "both", flow)]
        streams = zip(fds, (self._out, self._err), ("out", "err"), strict=True)
        return [self._add(fd, sink, name, stream, flow) for fd, sink, stream in streams]

    def add_error(self, fd: int, name: str = "") -> Source:
        """Carry what arrives here to stderr."""
        return self._add(fd, self._err, name, "err", False)

    def _add(self, fd: int, sink: Sink, name: str, stream: str, flow: bool) -> Source:
        os.set_blocking(fd, False)
        track = self._writer.track(name, stream) if self._writer is not None and name else None
        source = Source(fd, sink, flow=flow, track=track)
        self._sources[fd] = source
        sink.sources.add(source)
        if not sink.paused:
            self._watch(source)
        return source

    def _watch(self, source: Source) -> None:
        self._selector.register(source.fd, selectors.EVENT_READ, lambda: self._ready(source))

    def _ready(self, source: Source) -> None:
        if not source.open:
            return  # it ended earlier in this round
        try:
            data = os.read(source.fd, _CHUNK)
        except BlockingIOError:
            return  # it was read earlier in this round
        if source.flow and data:
            self._let_works_go_first()
        self._take(source, data)

    def _let_works_go_first(self) -> None:
        for key, _ in self._selector.select(0):
            source = self._sources.get(key.fd)
            if source is not None and not source.flow:
                self._take(source, os.read(source.fd, _CHUNK))
        for source in [source for source in self._due if not source.flow]:
            self._pass_on(source)

    def _take(self, source: Source, data: bytes) -> None:
        if not data:
            self._close(source)
            return
        if source.track is not None:
            kept = source.track.add(data)
            if self._masks:
                data = kept
        cut = data.rfind(b"\n") + 1
        if cut:
            if source.held:
                self._pass_on(source)
            if cut == len(data):
                source.sink.put(data)
                return
            source.sink.put(data[:cut])
            data = data[cut:]
        source.held += data
        if len(source.held) >= _CHUNK:
            self._pass_on(source)
        else:
            self._due.setdefault(source, time.monotonic() + PARTIAL)

    def _pass_on(self, source: Source) -> None:
        """Let go of a line that has no end."""
        source.sink.put(source.held)
        source.held = b""
        self._due.pop(source, None)

    def _close(self, source: Source) -> None:
        self._pass_on(source)
        if source.track is not None:
            rest = source.track.end()
            if self._masks:
                source.sink.put(rest)
        source.open = False
        source.sink.sources.discard(source)
        if not source.sink.paused:
            self._selector.unregister(source.fd)
        del self._sources[source.fd]
        os.close(source.fd)

    def drain(self, sources: Sequence[Source]) -> None:
        """Take in what has been written so far, whoever holds the other ends, however full the sinks."""
        for source in sources:
            while source.open and (size := _readable(source.fd)):
                data = os.read(source.fd, size)
                self._take(source, data)
                if len(data) == size:
                    break  # all that was there when we looked; a writer that lives may go on for ever
            if source.open:
                self._pass_on(source)

    def drain_all(self) -> None:
        """Take in everything written so far, works before the flow."""
        flow = [source for source in self._sources.values() if source.flow]
        marks = [(source, _readable(source.fd)) for source in flow]
        self.drain([source for source in self._sources.values() if not source.flow])
        for source, size in marks:
            if size:
                self._take(source, os.read(source.fd, size))
            if source.open:
                self._pass_on(source)

    @property
    def idle(self) -> bool:
        """Whether everything taken in is written."""
        return not any(sink.size for sink in self._sinks)

    def timeout(self, now: float) -> float | None:
        """How long until a partial line is due."""
        return max(0.0, min(self._due.values()) - now) if self._due else None

    def push(self, now: float) -> None:
        """At the end of a round: pass on what is due, write what can be written, stop or resume reading."""
        if self._writer is not None:
            self._writer.flush()
        for source in [source for source, due in self._due.items() if due <= now]:
            self._pass_on(source)
        for sink in self._sinks:
            if sink.size:
                sink.push()
            if sink.full and not sink.paused:
                sink.paused = True
                for source in sink.sources:
                    self._selector.unregister(source.fd)
            elif sink.paused and sink.size < BOUND // 2:
                sink.paused = False
                for source in sink.sources:
                    self._watch(source)

    def close(self) -> None:
        """Carry nothing more."""
        for source in list(self._sources.values()):
            self._close(source)
        if self._writer is not None:
            self._writer.close()
        for sink in self._sinks:
            sink.close()

    def finish(self, patience: float) -> None:
        """Write what waits, as long as it gets less; give up when nothing moved for ``patience`` seconds."""
        if self._writer is not None:
            self._writer.flush()
        for sink in self._sinks:
            sink.push()
            deadline, size = time.monotonic() + patience, sink.size
            while sink.size and (left := deadline - time.monotonic()) > 0:
                sink.wait(left)
                sink.push()
                if sink.size < size:
                    deadline, size = time.monotonic() + patience, sink.size


def _readable(fd: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0])


_Pieces = list[bytes | memoryview]


def _writer(fd: int) -> tuple[int, Callable[[_Pieces], int], Callable[[], None]]:
    """A descriptor to wait for, a write that never waits, and what closes what was opened for it.

    O_NONBLOCK belongs to the open file, which is shared with the shell and whoever else has it; so a
    terminal or pipe is opened once more, for us. Where that is refused (a terminal of another user), no more
    is written at once than poll promises room for.
    """
    kind = os.fstat(fd).st_mode
    if stat.S_ISSOCK(kind):
        peer = socket.socket(fileno=os.dup(fd))
        return peer.fileno(), lambda pieces: peer.sendmsg(pieces, [], socket.MSG_DONTWAIT), peer.close
    if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
        try:
            own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            room = select.poll()
            room.register(fd, select.POLLOUT)

            def careful(pieces: _Pieces) -> int:
                if not room.poll(0):
                    raise BlockingIOError
                return os.write(fd, pieces[0][: select.PIPE_BUF])

            return fd, careful, lambda: None
        return own, lambda pieces: os.writev(own, pieces), lambda: os.close(own)
    return fd, lambda pieces: os.writev(fd, pieces), lambda: None  # a file: it never says "later"
