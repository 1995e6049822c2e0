"""``lightning logs``: what components printed, of a run that is over or of one that goes on."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightning.app.cli.runs import Moment, as_json, complete_run, runs_dir
from lightning.app.config import guess
from lightning.app.errors import NotFoundError
from lightning.app.journal.output import Line, OutputReader, files_of
from lightning.app.journal.runs import Run, Runs

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

LOOK_EVERY = 0.1
"""Seconds between two looks at a live run: nothing in Python's library wakes up when a file grows."""


class Pattern(click.ParamType["re.Pattern[str]"]):
    """A regular expression."""

    name = "pattern"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return re.compile(value)
        except re.error as error:
            self.fail(f"{value!r} is not a regular expression: {error}", param, ctx)


def _complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    return [] if context.params.get("words") else complete_run(context, parameter, begun)


@click.command("logs")
@click.argument("words", metavar="[RUN] [COMPONENT]...", nargs=-1, shell_complete=_complete)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until the run ends.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="The last N lines only.")
@click.option(
    "--since", type=Moment(), metavar="T", help="What was printed since: 10m, 14:30, '2026-11-21 14:30'."
)
@click.option("--search", type=Pattern(), metavar="RE", help="Lines in which this is found.")
@runs_dir
@as_json("Print an object per line.")
def logs(
    words: tuple[str, ...],
    follow: bool,
    tail: int | None,
    since: float | None,
    search: re.Pattern[str] | None,
    runs_dir: Path,
    as_json: bool,
) -> None:
    """Show what the components of a run printed; of the newest run when none is named.

    A component is named as in the state, "root.train", or by its last part; what is below it belongs to it.
    What the flow prints is by "flow".

    \b
    lightning logs
    lightning logs 20261121-061530-k7q2 train --tail 20
    lightning logs --follow --search "loss"
    """
    run, components = _meant(Runs(runs_dir), words)
    wanted = _Wanted(components, since, search)
    if not follow and run.state != "running" and not files_of(run.folder):
        click.echo(f"Nothing that run {run.id} printed has been kept", err=True)
        return
    show = _as_json if as_json else _as_text
    reader = OutputReader(run.folder)
    first: Iterator[Line] | deque[Line] = filter(wanted.passes, _all_of(reader, run))
    if tail is not None:
        reader, first = _last(run, wanted, tail)
    _print(first, show)
    if not follow:
        wanted.check()
    while follow:
        over = not (run.live or reader.growing)  # asked before the look: what came before that is seen
        _print(filter(wanted.passes, reader.read()), show)
        if over:
            _print(filter(wanted.passes, reader.rest()), show)
            return
        time.sleep(LOOK_EVERY)


def _meant(runs: Runs, words: tuple[str, ...]) -> tuple[Run, tuple[str, ...]]:
    """No component's name begins with a digit, as every run's does."""
    if words and words[0][:1].isdigit():
        return runs.find(words[0]), words[1:]
    return runs.find(), words


class _Wanted:
    """Whether a line is asked for."""

    def __init__(
        self, components: tuple[str, ...], since: float | None, search: re.Pattern[str] | None
    ) -> None:
        self._components = components
        self._since = since
        self._search = search
        self._known: dict[str, bool] = {}

    def passes(self, line: Line) -> bool:
        if self._components and not self._is_named(line.component):
            return False
        if self._since is not None and line.at < self._since:
            return False
        return self._search is None or self._search.search(line.text) is not None

    def check(self) -> None:
        """After all lines: a name that fits none of the components that have printed is a slip."""
        for name in self._components:
            if not any(_below(component, name) for component in self._known):
                last = [each.rpartition(".")[2] for each in self._known]
                raise NotFoundError(
                    f"no component {name!r} has printed anything{guess(name, last)}. "
                    f"These have: {', '.join(sorted(self._known)) or 'none'}"
                )

    def _is_named(self, component: str) -> bool:
        known = self._known.get(component)
        if known is None:
            known = any(_below(component, name) for name in self._components)
            self._known[component] = known
        return known


def _below(component: str, name: str) -> bool:
    return f".{name}." in f".{component}."


def _all_of(reader: OutputReader, run: Run) -> Iterator[Line]:
    yield from reader.read()
    if not (run.live or reader.growing):
        yield from reader.rest()


def _last(run: Run, wanted: _Wanted, count: int) -> tuple[OutputReader, deque[Line]]:
    """The last lines, from as few files as have them; and the reader that goes on behind them."""
    files = files_of(run.folder) or [0]
    for back in range(1, len(files) + 1):
        reader = OutputReader(run.folder, files[-back])
        found = deque(filter(wanted.passes, _all_of(reader, run)), maxlen=count)
        if len(found) == count:
            break
    return reader, found


def _print(lines: Iterator[Line] | deque[Line], show: Callable[[Line], str]) -> None:
    shown = map(show, lines)
    while portion := "".join(islice(shown, 1000)):
        click.echo(portion, nl=False)


def _as_json(line: Line) -> str:
    told = {"at": line.at, "component": line.component, "stream": line.stream, "text": line.text}
    return json.dumps(told) + "\n"


def _as_text(line: Line) -> str:
    moment = datetime.fromtimestamp(line.at).isoformat(" ", "milliseconds")
    return f"{moment} {line.component}  {line.text}\n"
