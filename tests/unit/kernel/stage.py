"""A flow with works, driven by hand: what tests of single rules say and look at."""

from __future__ import annotations

from typing import Any

from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel import orders as o
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.lifecycle import Phase
from lightning.app.kernel.model import Call, Model, WorkLife
from lightning.app.kernel.passes import Passes
from lightning.app.kernel.works import Works

W = "root.w"


class Stage:
    """A flow with one work (or more), and what was ordered of the world around them."""

    def __init__(self, devices: int = 0, works: tuple[str, ...] = (W,), **options: Any) -> None:
        self.ledger = Ledger(Model())
        self.works = Works(self.ledger, devices=range(devices))
        self.passes = Passes(self.works)
        self.ledger.enter(f.Made("root", "flow", "app:Root", {}))
        for path in works:
            self.ledger.enter(f.Made(path, "work", "app:Work", {}, f.WorkOptions(**options)))
        self.works.begin_epoch()
        self.seq = 0

    def life(self, path: str = W) -> WorkLife:
        return self.ledger.model.works[path]

    def facts(self) -> list[f.Fact]:
        return self.ledger.close_turn()[0]

    def orders(self) -> list[o.Order]:
        return self.ledger.close_turn()[1]

    def resume(self) -> None:
        """The runtime was killed, and the run goes on in a new one."""
        self.works = Works(self.ledger, devices=self.works.devices)
        self.passes = Passes(self.works)
        self.works.begin_epoch()
        self.works.settle()
        self.seq = 0

    def call(self, key: bytes = b"k", path: str = W) -> Call:
        call = self.passes.call(path, key, [], {})
        assert call is not None
        self.works.settle()
        return call

    def say(self, message: m.Message, path: str = W, seq: int | None = None, seen: int = 0) -> None:
        self.seq = self.seq + 1 if seq is None else seq
        self.works.take(path, self.life(path).incarnation, self.seq, seen, message)
        self.works.settle()

    def die(self, path: str = W, reason: str = "killed by SIGKILL") -> None:
        self.works.exited(path, self.life(path).incarnation, reason)
        self.seq = 0
        self.works.settle()

    def running(self, key: bytes = b"k") -> Call:
        call = self.call(key)
        self.say(m.Ready(1))
        assert call.phase is Phase.RUNNING
        return call

    def finished(self, key: bytes = b"k", value: Any = 5) -> Call:
        """A call that has returned; its process idles."""
        call = self.call(key)
        if call.phase is Phase.WAITING:
            self.say(m.Ready(1))
        self.say(m.Returned(call.number, value))
        assert call.phase is Phase.SUCCEEDED
        return call

    def ends(self) -> list[o.EndApp]:
        return [order for order in self.orders() if isinstance(order, o.EndApp)]

    def notices(self) -> list[str]:
        return [order.message for order in self.orders() if isinstance(order, o.Notice)]


def raised(call: Call) -> m.Raised:
    return m.Raised(call.number, "ValueError", "no", "...")
