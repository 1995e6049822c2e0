"""A model as bytes, whole and exact, so that a fold can begin where an earlier one had come.

``load(dump(model))`` goes on as ``model`` does, whatever facts follow. Equal models give equal bytes; the order
in which components, attributes, calls and keys came is part of a model, because a resumed run meets them in it.

Left out is what the journal does not tell, so that the running model and a fold of its journal are the same
bytes: which results a pass has been given (``Call.seen``), and what is on its way to a process (``sent``,
``unseen``) or under way in this one (``careful``). None of it outlives the process that knows it.

Snapshots lie in files for years. So the rows below follow the rules of facts (``facts.py``): a field never
changes its place or its meaning, a new one goes to the end and has a default that says what was so before.
Where that cannot express a change, ``FORMAT`` rises, and snapshots of other formats are passed over: the turns
behind an older one, or all of them, come to the same model. Keep reading the formats of journals that have been
compacted: they have nothing else to begin with.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from lightning.app.errors import ProtocolError
from lightning.app.kernel.facts import Ended, Failure, WorkOptions
from lightning.app.kernel.lifecycle import Phase, Process, Story
from lightning.app.kernel.model import Call, Component, Model, ScheduleLife, StatusRow, WorkLife
from lightning.app.kernel.schedule import Ticks
from lightning.app.kernel.values import pack, unpack

FORMAT = 1


class CallRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    number: int
    key: bytes
    args: list[Any]
    kwargs: dict[str, Any]
    tick: str
    story: bytes  # a phase each
    since: float
    value: Any
    failure: Failure | None
    attempts: int
    deaths: int


class WorkRow(msgspec.Struct, frozen=True, array_like=True):
    path: str
    options: WorkOptions
    process: int
    incarnation: int
    pid: int
    devices: list[int]
    seen: int
    wanted: bool
    idle_since: float
    start_deaths: int
    stage: str
    statuses: list[StatusRow]
    asked: int
    successes: int
    failures: int
    timeouts: int
    calls: list[CallRow]
    latest: int  # so many of the first calls are the latest of their key
    queue: list[int]  # positions in calls
    running: int | None


class ComponentRow(msgspec.Struct, frozen=True, array_like=True):
    path: str
    kind: str
    cls: str
    state: dict[str, Any]  # packed
    initial: list[str]
    generation: int
    origin: list[Any] | None


class ScheduleRow(msgspec.Struct, frozen=True, array_like=True):
    key: str
    ticks: Ticks
    active: bool


class ModelRow(msgspec.Struct, frozen=True, array_like=True):
    epoch: int
    components: list[ComponentRow]
    works: list[WorkRow]
    generations: dict[str, int]
    deleted: list[str]
    schedules: list[ScheduleRow]
    cursors: list[tuple[str, str, int]]
    reached: list[tuple[str, bytes]]
    calls: int
    incarnations: int
    held: dict[int, list[int]]
    ended: Ended | None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ModelRow)
_UNREADABLE = (msgspec.DecodeError, ValueError, LookupError, TypeError, OverflowError, RecursionError)


def dump(model: Model) -> bytes:
    """
    >>> dump(load(dump(Model()))) == dump(Model())
    True
    """
    return _encoder.encode(
        ModelRow(
            model.epoch,
            [_component_row(each) for each in model.components.values()],
            [_work_row(path, life) for path, life in model.works.items()],
            model.generations,
            sorted(model.deleted),
            [ScheduleRow(key, life.ticks, life.active) for key, life in model.schedules.items()],
            [(*place, index) for place, index in model.cursors.items()],
            sorted(model.reached),
            model.calls,
            model.incarnations,
            {incarnation: list(devices) for incarnation, devices in model.held.items()},
            model.ended,
        )
    )


def load(data: bytes) -> Model:
    """The model in ``data``; ``ProtocolError`` where there is none."""
    try:
        return _model(_decoder.decode(data))
    except ProtocolError:
        raise
    except _UNREADABLE as err:
        raise ProtocolError(f"these bytes are no snapshot of a run: {err}") from err


def _component_row(component: Component) -> ComponentRow:
    return ComponentRow(
        component.path,
        component.kind,
        component.cls,
        {name: pack(value) for name, value in component.state.items()},
        sorted(component.initial),
        component.generation,
        component.origin,
    )


def _work_row(path: str, life: WorkLife) -> WorkRow:
    calls = list(life.latest.values())
    positions = {id(call): position for position, call in enumerate(calls)}
    for call in life.unfinished():
        if id(call) not in positions:
            positions[id(call)] = len(calls)
            calls.append(call)
    return WorkRow(
        path,
        life.options,
        life.process,
        life.incarnation,
        life.pid,
        list(life.devices),
        life.seen,
        life.wanted,
        life.idle_since,
        life.start_deaths,
        life.stage,
        list(life.statuses),
        life.asked,
        life.successes,
        life.failures,
        life.timeouts,
        [
            CallRow(
                call.number,
                call.key,
                call.args,
                call.kwargs,
                call.tick,
                bytes(call.story),
                call.since,
                call.value,
                call.failure,
                call.attempts,
                call.deaths,
            )
            for call in calls
        ],
        len(life.latest),
        [positions[id(call)] for call in life.queue],
        positions[id(life.running)] if life.running is not None else None,
    )


def _model(row: ModelRow) -> Model:
    model = Model()
    model.epoch = row.epoch
    model.works = {each.path: _life(each) for each in row.works}
    for each in row.components:
        state = {name: unpack(value) for name, value in each.state.items()}
        component = Component(each.path, each.kind, each.cls, state, each.generation)
        component.initial = frozenset(each.initial)
        component.origin = each.origin
        component.life = model.works[each.path] if each.kind == "work" else None
        model.components[each.path] = component
    model.generations = row.generations
    model.deleted = set(row.deleted)
    for schedule in row.schedules:
        model.schedules[schedule.key] = life = ScheduleLife(schedule.ticks)
        life.active = schedule.active
    model.cursors = {(path, key): index for path, key, index in row.cursors}
    model.reached = frozenset(row.reached)
    model.calls = row.calls
    model.incarnations = row.incarnations
    model.held = {incarnation: tuple(devices) for incarnation, devices in row.held.items()}
    model.ended = row.ended
    return model


def _life(row: WorkRow) -> WorkLife:
    life = WorkLife(row.options)
    life.process = Process(row.process)
    life.incarnation = row.incarnation
    life.pid = row.pid
    life.devices = tuple(row.devices)
    life.seen = row.seen
    life.wanted = row.wanted
    life.idle_since = row.idle_since
    life.start_deaths = row.start_deaths
    life.stage = row.stage
    life.statuses.extend(row.statuses)
    life.asked = row.asked
    life.successes = row.successes
    life.failures = row.failures
    life.timeouts = row.timeouts
    calls = [_call(each) for each in row.calls]
    life.latest = {call.key: call for call in calls[: row.latest]}
    life.queue.extend(calls[position] for position in row.queue)
    life.running = calls[row.running] if row.running is not None else None
    return life


def _call(row: CallRow) -> Call:
    call = Call(row.number, row.key, row.args, row.kwargs, row.tick, row.since)
    call.story = _story(row.story)
    call.value = row.value
    call.failure = row.failure
    call.attempts = row.attempts
    call.deaths = row.deaths
    return call


@lru_cache(maxsize=4096)
def _story(phases: bytes) -> Story:
    """Shared, as ``lifecycle.continued`` shares them."""
    return tuple(map(Phase, phases))
