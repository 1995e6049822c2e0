"""One turn's bookkeeping: facts change the model as they are entered, orders wait for the commit."""

from __future__ import annotations

from lightning.app.kernel.facts import Fact
from lightning.app.kernel.model import Model, evolve
from lightning.app.kernel.orders import Order


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
