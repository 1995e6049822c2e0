"""Random apps in a random world, through the kernel alone: no process, no socket, no clock.

One world is one seed. It makes a tree of flows and works and their programs (``program.py``), hosts that write,
return, raise and die (``hosts.py``), a page that writes and follows, a network that delivers again what it has
delivered, a clock that jumps, and a runtime that is killed before, within or after any commit. Along the way and
at the end it checks what must hold; ``witness.py`` and ``Overwrites`` keep books of their own. Replay a seed with
``python -m tests.unit.kernel.simulation SEED [COUNT]``.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel import orders as o
from lightning.app.kernel.canonical import canonical
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.lifecycle import FINISHED, Process
from lightning.app.kernel.model import Call, Model, WorkLife, fold
from lightning.app.kernel.passes import Passes
from lightning.app.kernel.values import pack
from lightning.app.kernel.works import Works
from tests.unit.kernel.hosts import Host, first_state, some_change
from tests.unit.kernel.network import same
from tests.unit.kernel.overwrites import Overwrites
from tests.unit.kernel.page import Page
from tests.unit.kernel.program import Book, Flow, Program
from tests.unit.kernel.witness import Witness

DEVICES = (0, 1)
KILLS = 0.01
SEEN_BY_THE_FLOW = f.Changed | f.Returned | f.CallFailed | f.Up | f.Gone


class Killed(Exception):
    """The runtime was killed."""


class WatchedLedger(Ledger):
    """Tells the world at once what is entered and ordered, not only at the end of the turn."""

    def __init__(self, model: Model, world: World) -> None:
        super().__init__(model)
        self.world = world

    def enter(self, fact: f.Fact) -> None:
        super().enter(fact)
        self.world.entered(fact)

    def order(self, order: o.Order) -> None:
        super().order(order)
        self.world.ordered(order)


class World:
    """Everything of one seed."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.rough = rng.random() < 0.5  # or a world in which little goes wrong, and much goes on at once
        self.program = Program(rng)
        self.options = {path: self.some_options() for path in self.program.works}
        self.frail = {path for path in self.program.works if self.rough and rng.random() < 0.35}
        self.log: list[tuple[float, list[f.AnyFact]]] = []
        self.uncommitted: list[tuple[float, list[f.AnyFact], list[o.Order]]] = []
        self.hosts: dict[int, Host] = {}  # by incarnation
        self.current: dict[str, Host] = {}
        self.gone: list[Host] = []
        self.refused: list[o.Place] = []  # processes that could not be had
        self.values: dict[int, Any] = {}  # what calls returned
        self.returned: set[int] = set()  # calls whose return is durable
        self.asked: dict[int, list[Any]] = {}  # arguments of calls
        self.now = 1_000_000.0
        self.setbacks = 0
        self.witness = Witness(DEVICES)
        self.page = Page()
        self.book = Book()
        self.ended = self.hopeless = False
        self.calm = True  # nobody kills the runtime
        self.boot()
        self.calm = False

    def some_options(self) -> f.WorkOptions:
        rng = self.rng
        return f.WorkOptions(
            parallel=rng.random() < 0.6,
            cache_calls=rng.random() < 0.7,
            raise_exception=rng.random() < (0.25 if self.rough else 0.05),
            retries=rng.choice((0, 0, 1, 2)),
            timeout=rng.choice((None, None, 50.0)),
            on_crash=rng.choice(("rerun", "rerun", "fail")),
            gpus=rng.choice((0, 0, 1, 2, 3)),
            idle_timeout=rng.choice((None, None, 20.0, 0.0)),
        )

    # -- the runtime ------------------------------------------------------------------------------

    def boot(self) -> None:
        """A new process: everything but the log is gone."""
        self.gone += self.hosts.values()
        self.hosts.clear()
        self.current.clear()
        self.refused.clear()
        self.uncommitted.clear()
        self.ended = False
        self.overwrites = Overwrites()
        self.ledger = WatchedLedger(fold(self.log), self)
        self.works = Works(self.ledger, devices=DEVICES)
        self.passes = Passes(self.works)
        self.flow = Flow(self.program, self.passes, self.book, self.values, self.made, self.let_in)
        self.flow.book = self.book.copy()
        self.flow.book.reached = self.ledger.model.reached
        self.flow.resumed = bool(self.log)
        self.flow.setbacks = self.setbacks
        self.ledger.at = self.now
        if not self.log:
            for fact in self.made("root"):
                self.ledger.enter(fact)
        elif self.rng.random() < 0.1 or self.hopeless:
            self.edit_the_code()
        self.works.begin_epoch()
        self.hopeless = self.works.ending
        self.settle()
        self.close_turn(now=True)

    def edit_the_code(self) -> None:
        """A work has other options from now on; ones that let it go on, if the app ended at its very start."""
        for path in self.program.works if self.hopeless else [self.rng.choice(self.program.works)]:
            options = self.some_options()
            self.options[path] = replace(options, raise_exception=False) if self.hopeless else options
            if path in self.ledger.model.works:
                self.ledger.enter(f.Configured(path, self.options[path]))

    def made(self, path: str) -> list[f.Made]:
        """A work, or a flow with all below it."""
        if path in self.options:
            state = {name: pack(value) for name, value in first_state().items()}
            return [f.Made(path, "work", "app:Work", state, self.options[path])]
        facts = [f.Made(path, "flow", "app:Flow", {"n": 0, "count": 0, "a": [1, [2]], "b": {}})]
        for each in (*self.program.flows, *self.program.works):
            if each.rpartition(".")[0] == path:
                facts += self.made(each)
        return facts

    def turn(self) -> None:
        """Take in some of what waits, run passes, settle, commit, perform."""
        rng = self.rng
        self.ledger.at = self.now
        self.take_in()
        if not self.ended:
            self.works.elapsed()
            self.check_times()
            for _ in range(rng.randint(1, 3)):
                if self.works.ending:
                    break
                self.flow.one_pass()
        self.settle()
        self.close_turn()
        assert self.ended or not self.works.ending, "the app ends, and nobody is told"
        if self.ended and not self.hosts:
            self.ledger.enter(f.Ended(1, "failed"))
            self.close_turn(now=True)
            self.boot()

    def let_in(self) -> None:
        """In the midst of a pass: what has happened until here becomes durable, what waits comes in."""
        self.settle()
        self.close_turn()
        self.ledger.model.careful = True
        self.take_in()
        self.ledger.model.careful = False
        self.passes.closed_turn()

    def take_in(self) -> None:
        rng = self.rng
        for host in self.gone[-3:] if rng.random() < 0.3 else ():  # an old process speaks up
            self.works.acknowledged(host.path, host.incarnation, host.received)
            if host.delivered:
                self.take(host, rng.choice(host.delivered))
        talkers = [host for host in self.hosts.values() if host.outbox]
        while talkers and rng.random() < 0.9:
            host = rng.choice(talkers)
            self.deliver(host)
            if not host.outbox:
                talkers.remove(host)
        for host in [each for each in self.hosts.values() if each.ended is not None and not each.outbox]:
            self.exited(host)
        while self.refused:
            place = self.refused.pop()
            with self.news_for_the_flow():
                failure = f.Failure("OSError", "no process")
                self.works.could_not_start(place.path, place.incarnation, failure)
        if rng.random() < 0.15 and not self.flow.raised:
            self.page_writes()

    def deliver(self, host: Host) -> None:
        said = host.outbox.popleft()
        if said[0]:
            host.delivered.append(said)
            self.take(host, said)
            host.taken = said[0]
        else:
            self.works.acknowledged(host.path, host.incarnation, said[1])
        life = self.ledger.model.works.get(host.path)
        if life is not None and life.incarnation == host.incarnation:
            assert all(number > said[1] for number, _ in life.unseen), f"{host.path}: seen, and kept"
        if host.delivered and self.rng.random() < 0.1:
            self.take(host, self.rng.choice(host.delivered))  # once more, after a reconnect

    def take(self, host: Host, said: tuple[int, int, m.Message]) -> None:
        seq, acknowledged, message = said
        before = len(self.ledger.facts)
        life = self.ledger.model.works.get(host.path)
        heard = life is not None and life.incarnation == host.incarnation and seq > life.seen
        fails = heard and isinstance(message, m.Broken) and self.is_needed(life)
        with self.news_for_the_flow():
            self.works.take(host.path, host.incarnation, seq, acknowledged, message)
        for fact in self.ledger.facts[before:]:
            if isinstance(fact, f.Changed) and not self.flow.raised:
                self.overwrites.changed(host, fact)
        if fails:
            assert len(self.ledger.facts) > before, f"{host.path}: it cannot begin, and nothing follows"
        if isinstance(message, m.Noticed) and heard and host.incarnation in self.hosts:
            assert self.ledger.orders[-1:] == [o.Notice(host.path, message.message)]

    def is_needed(self, life: WorkLife | None) -> bool:
        """Whether somebody waits for the process that is starting."""
        return life is not None and life.process is Process.STARTING and bool(life.queue or life.wanted)

    def exited(self, host: Host) -> None:
        assert host.ended is not None
        del self.hosts[host.incarnation]
        if self.current.get(host.path) is host:
            del self.current[host.path]
        self.gone.append(host)
        facts, orders = len(self.ledger.facts), len(self.ledger.orders)
        with self.news_for_the_flow():
            self.works.exited(host.path, host.incarnation, host.ended)
        told = [
            o.Notice(host.path, f"{fact.failure.message}; the same call runs again")
            for fact in self.ledger.facts[facts:]
            if isinstance(fact, f.CallFailed) and fact.again
        ]
        assert [each for each in self.ledger.orders[orders:] if isinstance(each, o.Notice)] == told
        component = self.ledger.model.components.get(host.path)
        if component is not None and component.life is not None and not self.works.ending:
            gone = component.life.incarnation == host.incarnation
            assert not (gone and component.state["url"]), f"{host.path}: gone, and still said to listen"

    def page_writes(self) -> None:
        known = [path for path in self.page.states if path in self.ledger.model.components]
        if known:
            path = self.rng.choice(known)
            with self.news_for_the_flow(always=True):
                self.works.write(path, some_change(self.rng, self.page.states[path]), "page")

    def news_for_the_flow(self, always: bool = False) -> NewsForTheFlow:
        return NewsForTheFlow(self.ledger, always)

    def entered(self, fact: f.Fact) -> None:
        if isinstance(fact, f.Wrote):
            life = self.ledger.model.works.get(fact.path)
            if life is not None and life.process is not Process.ABSENT:
                self.overwrites.wrote(life.incarnation, fact.delta)
        elif isinstance(fact, f.StopAsked):
            assert not fact.cancel or self.flow.stops == fact.path, f"{fact.path}: calls cancelled by nobody"
        elif isinstance(fact, f.Returned):
            self.values[fact.number] = fact.value
        elif isinstance(fact, f.Called):
            self.asked[fact.number] = fact.args

    def ordered(self, order: o.Order) -> None:
        """Numbers what is sent, as its channel will."""
        if isinstance(order, o.Send):
            host = self.current.get(order.path)
            if host is None:
                assert any(each.path == order.path for each in self.refused), f"{order.path}: sent to nobody"
                return
            host.posted += 1
            if isinstance(order.message, m.Write):
                self.overwrites.sent(host.incarnation, host.posted, order.message.deltas)

    def settle(self) -> None:
        self.works.settle()
        if not self.works.ending:
            self.check_settled()

    def close_turn(self, now: bool = False) -> None:
        facts, orders = self.ledger.close_turn()
        if facts or orders:
            self.uncommitted.append((self.ledger.at, f.decode_turn(f.encode_turn(facts)), orders))
        if not (orders or now or self.rng.random() < 0.6):
            return
        self.perhaps_killed()  # before the commit: none of it happened
        self.commit()
        self.perhaps_killed()  # after it: nothing of it was done
        for order in orders:
            self.perform(order)
            self.perhaps_killed(0.002)
        for host in self.hosts.values():
            host.inbox.append((0, host.taken, m.Ack()))
        for order in orders:
            if isinstance(order, o.EndApp) and not self.ended:
                self.begin_end()

    def perhaps_killed(self, chance: float = KILLS) -> None:
        if not self.rough:
            chance /= 5
        if not self.calm and self.rng.random() < chance:
            raise Killed

    def commit(self) -> None:
        for at, facts, orders in self.uncommitted:
            if facts:
                self.log.append((at, facts))
            self.witness.saw(at, facts, orders)
            self.page.published.append(facts)
            for fact in facts:
                if isinstance(fact, f.Returned):
                    assert fact.number not in self.returned, f"call {fact.number} returned twice"
                    self.returned.add(fact.number)
        self.uncommitted.clear()
        self.book = self.flow.book.copy()

    def perform(self, order: o.Order) -> None:
        match order:
            case o.Place() if not self.calm and self.rng.random() < 0.02:
                self.refused.append(order)
            case o.Place():
                assert order.incarnation not in self.hosts
                state = self.ledger.model.components[order.path].state
                host = Host(order.path, order.incarnation, state, order.path in self.frail)
                self.hosts[order.incarnation] = self.current[order.path] = host
            case o.Send() if order.path in self.current:
                host = self.current[order.path]
                if isinstance(order.message, m.Call):
                    number = order.message.call
                    assert number not in self.returned, f"call {number} ran again"
                    assert order.message.args == self.asked[number], f"call {number} got {order.message.args}"
                seq = host.received + sum(1 for each in host.inbox if each[0]) + 1
                host.inbox.append((seq, host.taken, order.message))
            case o.StopWorker():
                if order.incarnation in self.hosts:
                    self.hosts[order.incarnation].stopping = True

    def begin_end(self) -> None:
        self.ended = True
        self.works.stop_all()
        self.close_turn(now=True)
        for host in self.hosts.values():
            host.stopping = True  # also those that the model no longer knows

    # -- the world --------------------------------------------------------------------------------

    def step(self) -> None:
        rng = self.rng
        match rng.randrange(12):
            case 0 | 1 | 2 | 3 | 4:
                for host in [each for each in self.hosts.values() if each.ended is None]:
                    while host.inbox and rng.random() < 0.6:
                        host.hear()
                    for _ in range(rng.randrange(4)):
                        if host.ended is None:
                            host.act(rng)
            case 5:
                self.now += rng.choice((0.1, 1.0, 30.0, 3600.0))
            case 6 if rng.random() < 0.1:
                self.jump(rng.choice((-86400.0, -3600.0, 86400.0)))
            case 7 if self.hosts and rng.random() < (0.3 if self.rough else 0.1):
                self.kill(rng.choice(list(self.hosts.values())))
            case 8:
                self.page.hear(rng)
            case _:
                self.turn()

    def jump(self, seconds: float) -> None:
        self.now += seconds
        if seconds < 0:
            self.setbacks += 1
            self.flow.setbacks = self.setbacks

    def kill(self, host: Host) -> None:
        """The process is gone; what it had sent arrives, some of it perhaps never left."""
        if host.ended is None:
            host.ended = "killed by SIGKILL"
            while host.outbox and self.rng.random() < 0.3:
                host.outbox.pop()

    def live(self, steps: int) -> None:
        for _ in range(steps):
            try:
                self.step()
                if self.rng.random() < 0.03:
                    self.check_fold()
                    self.check_agreement()
            except Killed:
                self.boot_again()

    def boot_again(self) -> None:
        try:
            self.boot()
        except Killed:
            self.calm = True
            self.boot()
            self.calm = False

    def settle_down(self) -> bool:
        """No more crashes and no new calls: everything that was begun comes to its end.

        False where the app can only fail: a call that may run at most once was interrupted.
        """
        self.calm = True
        self.frail.clear()
        failed = 0
        for path in self.program.flows:
            self.program.lines[path] = []
        for _ in range(1000):
            if self.ended:
                failed += 1
                if failed == 6:
                    return False
                self.finish_end()
            for host in list(self.hosts.values()):
                host.frail = False
                while host.inbox and host.ended is None:
                    host.hear()
                if host.stopping:
                    host.ended = host.ended or ""
                elif host.call is not None:
                    host.finish(m.Returned(host.call.call, 1))
                elif host.ended is None and not host.ready:
                    host.act(self.rng)
            self.ledger.at = self.now
            for host in list(self.hosts.values()):
                while host.outbox:
                    self.deliver(host)
                if host.ended is not None:
                    self.exited(host)
            self.take_in()
            self.settle()
            self.close_turn(now=True)
            self.check_agreement()
            if not (self.works.busy or self.refused or self.ended or any(self.traffic())):
                return True
            for path, life in self.ledger.model.works.items():  # make room for those that wait for a device
                if life.process is Process.READY and life.running is None and not life.queue:
                    self.flow.stop(path)
        raise AssertionError("the app does not come to rest")

    def finish_end(self) -> None:
        for host in list(self.hosts.values()):
            host.ended = host.ended or ""
            while host.outbox:
                self.deliver(host)
            self.exited(host)
        self.ledger.enter(f.Ended(1, "failed"))
        self.close_turn(now=True)
        self.boot()

    def traffic(self) -> Iterator[bool]:
        for host in self.hosts.values():
            yield bool(host.outbox) or any(seq for seq, _, _ in host.inbox)

    # -- what must hold ---------------------------------------------------------------------------

    def check_fold(self) -> None:
        """A fold of the log gives the same model."""
        if not (self.ledger.facts or self.uncommitted or self.flow.raised):
            live, folded = snapshot(self.ledger.model), snapshot(fold(self.log))
            assert folded == live, f"the fold differs:\n{folded}\n{live}"
            for path, life in self.ledger.model.works.items():
                told = list(life.statuses), life.asked, life.successes, life.failures, life.timeouts
                assert told == self.witness.works[path].told, f"{path}: {told}"

    def check_settled(self) -> None:
        """Whoever can go on does."""
        model = self.ledger.model
        free = len(DEVICES) - sum(map(len, model.held.values()))
        for path, life in model.works.items():
            if life.process is Process.READY:
                assert life.running is not None or not life.queue, f"{path} idles, and calls wait"
            if life.process is Process.ABSENT:
                assert not life.unseen, f"{path}: writes are kept for a process that is not there"
            if life.process is Process.ABSENT and (life.queue or life.wanted):
                short = free < min(life.options.gpus, len(DEVICES))
                assert short, f"{path} needs a process, and gets none"

    def check_times(self) -> None:
        """Nobody runs or idles longer than it may."""
        for path, life in self.ledger.model.works.items():
            if life.process is not Process.READY:
                continue
            timeout, idle = life.options.timeout, life.options.idle_timeout
            if life.running is not None:
                late = timeout is not None and self.now - life.running.since >= timeout
                assert not late, f"{path} runs for {self.now - life.running.since} s"
            elif not life.queue and idle is not None:
                assert self.now - life.idle_since < idle, f"{path} idles for {self.now - life.idle_since} s"

    def check_agreement(self) -> None:
        """Host and flow hold the same state, where nothing is under way between them."""
        for host in self.hosts.values():
            while host.inbox and not host.inbox[0][0]:
                host.hear()
            life = self.ledger.model.works.get(host.path)
            if (
                life is not None
                and not self.flow.raised
                and life.incarnation == host.incarnation
                and life.process in (Process.STARTING, Process.READY)
                and not (host.inbox or host.outbox or host.mine or self.ledger.orders)
            ):
                ours, theirs = self.ledger.model.components[host.path].state, host.state
                assert same(ours, theirs), f"{host.path}: {theirs} there, {ours} here"

    def check_page(self) -> None:
        """The page shows what is."""
        self.page.hear_all()
        states = {path: component.state for path, component in self.ledger.model.components.items()}
        assert self.page.states.keys() == states.keys()
        for path, state in states.items():
            assert same(self.page.states[path], state), (
                f"{path}: {self.page.states[path]} shown, {state} here"
            )

    def check_nothing_lost(self) -> None:
        for path, life in self.ledger.model.works.items():
            for call in [*life.latest.values(), *life.unfinished()]:
                assert call.phase in FINISHED, f"{path}#{call.number} is lost: {call.story}"
        assert not self.witness.unfinished(), f"lost: {self.witness.unfinished()}"


class NewsForTheFlow:
    """What happens within is shown to the flow by another pass."""

    def __init__(self, ledger: Ledger, always: bool) -> None:
        self.ledger = ledger
        self.always = always

    def __enter__(self) -> None:
        self.before = len(self.ledger.facts)

    def __exit__(self, *exception: object) -> None:
        if exception[0] is None:
            news = any(isinstance(fact, SEEN_BY_THE_FLOW) for fact in self.ledger.facts[self.before :])
            assert self.ledger.fresh or not (news or self.always), "news, and the flow is not shown them"


def snapshot(model: Model) -> Any:
    """Everything that a journal must bring back."""
    works = {
        path: (
            life.options, life.process, life.incarnation, life.pid, life.devices, life.stage, list(life.statuses),
            life.wanted, life.asked, life.successes, life.failures, life.timeouts, life.start_deaths, life.seen,
            life.idle_since, life.running and life.running.number,
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
        dict(model.cursors), model.reached, model.ended,
    )  # fmt: skip


def call_row(call: Call) -> Any:
    return call.number, call.tick, tuple(call.story), call.value, call.failure, call.attempts, call.deaths


def simulate(seed: int, steps: int = 300) -> World:
    """One world, from its first turn to its rest."""
    world = World(random.Random(seed))
    world.live(steps)
    world.check_fold()
    if world.settle_down():
        world.check_nothing_lost()
        world.check_agreement()
        world.check_fold()
    world.check_page()
    return world


if __name__ == "__main__":
    first = int(sys.argv[1])
    for seed in range(first, first + int(sys.argv[2] if len(sys.argv) > 2 else 1)):
        try:
            simulate(seed)
        except BaseException:
            print(f"seed {seed}")
            raise
