"""``lightning replay``: does the flow still ask for what it asked for in a recorded run?"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import click
import msgspec

from lightning.app.config import Config
from lightning.app.journal.runs import RUNS_DIR, Runs
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.runtime.moments import local


@click.command("replay", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run")
@click.argument("file", type=click.Path(), required=False)
@click.option("--prints", is_flag=True, help="Let through what the flow prints; without it, it is not heard.")
@click.option("--json", "as_json", is_flag=True, help="Say what came of it as JSON.")
@click.option(
    "--runs-dir", type=click.Path(file_okay=False, path_type=Path), default=RUNS_DIR, show_default=True,
    help="The folder of the runs' journals.",
)  # fmt: skip
def replay(run: str, file: str | None, prints: bool, as_json: bool, runs_dir: Path) -> int:
    """Run the flow of FILE again on what RUN has recorded, and compare.

    \b
    lightning replay 20261121-061530-k7q2
    lightning replay 20261121-061530-k7q2 edited.py

    No process is started and nothing is written. What works said and did is taken from the record; calls,
    writes, starts and stops of the flow are compared, at the recorded times. FILE is the run's own unless
    it is given. The exit code is 0 when all is the same, and 1 at the first difference, which is shown.
    """
    from lightning.app.runtime.replay import Replay, of_file

    opened = Runs(runs_dir).open(run)
    meta = opened.meta
    file = file or meta.app_file
    journal = SqliteJournal.reader(opened.journal_path)
    config = Config.load(Path(file).resolve().parent)
    with contextlib.ExitStack() as stack:
        stack.callback(journal.close)
        if not prints:
            nowhere = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        report = Replay(journal.read(), of_file(file, meta.arguments), config).run()
    difference = report.difference
    if as_json:
        click.echo(json.dumps({"run": opened.id, **msgspec.to_builtins(report)}))
    elif difference is None:
        click.echo(
            f"Run {opened.id}: no difference in {report.turns} turns, {report.passes} passes, "
            f"{report.compared} requests of the flow"
        )
    else:
        click.echo(f"Run {opened.id} differs at turn {difference.turn}, {local(difference.at)}")
        click.echo(f"  recorded: {difference.recorded}")
        click.echo(f"  now:      {difference.replayed}")
        if difference.where:
            click.echo(f"  at:       {difference.where}: {difference.line}")
        click.echo(f"{report.compared} requests of the flow before that are the same")
    return int(difference is not None)
