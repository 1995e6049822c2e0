"""``lightning show``: one thing, looked at closely."""

from __future__ import annotations

import json
import os
import shlex
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import msgspec

from lightning.app.cli import Group
from lightning.app.cli.listing import outline
from lightning.app.cli.points import At, show_past
from lightning.app.cli.runs import as_json, complete_run, runs_dir, sized, spanned, table, written
from lightning.app.errors import JournalError
from lightning.app.journal.recovery import recover
from lightning.app.journal.runs import Run, Runs
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel.model import Model, WorkLife
from lightning.app.runtime.past import Point, state_at, statuses_told
from lightning.app.runtime.record import Git, Record, differences, records

show = Group(
    "show",
    {"run": ("lightning.app.cli.show:show_run", "How a run went: lightning show run")},
    help="Look at one thing closely.",
)


@click.command("run")
@click.argument("run_id", metavar="[RUN]", required=False, shell_complete=complete_run)
@click.option("--at", type=At(), metavar="TURN|TIME", help="Show the state of everything at that point.")
@runs_dir
@as_json("Print one object, with all that is known.")
def show_run(run_id: str | None, at: Point | None, runs_dir: Path, as_json: bool) -> None:
    """Show how a run went and what it was made of; the newest when none is named.

    \b
    lightning show run
    lightning show run 20261121-061530-k7q2
    lightning show run --json
    lightning show run 20261121-061530-k7q2 --at "10m ago"
    """
    run = Runs(runs_dir).find(run_id)
    if at is not None:
        show_past(run, state_at(run, at), as_json)
        return
    told = outline(run, time.time())
    model, unreadable = _model(run)
    works = [_work(path, life) for path, life in model.works.items()] if model else []
    environments = records(run.folder)
    if as_json:
        meta = run.meta
        told |= {
            "app_file": meta.app_file,
            "arguments": list(meta.arguments),
            "folder": str(run.folder),
            "epoch": model.epoch if model else 0,
            "works": works,
            "environments": msgspec.to_builtins(environments),
        }
        click.echo(json.dumps(told))
        return
    if unreadable:
        click.echo(f"What its works did cannot be told: {unreadable}", err=True)
    for part in (_heading(run, told, model), _works(works), *_environments(environments)):
        if part:
            click.echo(part)


def _model(run: Run) -> tuple[Model | None, str]:
    """The run as it is now, or why that cannot be told."""
    if not run.journal_path.exists():
        return None, "it has no journal (--durability off, or it ended before its first turn)"
    try:
        with closing(SqliteJournal.reader(run.journal_path)) as journal:
            return recover(journal).model, ""
    except JournalError as error:
        return None, str(error)


def _work(path: str, life: WorkLife) -> dict[str, Any]:
    return {
        "name": path,
        "stage": life.stage,
        "calls": life.asked,
        "succeeded": life.successes,
        "failed": life.failures,
        "timed_out": life.timeouts,
        "running": int(life.running is not None),
        "waiting": len(life.queue),
        "statuses": statuses_told(life),
    }


def _heading(run: Run, told: dict[str, Any], model: Model | None) -> str:
    meta = run.meta
    ending = [told["state"]]
    if meta.exit_code is not None:
        ending.append(f"exit code {meta.exit_code}")
    if told["state"] == "running" and (holder := run.holder):
        ending.append(f"process {holder}")
    took = spanned(told["duration"])
    rows = [
        ["run", f"{run.id}  {meta.name}"],
        ["state", ", ".join(ending)],
        ["app", f"{meta.app_file}  in {meta.folder}" if meta.folder else meta.app_file],
        ["started", f"{written(meta.started_at)}, {'for' if told['state'] == 'running' else 'took'} {took}"],
        ["recorded", f"{sized(told['size'])} in {run.folder}"],
    ]
    if meta.arguments:
        rows.insert(3, ["arguments", shlex.join(meta.arguments)])
    if meta.forked_from:
        rows.append(["forked", f"from run {meta.forked_from} at its turn {meta.forked_at}"])
    if model is not None and model.epoch > 1:
        rows.append(["resumed", "once" if model.epoch == 2 else f"{model.epoch - 1} times"])
    if model is not None and model.ended is not None and model.ended.message:
        rows.append(["last word", model.ended.message])
    if run.interrupted:
        rows.append(["go on", run.resuming()])
    return table(rows)


def _works(works: list[dict[str, Any]]) -> str:
    if not works:
        return ""
    rows = [["", "WORK", "STAGE", "CALLS", "SUCCEEDED", "FAILED", "SINCE", "WHY"]]
    for work in works:
        last = work["statuses"][-1] if work["statuses"] else None
        why = " ".join(part for part in (last["reason"], last["message"]) if part) if last else ""
        counts = [str(work[each]) for each in ("calls", "succeeded", "failed")]
        since = written(last["at"]) if last else ""
        rows.append(["", work["name"], work["stage"], *counts, since, why.partition("\n")[0]])
    return "\n" + table(rows)


def _environments(environments: list[Record]) -> list[str]:
    """The first in full; of each later one what differs from the one before."""
    if not environments:
        return []
    parts = ["\n" + _environment(environments[0])]
    for old, new in pairwise(environments):
        changed = differences(old, new)
        what = "".join(f"\n    {each}" for each in changed) if changed else " in the same environment"
        parts.append(f"\nresumed {written(new.at)}{':' if changed else ''}{what}")
    return parts


def _environment(record: Record) -> str:
    rows = [
        ["lightning-apps", record.lightning],
        ["python", f"{record.python} ({record.implementation}), {record.executable}"],
        ["platform", " ".join(filter(None, (record.system, record.release, record.machine, record.libc)))],
        ["code", f"{record.code_hash[:12]}  {_listed(record.code)}"],
        ["git", _git(record.git)],
        ["--env, --secret", ", ".join(record.given) or "none"],
        ["variables", _listed(record.variables)],
        ["distributions", _listed([f"{name} {version}" for name, version in record.distributions.items()])],
    ]
    for name, origin in record.origins.items():
        rows.append(["", f"{name}: {origin.kind} {origin.url} {origin.mark[:24]}".rstrip()])
    return table(rows)


def _git(git: Git | None) -> str:
    if git is None:
        return "no commit"
    branch = f" on {git.branch}" if git.branch else ""
    return f"{git.commit[:12]}{branch}{', with changes that are not committed' if git.dirty else ''}"


def _listed(words: Any) -> str:
    """A few, and how many more: ``--json`` has all."""
    words = [os.fspath(word) for word in words]
    return ", ".join(words[:8]) + (f" and {len(words) - 8} more" if len(words) > 8 else "")
