"""``lightning fork``: a new run that begins at a point of another one's past."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import click

from lightning.app.cli.points import At
from lightning.app.cli.run import RunCommand, run_app
from lightning.app.cli.runs import complete_run, own_file
from lightning.app.journal.runs import Runs
from lightning.app.runtime.past import Point, journal_of, turn_of

NOT_OURS = ("file", "resume", "like")
"""What ``run app`` takes and a fork does not."""


@click.command("fork", cls=RunCommand)
@click.argument("run", shell_complete=complete_run)
@click.argument("file", type=click.Path(), required=False)
@click.option("--at", type=At(), metavar="TURN|TIME", help="Where to begin [where the run is now].")
@click.pass_context
def fork(context: click.Context, /, run: str, file: str | None, at: Point | None, **options: Any) -> int:
    """Start a new run from a point of RUN's past, with the app in FILE: its own, unless another is given.

    \b
    lightning fork 20261121-061530-k7q2 --at 1200
    lightning fork 20261121-061530-k7q2 --at "10m ago" edited.py --open-ui=false

    RUN stays as it is and may be live. The new run has its state and its finished calls, and goes on as a
    resumed run does. All options of `lightning run app` can be given, but --resume and --like.
    """
    opened = Runs(options["runs_dir"]).find(run)
    with closing(journal_of(opened)) as journal:
        turn = turn_of(journal, at or Point())
    if file is None:
        file = own_file(opened, f"lightning fork {run}")
    options["app_args"] = options["app_args"] or opened.meta.arguments
    callback = run_app.callback
    assert callback is not None
    code: int = context.invoke(callback, file=file, resume=None, like=None, fork=(opened.id, turn), **options)
    return code


fork.params += [each for each in run_app.params if each.name not in NOT_OURS]
