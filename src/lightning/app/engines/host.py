"""The host of one work: opens its object, runs its calls, says goodbye. And the process it lives in.

``Host`` knows no threads and no signals: messages go in, answers come out. ``Life`` is a process around it.
The main thread runs the user's code, and reads the channel itself while nothing runs, so that a short call
costs no change of threads. While user's code runs, a listener thread takes what arrives. It sleeps on an
epoll of its own, where the main thread switches the channel on and off without waking it.

A stop is a SIGTERM, from whomever: it ends what the main thread does by ``WorkStopped``, except in the middle
of a write to the channel, which it lets finish first.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import Any

from lightning.app import pdb
from lightning.app.core.tracebacks import user_traceback
from lightning.app.core.work import LightningWork
from lightning.app.engines import birth
from lightning.app.engines.answering import Answering
from lightning.app.engines.channel import Channel, TooLarge
from lightning.app.engines.live import BREAKABLE, UNBROKEN, Live
from lightning.app.engines.origin import Origin
from lightning.app.errors import ChannelClosed, LightningError, ProtocolError, StateValueError, WorkError
from lightning.app.kernel.messages import (
    Begin,
    Broken,
    Call,
    Delta,
    Left,
    Message,
    Moved,
    Noticed,
    Raised,
    Ready,
    Returned,
    Stop,
    ToHost,
    Write,
)
from lightning.app.kernel.values import Carried, Pickled, pack, unpack
from lightning.app.storage import home, progress
from lightning.app.storage.mounts import shown

LARGEST_RESULT = 16 << 20
_LONGEST_MESSAGE = 64 << 10
_LONGEST_TRACEBACK = 1 << 20
_END_OF_INPUT = "EOF when reading a line"  # says ``input()``
_NO_INPUT = "a work has no terminal to ask at: pass it in as an argument of run or as an attribute"


class WorkStopped(BaseException):
    """The work is being stopped. Raised in ``run``, past every ``except Exception``."""


_current: Host | None = None


def current() -> Host | None:
    """The host whose work's code is running here; None in the runtime and outside an app."""
    return _current


class Host:
    """One work and its channel."""

    work: LightningWork

    def __init__(self, channel: Channel, origin: Origin | None = None) -> None:
        """``origin``: in a process that has not inherited the app."""
        self.channel = channel
        self._origin = origin
        self.live = Live(channel)
        self.name = ""
        self._answering: Answering | None = None
        self._held = ExitStack()  # what the work needs of its machine

    @contextmanager
    def present(self) -> Iterator[None]:
        """Be the current host."""
        global _current
        before, _current = _current, self
        here = home.component(), home.call()
        try:
            yield
        finally:
            _current = before
            home.be(*here)

    def open(self, message: Begin) -> bool:
        """Open the object, lay its state over it, bind it. False, after saying why, when that fails."""
        self.name = message.work
        home.be(self.name)
        try:
            if self._origin is not None and message.app_file:
                self._origin.import_app(message.app_file, message.app_module, self.name)
            work = self._unpickled(message.body)
            if not isinstance(work, LightningWork):
                raise WorkError(f"{self.name}: what arrived to be it is a {type(work).__name__}")
            self.live.bind(work, message.state)
            self.work = work
        except WorkStopped:
            raise
        except BaseException as error:
            self.live.say(Broken(*_told(error, f"opening {self.name}")))
            return False
        self._answering = Answering(self.work)
        self.live.port_read = self._answering.arm
        return True

    def _unpickled(self, body: bytes) -> Any:
        try:
            return pickle.loads(body)
        except (AttributeError, ImportError) as error:
            if self._origin is not None:
                error.add_note(
                    f"{self.name} starts as a new Python, which imports the app's file again, without what is under "
                    'if __name__ == "__main__": move the class out of there, to the level of its module'
                )
            raise

    def start(self) -> bool:
        """Run ``on_start``, and be ready for calls. False, after saying why, when that fails."""
        try:
            if mounts := self.work.cloud_compute.mounts:
                self._held.enter_context(shown(mounts))
        except LightningError as error:
            self.live.say(Broken(type(error).__qualname__, str(error), ""))  # no line of the user's raised it
            return False
        try:
            _by_user(self.work.on_start)
        except WorkStopped:
            raise
        except BaseException as error:
            self.live.say(Broken(*_told(error, "on_start")))
            return False
        self.live.say(Ready(os.getpid()))
        return True

    def run(self, call: Call) -> Returned | Raised:
        """Run one call to its end, whatever that is."""
        work = self.work
        work._call_id = call.call_id
        home.be(self.name, call.call)
        self.live.begin_call()
        try:
            try:
                args = [_opened(unpack(each)) for each in call.args]
                kwargs = {name: _opened(unpack(each)) for name, each in call.kwargs.items()}
                result = _by_user(work.run, *args, **kwargs)
            except SystemExit as error:  # the end of many a script that is now a ``run``
                if error.code is not None and error.code is not False and error.code != 0:
                    raise
                result = None
            finally:
                self.live.running = False
                work._call_id = ""
                if self._answering is not None and self._answering.armed:
                    self._answering.end()
                self.live.find_bypassed()
            self._publish()
        except WorkStopped:
            raise
        except BaseException as error:
            with suppress(LightningError):  # what is there may be what the next attempt goes on from
                self._publish()
            return self._raised(call.call, error)
        try:
            return Returned(call.call, pack(result, "the result"))
        except StateValueError as error:
            return self._raised(call.call, self._refusal(str(error)))

    def _publish(self) -> None:
        """Let others have what the call has written to files that the work's state names."""
        if "lightning.app.storage.path" in sys.modules:
            from lightning.app.storage.path import renew

            renew(self.work, self.work._state)

    def answer(self, outcome: Returned | Raised) -> None:
        """Send how a call ended, behind all that it printed and wrote."""
        _flush_output()
        try:
            self.live.say(outcome, LARGEST_RESULT)
        except TooLarge as error:
            self.live.say(self._raised(outcome.call, self._refusal(str(error))))

    def leave(self) -> None:
        """The orderly end: ``on_exit``, and goodbye."""
        if self._answering is not None:
            self.live.find_bypassed(surely=True)
            try:
                self.work.on_exit()
            except BaseException as error:
                self._notice("on_exit", error)
        self._held.close()
        _flush_output()
        self.live.say(Left())

    def _raised(self, call: int, error: BaseException) -> Raised:
        try:
            self.work.on_exception(error)
        except WorkStopped:
            raise
        except BaseException as another:
            self._notice("on_exception", another)
        return Raised(call, *_told(error, "run"))

    def _refusal(self, why: str) -> WorkError:
        code = type(self.work).run.__code__
        return WorkError(
            f"{self.name}.run ({code.co_filename}:{code.co_firstlineno}) returned what cannot be sent: {why}. "
            "For what is large or is no state value, return a Payload"
        )

    def _notice(self, hook: str, error: BaseException) -> None:
        _, message, trace = _told(error, hook)
        self.live.say(Noticed(f"{hook} failed: {trace or message}"))


def _by_user(code: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run the user's code. Where it forks and both come back, the copy ends as a script would: it is no host."""
    process = os.getpid()
    try:
        result = code(*args, **kwargs)
    except BaseException as error:
        if os.getpid() != process:
            with birth.last_breath():
                if isinstance(error, SystemExit):
                    raise
                sys.stderr.write(user_traceback(error))
                birth.leave(1)
        raise
    if os.getpid() != process:
        birth.leave(0)
    return result


def _opened(value: Any) -> Any:
    if type(value) is Pickled:
        return pickle.loads(value.data)
    if type(value) is Carried:
        from lightning.app.storage.payload import unshared  # it has come with one

        return unshared(value.payload)
    return value


def _told(error: BaseException, where: str) -> tuple[str, str, str]:
    """What is sent of an exception: its kind, its message, and the traceback in the user's own frames."""
    try:
        message = str(error)
    except Exception:
        message = "(its message could not be made)"
    if isinstance(error, SystemExit):
        message = f"{where} called sys.exit({'' if error.code is None else repr(error.code)})"
    elif isinstance(error, EOFError) and message == _END_OF_INPUT:
        message += f": {_NO_INPUT}"
        error.add_note(_NO_INPUT)
    # An error of ours about what ``run`` returned has no traceback: no line of the user's raised it.
    trace = _trace(error) if error.__traceback__ is not None else ""
    return type(error).__qualname__, _plain(message, _LONGEST_MESSAGE), trace


def _trace(error: BaseException) -> str:
    try:
        return _plain(user_traceback(error), _LONGEST_TRACEBACK)
    except Exception:  # no memory for it, or what an exception says of itself raises
        return ""


def _plain(text: str, longest: int) -> str:
    """Text that can be sent: of a bounded length, and without the halves of characters."""
    if len(text) > longest:
        left_out = f"[... {len(text) - longest} characters left out ...]"
        text = f"{text[: longest // 2]}\n{left_out}\n{text[-longest // 2 :]}"
    return text.encode("utf-8", "backslashreplace").decode()


def _flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - at every call, and suppress() takes longer than the flush
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


# -- a process ------------------------------------------------------------------------------------


def _together(said: list[tuple[int, int, Message]]) -> Iterator[tuple[int, int, Message]]:
    """Writes that follow one another and know of the same writes of ours become one: put in place at once."""
    writes: list[Delta] = []
    last = acknowledged = 0
    for seq, ack, message in said:
        if writes and not (type(message) is Write and ack == acknowledged):
            yield last, acknowledged, Write(writes)
            writes = []
        if type(message) is Write:
            writes += message.deltas
            last, acknowledged = seq, ack
        else:
            yield seq, ack, message
    if writes:
        yield last, acknowledged, Write(writes)


class Life:
    """A process, from its first message to its last."""

    def __init__(self, sock: socket.socket, origin: Origin | None = None) -> None:
        self._channel = Channel(sock, ToHost, patient=True)
        self._host = Host(self._channel, origin)
        self._live = self._host.live
        self._opened = False
        self._begun = False  # on_start has run
        self._calls: deque[Call] = deque()
        self._main = threading.get_ident()
        self._reading = threading.Lock()
        self._switch: select.epoll | None = None  # made with the listener, when user's code first runs
        self._listens = False  # whether the listener, not the main thread, reads the channel
        self._signals = -1  # where the C level of Python says that a signal came
        self._heard = False  # whether the main thread has noticed a SIGTERM
        self._stop_asked = False
        self._code = 0
        self._leaving = False

    def live(self) -> int:
        """Live; the exit code."""
        global _current
        _current = self._host
        progress.listener = self._moved
        os.register_at_fork(after_in_child=self._forked)
        try:
            signal.signal(signal.SIGTERM, self._terminated)  # which may come in this very line
            try:
                self._serve()
            except ChannelClosed:
                pass  # the runtime is gone: nothing to live for
            except ProtocolError as error:
                self._misunderstand(error)
            self._leaving = True
        except WorkStopped:
            pass
        self._live.keep_waiting(False)  # nobody reads any more
        self._host.leave()
        self._channel.close()
        return self._code

    def _serve(self) -> None:
        """Take what comes, and run it. The way of a short call: one read, one run, one write."""
        host, calls, receive = self._host, self._calls, self._channel.receive
        while True:
            self._go_on()
            for said in _together(receive(wait=True)):
                self._take(*said)
            if not self._opened:
                continue  # the object is large, and not here to its end
            if not self._begun:
                self._begin()
            if not calls:
                self._live.settle()
            while calls:
                call = calls.popleft()
                self._listen()
                try:
                    outcome = host.run(call)
                finally:
                    self._listen_no_more()
                host.answer(outcome)
                self._go_on()

    def _begin(self) -> None:
        self._go_on()
        self._listen()
        try:
            self._begun = self._host.start()
        finally:
            self._listen_no_more()
        if not self._begun:
            self._give_up()
        self._go_on()

    def _take(self, seq: int, acknowledged: int, message: Message) -> None:
        if self._opened is (type(message) is Begin):
            raise ProtocolError(
                f"a {type(message).__name__} arrived {'after' if self._opened else 'before'} Begin"
            )
        match message:
            case Write():
                self._live.take(seq, acknowledged, message.deltas)
                return
            case Call():
                self._calls.append(message)
            case Begin():
                self._opened = self._host.open(message)
                if not self._opened:
                    self._give_up()
            case Stop():
                self._stop_asked = True  # not every ``run`` lets it through
                if threading.get_ident() != self._main:
                    self._interrupt()
        self._live.hear(seq, acknowledged)

    # -- the listener -----------------------------------------------------------------------------

    def _listen(self) -> None:
        """User's code is about to run in the main thread: let the listener read."""
        if self._switch is None:
            self._switch = select.epoll()
            self._switch.register(self._channel, 0)
            self._signals, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._switch.register(self._signals, select.EPOLLIN)
            signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
            threading.Thread(target=self._read_on, name="lightning-listener", daemon=True).start()
            self._live.keep_waiting(True)
        self._listens = True
        self._switch.modify(self._channel, select.EPOLLIN)

    def _listen_no_more(self) -> None:
        """User's code is through."""
        assert self._switch is not None
        if signal.getsignal(signal.SIGTERM) != self._terminated:  # it had put another in its place
            signal.signal(signal.SIGTERM, self._terminated)
        self._switch.modify(self._channel, 0)
        with self._reading:  # it may be at it
            self._listens = False

    def _read_on(self) -> None:
        """The listener's life."""
        assert self._switch is not None
        while True:
            ((fd, events),) = self._switch.poll(maxevents=1)
            if fd == self._signals:
                if signal.SIGTERM in os.read(fd, 4096):
                    self._insist()
                continue
            with self._reading:
                if self._listens:
                    try:
                        for said in _together(self._channel.receive()):
                            self._take(*said)
                        self._live.settle()
                        continue
                    except ChannelClosed:
                        break
                    except ProtocolError as error:
                        self._misunderstand(error)
                        break
            if events & (select.EPOLLHUP | select.EPOLLERR):
                break
        self._live.keep_waiting(False)
        self._interrupt()
        self._insist()

    def _interrupt(self) -> None:
        """Get the main thread out of the user's code, as a SIGTERM from outside does."""
        time.sleep(0.001)  # it gave us the interpreter on its way into a call: let it arrive there
        signal.pthread_kill(self._main, signal.SIGTERM)

    def _insist(self) -> None:
        """A signal that comes right before a call into C is noticed only after it: repeat it until it is."""
        pause = 0.01
        while True:
            time.sleep(pause)
            if self._heard or signal.getsignal(signal.SIGTERM) != self._terminated:
                return
            signal.pthread_kill(self._main, signal.SIGTERM)
            pause = min(2 * pause, 0.25)

    def _moved(self, event: progress.Event) -> None:
        """A transfer has come farther, says the thread that moves it."""
        self._live.say(Moved(*event[1:]))
        if self._live.deferred is not None:
            self._live.deferred()

    # -- the end ----------------------------------------------------------------------------------

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM, in the main thread."""
        self._heard = True
        if self._leaving:
            return
        while frame is not None and frame.f_code not in BREAKABLE:
            if frame.f_code in UNBROKEN:
                self._live.deferred = self._stop_if_main
                return
            frame = frame.f_back
        self._stop()

    def _stop_if_main(self) -> None:
        if threading.get_ident() == self._main:
            self._stop()

    def _stop(self) -> None:
        self._leaving = True
        self._live.deferred = None
        raise WorkStopped(f"{self._host.name} is being stopped")

    def _give_up(self) -> None:
        """The work cannot begin, which was said."""
        self._code = 1
        self._stop()

    def _misunderstand(self, error: ProtocolError) -> None:
        self._code = 1
        print(f"{self._host.name or 'a work'}: {error}; its process ends", file=sys.stderr)

    def _go_on(self) -> None:
        """Whether there is to be another step: asked where nothing is broken off any more."""
        if self._leaving or self._stop_asked or self._live.deferred is not None:
            self._stop()

    def _forked(self) -> None:
        """In a process that the work has forked: this life is its parent's."""
        global _current
        if _current is self._host:
            _current = None
        self._live.separate()
        progress.listener = None
        self._channel.close()
        if self._switch is not None:
            self._switch.close()
            os.close(self._signals)
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def main(sock: socket.socket, app: object = None, origin: Origin | None = None) -> int:
    """Be the host of a work for whoever is at the other end of ``sock``. ``app`` was inherited by a fork; a
    process that inherited nothing has the ``origin`` of the runtime instead."""
    pdb.install()
    return Life(sock, origin).live()


def _spawned() -> int:
    """A process that inherited nothing but two descriptors:
    ``python -m lightning.app.engines.host --fd N --origin M``."""
    match sys.argv[1:]:
        case ["--fd", channel, "--origin", kept]:
            origin = Origin.read(int(kept))
            os.close(int(kept))
        case wrong:
            raise SystemExit(f"usage: python -m lightning.app.engines.host --fd N --origin M, not {wrong}")
    os.set_inheritable(int(channel), False)
    birth.print_by_lines(replace=True)
    # By its name, so that whoever asks for the current host asks the module that has one.
    host = import_module("lightning.app.engines.host")
    return host.main(socket.socket(fileno=int(channel)), origin=origin)  # type: ignore[no-any-return]


if __name__ == "__main__":
    with birth.last_breath():
        birth.leave(_spawned())
