"""Random apps in a random world, through the kernel alone: no process, no socket, no clock.

One world is one seed. It makes a tree of works, a flow program that is replayed, hosts that write, return,
raise and die, a network that delivers again what it has delivered, a clock that jumps, and a runtime that is
killed before or after any commit. Along the way and at the end it checks what must hold. Replay a seed with
``python -m tests.unit.kernel.simulation SEED``.
"""

from __future__ import annotations

import copy
import random
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel import orders as o
from lightning.app.kernel.delta import INSERT, SET, Undo, apply, apply_copy, conflicts, rebase
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.lifecycle import FINISHED, Process
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.model import Model, fold
from lightning.app.kernel.passes import Passes
from lightning.app.kernel.schedule import Schedule
from lightning.app.kernel.values import canonical, pack
from lightning.app.kernel.works import Works

ATTRIBUTES = ("a", "b", "items", "table")
FIRST = {"a": 0, "b": 0, "items": [], "table": {}}


class Blocked(Exception):
    """The pass of the program ended at a call."""


class Killed(Exception):
    """The runtime was killed."""


def some_delta(rng: random.Random) -> Delta:
    """One change of a work's state."""
    match rng.randrange(6):
        case 0 | 1:
            return Delta(SET, (rng.choice("ab"),), rng.randrange(5))
        case 2:
            return Delta(INSERT, ("items",), [None, [rng.randrange(100)]])
        case 3:
            return Delta(SET, ("items",), [rng.randrange(100)])
        case 4:
            return Delta(SET, ("table", rng.choice("xyz")), rng.randrange(5))
        case _:
            return Delta(SET, ("table",), {"x": rng.randrange(5)})


class Host:
    """One work's process, as far as the kernel can tell."""

    def __init__(self, path: str, incarnation: int, state: dict[str, Any]) -> None:
        self.path = path
        self.incarnation = incarnation
        self.state = copy.deepcopy(state)
        self.inbox: deque[tuple[int, Any]] = deque()
        self.outbox: deque[tuple[int, int, m.Message]] = deque()
        self.delivered: list[tuple[int, int, m.Message]] = []
        self.told: list[tuple[int, m.Message]] = []  # all that ever went into the inbox
        self.received = 1  # the object itself
        self.sent = 0
        self.mine: list[tuple[int, Delta, Undo]] = []
        self.known_at: dict[int, int] = {}  # by the seq of a write: what had been received when it was made
        self.call: m.Call | None = None
        self.ready = False
        self.stopping = False

    def say(self, message: m.Message) -> None:
        self.sent += 1
        self.known_at[self.sent] = self.received
        self.outbox.append((self.sent, self.received, message))

    def write(self, delta: Delta) -> None:
        undo = apply(self.state, delta)
        self.say(m.Changed([delta]))
        self.mine.append((self.sent, delta, undo))

    def hear(self) -> None:
        seq, message = self.inbox.popleft()
        if not seq:  # an acknowledgement: it comes in its turn, behind what was sent before it
            self.mine = [each for each in self.mine if each[0] > message]
            return
        self.received = seq
        if isinstance(message, m.Call):
            self.call = message
        elif isinstance(message, m.Write):
            for delta in message.deltas:
                if any(mine.path[0] == delta.path[0] for _, mine, _ in self.mine):
                    redone = rebase(self.state, [(mine, undo) for _, mine, undo in self.mine], delta)
                    self.mine = [
                        (seq, mine, undo) for (seq, _, _), (mine, undo) in zip(self.mine, redone, strict=True)
                    ]
                else:
                    apply_copy(self.state, delta)

    def act(self, rng: random.Random) -> None:
        if not self.ready:
            self.ready = True
            self.say(m.Ready(self.incarnation))
        elif self.call is not None:
            match rng.randrange(4):
                case 0 | 1:
                    self.write(some_delta(rng))
                case 2:
                    self.say(m.Returned(self.call.call, rng.randrange(100)))
                    self.call = None
                case 3 if rng.random() < 0.4:
                    self.say(m.Raised(self.call.call, "ValueError", "no", "..."))
                    self.call = None


@dataclass
class World:
    """Everything of one seed."""

    rng: random.Random
    log: list[tuple[float, list[f.Fact]]] = field(default_factory=list)
    hosts: dict[int, Host] = field(default_factory=dict)  # by incarnation
    gone: list[Host] = field(default_factory=list)
    returned: set[int] = field(default_factory=set)  # calls whose return is durable
    sent: dict[int, int] = field(default_factory=dict)
    now: float = 1_000_000.0
    calm: bool = False

    def __post_init__(self) -> None:
        rng = self.rng
        self.paths = [f"root.w{n}" for n in range(rng.randint(1, 4))]
        self.options = {
            path: f.WorkOptions(
                parallel=rng.random() < 0.6,
                cache_calls=rng.random() < 0.7,
                raise_exception=False,
                retries=rng.choice((0, 0, 1)),
                timeout=rng.choice((None, None, 50.0)),
                on_crash=rng.choice(("rerun", "rerun", "fail")),
                gpus=rng.choice((0, 0, 1)),
                idle_timeout=rng.choice((None, None, 20.0)),
            )
            for path in self.paths
        }
        self.program = [self.statement() for _ in range(rng.randint(1, 8))]
        self.boot()

    def statement(self, depth: int = 0) -> tuple[Any, ...]:
        rng = self.rng
        path = rng.choice(self.paths)
        match rng.randrange(10 if depth < 2 else 6):
            case 0 | 1 | 2:
                return ("call", path, rng.randrange(3))
            case 3:
                return ("write", path, some_delta(rng))
            case 4:
                return ("count", rng.choice("ab"))
            case 5:
                return ("call of", path, rng.choice(self.paths))
            case 6:
                return ("when", path, rng.randrange(5), self.statement(depth + 1))
            case 7:
                return (
                    "schedule",
                    rng.choice(("* * * * *", "*/5 * * * *", "hourly")),
                    self.statement(depth + 1),
                )
            case 8:
                return ("stop", path, rng.randrange(7))
            case _:
                return ("start", path)

    # -- the runtime ------------------------------------------------------------------------------

    def boot(self) -> None:
        """A new process: everything but the log is gone."""
        self.gone += self.hosts.values()
        self.hosts.clear()
        self.ledger = Ledger(fold(self.log))
        self.works = Works(self.ledger, devices=(0, 1))
        self.passes = Passes(self.works)
        self.ledger.at = self.now
        if not self.log:
            self.ledger.enter(f.Made("root", "flow", "app:Root", {"a": 0, "b": 0}))
            for path in self.paths:
                state = {name: pack(value) for name, value in FIRST.items()}
                self.ledger.enter(f.Made(path, "work", "app:Work", state, self.options[path]))
        self.works.begin_epoch()
        self.close_turn()

    def close_turn(self) -> None:
        facts, orders = self.ledger.close_turn()
        if not self.calm and self.rng.random() < 0.01:
            raise Killed  # before the commit: none of it happened
        if facts:
            self.log.append((self.ledger.at, f.decode_turn(f.encode_turn(facts))))
            self.after_commit(facts)
        if not self.calm and self.rng.random() < 0.01:
            raise Killed  # after it: nothing of it was done
        for order in orders:
            self.perform(order)
        for host in self.hosts.values():
            life = self.ledger.model.works.get(host.path)
            if life is not None and life.incarnation == host.incarnation:
                host.inbox.append((0, life.seen))

    def after_commit(self, facts: list[f.Fact]) -> None:
        for fact in facts:
            if isinstance(fact, f.Returned):
                assert fact.number not in self.returned, f"call {fact.number} returned twice"
                self.returned.add(fact.number)

    def perform(self, order: o.Order) -> None:
        match order:
            case o.Place():
                state = self.ledger.model.components[order.path].state
                self.hosts[order.incarnation] = host = Host(order.path, order.incarnation, state)
                self.sent[order.incarnation] = 1
            case o.Send():
                life = self.ledger.model.works.get(order.path)
                host = next((each for each in reversed(self.hosts.values()) if each.path == order.path), None)
                if host is None or life is None:
                    return
                self.sent[host.incarnation] += 1
                if isinstance(order.message, m.Call):
                    assert order.message.call not in self.returned, f"call {order.message.call} ran again"
                host.inbox.append((self.sent[host.incarnation], order.message))
                host.told.append((self.sent[host.incarnation], order.message))
            case o.StopWorker():
                if order.incarnation in self.hosts:
                    self.hosts[order.incarnation].stopping = True

    def turn(self) -> None:
        """Take in some of what waits, run passes, settle, commit, perform."""
        rng = self.rng
        self.ledger.at = self.now
        for host in list(self.hosts.values()):
            while host.outbox and rng.random() < 0.7:
                self.deliver(host)
        for host in rng.sample(self.gone, min(1, len(self.gone))):  # an old process speaks up
            if host.delivered:
                self.take(host, rng.choice(host.delivered))
        self.works.elapsed()
        for _ in range(rng.randint(1, 3)):
            self.one_pass()
        self.works.settle()
        self.close_turn()

    def deliver(self, host: Host) -> None:
        said = host.outbox.popleft()
        host.delivered.append(said)
        self.take(host, said)
        if self.rng.random() < 0.1:
            self.take(host, self.rng.choice(host.delivered))  # once more, after a reconnect

    def take(self, host: Host, said: tuple[int, int, m.Message]) -> None:
        seq, acknowledged, message = said
        before = len(self.ledger.facts)
        expected = self.expected_conflicts(host, seq, message)
        self.works.take(host.path, host.incarnation, seq, acknowledged, message)
        for fact in self.ledger.facts[before:]:
            if isinstance(fact, f.Changed):
                assert fact.conflicts == expected, f"conflicts {fact.conflicts}, but there were {expected}"

    def expected_conflicts(self, host: Host, seq: int, message: m.Message) -> list[int]:
        """By what was really sent and really seen."""
        if not isinstance(message, m.Changed) or host.incarnation not in self.hosts:
            return []
        known = host.known_at[seq]
        unseen = [
            delta for number, sent in self.numbered_sends(host) if number > known and isinstance(sent, m.Write)
            for delta in sent.deltas
        ]  # fmt: skip
        return [
            position
            for position, delta in enumerate(message.deltas)
            if any(conflicts(delta, each) for each in unseen)
        ]

    def numbered_sends(self, host: Host) -> list[tuple[int, m.Message]]:
        """What was ever sent to the host, and what this very turn will send."""
        waiting = [
            order.message
            for order in self.ledger.orders
            if isinstance(order, o.Send) and order.path == host.path
        ]
        first = self.sent[host.incarnation] + 1
        return [*host.told, *((first + position, message) for position, message in enumerate(waiting))]

    # -- the flow ---------------------------------------------------------------------------------

    def one_pass(self) -> None:
        self.passes.begin()
        self.ledger.fresh = False
        try:
            for statement in self.program:
                self.execute(statement)
        except Blocked:
            return
        self.passes.complete()

    def execute(self, statement: tuple[Any, ...]) -> None:
        model = self.ledger.model
        match statement:
            case ("call", path, argument):
                self.call(path, argument)
            case ("call of", path, other):
                self.call(path, model.components[other].state.get("a", 0))
            case ("write", path, delta):
                self.passes.write(path, delta)
            case ("count", name):
                value = model.components["root"].state[name]
                if value < 20:
                    self.passes.write("root", Delta(SET, (name,), value + 1))
            case ("when", path, value, inner):
                if model.components[path].state.get("a") == value:
                    self.execute(inner)
            case ("schedule", line, inner):
                if self.passes.schedule(f"root|{line}||", "root", Schedule.parse(line, "UTC"), None):
                    self.execute(inner)
            case ("stop", path, count):
                if model.components["root"].state["a"] == count:
                    self.passes.stop_work(path)
            case ("start", path):
                if model.works[path].stage != "stopped":
                    self.passes.start_work(path)

    def call(self, path: str, argument: int) -> None:
        key = canonical([[argument], {}])
        call = self.passes.call(path, key, [argument], {})
        if call is not None and call.phase not in FINISHED and not self.options[path].parallel:
            raise Blocked

    # -- the world --------------------------------------------------------------------------------

    def step(self) -> None:
        rng = self.rng
        match rng.randrange(12):
            case 0 | 1 | 2 | 3 | 4:
                for host in list(self.hosts.values()):
                    if host.inbox and rng.random() < 0.8:
                        host.hear()
                    if rng.random() < 0.8:
                        host.act(rng)
            case 5:
                self.now += rng.choice((0.1, 1.0, 30.0, 3600.0))
            case 6 if rng.random() < 0.1:
                self.now += rng.choice((-86400.0, 86400.0))
            case 7 if self.hosts and rng.random() < 0.2:
                self.end(rng.choice(list(self.hosts.values())), "killed by SIGKILL")
            case 8:
                for host in [each for each in self.hosts.values() if each.stopping]:
                    self.end(host, "")
            case _:
                self.turn()

    def end(self, host: Host, reason: str) -> None:
        """A process is gone: what it had sent arrives, some of it perhaps never left."""
        self.ledger.at = self.now
        while host.outbox and self.rng.random() < 0.9:
            self.deliver(host)
        del self.hosts[host.incarnation]
        self.gone.append(host)
        self.works.exited(host.path, host.incarnation, reason)
        self.works.settle()
        self.close_turn()

    def live(self, steps: int) -> None:
        for _ in range(steps):
            try:
                self.step()
            except Killed:
                try:
                    self.boot()
                except Killed:
                    self.calm = True
                    self.boot()
                    self.calm = False
            if self.rng.random() < 0.05:
                self.check_fold()

    def settle_down(self) -> None:
        """No more crashes and no new calls: everything that was begun comes to its end."""
        self.calm = True
        self.program = []
        for _ in range(400):
            for host in list(self.hosts.values()):
                while host.inbox:
                    host.hear()
                if host.stopping:
                    self.end(host, "")
                elif host.call is not None:
                    host.say(m.Returned(host.call.call, 1))
                    host.call = None
                elif not host.ready:
                    host.act(self.rng)
            self.ledger.at = self.now
            for host in list(self.hosts.values()):
                while host.outbox:
                    self.deliver(host)
            self.works.settle()
            self.close_turn()
            for path, life in self.ledger.model.works.items():  # make room for those that wait for a device
                if life.process is Process.READY and life.running is None and not life.queue:
                    self.works.stop(path)
            if not self.works.busy and not any(host.inbox or host.outbox for host in self.hosts.values()):
                break

    # -- what must hold ---------------------------------------------------------------------------

    def check_fold(self) -> None:
        """A fold of the log gives the same model."""
        if not self.ledger.facts:
            live, folded = snapshot(self.ledger.model), snapshot(fold(self.log))
            assert folded == live, f"the fold differs:\n{folded}\n{live}"

    def check_agreement(self) -> None:
        """Host and flow hold the same state."""
        for host in self.hosts.values():
            life = self.ledger.model.works[host.path]
            if life.incarnation == host.incarnation and life.process is not Process.ABSENT:
                ours = canonical(pack(self.ledger.model.components[host.path].state))
                theirs = canonical(pack(host.state))
                assert ours == theirs, (
                    f"{host.path}: {host.state} there, {self.ledger.model.components[host.path].state}"
                )

    def check_nothing_lost(self) -> None:
        for path, life in self.ledger.model.works.items():
            for call in [*life.latest.values(), *life.unfinished()]:
                assert call.phase in FINISHED, f"{path}#{call.number} is lost: {call.story}"


def snapshot(model: Model) -> Any:
    """Everything that a journal must bring back."""
    works = {
        path: (
            life.process, life.incarnation, life.devices, life.stage, list(life.statuses), life.wanted, life.asked,
            life.successes, life.failures, life.timeouts, life.start_deaths, life.seen,
            sorted((key, call_row(call)) for key, call in life.latest.items()),
            [call_row(call) for call in life.unfinished()],
        )
        for path, life in model.works.items()
    }  # fmt: skip
    return (
        model.epoch, model.calls, model.incarnations, dict(model.held), dict(model.generations), set(model.deleted),
        {path: (each.kind, each.generation, canonical(pack(each.state))) for path, each in model.components.items()},
        works,
        {key: (life.ticks, life.active) for key, life in model.schedules.items()},
        dict(model.cursors), model.reached,
    )  # fmt: skip


def call_row(call: Any) -> Any:
    return call.number, call.tick, tuple(call.story), call.value, call.failure, call.attempts, call.deaths


def simulate(seed: int, steps: int = 300) -> World:
    """One world, from its first turn to its rest."""
    rng = random.Random(seed)
    try:
        world = World(rng)
    except Killed:
        return simulate(seed + 1_000_000, steps)
    world.live(steps)
    world.check_fold()
    world.settle_down()
    world.check_nothing_lost()
    world.check_agreement()
    world.check_fold()
    return world


if __name__ == "__main__":
    first = int(sys.argv[1])
    for seed in range(first, first + int(sys.argv[2] if len(sys.argv) > 2 else 1)):
        try:
            simulate(seed)
        except BaseException:
            print(f"seed {seed}")
            raise
