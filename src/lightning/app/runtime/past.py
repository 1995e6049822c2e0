"""A run as it was at a point of its past: the fold of its journal, up to there. Works beside a live run, too.

And a new run that begins at such a point: a copy of the journal up to there, which then goes on as a resumed
run does.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from lightning.app.errors import NotFoundError, UsageError
from lightning.app.journal.journal import Reader
from lightning.app.journal.recovery import recover
from lightning.app.journal.runs import Run, Runs
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel.facts import Fact, Made, Renamed, decode_turn, encode_turn
from lightning.app.kernel.model import Call, Component, Model, WorkLife
from lightning.app.kernel.snapshot import dump, load
from lightning.app.kernel.values import unpack

COPIED_AT_ONCE = 1000


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
    with closing(SqliteJournal.reader(run.journal_path)) as journal:
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
            "statuses": [
                {"stage": stage, "at": at, "reason": reason, "message": message, "count": count}
                for stage, at, reason, message, count in life.statuses
            ],
            "calls": [call_told(each) for each in calls_of(life)],
        }
    return row


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


# -- a new run from there -------------------------------------------------------------------------


def fork(
    runs: Runs,
    source: Run,
    turn: int,
    *,
    app_file: str,
    module: str,
    arguments: tuple[str, ...] = (),
    name: str = "",
    folder: str = "",
) -> Run:
    """A new run of ``app_file``, held by this process, whose past is that of ``source`` up to the turn.

    ``module`` is what the file is imported as now: classes of the app are known by it.
    """
    with closing(SqliteJournal.reader(source.journal_path)) as journal:
        run = runs.create(app_file, arguments, name or source.meta.name, folder)
        run.lock()
        try:
            run.note_fork(source.id, turn)
            stem = Path(source.meta.app_file).stem
            _copy(journal, run.journal_path, turn, Renaming(stem, module))
        except BaseException:
            run.release()
            run.delete()
            raise
    return run


def _copy(journal: Reader, path: Path, turn: int, renaming: Renaming) -> None:
    """The turns up to that one, with the times and epochs that they had. The file is there whole, or not at all."""
    fresh = path.with_name(path.name + ".new")
    first = journal.first
    target: SqliteJournal | None = None
    if first > 1 and (base := journal.newest(first - 1)) is not None:
        target = SqliteJournal.begin(fresh, base._replace(model=renaming.snapshot(base.model)))
    for each in journal.read(first - 1):
        if each.seq > turn:
            break
        if target is None or target.epoch != each.epoch:
            if target is not None:
                target.close()
            target = SqliteJournal.open(fresh, "process", each.epoch)
        target.append(each.at, renaming.row(each.facts))
        if each.seq % COPIED_AT_ONCE == 0:
            target.commit()
    if target is not None:
        target.close()
    os.replace(fresh, path)


class Renaming:
    """Classes of an app's file, recorded when it had another name, or was started as ``python app.py``."""

    def __init__(self, stem: str, now: str) -> None:
        self._stem = stem
        self._now = now
        self._before = ""  # the root's module, when that is the app's file

    def row(self, facts: bytes) -> bytes:
        if self._before and f"{self._before}:".encode() not in facts:
            return facts
        before = decode_turn(facts)
        after = [self.fact(fact) for fact in before]
        return facts if after == before else encode_turn(after)

    def snapshot(self, model: bytes) -> bytes:
        return dump(self.model(load(model)))

    def model(self, model: Model) -> Model:
        self._learn(model.components["root"].cls)
        if self._before and self._before != self._now:
            for each in model.components.values():
                each.cls = self._name(each.cls)
                if each.origin is not None:
                    each.origin = self._origin(each.origin, each.kind)
        return model

    def _learn(self, root: str) -> None:
        module = root.partition(":")[0]
        own = module == "__main__" or module.removesuffix("_app") == self._stem
        self._before = module if own else ""

    def fact(self, fact: Fact) -> Fact:
        if isinstance(fact, Renamed):
            if fact.path == "root":
                self._before = fact.cls.partition(":")[0]
            return msgspec.structs.replace(fact, cls=self._name(fact.cls))
        if not isinstance(fact, Made):
            return fact
        if fact.path == "root":
            self._learn(fact.cls)
        if not self._before or self._before == self._now:
            return fact
        origin = None if fact.origin is None else self._origin(fact.origin, fact.kind)
        return msgspec.structs.replace(fact, cls=self._name(fact.cls), origin=origin)

    def _name(self, name: str) -> str:
        module, colon, cls = name.partition(":")
        return f"{self._now}:{cls}" if colon and module == self._before else name

    def _origin(self, origin: list[Any], kind: str) -> list[Any]:
        cls, args, kwargs = origin
        if kind == "structure":  # whose arguments are the origins of its members
            args = [self._origin(each, "") if isinstance(each, list) else each for each in args]
        return [self._name(cls), args, kwargs]
