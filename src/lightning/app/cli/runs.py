"""What the commands about runs share: naming a run, and how times, spans and sizes are written and read."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lightning.app.errors import NotFoundError
from lightning.app.journal.runs import RUNS_DIR, Run, Runs

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d|w)[a-z]*(?:\s+ago)?")


def runs_dir(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that says where runs are."""
    return click.option(
        "--runs-dir", type=click.Path(file_okay=False, path_type=Path), default=RUNS_DIR, show_default=True,
        help="Where runs are recorded.",
    )(command)  # fmt: skip


def as_json(text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option("--json", "as_json", is_flag=True, help=text)


def complete_run(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The IDs that begin so, for the shell, each with what a person knows it by."""
    from click.shell_completion import CompletionItem  # only a shell's tab key pays for it

    runs = Runs(context.params.get("runs_dir") or RUNS_DIR)
    return [
        CompletionItem(run.id, help=f"{run.meta.name}, {run.state}")
        for run in runs.all()
        if run.id.startswith(begun)
    ]


def own_file(run: Run, command: str) -> str:
    """The file of the app that the run was one of, as it is seen from here. ``command`` may be given another."""
    meta = run.meta
    file = os.path.relpath(os.path.join(meta.folder, meta.app_file))
    if not os.path.isfile(file):
        raise NotFoundError(
            f"run {run.id} was one of {meta.app_file}, which is not there any more\n"
            f"Name the app's file: {command} app.py"
        )
    return file


class Span(click.ParamType[float]):
    """``90s``, ``10m``, ``3 hours``: seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if (seconds := span_of(value)) is None:
            self.fail(f"{value!r} is not a span of time, such as 90s, 10m, 2h or 30d", param, ctx)
        return seconds


class Moment(click.ParamType[float]):
    """``10m`` (ago), ``14:30`` (today), ``2026-11-21 14:30``: seconds since 1970."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if (at := moment_of(value, time.time())) is None:
            self.fail(
                f"{value!r} is not a time: write 10m (ago), 14:30 (today) or '2026-11-21 14:30'", param, ctx
            )
        return at


def span_of(text: str) -> float | None:
    match = _SPAN.fullmatch(text.strip().lower())
    return float(match[1]) * _UNITS[match[2]] if match else None


def moment_of(text: str, now: float) -> float | None:
    """A time as people write it, in the zone of this machine unless it names one."""
    if (seconds := span_of(text)) is not None:
        return now - seconds
    text = text.strip()
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?", text):
        text = f"{datetime.fromtimestamp(now):%Y-%m-%d} {text:0>5}"
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def written(at: float) -> str:
    """A time, in the zone of this machine."""
    return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M:%S}"


def spanned(seconds: float) -> str:
    """``0.3 s``, ``12 s``, ``3 m 05 s``, ``2 h 10 m``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} m"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def sized(count: float) -> str:
    """``512 B``, ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def table(rows: list[list[str]]) -> str:
    """Columns as wide as what stands in them; numbers' columns are the caller's to pad."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
