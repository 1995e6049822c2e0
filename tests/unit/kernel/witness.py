"""Somebody who reads the journal and nothing else, knows what was promised, and keeps books of its own.

The kernel's model says what the kernel believes. The witness learns of each committed fact and objects to
what may not follow from what it has seen: a finished call that runs again, a fourth try, two calls at a time,
a device in two hands, a message that counts twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightning.app.kernel import facts as f

DEATHS = 3


@dataclass
class CallBook:
    """What is known of one call."""

    number: int
    key: bytes
    tick: str
    deaths: int = 0
    failures: int = 0
    over: str = ""


@dataclass
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

    def hears(self, seq: int) -> None:
        assert seq > self.heard, f"message {seq} counts again after message {self.heard}"
        self.heard = seq


class Witness:
    """Objects, by an AssertionError, to any fact that breaks a promise."""

    def __init__(self, devices: Sequence[int]) -> None:
        self.devices = set(devices)
        self.works: dict[str, WorkBook] = {}
        self.calls = 0
        self.incarnations = 0
        self.held: dict[int, set[int]] = {}
        self.ticks: dict[str, int] = {}
        self.interrupted: list[tuple[str, CallBook]] = []
        self._rules: Mapping[type[f.Fact], Callable[[Any], None]] = {
            f.EpochBegan: self._epoch_began,
            f.Made: self._made,
            f.Deleted: self._deleted,
            f.Changed: self._changed,
            f.Called: self._called,
            f.Dispatched: self._dispatched,
            f.Returned: self._returned,
            f.CallFailed: self._call_failed,
            f.Placed: self._placed,
            f.Up: self._up,
            f.Gone: self._gone,
            f.StopAsked: self._stop_asked,
            f.Ticked: self._ticked,
            f.PassCompleted: self._pass_completed,
        }

    def saw(self, facts: Sequence[f.Fact]) -> None:
        """One committed turn."""
        for fact in facts:
            rule = self._rules.get(type(fact))
            if rule is not None:
                rule(fact)
        assert not self.interrupted, f"interrupted, and nothing was said of it: {self.interrupted}"

    # -- the tree ---------------------------------------------------------------------------------

    def _epoch_began(self, fact: f.EpochBegan) -> None:
        self.held.clear()
        for path, work in self.works.items():
            work.process, work.heard, work.start_deaths = "absent", 0, 0
            if work.running is not None:
                self.interrupted.append((path, work.running))

    def _made(self, fact: f.Made) -> None:
        assert fact.path not in self.works, f"{fact.path} is there already"
        if fact.options is not None:
            self.works[fact.path] = WorkBook(fact.options)

    def _deleted(self, fact: f.Deleted) -> None:
        self.works.pop(fact.path, None)

    def _changed(self, fact: f.Changed) -> None:
        self.works[fact.path].hears(fact.seq)

    # -- calls ------------------------------------------------------------------------------------

    def _called(self, fact: f.Called) -> None:
        work = self.works[fact.path]
        self.calls += 1
        assert fact.number == self.calls
        before = work.latest.get(fact.key)
        if before is not None:
            assert before.over, f"{fact.path}: asked for again while it waits or runs"
            anew = fact.tick and fact.tick != before.tick
            assert anew, f"{fact.path}: a finished call runs again"
        work.latest[fact.key] = call = CallBook(fact.number, fact.key, fact.tick)
        work.queue.append(call)

    def _dispatched(self, fact: f.Dispatched) -> None:
        work = self.works[fact.path]
        assert work.process == "ready", f"{fact.path}: a call for a process that is {work.process}"
        assert work.running is None, f"{fact.path}: two calls at a time"
        call = work.queue.popleft()
        assert (call.number, call.over) == (fact.number, ""), f"{fact.path}: {fact.number} out of turn"
        work.running = call

    def _returned(self, fact: f.Returned) -> None:
        work = self.works[fact.path]
        work.hears(fact.seq)
        assert work.running is not None
        assert work.running.number == fact.number
        work.running.over = "succeeded"
        work.running = None

    def _call_failed(self, fact: f.CallFailed) -> None:
        work = self.works[fact.path]
        if fact.seq:
            work.hears(fact.seq)
        call = work.running
        if call is not None and call.number == fact.number:
            work.running = None
        else:
            call = next(each for each in work.queue if each.number == fact.number)
            work.queue.remove(call)
        interrupted = (fact.path, call) in self.interrupted
        if interrupted:
            self.interrupted.remove((fact.path, call))
        if fact.died:
            call.deaths += 1
            expected = work.options.on_crash == "rerun" and call.deaths < DEATHS
        elif interrupted:
            expected = work.options.on_crash == "rerun"
        elif fact.seq or fact.timeout:
            expected = call.failures < work.options.retries
            call.failures += 1
        else:
            expected = False  # no process could be had for it
            assert work.start_deaths >= DEATHS
        assert fact.again is expected, f"{fact.path}#{fact.number}: again is {fact.again}; {call}"
        if fact.again:
            work.queue.appendleft(call)
        else:
            call.over = "failed"

    def _stop_asked(self, fact: f.StopAsked) -> None:
        work = self.works[fact.path]
        if work.process in ("starting", "ready"):
            work.process = "stopping"
        if fact.cancel:
            for call in [*work.queue, *([work.running] if work.running else [])]:
                call.over = "cancelled"
                if work.latest.get(call.key) is call:
                    del work.latest[call.key]
            work.queue.clear()
            work.running = None

    # -- processes --------------------------------------------------------------------------------

    def _placed(self, fact: f.Placed) -> None:
        work = self.works[fact.path]
        assert work.process == "absent", f"{fact.path}: a second process"
        assert fact.incarnation > self.incarnations
        self.incarnations = fact.incarnation
        wanted = set(fact.devices)
        assert len(wanted) == len(fact.devices) == min(work.options.gpus, len(self.devices))
        assert wanted <= self.devices
        assert not wanted.intersection(*[set().union(*self.held.values())]), (
            f"{fact.path}: a device in two hands"
        )
        self.held[fact.incarnation] = wanted
        work.process, work.incarnation, work.heard = "starting", fact.incarnation, 0

    def _up(self, fact: f.Up) -> None:
        work = self.works[fact.path]
        work.hears(fact.seq)
        assert work.process == "starting"
        work.process = "ready"
        work.start_deaths = 0

    def _gone(self, fact: f.Gone) -> None:
        self.held.pop(fact.incarnation, None)
        work = self.works.get(fact.path)
        if work is not None and work.incarnation == fact.incarnation:
            if work.process == "starting":
                work.start_deaths += 1
            work.process = "absent"

    # -- passes -----------------------------------------------------------------------------------

    def _ticked(self, fact: f.Ticked) -> None:
        risen = fact.ticks.number - self.ticks.get(fact.key, 0)
        assert (risen, fact.active) in ((0, False), (1, True)), f"{fact.key}: {risen} ticks at once"
        self.ticks[fact.key] = fact.ticks.number

    def _pass_completed(self, fact: f.PassCompleted) -> None:
        if fact.spent:
            for work in self.works.values():
                if not work.options.cache_calls:
                    work.latest = {key: call for key, call in work.latest.items() if not call.over}
