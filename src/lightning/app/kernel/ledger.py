"""One turn's bookkeeping: facts change the model as they are entered, orders wait for the commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from msgspec.structs import replace as with_fields

from lightning.app.kernel.facts import Fact, Failure, Gone
from lightning.app.kernel.model import Model, evolve
from lightning.app.kernel.orders import EndApp, Notice, Order


class Ledger:
    """The model, and what the turn under way has added to it."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.facts: list[Fact] = []
        self.orders: list[Order] = []
        self.at = 0.0  # the time of the turn; the kernel has no other clock
        self.fresh = False  # something came in that the flow has not been shown yet

    def enter(self, fact: Fact) -> None:
        self.facts.append(fact)
        evolve(self.model, fact, self.at)

    def order(self, order: Order) -> None:
        self.orders.append(order)

    def close_turn(self) -> tuple[list[Fact], list[Order]]:
        """What the turn came to. The next one begins empty."""
        closed = self.facts, self.orders
        self.facts, self.orders = [], []
        return closed


class MaskingLedger(Ledger):
    """A ledger that keeps secrets: whatever is told of a failure or an end goes through ``mask``, nothing else."""

    def __init__(self, model: Model, mask: Callable[[str], str]) -> None:
        super().__init__(model)
        self._mask = mask

    def enter(self, fact: Fact) -> None:
        if told := _told_in(type(fact)):
            fact = with_fields(fact, **{name: self._masked(getattr(fact, name)) for name in told})
        super().enter(fact)

    def order(self, order: Order) -> None:
        if isinstance(order, EndApp):
            order = replace(order, message=self._mask(order.message), failure=self._masked(order.failure))
        elif isinstance(order, Notice):
            order = replace(order, message=self._mask(order.message))
        super().order(order)

    def _masked(self, told: Any) -> Any:
        if isinstance(told, Failure):
            return Failure(told.kind, self._mask(told.message), self._mask(told.traceback))
        return self._mask(told) if told else told


@cache
def _told_in(kind: type[Fact]) -> tuple[str, ...]:
    """The fields in which facts of this kind say, in words of others, what went wrong."""
    words = ("reason",) if kind is Gone else ("failure", "message")
    return tuple(name for name in words if name in kind.__struct_fields__)
