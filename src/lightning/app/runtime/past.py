"""A run as it was at a point of its past: the fold of its journal, up to there. Works beside a live run, too."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from lightning.app.errors import NotFoundError, UsageError
from lightning.app.journal.journal import Reader
from lightning.app.journal.recovery import recover
from lightning.app.journal.runs import Run
from lightning.app.journal.sqlite import SqliteJournal, SqliteReader
from lightning.app.kernel.model import Call, Component, Model, WorkLife
from lightning.app.kernel.values import unpack


@dataclass(frozen=True)
class Point:
    """A point of a run: the end of a turn, or how things stood at a time. Neither: the latest."""

    turn: int | None = None
    at: float | None = None


@dataclass(frozen=True)
class Past:
    """How a run was at the end of one of its turns."""

    turn: int
    at: float
    model: Model


def journal_of(run: Run) -> SqliteReader:
    """The run's journal, to be looked at; the run may be live."""
    if not run.journal_path.exists():
        raise NotFoundError(
            f"run {run.id} has no journal: it ran with --durability off, or ended before its first turn\n"
            f"What it printed: lightning logs {run.id}"
        )
    return SqliteJournal.reader(run.journal_path)


def turn_of(journal: Reader, point: Point) -> int:
    """The number of the last turn that belongs to the point."""
    first, last = journal.first, journal.last
    if point.at is not None:
        turn = 0
        for each in journal.read(first - 1):
            if each.at <= point.at:  # a clock may have been set back: the last that fits counts
                turn = each.seq
            elif not turn:
                began = "the run began" if first == 1 else "what is kept of the run's history begins"
                raise NotFoundError(
                    f"{began} at {moment(each.at)}, which is after {moment(point.at)}: name a later time"
                )
        return turn
    if point.turn is None:
        return last
    if not first <= point.turn <= last:
        has = "it has" if first == 1 else "what is kept of its history are"
        raise NotFoundError(f"the run has no turn {point.turn}: {has} the turns {first} to {last}")
    return point.turn


def past_of(journal: Reader, point: Point | None = None) -> Past:
    """How the run was at that point; as it is now without one."""
    turn = turn_of(journal, point or Point())
    if not turn:
        raise UsageError("this run has recorded no turn yet")
    at = next(journal.read(turn - 1)).at
    return Past(turn, at, recover(journal, turn).model)


def state_at(run: Run, point: Point | None = None) -> Past:
    """How the run was at that point; it may be live."""
    with closing(journal_of(run)) as journal:
        return past_of(journal, point)


def moment(at: float) -> str:
    """A time, in this machine's zone, to the millisecond."""
    return datetime.fromtimestamp(at).isoformat(" ", "milliseconds")


# -- for programs ---------------------------------------------------------------------------------


def told(past: Past) -> dict[str, Any]:
    """The whole of it as JSON has it."""
    model = past.model
    return {
        "turn": past.turn,
        "at": past.at,
        "epoch": model.epoch,
        "ended": None if model.ended is None else msgspec.to_builtins(model.ended)[1:],
        "components": [component_told(each) for each in model.components.values()],
        "schedules": {
            key: {"ticks": each.ticks.number, "last": each.ticks.last, "due": each.ticks.due}
            for key, each in model.schedules.items()
        },
    }


def component_told(component: Component) -> dict[str, Any]:
    row: dict[str, Any] = {
        "component": component.path,
        "kind": component.kind,
        "class": component.cls,
        "state": {name: plain(value) for name, value in component.state.items()},
    }
    life = component.life
    if life is not None:
        row |= {
            "stage": life.stage,
            "process": life.process.name.lower(),
            "counts": {
                "calls": life.asked,
                "succeeded": life.successes,
                "failed": life.failures,
                "timed_out": life.timeouts,
            },
            "statuses": statuses_told(life),
            "calls": [call_told(each) for each in calls_of(life)],
        }
    return row


def statuses_told(life: WorkLife) -> list[dict[str, Any]]:
    return [
        {"stage": stage, "at": at, "reason": reason, "message": message, "count": count}
        for stage, at, reason, message, count in life.statuses
    ]


def calls_of(life: WorkLife) -> list[Call]:
    """The calls that are remembered, oldest first: unfinished ones, and finished ones that answer at once."""
    known = {call.number: call for call in (*life.latest.values(), *life.unfinished())}
    return [known[number] for number in sorted(known)]


def call_told(call: Call) -> dict[str, Any]:
    row = {
        "number": call.number,
        "phase": call.phase.name.lower(),
        "since": call.since,
        "args": plain(unpack(call.args)),
        "kwargs": plain({name: unpack(each) for name, each in call.kwargs.items()}),
        "value": plain(unpack(call.value)),
        "deaths": call.deaths,
    }
    if call.failure is not None:
        row["failure"] = {"kind": call.failure.kind, "message": call.failure.message}
    return row


def plain(value: Any) -> Any:
    """A state value as JSON has it; what JSON has no word for, as Python would write it."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if value - value == 0 else repr(value)  # JSON knows no infinities
    if isinstance(value, dict):
        return {name if type(name) is str else repr(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)) and type(value).__repr__ in (list.__repr__, tuple.__repr__):
        return [plain(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return [plain(each) for each in sorted(value, key=repr)]
    return repr(value)
