"""The binding of a work in its own process: every write is applied and sent, in one order.

A write is applied, posted and remembered under one lock, so that the order of application is the order of
sending, whichever thread writes. It is remembered until the runtime has taken it in: a foreign write that
the runtime decided on before is put before it (``kernel.delta.rebase``), so that both sides end alike.
"""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable
from types import CodeType
from typing import Any

from lightning.app.core.component import Component, Plain
from lightning.app.core.work import LightningWork
from lightning.app.engines.channel import LARGEST, Channel, TooLarge
from lightning.app.engines.shadow import Shadow
from lightning.app.engines.sight import Sight
from lightning.app.errors import StateValueError
from lightning.app.kernel.delta import SET, Undo, apply, rebase, revert
from lightning.app.kernel.messages import Changed, Delta, Message, Noticed

_ACKNOWLEDGE_EVERY = 32  # messages; or sooner, when they are large
_ACKNOWLEDGE_BYTES = 1 << 20
_NONE: list[int] = []
_FIRST = [0]


class Live(Plain):
    """Sends what the work writes, and takes in what others write to it."""

    def __init__(self, channel: Channel) -> None:
        self.running = False
        self.deferred: Callable[[], None] | None = None  # what to do once an UNBROKEN step is through
        self.port_read: Callable[[], None] | None = None  # told when the work asks for its port
        self._channel = channel
        self._lock = threading.RLock()
        self._room = threading.Condition(threading.Lock())
        self._waits = False  # whether writers may be kept waiting for the runtime
        self._pending: deque[tuple[int, Delta, Undo]] = deque()
        self._sight = Sight()
        self._work: LightningWork
        self._shadow: Shadow
        self._apart = False
        self._warned = False

    def bind(self, work: LightningWork, state: dict[str, Any]) -> None:
        """Lay ``state`` (packed) over the object, and be its binding."""
        dict.clear(work._state)
        for name, packed in state.items():
            apply(work._state, Delta(SET, (name,), packed))
        self._work = work
        self._shadow = Shadow(work._state)
        work.__dict__.pop("run", None)  # here it is the user's own
        work._bind(self, records=False)

    def begin_call(self) -> None:
        self.running = True
        self._sight.begin()

    # -- the work writes --------------------------------------------------------------------------

    def change(self, component: Component, delta: Delta) -> None:
        if self._apart:
            self._change_apart(component, delta)
            return
        if self._waits and self._channel.crowded:
            self.await_room()
        self._write(component, delta)
        if self.deferred is not None:
            self.deferred()

    def _write(self, component: Component, delta: Delta) -> None:
        with self._lock:
            undo = apply(component._state, delta)
            try:
                unseen = _FIRST if self._sight.overtakes(delta) else _NONE
                seq = self._channel.post(Changed([delta], unseen))
            except (TooLarge, UnicodeError) as error:
                revert(component._state, undo)
                where = f"{component._where}.{delta.path[0]}"
                if isinstance(error, TooLarge):
                    why = f"{error}; wrap it in lightning.app.storage.Payload"
                else:
                    why = f"a text that is no Unicode ({error}); keep it as bytes"
                raise StateValueError(f"{where}: {why}") from None
            self._pending.append((seq, delta, undo))
            self._shadow.follow(delta)
            self._channel.flush()

    def read(self, component: Component, name: str) -> None:
        self._sight.look(name)
        if name == "port" and self.port_read is not None:
            self.port_read()

    def statuses(self, work: LightningWork) -> list[tuple[str, float, str, str, int]]:
        return [("running", 0.0, "", "", 0)] if self.running else []

    def say(self, message: Message, largest: int = LARGEST) -> None:
        """Send a message of the host's own, behind everything that was written."""
        with self._lock:
            if not self._apart:
                self._channel.post(message, largest)
                self._channel.flush()

    def await_room(self) -> None:
        """Wait until the runtime has taken in enough of what was written."""
        with self._room:
            self._room.wait_for(lambda: not (self._waits and self._channel.crowded))

    def keep_waiting(self, waits: bool) -> None:
        """Whether writers are kept waiting when too much is unacknowledged: somebody must be reading then."""
        with self._room:
            self._waits = waits
            self._room.notify_all()

    # -- the runtime answers ----------------------------------------------------------------------

    def hear(self, seq: int, acknowledged: int) -> None:
        """A message arrived that changes no state."""
        with self._lock:
            self._trim(acknowledged)
            if seq:
                self._channel.acknowledge(seq)

    def take(self, seq: int, acknowledged: int, deltas: list[Delta]) -> None:
        """Others wrote: put it where the runtime put it, before what it had not yet taken in of ours."""
        state = self._work._state
        names = dict.fromkeys(delta.path[0] for delta in deltas)
        with self._lock:
            self._trim(acknowledged)
            for name in names:
                self._tell_bypassed(name, self._shadow.difference(name, self._work._where))
            mine = [(own, undo) for _, own, undo in self._pending if own.path[0] in names]
            if mine or any(delta.op != SET or len(delta.path) > 1 for delta in deltas):
                redone = iter(rebase(state, mine, *deltas))
                self._pending = deque(
                    (number, *next(redone)) if own.path[0] in names else (number, own, undo)
                    for number, own, undo in self._pending
                )
            else:
                for delta in deltas:
                    apply(state, delta)
            for name in names:
                self._shadow.renew(name)
            self._sight.arrive(seq, deltas, [own for own, _ in mine])
            self._channel.acknowledge(seq)

    def settle(self) -> None:
        """All that had arrived has been taken in: say so, when much has come since the last word of ours."""
        with self._lock:
            messages, size = self._channel.untold
            if messages >= _ACKNOWLEDGE_EVERY or size >= _ACKNOWLEDGE_BYTES:
                self._channel.post_ack()
                self._channel.flush()
        if self._waits:
            with self._room:
                self._room.notify_all()

    def _trim(self, acknowledged: int) -> None:
        pending = self._pending
        while pending and pending[0][0] <= acknowledged:
            pending.popleft()

    # -- changes that bypass tracking -------------------------------------------------------------

    def find_bypassed(self, *, surely: bool = False) -> None:
        """Send what was changed behind the back of tracking, and say so."""
        if self._apart or not (surely or self._shadow.due()):
            return
        with self._lock:
            for name, found in self._shadow.differences(self._work._where):
                self._tell_bypassed(name, found)

    def _tell_bypassed(self, name: str, found: Delta | StateValueError | None) -> None:
        if found is None:
            return
        if isinstance(found, StateValueError):
            self.say(Noticed(f"{found}. It was put there past the tracking: nobody else sees it"))
            return
        self._write(self._work, found)
        self.say(
            Noticed(
                f"{self._work._where}.{name} was changed in a way that bypasses tracking, as heapq does: "
                "others see it only now. Work on a plain list and assign it, or use its own methods"
            )
        )

    # -- a fork made by the work ------------------------------------------------------------------

    def separate(self) -> None:
        """In a process that the work forked: what is written there stays there."""
        self._apart = True
        self._lock = threading.RLock()
        self.deferred = None
        self.port_read = None

    def _change_apart(self, component: Component, delta: Delta) -> None:
        apply(component._state, delta)
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{component._where}.{delta.path[0]} was set in a process that the work has forked: it stays "
                "there. Return the value to the work's own process and set it there",
                RuntimeWarning,
                stacklevel=4,
            )


UNBROKEN: frozenset[CodeType] = frozenset(
    step.__code__ for step in (Live._write, Live.say, Live.hear, Live.take, Live.settle, Live.find_bypassed)
)
"""Steps that a signal's exception must not break off: half a frame may be sent. Who calls them from the main
thread looks at ``deferred`` afterwards."""

BREAKABLE: frozenset[CodeType] = frozenset({Live.await_room.__code__, Channel.await_room.__code__})
"""Where such a step, or a write before it, may wait for long: here it may be broken off."""
