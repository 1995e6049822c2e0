"""``lightning history``: what changed in a run, when, and who wrote it."""

from __future__ import annotations

import json
import sys
from collections import deque
from contextlib import closing, suppress
from pathlib import Path

import click

from lightning.app.cli.runs import Moment, as_json, complete_run, runs_dir
from lightning.app.config import guess
from lightning.app.errors import NotFoundError
from lightning.app.journal.runs import Runs
from lightning.app.journal.sqlite import SqliteReader


@click.command("history")
@click.argument("run", shell_complete=complete_run)
@click.argument("about", metavar="[COMPONENT[.ATTRIBUTE]]", default="")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N events.")
@click.option("--since", type=Moment(), metavar="TIME", help="Only what happened since then: 10m, 14:30.")
@runs_dir
@as_json("Print one object a line.")
def history(
    run: str, about: str, tail: int | None, since: float | None, runs_dir: Path, as_json: bool
) -> None:
    """Tell what happened in RUN: changes of state with who made them, calls, processes.

    \b
    lightning history 20261121-061530-k7q2
    lightning history 20261121-061530-k7q2 root.train
    lightning history 20261121-061530-k7q2 root.train.loss --tail 20

    A component stands for itself and all below it. A change that overwrote what its writer had not seen is
    marked as a conflict. The run may be live.
    """
    from lightning.app.runtime.history import Event, History
    from lightning.app.runtime.past import journal_of, moment

    opened = Runs(runs_dir).find(run)
    told = History(about)
    write = sys.stdout.write

    def say(event: Event) -> None:
        if as_json:
            write(json.dumps(event.told()) + "\n")
        else:
            conflict = "   (conflict)" if event.conflict else ""
            write(f"{moment(event.at)}  {event.turn:>6}  {event.by:<7}  {event.text}{conflict}\n")

    with closing(journal_of(opened)) as journal, suppress(BrokenPipeError):
        first = journal.first
        if first > 1:
            click.echo(f"The history before turn {first} is compacted and cannot be told", err=True)
        events = told.events(journal.read(first - 1), since)
        some = False
        for event in events if tail is None else deque(events, maxlen=tail):
            some = True
            say(event)
        sys.stdout.flush()
        if about and not some:
            _refuse_unknown(about, journal, opened.id)
            click.echo(f"Nothing happened to {about} in that time", err=True)


def _refuse_unknown(about: str, journal: SqliteReader, run: str) -> None:
    """Nothing was found: because nothing happened, or because there is nothing of that name?"""
    from lightning.app.runtime.history import History

    everything = History()
    for _ in everything.events(journal.read(journal.first - 1)):
        pass
    known = sorted(everything.known)
    if not any(each == about or each.startswith(about + ".") for each in known):
        raise NotFoundError(
            f"run {run} has no component or attribute {about!r}{guess(about, known)}\n"
            f"Its components: {', '.join(sorted(everything.components))}"
        )
