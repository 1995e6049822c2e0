"""A runtime and hosts that exchange deltas, with messages under way in any order that a network allows."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from lightning.app.core.state import State
from lightning.app.kernel.canonical import canonical
from lightning.app.kernel.delta import (
    ADD,
    CLEAR,
    DELETE,
    DISCARD,
    INSERT,
    REORDER,
    SET,
    SPLICE,
    UPDATE,
    Undo,
    apply,
    apply_copy,
    rebase,
)
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import decode, encode, pack

NAMES = ("a", "b")
KEYS = ("x", "y", 3, (1, 2))


def start() -> dict[str, Any]:
    return {
        "a": [1, [2, 3], {"x": 1, "y": [4]}, 5],
        "b": {"x": [1, 2, {"y": [0]}], "y": {"x": {1, 2}}, (1, 2): {"y": {}}},
    }


def some_value(rng: random.Random, depth: int = 2) -> Any:
    match rng.randrange(9 if depth else 5):
        case 0 | 1:
            return rng.randrange(10)
        case 2:
            return rng.choice(("", "word", None, True, 1.5, b"bytes", float("nan")))
        case 3:
            return (rng.randrange(3), "in a tuple")
        case 4:
            return {rng.randrange(4), "element"}
        case 5 | 6:
            return [some_value(rng, depth - 1) for _ in range(rng.randrange(4))]
        case _:
            return {rng.choice(KEYS): some_value(rng, depth - 1) for _ in range(rng.randrange(3))}


def same(one: Any, other: Any) -> bool:
    return canonical(pack(one)) == canonical(pack(other))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Every container below ``value``, with its path."""
    found = []
    parts: Any = ()
    if isinstance(value, dict):
        parts = [(key if type(key) in (str, int) else pack(key), each) for key, each in value.items()]
    elif isinstance(value, list):
        parts = enumerate(value)
    for step, each in parts:
        if isinstance(each, (list, dict, set)):
            found.append(((*path, step), each))
            found += places(each, (*path, step))
    return found


def some_delta(rng: random.Random, state: dict[str, Any]) -> Delta:
    """A change that fits the state; of containers at any depth."""
    inside = places(state)
    if not inside or rng.random() < 0.15:
        name = rng.choice(NAMES)
        if name in state and rng.random() < 0.2:
            return Delta(DELETE, (name,))
        return Delta(SET, (name,), pack(some_value(rng, 3)))
    path, node = rng.choice(inside)
    new = pack(some_value(rng))
    if isinstance(node, list):
        size = len(node)
        match rng.randrange(7):
            case 0 if size:
                return Delta(SET, (*path, rng.randrange(size)), new)
            case 1 | 2:
                return Delta(INSERT, path, [None, [new]])
            case 3:
                return Delta(INSERT, path, [rng.randint(0, size), [new, 7]])
            case 4:
                order = list(range(size))
                rng.shuffle(order)
                return Delta(REORDER, path, order)
            case 5:
                return Delta(CLEAR, path) if rng.random() < 0.3 else Delta(INSERT, path, [0, [new]])
            case _:
                begin = rng.randint(0, size)
                return Delta(SPLICE, path, [begin, rng.randint(begin, size), [new] * rng.randrange(3)])
    if isinstance(node, set):
        items = [rng.randrange(6) for _ in range(rng.randint(1, 3))]
        return (
            Delta(rng.choice((ADD, ADD, DISCARD)), path, items) if rng.random() < 0.9 else Delta(CLEAR, path)
        )
    key = rng.choice(list(node)) if node and rng.random() < 0.6 else rng.choice(KEYS)
    match rng.randrange(6):
        case 0 | 1 | 2:
            return Delta(SET, (*path, pack(key)), new)
        case 3:
            return Delta(DELETE, (*path, pack(key)))
        case 4:
            return Delta(UPDATE, path, [[pack(key), new], [pack(rng.choice(KEYS)), pack(some_value(rng, 1))]])
        case _:
            return Delta(rng.choice((CLEAR, DISCARD)), path, [pack(key)])


class Replica:
    """A host: it writes at once, and takes in what others wrote in the runtime's order."""

    _where = "root.work"

    def __init__(self) -> None:
        self.state = State(self)
        for name, value in start().items():
            apply(self.state, Delta(SET, (name,), pack(value)))
        self.mine: list[tuple[int, Delta, Undo]] = []
        self.sent = 0
        self.outbox: deque[Delta] = deque()
        self.inbox: deque[tuple[int, Delta | None]] = deque()

    def _change(self, delta: Delta) -> None:
        self.sent += 1
        self.mine.append((self.sent, delta, apply(self.state, delta)))
        self.outbox.append(delta)

    def hear(self) -> None:
        acknowledged, foreign = self.inbox.popleft()
        self.mine = [each for each in self.mine if each[0] > acknowledged]
        if foreign is not None:
            redone = rebase(self.state, [each[1:] for each in self.mine], foreign)
            self.mine = [(seq, *each) for (seq, _, _), each in zip(self.mine, redone, strict=True)]


class Network:
    """A runtime and replicas, with messages under way."""

    def __init__(self, rng: random.Random, size: int) -> None:
        self.rng = rng
        self.state = start()
        self.replicas = [Replica() for _ in range(size)]
        self.received = [0] * size

    def step(self) -> None:
        rng = self.rng
        number = rng.randrange(len(self.replicas))
        replica = self.replicas[number]
        match rng.randrange(3):
            case 0:
                self.write(replica)
            case 1 if replica.outbox:
                self.take(number)
            case _ if replica.inbox:
                replica.hear()

    def write(self, replica: Replica) -> None:
        replica._change(some_delta(self.rng, replica.state))

    def take(self, number: int) -> None:
        delta = self.replicas[number].outbox.popleft()
        delta = Delta(delta.op, tuple(decode(encode(list(delta.path)))), decode(encode(delta.value)))
        self.received[number] += 1
        (apply if self.rng.random() < 0.5 else apply_copy)(self.state, delta)
        for other, replica in enumerate(self.replicas):
            replica.inbox.append((self.received[other], None if other == number else delta))

    def settle(self) -> None:
        for number, replica in enumerate(self.replicas):
            while replica.outbox:
                self.take(number)
        for replica in self.replicas:
            while replica.inbox:
                replica.hear()
            assert not replica.mine
