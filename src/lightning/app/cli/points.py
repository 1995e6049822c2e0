"""``--at``: a point of a run's past, as people name one, and how the run was then."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import click

from lightning.app.cli.runs import moment_of
from lightning.app.journal.runs import Run
from lightning.app.kernel.lifecycle import Phase, Process
from lightning.app.kernel.model import Call, Component
from lightning.app.runtime import sentences
from lightning.app.runtime.past import Past, Point, calls_of, moment, told

UNTOUCHED = {
    "host": "127.0.0.1",
    "url": "",
    "internal_ip": "",
    "public_ip": "",
    "display_name": "",
    "port": None,
}
"""What every work has; not shown while it is as in every work."""


class At(click.ParamType[Point]):
    """``1200`` (a turn), ``10m ago``, ``14:30`` (today), ``2026-11-21T14:30:05``."""

    name = "point"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Point:
        if isinstance(value, Point):
            return value
        if value.strip().isdecimal():
            return Point(turn=int(value))
        if (at := moment_of(value, time.time())) is None:
            self.fail(
                f"{value!r} is no point of a run: write a turn's number (1200), a time ('2026-11-21 14:30:05', "
                "or 14:30 for today's) or how long ago (10m ago)",
                param,
                ctx,
            )
        return Point(at=at)


def show_past(run: Run, past: Past, as_json: bool) -> None:
    """The state of every component, and of works what they are doing."""
    if as_json:
        click.echo(json.dumps({"run": run.id, **told(past)}))
        return
    click.echo(f"run {run.id}  {run.meta.name}, at the end of turn {past.turn}, {moment(past.at)}")
    for component in past.model.components.values():
        click.echo("\n" + "\n".join(_component(component)))


def _component(component: Component) -> Iterator[str]:
    life = component.life
    if life is None:
        yield component.path
    else:
        process = "" if life.process is Process.ABSENT else f", its process is {life.process.name.lower()}"
        yield f"{component.path}  {life.stage}{process}"
    for name, value in component.state.items():
        if life is None or name not in UNTOUCHED or value != UNTOUCHED[name]:
            yield f"  {name} = {sentences.cut(repr(value))}"
    if life is not None:
        for call in calls_of(life):
            yield f"  call {call.number}: {_call(component.path, call)}"


def _call(path: str, call: Call) -> str:
    match call.phase:
        case Phase.SUCCEEDED:
            return f"returned {sentences.shown(call.value)}, {moment(call.since)}"
        case Phase.FAILED if call.failure is not None:
            return f"failed, {moment(call.since)}: {call.failure.kind}: {call.failure.message}"
    return f"{call.phase.name.lower()} since {moment(call.since)}: {sentences.call(path, call.args, call.kwargs)}"
