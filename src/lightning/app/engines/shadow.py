"""What the runtime knows of a work's containers, kept beside what they are, so that silent changes are found.

``heapq`` and its like change a list in C, behind the methods of its subclass. The shadow follows every delta,
so keeping it costs what a change costs; looking for differences costs as much as there is state, and is done
when a call ends: after each one while that is cheap, else as often as it stays a small part of the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from msgspec.msgpack import Ext

from lightning.app.errors import StateValueError
from lightning.app.kernel.canonical import same
from lightning.app.kernel.delta import SET, apply
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import pack, unpack

CHEAP = 50e-6
"""Seconds that a look may take and still be taken after every call ..."""
SHARE = 0.05
"""... and the part of the time that longer ones may take."""

_CONTAINERS = (list, dict, set)
_PACKED = frozenset({list, dict, Ext})


class Shadow:
    """Plain copies of the attributes of one state that are containers."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state
        self._known: dict[str, Any] = {}
        self._looked = 0.0  # when
        self._took = 0.0
        for name in state:
            self.renew(name)

    def follow(self, delta: Delta) -> None:
        """The work itself changed this."""
        if delta.op != SET or type(delta.value) in _PACKED or len(delta.path) > 1:
            apply(self._known, delta)

    def renew(self, name: str) -> None:
        """What there is now of an attribute is what is known."""
        self._known.pop(name, None)
        value = self._state.get(name)
        if isinstance(value, _CONTAINERS):
            with suppress(StateValueError):  # somebody put in what cannot be state, which was told
                self._known[name] = unpack(pack(value))

    def due(self) -> bool:
        """Whether it is worth the time to look."""
        if not self._known:
            return False
        return self._took <= CHEAP or self._took <= SHARE * (time.perf_counter() - self._looked)

    def differences(self, where: str) -> Iterator[tuple[str, Delta | StateValueError]]:
        """Every attribute that changed in silence: the change to be told, or why it cannot be."""
        began = time.perf_counter()
        for name in list(self._known):
            if (found := self.difference(name, where)) is not None:
                yield name, found
        self._looked = time.perf_counter()
        self._took = self._looked - began

    def difference(self, name: str, where: str) -> Delta | StateValueError | None:
        """What nobody was told of one attribute. From here on it is known."""
        if name not in self._known:
            return None
        value, known = self._state.get(name), self._known[name]
        if not isinstance(value, _CONTAINERS):
            del self._known[name]
            return None
        if value == known:
            return None
        try:
            packed = pack(value, f"{where}.{name}")
        except StateValueError as error:
            del self._known[name]
            return error
        return None if same(packed, pack(known)) else Delta(SET, (name,), packed)
