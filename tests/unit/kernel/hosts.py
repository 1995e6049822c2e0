"""Works' processes, as far as the kernel can tell: they hear, look, write, return, raise, stop and die.

A host does with its state what a real one does (``engines/live.py``), and its looks go through the real
``Sight``. Beside that it notes for the checker, in the plainest way, what each of its writes was based on.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from typing import Any

from lightning.app.engines.sight import Sight
from lightning.app.kernel import messages as m
from lightning.app.kernel.delta import INSERT, SET, Undo, apply, apply_copy, rebase
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import pack
from tests.unit.kernel import network

NUMBERS = ("n", "m")
LETTERS = "xyz"


def first_state() -> dict[str, Any]:
    """What a work's ``__init__`` sets: numbers, and containers in containers."""
    return {"n": 0, "m": 0, "items": [], "table": {}, "url": "", **network.start()}


def some_change(rng: random.Random, state: dict[str, Any]) -> Delta:
    """One change that fits the state, often one that meets others."""
    match rng.randrange(8):
        case 0 | 1 | 2:
            return Delta(SET, (rng.choice(NUMBERS),), rng.randrange(5))
        case 3:
            return Delta(INSERT, ("items",), [None, [rng.randrange(100)]])
        case 4 if isinstance(state.get("table"), dict):
            return Delta(SET, ("table", rng.choice(LETTERS)), rng.randrange(5))
        case 5:
            return Delta(SET, ("table",), {"x": rng.randrange(5)})
        case _:
            return network.some_delta(rng, state)


class Host:
    """One process of one work."""

    def __init__(self, path: str, incarnation: int, state: dict[str, Any], frail: bool) -> None:
        self.path = path
        self.incarnation = incarnation
        self.state = copy.deepcopy(state)
        self.frail = frail
        self.inbox: deque[tuple[int, int, m.Message]] = deque()
        self.outbox: deque[tuple[int, int, m.Message]] = deque()
        self.delivered: list[tuple[int, int, m.Message]] = []
        self.received = 1  # the object itself
        self.posted = 1
        self.sent = 0
        self.taken = 0  # by the runtime
        self.mine: list[tuple[int, Delta, Undo]] = []
        self.sight = Sight()
        self.looks: dict[str, tuple[int, Any]] = {}  # what had been received, and what was there
        self.bases: dict[int, list[int]] = {}  # by the seq of a write: what had been received at each look
        self.call: m.Call | None = None
        self.ready = False
        self.stopping = False
        self.ended: str | None = None

    # -- what it says -----------------------------------------------------------------------------

    def say(self, message: m.Message) -> None:
        self.sent += 1
        self.outbox.append((self.sent, self.received, message))

    def write(self, *deltas: Delta) -> None:
        """What was looked at before is what each of these is based on; what never was is no basis."""
        undos, overtaken = [], []
        for position, delta in enumerate(deltas):
            undos.append(apply(self.state, delta))
            if self.sight.overtakes(delta):
                overtaken.append(position)
        self.say(m.Changed(list(deltas), overtaken))
        self.mine += [(self.sent, *each) for each in zip(deltas, undos, strict=True)]
        self.bases[self.sent] = [self.looks.get(each.path[0], (self.received, None))[0] for each in deltas]

    def look(self, name: str) -> None:
        self.sight.look(name)
        self.looks[name] = self.received, self.state.get(name)

    def acknowledge(self) -> None:
        self.outbox.append((0, self.received, m.Ack()))

    def finish(self, message: m.Returned | m.Raised) -> None:
        self.say(message)
        self.call = None

    # -- what it hears ----------------------------------------------------------------------------

    def hear(self) -> None:
        seq, acknowledged, message = self.inbox.popleft()
        self.mine = [each for each in self.mine if each[0] > acknowledged]
        if seq:
            self.received = seq
        if isinstance(message, m.Call):
            assert self.call is None, f"{self.path}: call {message.call} while call {self.call} runs"
            self.call = message
            self.looks.clear()
            self.sight.begin()
        elif isinstance(message, m.Write):
            self._take(seq, message.deltas)

    def _take(self, seq: int, deltas: list[Delta]) -> None:
        names = {delta.path[0] for delta in deltas}
        mine = [(own, undo) for _, own, undo in self.mine if own.path[0] in names]
        if mine:
            redone = iter(rebase(self.state, mine, *deltas))
            self.mine = [
                (number, *next(redone)) if own.path[0] in names else (number, own, undo)
                for number, own, undo in self.mine
            ]
        else:
            for delta in deltas:
                apply_copy(self.state, delta)
        self.sight.arrive(seq, deltas, [own for own, _ in mine])

    # -- what it does -----------------------------------------------------------------------------

    def act(self, rng: random.Random) -> None:
        if not self.ready:
            self._start(rng)
        elif self.stopping and rng.random() < 0.5:
            if rng.random() < 0.5:  # its on_exit
                self.write(some_change(rng, self.state))
            self.say(m.Left())
            self.ended = ""
        elif self.call is not None:
            self._run(rng, self.call)

    def _start(self, rng: random.Random) -> None:
        if self.frail and rng.random() < 0.8:
            if rng.random() < 0.3:
                self.say(m.Broken("TypeError", "cannot open", ""))
            self.ended = "killed by SIGSEGV"
        else:
            self.ready = True
            self.say(m.Ready(self.incarnation))
            if rng.random() < 0.3:
                self.write(Delta(SET, ("url",), f"http://127.0.0.1:{self.incarnation}"))

    def _run(self, rng: random.Random, call: m.Call) -> None:
        name = rng.choice(NUMBERS)
        match rng.randrange(12):
            case 0 | 1:
                self.look(rng.choice((name, "table", "a")))
            case 2 | 3 if name in self.looks:  # self.n += 1, of what was there when it looked
                self.write(Delta(SET, (name,), self.looks[name][1] + 1))
            case 4 | 5 | 6:
                self.write(some_change(rng, self.state))
            case 7:
                for each in ("n", "m"):
                    self.look(each)
                self.write(*(Delta(SET, (each,), rng.randrange(5)) for each in rng.choices("nm", k=2)))
            case 8 | 9:
                self.finish(
                    m.Returned(call.call, pack(rng.choice((rng.randrange(100), None, [1, {"x": 2}]))))
                )
            case 10 if rng.random() < 0.8:
                self.finish(m.Raised(call.call, "ValueError", "no", "..."))
            case 11:
                self.say(m.Noticed("slow"))
        if rng.random() < 0.2:
            self.acknowledge()
