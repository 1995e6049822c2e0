"""A turn of the journal as a replay needs it, and whether what the flow asks for now is what it asked for then.

What a turn tells of its passes is in ``kernel/facts.py``: how many ran (``PassesRan``), how many before it had
changed nothing (``PassesIdled``), and where a pass that waited for changes took them in (``PassWentOn``).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Any

from lightning.app.kernel import facts as f
from lightning.app.kernel.canonical import canonical, same
from lightning.app.storage.payloads.names import without_names

_ADDRESS = re.compile(r"\b0x[0-9a-f]+")


class RecordedTurn:
    """One turn, taken apart: what came from outside, what the flow asked for, what followed from that."""

    def __init__(self, seq: int, at: float, facts: Iterable[f.Fact]) -> None:
        self.seq = seq
        self.at = at
        self.starts = False  # the run was started or resumed
        self.idled: f.PassesIdled | None = None
        self.went_on: f.PassWentOn | None = None
        self.ran: f.PassesRan | None = None
        self.before: list[f.Fact] = []
        self.asked: deque[f.Fact] = deque()
        self.after: list[f.Fact] = []
        self.facts = list(facts)
        for fact in self.facts:
            match fact:
                case f.PassesIdled():
                    self.idled = fact
                case f.PassWentOn():
                    self.went_on = fact
                case f.PassesRan():
                    self.ran = fact
                case f.EpochBegan():
                    self.starts = True
                case _ if self.ran is not None:
                    self.after.append(fact)
                case _ if of_the_flow(fact):
                    self.asked.append(fact)
                case _:
                    self.before.append(fact)

    @property
    def ends(self) -> int:
        """How many passes came to their end in this turn."""
        return self.ran.count if self.ran is not None else 0

    @property
    def took(self) -> float:
        """Seconds that its passes took."""
        return self.ran.took / 1e6 if self.ran is not None else 0.0

    @property
    def raised(self) -> bool:
        """Whether its last pass ended in an exception, so that nothing else it asked for is recorded."""
        last = self.asked[0] if len(self.asked) == 1 else None
        return isinstance(last, f.EndAsked) and last.raised


def of_the_flow(fact: f.Fact) -> bool:
    """Whether a pass asked for it."""
    match fact:
        case f.Wrote() | f.StopAsked():
            return fact.by == "flow"
    return type(fact) in _ASKED


_ASKED = {f.Made, f.Deleted, f.Called, f.StartAsked, f.Ticked, f.PassCompleted, f.CursorMoved, f.EndAsked}


def alike(one: Any, other: Any) -> bool:
    """Whether two packed values are the same, but for the names of payloads: what is made anew has a new one."""
    return same(one, other) or without_names(canonical(one)) == without_names(canonical(other))


def asks_the_same(recorded: f.Fact, fact: f.Fact) -> bool:
    """Whether two facts of the flow say the same."""
    match recorded, fact:
        case f.Called(), f.Called():  # its key tells the arguments, its number the order
            return (recorded.path, recorded.number, recorded.key, recorded.tick) == (
                fact.path, fact.number, fact.key, fact.tick,
            )  # fmt: skip
        case f.Wrote(), f.Wrote():
            one, other = recorded.delta, fact.delta
            return (recorded.path, one.op) == (fact.path, other.op) and alike(
                [list(one.path), one.value], [list(other.path), other.value]
            )
        case f.Made(), f.Made():
            return (recorded.path, recorded.kind, recorded.cls, recorded.options) == (
                fact.path, fact.kind, fact.cls, fact.options,
            ) and alike([recorded.state, recorded.origin], [fact.state, fact.origin])  # fmt: skip
        case f.EndAsked(), f.EndAsked():
            return (recorded.path, recorded.code, recorded.reason, recorded.raised) == (
                fact.path, fact.code, fact.reason, fact.raised,
            ) and _ADDRESS.sub("0x", recorded.message) == _ADDRESS.sub("0x", fact.message)  # fmt: skip
    return recorded == fact
