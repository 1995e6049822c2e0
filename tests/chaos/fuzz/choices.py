"""Bytes read as choices: so that every input means something, and a small change of it a small change."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import pack

T = TypeVar("T")
NAMES = ("a", "b", "c")
KEYS: tuple[Any, ...] = ("k", "", 0, 1, True, 2.5, None, (1, "x"), b"y")


class Choices:
    """Takes bytes from the front; when they are used up, everything is the first of its kind."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def number(self, below: int) -> int:
        if not self:
            return 0
        self._at += 1
        return self._data[self._at - 1] % below

    def of(self, options: Sequence[T]) -> T:
        return options[self.number(len(options))]

    def bytes(self, most: int) -> bytes:
        size = self.number(most + 1)
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        taken, self._at = self._data[self._at :], len(self._data)
        return taken

    # -- what a state is made of --------------------------------------------------------------------

    def value(self, depth: int = 3) -> Any:
        kind = self.number(16 if depth else 10)
        if kind < 10:
            plain = (0, 1, -5, True, None, "x", "", 2.5, b"b", dt.date(2026, 1, 1))
            return plain[kind]
        size = self.number(4)
        if kind < 12:
            return [self.value(depth - 1) for _ in range(size)]
        if kind < 15:
            return {self.of(KEYS): self.value(depth - 1) for _ in range(size)}
        return {self.of(KEYS) for _ in range(size)}

    def state(self) -> dict[str, Any]:
        return {name: self.value() for name in NAMES[: self.number(4)]}

    def packed(self) -> Any:
        """A packed value, or what no honest peer has packed."""
        if self.number(12) == 11:
            return self.garbage()
        return pack(self.value())

    def garbage(self, depth: int = 2) -> Any:
        kind = self.number(8 if depth else 5)
        if kind < 5:
            return (-1, 2**63, msgspec.msgpack.Ext(self.number(128), self.bytes(12)), "\x00", 1e308)[kind]
        if kind < 7:
            return [self.garbage(depth - 1) for _ in range(self.number(3))]
        return {"g": self.garbage(depth - 1)}

    def step(self) -> Any:
        kind = self.number(8)
        if kind < 4:
            return pack(self.of(KEYS))
        return self.number(4) - (kind == 7) if kind < 8 else self.garbage()

    def delta(self) -> Delta:
        path: tuple[Any, ...] = (self.of(NAMES), *[self.step() for _ in range(self.number(4))])
        if self.number(30) == 29:
            path = tuple(self.garbage() for _ in range(self.number(3)))
        return Delta(self.number(10), path, self._value_of_a_delta())

    def _value_of_a_delta(self) -> Any:
        match self.number(6):
            case 0 | 1:
                return self.packed()
            case 2:  # INSERT
                return [self.of((None, 0, 1, 5)), [self.packed() for _ in range(self.number(4))]]
            case 3:  # SPLICE
                start = self.number(4)
                return [
                    start,
                    start + self.number(4) - self.number(2),
                    [self.packed() for _ in range(self.number(3))],
                ]
            case 4:  # UPDATE, ADD, DISCARD
                if self.number(2):
                    return [[pack(self.of(KEYS)), self.packed()] for _ in range(self.number(3))]
                return [pack(self.of(KEYS)) for _ in range(self.number(3))]
            case _:  # REORDER
                return [self.number(4) for _ in range(self.number(4))]
