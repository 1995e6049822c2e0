"""The flow of a random app: what its ``run`` asks for, pass by pass, and what it must be told.

Its books are its own: which calls the last completed pass reached, where its schedules and loops stand. They
go back to the last commit when the runtime is killed, as a flow's state does.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from lightning.app.kernel import facts as f
from lightning.app.kernel.canonical import canonical
from lightning.app.kernel.delta import SET
from lightning.app.kernel.lifecycle import FINISHED, Phase, Process
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.model import Call, Model
from lightning.app.kernel.passes import TOGETHER, Passes, result
from lightning.app.kernel.schedule import Schedule
from lightning.app.kernel.values import pack, unpack
from tests.unit.kernel import network
from tests.unit.kernel.hosts import NUMBERS, some_change

PERIODS = {"* * * * *": 60, "*/5 * * * *": 300, "hourly": 3600}
COUNTED = 40
ROUND = 6

Statement = tuple[Any, ...]


class Blocked(Exception):
    """The pass ended: at a call, or because the app ends."""


class Defect(Exception):
    """The user's flow raised."""


@dataclass
class ScheduleBook:
    """Where one schedule must stand."""

    number: int
    active: bool
    due: float
    setbacks: int  # how often the clock had been set back when ``due`` was reckoned


@dataclass
class Book:
    """What the flow knows of itself."""

    reached: frozenset[tuple[str, bytes]] = frozenset()  # by the last completed pass
    schedules: dict[str, ScheduleBook] = field(default_factory=dict)
    cursors: dict[tuple[str, str], int] = field(default_factory=dict)

    def copy(self) -> Book:
        schedules = {key: replace(one) for key, one in self.schedules.items()}
        return Book(self.reached, schedules, dict(self.cursors))

    def forget(self, path: str) -> None:
        """A flow and all below it left the tree."""

        def below(each: str) -> bool:
            return each == path or each.startswith(path + ".")

        self.schedules = {key: one for key, one in self.schedules.items() if not below(key.split("|")[0])}
        self.cursors = {key: at for key, at in self.cursors.items() if not below(key[0])}


class Program:
    """What the flows' ``run`` methods say. The same for the whole life of an app."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.flows = [
            "root",
            *rng.choice(((), (), ("root.f",), ("root.f", "root.g"), ("root.f", "root.f.g"))),
        ]
        self.works = [f"{rng.choice(self.flows)}.w{n}" for n in range(rng.randint(1, 4))]
        self.lines = {flow: [self._statement(flow) for _ in range(rng.randint(1, 6))] for flow in self.flows}
        for flow in self.flows[1:]:
            above = self.lines[flow.rpartition(".")[0]]
            above.insert(rng.randint(0, len(above)), ("flow", flow))
        self.lines["root"].insert(0, ("count", "root"))

    def _statement(self, flow: str, depth: int = 0) -> Statement:
        rng = self.rng
        path = rng.choice([each for each in self.works if each.startswith(flow + ".")] or self.works)
        match rng.randrange(24 if depth < 2 else 12):
            case 0 | 1 | 2 | 3 | 4:
                return ("call", path, rng.randrange(3))
            case 5 | 6:
                return ("write", rng.choice((path, path, flow)))
            case 7:
                return ("write same", path)
            case 8:
                return ("count", flow)
            case 9:
                return ("add", path)
            case 10:
                return ("call of", path, rng.choice(self.works))
            case 11:
                return ("let in", path)
            case 12 | 13:
                return ("when", path, rng.randrange(5), self._statement(flow, depth + 1))
            case 14 | 15 | 16:
                return ("schedule", flow, rng.choice(list(PERIODS)), self._statement(flow, depth + 1))
            case 17:
                return ("stop", path, rng.randrange(ROUND))
            case 18:
                return ("replace", path, rng.randrange(ROUND), rng.randrange(3))
            case 19:
                return ("make or delete", rng.choice((path, flow)), rng.randrange(ROUND))
            case 20:
                return ("start", path)
            case 21:
                return ("iterate", flow, rng.choice("ij"), path, rng.randint(1, 4), rng.random() < 0.6)
            case 22 if rng.random() < 0.5:
                return ("end", flow, rng.randrange(COUNTED), rng.random() < 0.3)
            case 22:
                return ("raise", flow, rng.randrange(COUNTED))
            case _:
                return ("start", path)


class Flow:
    """Runs a program's passes against the kernel, and objects to what it should not be told."""

    def __init__(
        self,
        program: Program,
        passes: Passes,
        book: Book,
        values: dict[int, Any],
        made: Callable[[str], list[f.Made]],
        let_in: Callable[[], None],
    ) -> None:
        self.program = program
        self.passes = passes
        self.book = book
        self.values = values  # what calls have returned, packed, by number
        self.made = made
        self.enter_waiting = let_in
        self.setbacks = 0
        self.stopped: set[str] = set()
        self.seen: set[int] = set()  # finished calls that this process has been given
        self.mark = book
        self.stops = ""  # the work that the flow asks to be stopped right now
        self.resumed = False  # in this process, and no pass got through in it yet
        self.raised = False  # the app ends, and the model says what did not happen

    @property
    def model(self) -> Model:
        return self.passes.model

    def recall(self) -> None:
        """No pass got through in this process, and nothing is noted: whatever has finished counts as reached."""
        calls = [(path, call) for path, life in self.model.works.items() for call in life.latest.values()]
        self.book.reached = frozenset((path, call.key) for path, call in calls if call.phase in FINISHED)

    # -- a pass -----------------------------------------------------------------------------------

    def one_pass(self) -> None:
        passes, ledger = self.passes, self.passes.ledger
        passes.begin()
        ledger.fresh = False
        self.mark = self.book.copy()
        self.reached: set[tuple[str, bytes]] = set()
        self.occurrences: Counter[tuple[str, bytes]] = Counter()
        self.ticks: list[tuple[str, str]] = []
        self.consumed: set[str] = set()
        self.stopped.clear()
        self.news = self.let_others_in = False
        before = len(ledger.facts)
        try:
            self.run("root")
        except Blocked:
            pass
        except Defect:
            self.book = self.mark
            self.raised = True
            passes.undo()
            passes.works.end(1, "failed", work="root", failure=f.Failure("ValueError", "a defect"))
            return
        else:
            self.complete()
        if passes.works.ending:
            return
        if self.news:
            assert passes.wants_another(), "a result came for the first time, and no pass follows"
        elif not self.let_others_in:
            assert not ledger.fresh, "what the flow itself did counts as news for it"
            if len(ledger.facts) == before:
                assert not passes.wants_another(), "nothing happened in the pass, and another follows"

    def complete(self) -> None:
        uncached = [life for life in self.model.works.values() if not life.options.cache_calls]
        over = any(call.phase in FINISHED for life in uncached for call in life.latest.values())
        self.passes.complete()
        for key in self.consumed & self.book.schedules.keys():
            self.book.schedules[key].active = False
        self.book.reached = frozenset(self.reached)
        self.resumed = False
        if self.model.schedules:
            assert self.model.reached == self.book.reached, "what the pass has reached is not known"
        for life in uncached:
            kept = [call.number for call in life.latest.values() if call.phase in FINISHED]
            assert not kept, f"uncached calls {kept} are over, and so is the pass"
        self.news = self.news or over

    def run(self, flow: str) -> None:
        for statement in self.program.lines[flow]:
            self.execute(statement)

    def execute(self, statement: Statement) -> None:
        components = self.model.components
        count = components["root"].state["count"]
        match statement:
            case ("make or delete", path, when):
                self.make_or_delete(path, count % ROUND == when)
            case (_, path, *_) if path not in components:
                pass
            case ("call of", _, other) if other not in components:
                pass
            case ("flow", path):
                self.run(path)
            case ("call", path, argument):
                self.call(path, argument)
            case ("call of", path, other):
                self.call(path, components[other].state["n"])
            case ("write", path):
                self.passes.write(path, some_change(self.program.rng, components[path].state))
            case ("write same", path):
                self.write_same(path)
            case ("count", path):
                if components[path].state["count"] < COUNTED:
                    self.write(path, "count", components[path].state["count"] + 1)
            case ("add", path):
                if components[path].state["n"] < 50:
                    self.write(path, "n", components[path].state["n"] + 1)
            case ("let in", _):
                self.let_in()
            case ("when", path, value, inner):
                if components[path].state["n"] == value:
                    self.execute(inner)
            case ("schedule", path, line, inner):
                if self.schedule(path, line):
                    self.execute(inner)
            case ("stop", path, when):
                if count % ROUND == when:
                    self.stop(path)
            case ("replace", path, when, argument):
                if count % ROUND == when:
                    self.stop(path)
                    self.make_or_delete(path, True)
                    self.make_or_delete(path, True)
                    self.call(path, argument)
            case ("start", path):
                if self.model.works[path].stage != "stopped":
                    self.start(path)
            case ("iterate", path, key, work, size, once):
                self.iterate(path, key, work, size, once)
            case ("end", _, when, fails):
                if count == when:
                    self.passes.end(0, "stopped", "")
                    raise Defect if fails else Blocked  # in a finally: clause, say
            case ("raise", _, when):
                if count == when:
                    raise Defect

    # -- requests ---------------------------------------------------------------------------------

    def call(self, path: str, argument: Any) -> None:
        life = self.model.works[path]
        short = canonical([[argument], {}])
        key = short
        if not life.options.cache_calls:
            key = b"%b#%d" % (short, self.occurrences[path, short])
            self.occurrences[path, short] += 1
        ticks = {tick for flow, tick in self.ticks if path.startswith(flow + ".")}
        again = (path, key) in self.reached
        self.reached.add((path, key))
        known = life.latest.get(key)
        known_phase = known.phase if known is not None else None
        latest = self.model.calls
        call = self.passes.call(path, short, [argument], {})
        if known is None:
            if path in self.stopped:
                assert call is None, f"{path}: stopped in this very pass, and called again in it"
                return
            new = True
        elif known_phase not in FINISHED or again or (path, key) in self.book.reached:
            new = False
        else:
            new = bool(ticks) and not ticks & set(known.tick.split(TOGETHER))
        assert call is not None, f"{path}: no call, and nobody stopped it"
        assert (call is not known) is new, f"{path}#{call.number}: {'not ' if new else ''}called anew"
        if new:
            assert call.number == latest + 1
            assert set(call.tick.split(TOGETHER)) - {""} == ticks, (
                f"{path}#{call.number}: {call.tick}, not {ticks}"
            )
        self.given(path, call)

    def given(self, path: str, call: Call) -> None:
        if call.phase not in FINISHED:
            if not self.model.works[path].options.parallel:
                raise Blocked
            return
        expected = unpack(self.values[call.number]) if call.phase is Phase.SUCCEEDED else None
        assert network.same(result(call), expected), (
            f"{path}#{call.number} gave {result(call)}, not {expected}"
        )
        if call.number not in self.seen:
            self.seen.add(call.number)
            self.news = True

    def schedule(self, flow: str, line: str) -> bool:
        key = f"{flow}|{line}||"
        now = self.passes.ledger.at
        known = self.book.schedules.get(key)
        if self.resumed and not self.model.schedules:
            self.recall()
        self.resumed = False
        true = self.passes.schedule(key, flow, Schedule.parse(line, "UTC"), None)
        number = self.model.schedules[key].ticks.number
        if known is None or known.active:
            assert true, f"{key}: not true"
        elif known.setbacks == self.setbacks:
            assert true is (now >= known.due), f"{key}: {true} at {now}, and due at {known.due}"
        if true:
            if known is None or not known.active:
                assert number == (1 if known is None else known.number + 1), f"{key}: tick {number}"
                due = (now // PERIODS[line] + 1) * PERIODS[line]
                self.book.schedules[key] = ScheduleBook(number, True, due, self.setbacks)
            self.ticks.append((flow, f"{key}@{number}"))
            self.consumed.add(key)
        return true

    def iterate(self, flow: str, key: str, work: str, size: int, once: bool) -> None:
        index = self.passes.cursor(flow, key)
        assert index == self.book.cursors.get((flow, key), 0), f"{flow}: the loop {key} goes on at {index}"
        while index < size:
            if work in self.model.components:
                self.call(work, index)
            index += 1
            self.move(flow, key, index)
        if not once:
            self.move(flow, key, 0)

    def move(self, flow: str, key: str, index: int) -> None:
        self.passes.move_cursor(flow, key, index)
        self.book.cursors[flow, key] = index

    def write(self, path: str, name: str, value: Any) -> None:
        self.passes.write(path, Delta(SET, (name,), value))
        assert self.passes.wrote
        assert self.model.components[path].state[name] == value, "a flow reads what it has written"

    def write_same(self, path: str) -> None:
        name = self.program.rng.choice((*NUMBERS, "items", "table"))
        facts, wrote = len(self.passes.ledger.facts), self.passes.wrote
        self.passes.write(path, Delta(SET, (name,), pack(self.model.components[path].state[name])))
        assert (len(self.passes.ledger.facts), self.passes.wrote) == (facts, wrote), (
            f"{path}.{name}: no change"
        )

    def make_or_delete(self, path: str, now: bool) -> None:
        components = self.model.components
        if path == "root":
            return
        if path not in components:
            if path.rpartition(".")[0] in components:
                for fact in self.made(path):
                    before = self.model.generations.get(fact.path, 0)
                    self.passes.make(fact)
                    assert components[fact.path].generation == before + 1
                    self.stopped.discard(fact.path)
        elif now:
            self.passes.delete(path)
            assert not self.model.below(path)
            self.book.forget(path)

    def stop(self, path: str) -> None:
        life = self.model.works[path]
        self.stops = path
        self.passes.stop_work(path)
        self.stops = ""
        self.stopped.add(path)
        assert not list(life.unfinished()), f"{path}: stopped, with calls left"
        assert life.process in (Process.ABSENT, Process.STOPPING)

    def start(self, path: str) -> None:
        life = self.model.works[path]
        self.passes.start_work(path)
        assert life.wanted or life.process in (Process.STARTING, Process.READY)

    def let_in(self) -> None:
        """Read an attribute again: what waits comes in, and what the pass holds does not change."""
        states = [component.state for component in self.model.components.values()]
        held = [value for state in states for value in state.values() if isinstance(value, list | dict)]
        looked = repr(held)
        self.let_others_in = True
        self.enter_waiting()
        self.mark = self.book.copy()
        assert repr(held) == looked, "a container changed in the hands of the pass"
        if self.passes.works.ending:
            raise Blocked
