"""Rules about passes: what a request of the flow means at the point of the replay where it is made.

A pass is one replay of the root's ``run``. It either gets through, or ends at the first call that is not
finished. What it wrote until then is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel.canonical import same
from lightning.app.kernel.delta import SET
from lightning.app.kernel.lifecycle import FINISHED, Phase
from lightning.app.kernel.model import Call, Model
from lightning.app.kernel.schedule import Schedule, advance
from lightning.app.kernel.values import pack, unpack
from lightning.app.kernel.works import Works

OWN_PASSES = 16
"""So many passes in a row may follow at once from nothing but the flow's own writes."""

TOGETHER = "\x1f"
"""Between the ticks under which a call was made; a schedule's user_key may hold anything that can be typed."""

Settle = Callable[[], tuple[list[Any], dict[str, Any]]]

_NOTHING = object()


class Passes:
    """Decides for the flow. One pass at a time; the requests come in the order of the user's code."""

    def __init__(self, works: Works) -> None:
        self.works = works
        self.ledger = works.ledger
        self.model = works.ledger.model
        self.again = False  # a result was returned for the first time: another pass follows at once
        self.wrote = False
        self.own_passes = 0
        self.undone = False  # the model has what the journal has not: it is good for nothing but the end
        self._reached: set[tuple[str, bytes]] = set()
        self._reached_last: frozenset[tuple[str, bytes]] | None = None  # unknown before a pass got through
        self._occurrences: dict[tuple[str, bytes], int] = {}
        self._ticks: list[tuple[str, str]] = []  # (flow, schedule@tick) that are true in this pass
        self._consumed: list[str] = []
        self._stopped: set[str] = set()
        self._uncached = True  # there may be uncached calls to forget
        self._set_mark()

    # -- a pass -----------------------------------------------------------------------------------

    def begin(self) -> None:
        if self.ledger.fresh or self.again:
            self.own_passes = 0
        else:
            self.own_passes = self.own_passes + 1 if self.wrote else 0
        self.again = self.wrote = False
        self._reached.clear()
        self._occurrences.clear()
        self._ticks.clear()
        self._consumed.clear()
        self._stopped.clear()
        self._set_mark()

    def complete(self) -> None:
        """The pass got through."""
        reached = self._reached_last
        if reached is None or self._reached != reached:
            self._reached_last = reached = frozenset(self._reached)
        news = reached if self.model.schedules and reached != self.model.reached else None
        spent = self._uncached and self._any_spent()
        if self._consumed or news is not None or spent:
            listed = sorted(news) if news is not None else None
            self.ledger.enter(f.PassCompleted(list(self._consumed), listed, spent))
            self.again = self.again or spent

    def _any_spent(self) -> bool:
        """Whether an uncached call is over; while others still run, also those that end later will be looked for."""
        over = [
            call.story[-1] in FINISHED
            for life in self.model.works.values()
            if not life.options.cache_calls
            for call in life.latest.values()
        ]
        self._uncached = not all(over)
        return any(over)

    def undo(self) -> None:
        """The flow raised: what this pass asked for did not happen. The model is not used any further."""
        facts, orders, self.works.ending = self._mark
        del self.ledger.facts[facts:]
        del self.ledger.orders[orders:]
        self.undone = True

    def closed_turn(self) -> None:
        """The pass goes on in a new turn: what it did until here is durable, what came in is not its own."""
        self._set_mark()

    def _set_mark(self) -> None:
        self._mark = len(self.ledger.facts), len(self.ledger.orders), self.works.ending

    def wants_another(self) -> bool:
        """Whether another pass should follow at once, because of what the last one did."""
        return self.again or (self.wrote and self.own_passes < OWN_PASSES)

    # -- requests of the flow ---------------------------------------------------------------------

    def call(
        self,
        path: str,
        key: bytes,
        args: list[Any],
        kwargs: dict[str, Any],
        settle: Settle | None = None,
    ) -> Call | None:
        """The call's record, finished or not. None: this very pass has cancelled it.

        ``settle`` gives the arguments of a call that is new, where it costs something to have them.
        """
        life = self.model.works[path]
        if not life.options.cache_calls:
            base = (path, key)
            occurrence = self._occurrences.get(base, 0)
            self._occurrences[base] = occurrence + 1
            key = b"%b#%d" % (key, occurrence)
            self._uncached = True
        again = (path, key) in self._reached
        self._reached.add((path, key))
        call = life.latest.get(key)
        if call is not None:
            if call.story[-1] not in FINISHED:
                return call
            tick = self._tick_for(path) if self._ticks and not again else ""
            if not tick or (path, key) in (self._reached_last or ()) or _share_a_tick(call.tick, tick):
                if not call.seen:
                    call.seen = self.again = True
                return call
        elif path in self._stopped:
            return None
        else:
            tick = self._tick_for(path) if self._ticks else ""
        if settle is not None:
            args, kwargs = settle()
        self.ledger.enter(f.Called(path, self.model.calls + 1, key, args, kwargs, tick))
        self.works.touch(path)
        return life.latest[key]

    def _tick_for(self, path: str) -> str:
        """The ticks that are true in this pass for the flows above ``path``."""
        return TOGETHER.join(tick for flow, tick in self._ticks if path.startswith(flow + "."))

    def write(self, path: str, delta: m.Delta) -> None:
        """The flow changes a component's state. Writing what is there already is no change."""
        if delta.op == SET and len(delta.path) == 1:
            before = self.model.components[path].state.get(delta.path[0], _NOTHING)
            if before is not _NOTHING and same(pack(before), delta.value):
                return
        self.works.write(path, delta, "flow")
        self.wrote = True

    def schedule(self, key: str, flow: str, schedule: Schedule, start: float | None) -> bool:
        """Whether the schedule is true at this point of the pass."""
        if self._reached_last is None:
            self._reached_last = _reached_before(self.model)
        if not self.model.schedules and self._reached_last != self.model.reached:
            # Until now nobody needed to know. From here on a resumed run does.
            self.ledger.enter(f.PassCompleted([], sorted(self._reached_last)))
        life = self.model.schedules.get(key)
        if life is None or not life.active:
            before = life.ticks if life is not None else None
            after = advance(schedule, before, self.ledger.at, start)
            ticked = after.number > (before.number if before is not None else 0)
            if after is not before:
                self.ledger.enter(f.Ticked(key, after, ticked))
            if not ticked:
                return False
            life = self.model.schedules[key]
        self._ticks.append((flow, f"{key}@{life.ticks.number}"))
        self._consumed.append(key)
        return True

    def make(self, fact: f.Made) -> None:
        self.ledger.enter(fact)
        self.wrote = True
        self._stopped.discard(fact.path)  # that was another one
        if fact.options is not None:
            self.works.watch(fact.path)

    def delete(self, path: str) -> None:
        self.works.delete(path)
        self.wrote = True

    def start_work(self, path: str) -> None:
        self.works.start(path)

    def stop_work(self, path: str) -> None:
        self.works.stop(path)
        self._stopped.add(path)

    def cursor(self, path: str, key: str) -> int:
        return self.model.cursors.get((path, key), 0)

    def move_cursor(self, path: str, key: str, index: int) -> None:
        self.ledger.enter(f.CursorMoved(path, key, index))
        self.wrote = True

    def end(self, code: int, reason: str, message: str, path: str = "root") -> None:
        self.ledger.enter(f.EndAsked(path, code, reason, message))
        self.works.end(code, reason, message)

    def failed(self, path: str, failure: f.Failure) -> None:
        """The flow raised."""
        self.undo()
        self.ledger.enter(f.EndAsked(path, 1, "failed", f"{failure.kind}: {failure.message}", raised=True))
        self.works.end(1, "failed", work=path, failure=failure)


def _reached_before(model: Model) -> frozenset[tuple[str, bytes]]:
    """The calls that the last completed pass reached, as far as the journal tells.

    Without a schedule it does not: the turns of apps that have none stay small. Then a finished call counts as
    reached, so that the first schedule of a resumed run makes none run again that the pass before it had passed.
    """
    if model.schedules or model.epoch <= 1:
        return model.reached
    return frozenset(
        (path, key)
        for path, life in model.works.items()
        for key, call in life.latest.items()
        if call.story[-1] in FINISHED
    )


def _share_a_tick(one: str, other: str) -> bool:
    """Whether a call made for ``one`` has run for ``other``, too: another schedule may have come true meanwhile."""
    return one == other or not set(one.split(TOGETHER)).isdisjoint(other.split(TOGETHER))


def result(call: Call) -> Any:
    """What a finished call gives the flow: a fresh value, so that changing it changes nothing else."""
    return unpack(call.value) if call.story[-1] is Phase.SUCCEEDED else None
