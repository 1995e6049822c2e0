"""All that a run is at one moment, and how facts change it. The model is a fold over the journal's facts.

It has one owner and is changed in place. ``evolve`` follows; it decides nothing: what is allowed, and what
follows from what, is in ``calls.py`` and ``passes.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lightning.app.kernel import facts as f
from lightning.app.kernel.delta import apply, apply_copy, conflicts
from lightning.app.kernel.lifecycle import (
    FINISHED,
    Phase,
    Process,
    Step,
    Story,
    check_process_move,
    continued,
    next_phase,
)
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.schedule import Ticks
from lightning.app.kernel.values import unpack

STATUSES_KEPT = 100
_BORN: Story = (Phase.WAITING,)

StatusRow = tuple[str, float, str, str, int]
"""Stage, time, reason, message, and the count of calls when it was entered."""


class Call:
    """One recorded call of a work's ``run``."""

    __slots__ = (
        "args",
        "attempts",
        "deaths",
        "failure",
        "key",
        "kwargs",
        "number",
        "seen",
        "since",
        "story",
        "tick",
        "value",
    )

    def __init__(
        self, number: int, key: bytes, args: list[Any], kwargs: dict[str, Any], tick: str, at: float
    ) -> None:
        self.number = number
        self.key = key
        self.args = args
        self.kwargs = kwargs
        self.tick = tick
        self.story = _BORN
        self.since = at
        self.value: Any = None  # packed
        self.failure: f.Failure | None = None
        self.attempts = 0  # failures so far, retried or not
        self.deaths = 0
        self.seen = False  # whether a pass has been given the result; not part of the journal

    @property
    def phase(self) -> Phase:
        return self.story[-1]

    def move(self, step: Step, work: str, at: float) -> None:
        self.story = continued(self.story, next_phase(f"{work}#{self.number}", self.story, step))
        self.since = at


class WorkLife:
    """What only works have: a process, calls, a status."""

    __slots__ = (
        "asked", "devices", "failures", "idle_since", "incarnation", "latest", "options", "pid", "process", "queue",
        "running", "seen", "sent", "stage", "start_deaths", "statuses", "successes", "timeouts", "unseen", "wanted",
    )  # fmt: skip

    def __init__(self, options: f.WorkOptions) -> None:
        self.options = options
        self.process = Process.ABSENT
        self.incarnation = 0
        self.pid = 0
        self.devices: tuple[int, ...] = ()
        self.seen = 0  # the last message of this incarnation that was taken in
        self.sent = 0  # messages sent to this incarnation
        self.unseen: list[tuple[int, Delta]] = []  # foreign writes that the host may not have seen yet
        self.latest: dict[bytes, Call] = {}
        self.queue: deque[Call] = deque()
        self.running: Call | None = None
        self.wanted = False  # start() was called: keep a process even without a call
        self.idle_since = 0.0
        self.start_deaths = 0
        self.stage = "not_started"
        self.statuses: deque[StatusRow] = deque(maxlen=STATUSES_KEPT)
        self.asked = 0  # calls recorded
        self.successes = 0
        self.failures = 0
        self.timeouts = 0

    def enter(self, stage: str, at: float, reason: str = "", message: str = "") -> None:
        self.stage = stage
        self.statuses.append((stage, at, reason, message, self.asked))

    def unfinished(self) -> Iterator[Call]:
        if self.running is not None:
            yield self.running
        yield from self.queue


class Component:
    """A flow, a work or a structure: its place, its state, and for a work its life."""

    __slots__ = ("cls", "generation", "initial", "kind", "life", "origin", "path", "state")

    def __init__(self, path: str, kind: str, cls: str, state: dict[str, Any], generation: int) -> None:
        self.path = path
        self.kind = kind
        self.cls = cls
        self.state = state
        self.initial = frozenset(state)
        self.generation = generation
        self.origin: list[Any] | None = None
        self.life: WorkLife | None = None


class ScheduleLife:
    """One schedule: where it stands, and whether its last tick waits for a pass to get through."""

    __slots__ = ("active", "ticks")

    def __init__(self, ticks: Ticks) -> None:
        self.ticks = ticks
        self.active = False


class Model:
    """Everything that the rules look at."""

    def __init__(self) -> None:
        self.epoch = 0
        self.components: dict[str, Component] = {}
        self.works: dict[str, WorkLife] = {}
        self.generations: dict[str, int] = {}
        self.deleted: set[str] = set()  # what the code makes at its start, but the run has deleted since
        self.schedules: dict[str, ScheduleLife] = {}
        self.cursors: dict[tuple[str, str], int] = {}
        self.reached: frozenset[tuple[str, bytes]] = frozenset()
        self.calls = 0
        self.incarnations = 0
        self.held: dict[int, tuple[int, ...]] = {}  # devices, by the incarnation that has them
        self.ended: f.Ended | None = None
        self.careful = False  # a pass is under way and may hold references: change containers by copy

    def life(self, path: str) -> WorkLife:
        return self.works[path]

    def below(self, path: str) -> list[str]:
        """The paths of a component and of all below it, parents first."""
        prefix = path + "."
        return [each for each in self.components if each == path or each.startswith(prefix)]


def fold(turns: Iterable[tuple[float, Iterable[f.Fact]]], model: Model | None = None) -> Model:
    """The model after these turns, each a time and its facts."""
    model = model or Model()
    for at, facts in turns:
        for fact in facts:
            evolve(model, fact, at)
    return model


def evolve(model: Model, fact: f.Fact, at: float) -> None:
    _EVOLVE[type(fact)](model, fact, at)


# -- the tree -------------------------------------------------------------------------------------


def _epoch_began(model: Model, fact: f.EpochBegan, at: float) -> None:
    model.epoch = fact.epoch
    model.ended = None
    model.held.clear()
    for life in model.works.values():
        life.process = Process.ABSENT
        life.devices = ()
        life.seen = life.sent = life.start_deaths = 0
        life.unseen.clear()


def _made(model: Model, fact: f.Made, at: float) -> None:
    generation = model.generations.get(fact.path, 0) + 1
    model.generations[fact.path] = generation
    state = {name: unpack(value) for name, value in fact.state.items()}
    component = Component(fact.path, fact.kind, fact.cls, state, generation)
    component.origin = fact.origin
    if fact.options is not None:
        component.life = model.works[fact.path] = WorkLife(fact.options)
    model.components[fact.path] = component
    model.deleted.discard(fact.path)


def _configured(model: Model, fact: f.Configured, at: float) -> None:
    model.works[fact.path].options = fact.options


def _deleted(model: Model, fact: f.Deleted, at: float) -> None:
    for path in model.below(fact.path):
        del model.components[path]
        model.works.pop(path, None)
        if fact.by == "flow":
            model.deleted.add(path)
        for key in [key for key in model.schedules if key.partition("|")[0] == path]:
            del model.schedules[key]
        for cursor in [cursor for cursor in model.cursors if cursor[0] == path]:
            del model.cursors[cursor]


def _renamed(model: Model, fact: f.Renamed, at: float) -> None:
    component = model.components[fact.path]
    component.cls = fact.cls
    if component.origin is not None:
        component.origin = [fact.cls, *component.origin[1:]]


# -- state ----------------------------------------------------------------------------------------


def _wrote(model: Model, fact: f.Wrote, at: float) -> None:
    component = model.components[fact.path]
    state = component.state
    if fact.by == "code":  # as those that ``__init__`` had set when the component was made
        component.initial |= {fact.delta.path[0]}
    if model.careful and fact.by != "flow":
        apply_copy(state, fact.delta)
    else:
        apply(state, fact.delta)


def _changed(model: Model, fact: f.Changed, at: float) -> None:
    component = model.components[fact.path]
    life = component.life
    assert life is not None
    life.seen = fact.seq
    change = apply_copy if model.careful else apply
    for delta in fact.deltas:
        change(component.state, delta)


def forget_seen(life: WorkLife, acknowledged: int) -> None:
    """The host has seen so many of the messages to it."""
    unseen = life.unseen
    seen = 0
    while seen < len(unseen) and unseen[seen][0] <= acknowledged:
        seen += 1
    del unseen[:seen]


def conflicting(life: WorkLife, deltas: list[Delta]) -> list[int]:
    """The positions of ``deltas`` that overwrite a foreign write which their writer had not seen."""
    return [
        position
        for position, delta in enumerate(deltas)
        if any(conflicts(delta, foreign) for _, foreign in life.unseen)
    ]


# -- calls ----------------------------------------------------------------------------------------


def _called(model: Model, fact: f.Called, at: float) -> None:
    life = model.works[fact.path]
    model.calls = fact.number
    call = Call(fact.number, fact.key, fact.args, fact.kwargs, fact.tick, at)
    life.latest[fact.key] = call
    life.queue.append(call)
    life.asked += 1
    if life.running is None:
        life.enter("pending", at)


def _dispatched(model: Model, fact: f.Dispatched, at: float) -> None:
    life = model.works[fact.path]
    call = life.queue.popleft()
    call.move(Step.DISPATCHED, fact.path, at)
    life.running = call
    life.enter("running", at)


def _returned(model: Model, fact: f.Returned, at: float) -> None:
    life = model.works[fact.path]
    life.seen = fact.seq
    call = life.running
    assert call is not None
    call.move(Step.RETURNED, fact.path, at)
    call.value = fact.value
    call.args, call.kwargs = [], {}
    life.running = None
    life.idle_since = at
    life.successes += 1
    life.enter("succeeded", at)


def _call_failed(model: Model, fact: f.CallFailed, at: float) -> None:
    life = model.works[fact.path]
    if fact.seq:
        life.seen = fact.seq
    if life.running is not None and life.running.number == fact.number:
        call = life.running
        life.running = None
    else:
        call = next(each for each in (*life.queue, *life.latest.values()) if each.number == fact.number)
        if call.phase is Phase.WAITING:
            life.queue.remove(call)
    life.idle_since = at
    call.failure = fact.failure
    if fact.died:
        call.deaths += 1
    elif not fact.again or fact.seq or fact.timeout:
        call.attempts += 1
    if fact.timeout:
        life.timeouts += 1
    if fact.again:
        call.move(Step.REQUEUED, fact.path, at)
        call.seen = False
        life.queue.appendleft(call)
        life.enter("pending", at, fact.failure.kind, fact.failure.message)
    else:
        lost = call.phase is Phase.SUCCEEDED
        call.move(Step.LOST if lost else Step.FAILED, fact.path, at)
        call.value = None
        life.failures += 1
        life.enter("failed", at, "timeout" if fact.timeout else fact.failure.kind, fact.failure.message)


def _forgotten(model: Model, fact: f.Forgotten, at: float) -> None:
    life = model.works[fact.path]
    call = next(each for each in [*life.unfinished(), *life.latest.values()] if each.number == fact.number)
    if life.latest.get(call.key) is call:
        del life.latest[call.key]
    if call.phase in FINISHED:
        return
    if life.running is call:
        life.running = None
    else:
        life.queue.remove(call)
    if life.running is None and not life.queue:
        life.enter("stopped", at)


def _rebound(model: Model, fact: f.Rebound, at: float) -> None:
    life = model.works[fact.path]
    call = next(each for each in life.latest.values() if each.number == fact.number)
    del life.latest[call.key]
    call.key, call.args, call.kwargs = fact.key, fact.args, fact.kwargs
    life.latest[fact.key] = call


# -- processes ------------------------------------------------------------------------------------


def _become(life: WorkLife, path: str, process: Process) -> None:
    check_process_move(path, life.process, process)
    life.process = process


def _placed(model: Model, fact: f.Placed, at: float) -> None:
    life = model.works[fact.path]
    _become(life, fact.path, Process.STARTING)
    life.incarnation = model.incarnations = fact.incarnation
    if fact.devices:
        model.held[fact.incarnation] = life.devices = tuple(fact.devices)
    life.seen = life.sent = 0
    life.unseen.clear()


def _up(model: Model, fact: f.Up, at: float) -> None:
    life = model.works[fact.path]
    _become(life, fact.path, Process.READY)
    life.seen = fact.seq
    life.pid = fact.pid
    life.start_deaths = 0
    life.idle_since = at


def _gone(model: Model, fact: f.Gone, at: float) -> None:
    model.held.pop(fact.incarnation, None)
    life = model.works.get(fact.path)
    if life is None or life.incarnation != fact.incarnation:
        return  # the component was deleted, perhaps made anew, while its old process was ending
    starting = life.process is Process.STARTING
    _become(life, fact.path, Process.ABSENT)
    life.devices = ()
    life.pid = 0
    life.unseen.clear()
    if starting:
        life.start_deaths += 1


def _start_asked(model: Model, fact: f.StartAsked, at: float) -> None:
    life = model.works[fact.path]
    life.wanted = True
    if life.stage in ("not_started", "stopped"):
        life.enter("pending", at)


def _stop_asked(model: Model, fact: f.StopAsked, at: float) -> None:
    life = model.works[fact.path]
    life.wanted = False
    if fact.cancel:
        for call in list(life.unfinished()):
            call.move(Step.CANCELLED, fact.path, at)
            if life.latest.get(call.key) is call:
                del life.latest[call.key]
        life.queue.clear()
        life.running = None
        life.enter("stopped", at)
    if life.process in (Process.STARTING, Process.READY):
        _become(life, fact.path, Process.STOPPING)


# -- passes ---------------------------------------------------------------------------------------


def _ticked(model: Model, fact: f.Ticked, at: float) -> None:
    life = model.schedules.setdefault(fact.key, ScheduleLife(fact.ticks))
    life.ticks = fact.ticks
    life.active = fact.active


def _pass_completed(model: Model, fact: f.PassCompleted, at: float) -> None:
    for key in fact.consumed:
        life = model.schedules.get(key)
        if life is not None:
            life.active = False
    if fact.reached is not None:
        model.reached = frozenset((path, key) for path, key in fact.reached)
    if fact.spent:
        for work in model.works.values():
            if not work.options.cache_calls:
                over = [
                    each
                    for each, call in work.latest.items()
                    if call.phase in (Phase.SUCCEEDED, Phase.FAILED)
                ]
                for each in over:
                    del work.latest[each]


def _cursor_moved(model: Model, fact: f.CursorMoved, at: float) -> None:
    model.cursors[fact.path, fact.key] = fact.index


def _clock_set(model: Model, fact: f.ClockSet, at: float) -> None:
    for life in model.works.values():
        life.idle_since += fact.by
        if life.running is not None:
            life.running.since += fact.by


def _ended(model: Model, fact: f.Ended, at: float) -> None:
    model.ended = fact


def _told(model: Model, fact: f.Fact, at: float) -> None:
    """How the turn went, for who replays it: the model stays as it is."""


_EVOLVE: dict[type[f.Fact], Callable[[Model, Any, float], None]] = {
    f.EpochBegan: _epoch_began,
    f.Made: _made,
    f.Configured: _configured,
    f.Deleted: _deleted,
    f.Wrote: _wrote,
    f.Changed: _changed,
    f.Called: _called,
    f.Dispatched: _dispatched,
    f.Returned: _returned,
    f.CallFailed: _call_failed,
    f.Placed: _placed,
    f.Up: _up,
    f.Gone: _gone,
    f.StartAsked: _start_asked,
    f.StopAsked: _stop_asked,
    f.Ticked: _ticked,
    f.PassCompleted: _pass_completed,
    f.CursorMoved: _cursor_moved,
    f.Ended: _ended,
    f.PassesRan: _told,
    f.PassesIdled: _told,
    f.PassWentOn: _told,
    f.EndAsked: _told,
    f.Forgotten: _forgotten,
    f.Rebound: _rebound,
    f.Renamed: _renamed,
    f.ClockSet: _clock_set,
}
