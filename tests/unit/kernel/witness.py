"""Somebody who reads the journal and the orders given after each turn, knows what was promised, and keeps books.

The kernel's model says what the kernel believes. The witness learns of each committed fact and objects to
what may not follow from what it has seen: a finished call that runs again, a fourth try, two calls at a time,
a device in two hands, a message that counts twice, a decision that nobody was told to carry out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel import orders as o
from lightning.app.kernel.passes import TOGETHER

DEATHS = 3
CRASHES = ("WorkDied", "Interrupted")


@dataclass(eq=False)
class CallBook:
    """What is known of one call."""

    number: int
    key: bytes
    args: list[Any]
    kwargs: dict[str, Any]
    ticks: frozenset[str]
    begun: bool = False
    deaths: int = 0
    failures: int = 0
    over: str = ""
    failure: f.Failure | None = None


@dataclass(eq=False)
class WorkBook:
    """What is known of one work."""

    options: f.WorkOptions
    latest: dict[bytes, CallBook] = field(default_factory=dict)
    queue: deque[CallBook] = field(default_factory=deque)
    running: CallBook | None = None
    process: str = "absent"
    incarnation: int = 0
    heard: int = 0
    start_deaths: int = 0
    died: int = 0  # the last of its processes that died at its start
    given_up: int = 0  # the last for whose sake a call or a start() was given up
    wanted: bool = False
    stopped: bool = False
    since: float = 0.0  # it runs, or idles
    statuses: list[tuple[str, float, str, str, int]] = field(default_factory=list)
    asked: int = 0
    successes: int = 0
    failures: int = 0
    timeouts: int = 0
    timed_out: bool = False

    def enter(self, stage: str, at: float, reason: str = "", message: str = "") -> None:
        self.statuses.append((stage, at, reason, message, self.asked))

    @property
    def told(self) -> tuple[Any, ...]:
        """What the flow and the page are told of the work."""
        return self.statuses[-100:], self.asked, self.successes, self.failures, self.timeouts

    def hears(self, seq: int) -> None:
        assert self.process != "absent", "a message of a process that is gone"
        assert seq > self.heard, f"message {seq} counts again after message {self.heard}"
        self.heard = seq

    @property
    def alive(self) -> bool:
        return self.process in ("starting", "ready")

    def unfinished(self) -> list[CallBook]:
        return [*([self.running] if self.running else []), *self.queue]


class Witness:
    """Objects, by an AssertionError, to any fact that breaks a promise."""

    def __init__(self, devices: Sequence[int], run: str = "run") -> None:
        self.devices = set(devices)
        self.run = run
        self.works: dict[str, WorkBook] = {}
        self.calls = 0
        self.incarnations = 0
        self.epoch = 0
        self.held: dict[int, set[int]] = {}
        self.ticks: dict[str, int] = {}
        self.active: set[str] = set()
        self.owed: dict[
            int, str
        ] = {}  # calls of which something must be said at the begin of an epoch, and what
        self.at = 0.0
        self.gave_up: set[str] = set()  # works for which start() asked in vain, in this turn
        self.due: list[o.Order] = []  # what must be ordered after this turn
        self.fatal: list[f.Failure | None] = []
        self.ending = False
        self._rules: Mapping[type[f.Fact], Callable[[Any], None]] = {
            f.EpochBegan: self._epoch_began,
            f.Made: self._made,
            f.Configured: self._configured,
            f.Deleted: self._deleted,
            f.Wrote: self._wrote,
            f.Changed: self._changed,
            f.Called: self._called,
            f.Dispatched: self._dispatched,
            f.Returned: self._returned,
            f.CallFailed: self._call_failed,
            f.Placed: self._placed,
            f.Up: self._up,
            f.Gone: self._gone,
            f.StartAsked: self._start_asked,
            f.StopAsked: self._stop_asked,
            f.Ticked: self._ticked,
            f.PassCompleted: self._pass_completed,
        }

    def saw(self, at: float, facts: Sequence[f.Fact], orders: Sequence[o.Order]) -> None:
        """One committed turn, and what was ordered in it."""
        self.at, self.due, self.fatal, self.gave_up = at, [], [], set()
        for fact in facts:
            rule = self._rules.get(type(fact))
            if rule is not None:
                rule(fact)
        assert not self.owed, f"a new epoch, and nothing was said of {self.owed}"
        self._compare(orders)

    def _compare(self, orders: Sequence[o.Order]) -> None:
        """What was decided is ordered, in that sequence, and nothing else is."""
        ends = [each for each in orders if isinstance(each, o.EndApp)]
        told = [each for each in orders if not isinstance(each, o.Notice | o.EndApp)]
        assert _encoded(told) == _encoded(self.due), f"ordered: {told}\ndecided: {self.due}"
        assert len(ends) <= 1
        if (self.fatal or self.gave_up) and not self.ending:
            assert ends, f"{self.fatal or self.gave_up} should end the app"
            assert ends[0].code == 1
        for end in ends:
            assert not self.ending, "an app ends twice"
            if end.work and end.work != "root":
                assert end.code == 1
                assert end.failure in self.fatal or end.work in self.gave_up, f"{end}: for what?"
        self.ending = self.ending or bool(ends)

    # -- the tree ---------------------------------------------------------------------------------

    def _epoch_began(self, fact: f.EpochBegan) -> None:
        assert fact.epoch == self.epoch + 1
        self.epoch = fact.epoch
        self.ending = False
        self.held.clear()
        for work in self.works.values():
            work.process, work.heard, work.start_deaths = "absent", 0, 0
            if work.running is not None:
                again = work.options.on_crash == "rerun"
                self.owed[work.running.number] = "queued" if again else "failed"
            if not work.options.raise_exception:
                continue
            for call in work.latest.values():
                if call.over == "failed":
                    if work.options.on_crash == "fail" and call.begun and _crashed(call):
                        self.fatal.append(call.failure)  # at most once, whoever resumes
                    else:
                        self.owed[call.number] = "queued"

    def _made(self, fact: f.Made) -> None:
        assert fact.path not in self.works, f"{fact.path} is there already"
        if fact.options is not None:
            self.works[fact.path] = WorkBook(fact.options)

    def _configured(self, fact: f.Configured) -> None:
        self.works[fact.path].options = fact.options

    def _deleted(self, fact: f.Deleted) -> None:
        for path in [each for each in self.works if each == fact.path or each.startswith(fact.path + ".")]:
            work = self.works.pop(path)
            if work.alive:
                self.due.append(o.StopWorker(path, work.incarnation))
        for key in [key for key in self.ticks if _below(key.split("|")[0], fact.path)]:
            del self.ticks[key]
            self.active.discard(key)

    def _wrote(self, fact: f.Wrote) -> None:
        work = self.works.get(fact.path)
        if work is not None and work.alive:
            self.due.append(o.Send(fact.path, m.Write([fact.delta])))

    def _changed(self, fact: f.Changed) -> None:
        self.works[fact.path].hears(fact.seq)

    # -- calls ------------------------------------------------------------------------------------

    def _called(self, fact: f.Called) -> None:
        work = self.works[fact.path]
        self.calls += 1
        assert fact.number == self.calls
        ticks = frozenset(fact.tick.split(TOGETHER)) - {""}
        for tick in ticks:
            key, _, number = tick.rpartition("@")
            assert key in self.active, f"{fact.path}: called for {tick}, which is not true"
            assert int(number) == self.ticks[key]
            assert fact.path.startswith(key.split("|")[0] + "."), f"{fact.path}: called for {tick}"
        before = work.latest.get(fact.key)
        if before is not None:
            assert before.over, f"{fact.path}: asked for again while it waits or runs"
            assert ticks, f"{fact.path}: a finished call runs again"
            assert not ticks & before.ticks, f"{fact.path}: a call runs twice for {ticks & before.ticks}"
        work.stopped = False
        work.latest[fact.key] = call = CallBook(fact.number, fact.key, fact.args, fact.kwargs, ticks)
        work.queue.append(call)
        work.asked += 1
        if work.running is None:
            work.enter("pending", self.at)

    def _dispatched(self, fact: f.Dispatched) -> None:
        work = self.works[fact.path]
        assert work.process == "ready", f"{fact.path}: a call for a process that is {work.process}"
        assert work.running is None, f"{fact.path}: two calls at a time"
        call = work.queue.popleft()
        assert (call.number, call.over) == (fact.number, ""), f"{fact.path}: {fact.number} out of turn"
        assert not self.ending, f"{fact.path}: a call for an app that ends"
        work.running = call
        work.since = self.at
        call.begun = True
        work.enter("running", self.at)
        message = m.Call(call.number, f"{self.run}.{call.number}", call.args, call.kwargs)
        self.due.append(o.Send(fact.path, message))

    def _returned(self, fact: f.Returned) -> None:
        work = self.works[fact.path]
        work.hears(fact.seq)
        assert work.running is not None
        assert work.running.number == fact.number
        work.running.over = "succeeded"
        work.running = None
        work.since = self.at
        work.successes += 1
        work.enter("succeeded", self.at)

    def _call_failed(self, fact: f.CallFailed) -> None:
        work = self.works[fact.path]
        if fact.seq:
            work.hears(fact.seq)
        told = f"{fact.path}#{fact.number}"
        if fact.timeout:
            assert work.options.timeout is not None
            assert self.at - work.since >= work.options.timeout, (
                f"{told}: out of time after {self.at - work.since}"
            )
            work.timed_out = True
            work.timeouts += 1
        work.since = self.at
        call, ran = self._who_failed(work, fact)
        owed = self.owed.pop(fact.number, "")
        call.failure = fact.failure
        if owed:
            expected = owed == "queued"
        elif not ran:
            assert not fact.died, f"{told} died before it ran"
            assert not fact.timeout, f"{told} took too long before it ran"
            if fact.failure.kind == "WorkDied":
                assert work.start_deaths >= DEATHS, f"{told}: given up after {work.start_deaths} deaths"
                assert work.died == work.incarnation, f"{told}: given up for a process that was stopped"
            assert not self.ending, f"{told}: given up while the app ends"
            work.given_up = work.incarnation
            assert work.process in ("starting", "absent"), (
                f"{told}: failed by a process that is not meant for it"
            )
            expected = False  # no process could be had for it
        elif fact.died:
            call.deaths += 1
            assert work.process == "absent"
            assert not self.ending, f"{told}: it ended with the app, and did not die"
            expected = work.options.on_crash == "rerun" and call.deaths < DEATHS
        else:
            assert fact.seq or fact.timeout
            expected = call.failures < work.options.retries
        assert fact.again is expected, f"{told}: again is {fact.again}; {call}"
        if fact.again:
            call.over = ""
            work.queue.appendleft(call)
            call.failures += bool(fact.seq or fact.timeout)
            work.enter("pending", self.at, fact.failure.kind, fact.failure.message)
        else:
            call.over = "failed"
            work.failures += 1
            work.enter(
                "failed", self.at, "timeout" if fact.timeout else fact.failure.kind, fact.failure.message
            )
            call.failures += not fact.died
            if work.options.raise_exception:
                self.fatal.append(fact.failure)

    def _who_failed(self, work: WorkBook, fact: f.CallFailed) -> tuple[CallBook, bool]:
        call = work.running
        if call is not None and call.number == fact.number:
            work.running = None
            return call, True
        waiting = [each for each in work.queue if each.number == fact.number]
        if waiting:
            assert waiting[0] is work.queue[0], (
                f"{fact.path}#{fact.number} failed before those that came first"
            )
            return work.queue.popleft(), False
        over = [each for each in work.latest.values() if each.number == fact.number]
        assert over, f"{fact.path}#{fact.number} failed, and is none of its calls"
        assert fact.number in self.owed, f"{fact.path}#{fact.number} is over, and runs again"
        return over[0], False

    def _start_asked(self, fact: f.StartAsked) -> None:
        work = self.works[fact.path]
        assert not work.wanted, f"{fact.path}: to be started twice"
        assert not work.alive, f"{fact.path}: to be started, and there"
        if work.stopped or not work.statuses:
            work.enter("pending", self.at)
        work.wanted, work.stopped = True, False

    def _stop_asked(self, fact: f.StopAsked) -> None:
        work = self.works[fact.path]
        if fact.cancel:
            assert not work.stopped, f"{fact.path}: to be stopped twice"
            work.enter("stopped", self.at)
        elif not self.ending:
            self._check_reason(fact.path, work)
        work.stopped = fact.cancel
        work.wanted = work.timed_out = False
        if work.alive:
            broken = work.process == "starting" and not fact.cancel and not self.ending
            if not broken:  # what cannot begin ends by itself
                self.due.append(o.StopWorker(fact.path, work.incarnation))
            work.process = "stopping"
        if fact.cancel:
            for call in work.unfinished():
                call.over = "cancelled"
                if work.latest.get(call.key) is call:
                    del work.latest[call.key]
            work.queue.clear()
            work.running = None

    def _check_reason(self, path: str, work: WorkBook) -> None:
        """Nobody asked for this stop: the process cannot begin, a call took too long, or it idles too long."""
        if work.process != "ready":
            assert not work.queue, f"{path}: stopped, and calls wait"
            work.given_up = work.incarnation
            if work.options.raise_exception:
                self.gave_up.add(path)
        elif not work.timed_out:
            assert not work.unfinished(), f"{path}: stopped, and calls wait"
            assert work.options.idle_timeout is not None
            assert self.at - work.since >= work.options.idle_timeout

    # -- processes --------------------------------------------------------------------------------

    def _placed(self, fact: f.Placed) -> None:
        work = self.works[fact.path]
        assert work.process == "absent", f"{fact.path}: a second process"
        assert not self.ending, f"{fact.path}: a process for an app that ends"
        assert fact.incarnation > self.incarnations
        assert work.start_deaths < DEATHS or work.given_up >= work.died, f"{fact.path}: tried for ever"
        self.incarnations = fact.incarnation
        wanted = set(fact.devices)
        assert len(wanted) == len(fact.devices) == min(work.options.gpus, len(self.devices))
        assert wanted <= self.devices
        assert not wanted.intersection(*[set().union(*self.held.values())]), (
            f"{fact.path}: a device in two hands"
        )
        if wanted:
            self.held[fact.incarnation] = wanted
        work.process, work.incarnation, work.heard = "starting", fact.incarnation, 0
        too_many = work.options.gpus > len(self.devices)
        self.due.append(o.Place(fact.path, fact.incarnation, tuple(fact.devices), too_many))

    def _up(self, fact: f.Up) -> None:
        work = self.works[fact.path]
        work.hears(fact.seq)
        assert work.process == "starting"
        work.process = "ready"
        work.start_deaths = 0
        work.since = self.at

    def _gone(self, fact: f.Gone) -> None:
        held = self.held.pop(fact.incarnation, None)
        work = self.works.get(fact.path)
        current = work is not None and work.incarnation == fact.incarnation
        assert held or current, f"{fact.path}: the end of a process that nobody knew"
        if work is not None and work.incarnation == fact.incarnation:
            assert work.process != "absent", f"{fact.path}: gone twice"
            if work.process == "starting":
                work.start_deaths += 1
                work.died = fact.incarnation
            work.process = "absent"

    # -- passes -----------------------------------------------------------------------------------

    def _ticked(self, fact: f.Ticked) -> None:
        risen = fact.ticks.number - self.ticks.get(fact.key, 0)
        assert fact.key not in self.active, f"{fact.key}: a tick while the last one is still true"
        assert (risen, fact.active) in ((0, False), (1, True)), f"{fact.key}: {risen} ticks at once"
        self.ticks[fact.key] = fact.ticks.number
        if fact.active:
            self.active.add(fact.key)

    def _pass_completed(self, fact: f.PassCompleted) -> None:
        self.active.difference_update(fact.consumed)
        if fact.spent:
            for work in self.works.values():
                if not work.options.cache_calls:
                    work.latest = {key: call for key, call in work.latest.items() if not call.over}

    # -- at rest ----------------------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        return [f"{path}#{call.number}" for path, work in self.works.items() for call in work.unfinished()]


def _crashed(call: CallBook) -> bool:
    return call.failure is not None and call.failure.kind in CRASHES


def _encoded(orders: list[o.Order]) -> bytes:
    return msgspec.msgpack.encode([(type(each).__name__, each) for each in orders])


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + ".")
