"""A work in its own process, apart from how that process waits: its object, its calls, its state.

``Host`` takes messages and says others; ``host.py`` gives it a process with threads and signals, ``inline.py``
a place in the runtime's own. Its lock makes the order in which changes are applied the order in which they
are sent, whatever thread makes them.
"""

from __future__ import annotations

import pickle
import sys
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Any

from lightning.app.core.component import Component, Plain
from lightning.app.core.tracebacks import user_traceback
from lightning.app.core.work import LightningWork
from lightning.app.engines.answering import Answering
from lightning.app.engines.channel import Channel, TooLarge
from lightning.app.engines.shadow import Shadow
from lightning.app.errors import StateValueError, WorkError
from lightning.app.kernel import messages as m
from lightning.app.kernel.delta import SET, Undo, apply, apply_copy, rebase
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import Pickled, encode, pack, unpack

LARGEST_RESULT = 16 << 20
_ACKNOWLEDGE_EVERY = 32


class WorkStopped(BaseException):
    """The work is to end now. Raised in its main thread, wherever the user's code is."""


class Live(Plain):
    """The binding of a work in its own process: what it writes is applied, and sent."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def change(self, component: Component, delta: Delta) -> None:
        self.host.write(component, delta)

    def read(self, component: Component, name: str) -> None:
        if name == "port":
            self.host.answering.expect()

    def statuses(self, work: LightningWork) -> list[tuple[str, float, str, str, int]]:
        return [("running", 0.0, "", "", 0)] if self.host.running else []

    def attach(self, parent: Component, name: str, child: Component) -> Component:
        raise WorkError(f"{parent._where}.{name}: a work has no components of its own")


class Host:
    """Holds one work and speaks for it over the channel."""

    def __init__(self, channel: Channel, refresh: Callable[[], None] | None = None) -> None:
        self.channel = channel
        self.work: LightningWork
        self.calls: deque[m.Call] = deque()
        self.stopping = False
        self.running = False
        self.lock = RLock()
        self.deaf = False  # a fork of the process: what it writes goes nowhere
        self.wait_for_room: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None
        self.answering = Answering(self)
        self._mine: deque[tuple[int, Delta, Undo]] = deque()  # what the runtime has not acknowledged yet
        self._untold = 0
        self._shadow: Shadow | None = None

    # -- the object -------------------------------------------------------------------------------

    def begin(self, message: m.Begin, load: Callable[[m.Begin], None]) -> bool:
        """Open the object and let it start. False: it could not, and the runtime has been told why."""
        try:
            load(message)
            work = pickle.loads(message.body)
            if not isinstance(work, LightningWork):
                raise WorkError(f"{message.work}: the object that arrived is a {type(work).__name__}")
            state = work._state
            state.clear()
            for name, value in message.state.items():
                apply(state, Delta(SET, (name,), value))
            self.work = work
            work._binding = Live(self)
            work.__dict__.pop("run", None)  # here, ``run`` is the user's own
            work.on_start()
        except WorkStopped:
            raise
        except BaseException as err:
            self.say(m.Broken(type(err).__name__, _message(err), user_traceback(err)))
            return False
        return True

    # -- what the runtime says --------------------------------------------------------------------

    def take(self, frames: list[tuple[int, int, m.Message]]) -> None:
        """Messages of the runtime, in order. Called by whichever thread reads."""
        for seq, acknowledged, message in frames:
            kind = type(message)
            with self.lock:
                mine = self._mine
                while mine and mine[0][0] <= acknowledged:
                    mine.popleft()
                if kind is m.Write:
                    for delta in message.deltas:  # type: ignore[attr-defined]
                        self._foreign(delta)
                if seq:
                    self.channel.acknowledge(seq)
                    self._untold += 1
            if kind is m.Call:
                self.calls.append(message)  # type: ignore[arg-type]
            elif kind is m.Stop:
                self.stopping = True
        if self._untold >= _ACKNOWLEDGE_EVERY:
            with self.lock:
                self._untold = 0
                self.channel.post_ack()
                self.channel.flush()

    def _foreign(self, delta: Delta) -> None:
        """The flow or the page wrote: before what the work wrote and the runtime has not seen."""
        state = self.work._state
        if any(mine.path[0] == delta.path[0] for _, mine, _ in self._mine):
            redone = rebase(state, [(mine, undo) for _, mine, undo in self._mine], delta)
            numbers = [seq for seq, _, _ in self._mine]
            self._mine = deque((seq, mine, undo) for seq, (mine, undo) in zip(numbers, redone, strict=True))
            if self._shadow is not None:
                self._shadow.renew(state)
        else:
            apply_copy(state, delta)
            if self._shadow is not None:
                self._shadow.follow(delta)

    # -- what the work does -----------------------------------------------------------------------

    def write(self, component: Component, delta: Delta) -> None:
        """An attribute changed: apply it, send it."""
        with self.lock:
            undo = apply(component._state, delta)
            if self.deaf:
                return
            channel = self.channel
            try:
                seq = channel.post(m.Changed([delta]))
            except TooLarge as err:
                raise StateValueError(
                    f"{component._where}.{delta.path[0]}: {err}; wrap it in lightning.app.storage.Payload"
                ) from None
            self._mine.append((seq, delta, undo))
            channel.flush()
            if self._shadow is not None:
                self._shadow.follow(delta)
        if channel.crowded:
            self.wait_for_room()
        self.after_write()

    def say(self, message: m.Message) -> None:
        with self.lock:
            if not self.deaf:
                self._untold = 0
                self.channel.post(message)
                self.channel.flush()

    def execute(self, call: m.Call) -> m.Message:
        """Run one call. Returns what is to be said of it."""
        work = self.work
        work._call_id = call.call_id
        self.running = True
        reply: m.Message
        try:
            args = [_opened(each) for each in call.args]
            kwargs = {name: _opened(each) for name, each in call.kwargs.items()}
            if "heapq" in sys.modules:
                self._watch()
            value = type(work).run(work, *args, **kwargs)
            reply = m.Returned(call.call, _result(work, value))
        except WorkStopped:
            raise
        except BaseException as err:
            reply = self._raised(call, err)
        finally:
            self.running = False
            work._call_id = ""
        self.answering.over()
        if self._shadow is not None:
            self._report_bypassed()
        flush_output()
        return reply

    def _raised(self, call: m.Call, err: BaseException) -> m.Raised:
        told = f"run called sys.exit({err.code!r})" if isinstance(err, SystemExit) else _message(err)
        try:
            self.work.on_exception(err)
        except WorkStopped:
            raise
        except BaseException as second:
            second.__context__ = err
            return m.Raised(call.call, type(second).__name__, _message(second), user_traceback(second))
        return m.Raised(call.call, type(err).__name__, told, user_traceback(err))

    def leave(self) -> None:
        """The last words."""
        try:
            self.work.on_exit()
        except BaseException as err:
            self.say(m.Noticed(f"on_exit raised\n{user_traceback(err).rstrip()}"))
        flush_output()
        self.say(m.Left())

    # -- changes that nobody told -----------------------------------------------------------------

    def _watch(self) -> None:
        if self._shadow is None and any(Shadow.holds_lists(value) for value in self.work._state.values()):
            with self.lock:
                self._shadow = Shadow(self.work._state)

    def _report_bypassed(self) -> None:
        """``heapq`` changes a list in C, past its methods. Send what it became, and say so."""
        assert self._shadow is not None
        for delta in self._shadow.missed(self.work._state):
            self.write(self.work, delta)
            self.say(
                m.Noticed(
                    f"{delta.path[0]} was changed in a way that cannot be followed (heapq?): the flow sees it only "
                    "now, at the end of run; work on a plain list and assign it"
                )
            )


def flush_output() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            pass


def _opened(packed: Any) -> Any:
    value = unpack(packed)
    return pickle.loads(value.data) if type(value) is Pickled else value


def _result(work: LightningWork, value: Any) -> Any:
    try:
        packed = pack(value, f"the result of {work._where}.run")
    except StateValueError as err:
        raise WorkError(f"{err} (run returns a state value: return a Payload)") from None
    if type(packed) not in (int, float, bool, type(None)):
        size = len(encode(packed))
        if size > LARGEST_RESULT:
            raise WorkError(
                f"the result of {work._where}.run has {size / 1e6:.1f} MB; more than {LARGEST_RESULT / 1e6:.1f} MB "
                "do not travel as state: return a Payload"
            )
    return packed


def _message(err: BaseException) -> str:
    try:
        return str(err)
    except Exception:
        return f"<{type(err).__name__} without a readable message>"
