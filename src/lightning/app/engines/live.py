"""The binding of a work in its own process: every write is applied and sent, in one order.

A write is applied, posted and remembered under one lock, so that the order of application is the order of
sending, whichever thread writes. It is remembered until the runtime has taken it in: a foreign write that
the runtime decided on before is put before it (``kernel.delta.rebase``), so that both sides end alike.

``heapq`` and its like change a list behind the back of its subclass. So what the runtime knows of the
containers is kept beside them, and is compared when a call ends (``find_bypassed``).
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec.msgpack import Ext

from lightning.app.core.component import Component, Plain
from lightning.app.engines.channel import LARGEST, Channel, TooLarge
from lightning.app.errors import StateValueError
from lightning.app.kernel.delta import SET, Undo, apply, apply_copy, rebase, revert
from lightning.app.kernel.messages import Changed, Delta, Message, Noticed
from lightning.app.kernel.values import pack, same, unpack

if TYPE_CHECKING:
    from lightning.app.core.work import LightningWork

_CONTAINERS = (list, dict, set)
_PACKED_CONTAINERS = frozenset({list, dict, Ext})
_ALWAYS = 50e-6  # seconds: a comparison that takes no longer is made after every call ...
_SHARE = 0.05  # ... and a longer one, when it costs no more than this part of the time


class Live(Plain):
    """Sends what the work writes, and takes in what others write to it."""

    def __init__(self, channel: Channel) -> None:
        self.deferred: Callable[[], None] | None = None  # what an interrupted write is to do when it is through
        self.port_read: Callable[[], None] | None = None  # told when the work asks for its port
        self._channel = channel
        self._lock = threading.RLock()
        self._room = threading.Condition(threading.Lock())
        self._waits = False  # whether writers may be kept waiting for the runtime
        self._pending: deque[tuple[int, Delta, Undo]] = deque()
        self._known: dict[str, Any] = {}  # the containers, as the runtime has them
        self._work: LightningWork | None = None
        self._apart = False
        self._warned = False
        self._compared = 0.0  # when
        self._comparing = 0.0  # for how long

    def bind(self, work: LightningWork, state: dict[str, Any]) -> None:
        """Lay ``state`` (packed) over the object, and be its binding."""
        dict.clear(work._state)
        for name, packed in state.items():
            apply(work._state, Delta(SET, (name,), packed))
            if type(packed) in _PACKED_CONTAINERS:
                self._known[name] = unpack(packed)
        self._work = work
        work._bind(self, records=False)

    # -- the work writes --------------------------------------------------------------------------

    def change(self, component: Component, delta: Delta) -> None:
        if self._apart:
            self._change_apart(component, delta)
            return
        channel = self._channel
        if self._waits and channel.crowded:
            self.await_room()
        with self._lock:
            undo = apply(component._state, delta)
            try:
                seq = channel.post(Changed([delta]))
            except TooLarge:
                revert(component._state, undo)
                raise StateValueError(
                    f"{component._where}.{delta.path[0]}: this change is larger than the {LARGEST >> 20} MB that can "
                    "be sent at once; wrap it in lightning.app.storage.Payload"
                ) from None
            self._pending.append((seq, delta, undo))
            if delta.op != SET or type(delta.value) in _PACKED_CONTAINERS or len(delta.path) > 1:
                apply(self._known, delta)
            channel.flush()
        if self.deferred is not None:
            self.deferred()

    def read(self, component: Component, name: str) -> None:
        if name == "port" and self.port_read is not None:
            self.port_read()

    def say(self, message: Message, largest: int = LARGEST) -> None:
        """Send a message of the host's own, behind everything that was written."""
        with self._lock:
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
        work = self._work
        assert work is not None
        with self._lock:
            self._trim(acknowledged)
            for delta in deltas:
                name = delta.path[0]
                if name in self._known:
                    self._compare(name)
                if any(mine.path[0] == name for _, mine, _ in self._pending):
                    mine = rebase(work._state, [(own, undo) for _, own, undo in self._pending], delta)
                    numbers = [number for number, _, _ in self._pending]
                    self._pending = deque((number, *own) for number, own in zip(numbers, mine, strict=True))
                else:
                    apply_copy(work._state, delta)
                self._know(name)
            self._channel.acknowledge(seq)

    def settle(self) -> None:
        """All that had arrived has been taken in: say so, unless a message of ours has said it."""
        with self._lock:
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
        """Send what changed unseen, and say so. Comparing much takes time: then it is done less often."""
        if not self._known:
            return
        began = time.perf_counter()
        if not surely and self._comparing > _ALWAYS and self._comparing > _SHARE * (began - self._compared):
            return
        with self._lock:
            for name in list(self._known):
                self._compare(name)
        self._compared = time.perf_counter()
        self._comparing = self._compared - began

    def _compare(self, name: str) -> None:
        work = self._work
        assert work is not None
        value, known = work._state.get(name), self._known[name]
        if not isinstance(value, _CONTAINERS):
            del self._known[name]
            return
        if value == known:
            return
        where = f"{work._where}.{name}"
        try:
            packed = pack(value, where)
        except StateValueError as error:
            del self._known[name]
            self.say(Noticed(f"{error}. It was put there by something that bypasses tracking: nobody else sees it"))
            return
        if same(packed, pack(known)):
            return
        self.change(work, Delta(SET, (name,), packed))
        self.say(
            Noticed(
                f"{where} was changed by something that bypasses tracking, as heapq does: others see it only now. "
                f"Work on a list of your own and assign it, or use the methods of {where} itself"
            )
        )

    def _know(self, name: str) -> None:
        """What others wrote was applied: from here on compare with that."""
        work = self._work
        assert work is not None
        self._known.pop(name, None)
        value = work._state.get(name)
        if isinstance(value, _CONTAINERS):
            with suppress(StateValueError):  # something foreign is in there, which ``_compare`` has told
                self._known[name] = unpack(pack(value))

    # -- a fork made by the work ------------------------------------------------------------------

    def detach(self) -> None:
        """In a process that the work forked: what is written there stays there."""
        self._apart = True
        self._lock = threading.RLock()
        self._room = threading.Condition(threading.Lock())
        self.deferred = None
        self.port_read = None

    def _change_apart(self, component: Component, delta: Delta) -> None:
        apply(component._state, delta)
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{component._where}.{delta.path[0]} was set in a process that the work has forked: it stays there. "
                "Return the value to the work's own process and set it there",
                RuntimeWarning,
                stacklevel=4,
            )
