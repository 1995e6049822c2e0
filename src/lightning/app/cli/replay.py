"""``lightning replay``: does the flow still ask for what it asked for in a recorded run?"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, closing, redirect_stdout
from dataclasses import asdict
from pathlib import Path

import click

from lightning.app.cli.runs import as_json, complete_run, own_file, runs_dir
from lightning.app.config import Config
from lightning.app.journal.runs import Runs


@click.command("replay")
@click.argument("run", shell_complete=complete_run)
@click.argument("file", type=click.Path(), required=False)
@click.option("--prints", is_flag=True, help="Let through what the flow prints; without it, it is not heard.")
@runs_dir
@as_json("Print one object.")
def replay(run: str, file: str | None, prints: bool, as_json: bool, runs_dir: Path) -> int:
    """Run the flow of FILE again on what RUN has recorded, and compare.

    \b
    lightning replay 20261121-061530-k7q2
    lightning replay 20261121-061530-k7q2 edited.py

    No process is started and nothing is written. What works said and did is taken from the record; calls,
    writes, starts and stops of the flow are compared, at the recorded times. FILE is the run's own unless
    it is given. The exit code is 0 when all is the same, and 1 at the first difference, which is shown.
    """
    from lightning.app.runtime.past import journal_of
    from lightning.app.runtime.replay import of_file
    from lightning.app.runtime.replay import replay as replay_run

    opened = Runs(runs_dir).find(run)
    if file is None:
        file = own_file(opened, f"lightning replay {run}")
    config = Config.load(Path(file).resolve().parent)
    with ExitStack() as stack:
        journal = stack.enter_context(closing(journal_of(opened)))
        if not prints:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(nowhere))
        report = replay_run(journal, of_file(file, opened.meta.arguments), config)
    if as_json:
        click.echo(json.dumps({"run": opened.id, **asdict(report)}))
    else:
        click.echo(report.told(f"Run {opened.id}"))
    return int(report.difference is not None)
