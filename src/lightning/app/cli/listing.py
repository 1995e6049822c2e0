"""``lightning list``: what there is, a line each."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from lightning.app.cli import Group
from lightning.app.cli.runs import as_json, runs_dir, sized, spanned, table, written
from lightning.app.journal.runs import Run, Runs

listing = Group(
    "list",
    {"runs": ("lightning.app.cli.listing:list_runs", "The runs of this folder: lightning list runs")},
    help="What there is.",
)


@click.command("runs")
@runs_dir
@as_json("Print an array of objects.")
def list_runs(runs_dir: Path, as_json: bool) -> None:
    """List the runs of this folder, newest first.

    \b
    lightning list runs
    lightning list runs --json
    """
    runs = Runs(runs_dir)
    now = time.time()
    known = [outline(run, now) for run in runs.all()]
    if as_json:
        click.echo(json.dumps(known))
    elif known:
        rows = [["ID", "NAME", "STATE", "STARTED", "DURATION", "SIZE"]]
        for run in known:
            started, took = written(run["started_at"]), spanned(run["duration"])
            rows.append([run["id"], run["name"], run["state"], started, took, sized(run["size"])])
        click.echo(table(rows))
    else:
        click.echo(f"{runs.folder} has no runs yet. Start one: lightning run app app.py", err=True)


def outline(run: Run, now: float) -> dict[str, Any]:
    """What is known of a run without a look into its journal."""
    state = run.state
    meta = run.meta
    until = now if state == "running" else run.last_seen
    return {
        "id": run.id,
        "name": meta.name,
        "state": state,
        "exit_code": meta.exit_code,
        "reason": meta.reason,
        "forked_from": meta.forked_from,
        "forked_at": meta.forked_at,
        "started_at": meta.started_at,
        "ended_at": meta.ended_at,
        "duration": round(max(0.0, until - meta.started_at), 3),
        "size": run.size,
    }
