"""What the work has looked at, and what others wrote since: who overwrites the unseen is told so.

A foreign write that has not arrived when the work writes is found by the runtime, from the frame's
acknowledgement. This is the other half: it has arrived, but between the read and the write of one
``self.n += 1``. So each thread's last look at each attribute is noted, and a write over what came after it
is a conflict. A thread that never looked at an attribute since the call began bases nothing on it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from lightning.app.kernel.delta import SET, conflicts
from lightning.app.kernel.messages import Delta

_KEPT = 32
"""So many foreign writes to one attribute are told apart; of more, any part of it counts as written."""


class _Looks(threading.local):
    """Per thread: what had arrived when it last looked at an attribute."""

    def __init__(self) -> None:
        self.at: dict[str, int] = {}


class Sight:
    """Of one work. ``arrive`` and ``overtakes`` are called under the lock that orders its state."""

    def __init__(self) -> None:
        self._looks = _Looks()
        self._latest = 0  # the last foreign message that is in the state
        self._arrived: dict[str, list[tuple[int, Delta]]] = {}  # by attribute; not overwritten since

    def look(self, name: str) -> None:
        """This thread is about to read an attribute."""
        self._looks.at[name] = self._latest

    def begin(self) -> None:
        """A call begins: what this thread saw in an earlier one is no basis of anything any more."""
        self._looks.at.clear()

    def arrive(self, seq: int, foreign: Iterable[Delta], mine: Iterable[Delta]) -> None:
        """Foreign writes are in the state now, below those of ``mine`` that the runtime does not have yet."""
        mine = list(mine)
        for delta in foreign:
            if any(conflicts(own, delta) for own in mine):
                continue  # overwritten already, and the runtime sees that by itself
            name = delta.path[0]
            arrived = self._arrived.setdefault(name, [])
            if len(arrived) >= _KEPT:
                arrived[:] = [(seq, Delta(SET, (name,)))]
            # what was set does not matter here, and may be large
            arrived.append((seq, Delta(SET, delta.path) if delta.op == SET else delta))
        self._latest = seq  # last: who looks meanwhile may get the old value

    def overtakes(self, own: Delta) -> bool:
        """Whether this write, just made by this thread, goes over something that the thread has not seen."""
        name = own.path[0]
        arrived = self._arrived.get(name)
        if not arrived:
            return False
        looked = self._looks.at.get(name, self._latest)
        over = [conflicts(own, foreign) for _, foreign in arrived]
        unseen = any(hit and seq > looked for hit, (seq, _) in zip(over, arrived, strict=True))
        self._arrived[name] = [each for hit, each in zip(over, arrived, strict=True) if not hit]
        return unseen
