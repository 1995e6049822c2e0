"""``lightning delete``: what is no longer wanted."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lightning.app.cli import Group
from lightning.app.cli.runs import Span, as_json, complete_run, runs_dir, sized
from lightning.app.errors import ConflictError, UsageError
from lightning.app.journal.runs import Run, Runs

delete = Group(
    "delete",
    {"run": ("lightning.app.cli.delete:delete_run", "Delete runs: lightning delete run ID")},
    help="Delete what is no longer wanted.",
)


@click.command("run")
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@click.option("--older-than", type=Span(), metavar="SPAN", help="Those that ended longer ago, such as 30d.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Those beyond the newest N.")
@runs_dir
@as_json("Print the IDs of what was deleted.")
def delete_run(
    runs: tuple[str, ...], older_than: float | None, keep: int | None, runs_dir: Path, as_json: bool
) -> None:
    """Delete runs, with all that they have recorded. A live run is never deleted.

    With --older-than or --keep, interrupted runs go only when they are too old: somebody may want to go on
    with them.

    \b
    lightning delete run 20261121-061530-k7q2
    lightning delete run --older-than 30d
    lightning delete run --keep 10
    """
    folder = Runs(runs_dir)
    if not runs and older_than is None and keep is None:
        raise UsageError(
            "which runs? Name them, or say --older-than SPAN or --keep N\nWhat there is: lightning list runs"
        )
    meant: dict[str, Run] = {run.id: run for run in map(folder.find, runs)}
    for run in meant.values():
        if run.live:
            raise ConflictError(f"run {run.id} is live: stop it first. Nothing was deleted")
    for run in folder.older(keep, None if older_than is None else older_than / 86400):
        meant.setdefault(run.id, run)
    size = sum(run.delete() for run in meant.values())
    folder.clear()
    if as_json:
        click.echo(json.dumps(list(meant)))
    click.echo(f"Deleted: {len(meant)} {'run' if len(meant) == 1 else 'runs'}, {sized(size)}", err=True)
