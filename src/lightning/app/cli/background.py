"""``--blocking false``: the app lives on in a session of its own, and the command returns once it runs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click

from lightning.app.errors import NotAllowedError
from lightning.app.runtime.options import Options


def run_in_background(options: Options, *, as_json: bool = False) -> int:
    """Start the app away from this terminal and wait until it runs, or until it is clear that it will not."""
    log = _log(options.runs_dir)
    hear, tell = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(hear)
        _leave(log)
        from lightning.app.runtime.serve import serve

        return serve(replace(options, open_ui=False, background=True, started=_teller(tell)))
    os.close(tell)
    with open(hear, encoding="utf-8") as pipe:
        word = pipe.readline()  # not to its end: the app's processes hold the other end too
    if not word:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        click.echo(log.read_text(errors="replace"), err=True, nl=False)
        log.unlink()
        return code if code >= 0 else 128 - code
    place = {"pid": child, **json.loads(word)}
    final = options.runs_dir / place["run"] / "output.log"
    log.rename(final)
    place["output"] = str(final)
    if as_json:
        click.echo(json.dumps(place))
    else:
        click.echo(f"Your app runs in the background: {place['url'] or 'no page'}")
        click.echo(f"run {place['run']}, process {child}, output in {final}")
        click.echo(f"Stop it: kill {child}")
    return 0


def _log(runs_dir: Path) -> Path:
    """Where the output goes until the run, and with it its folder, has a name."""
    log = runs_dir / f"starting-{os.getpid()}.log"
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        log.touch(mode=0o600)
    except OSError as error:
        raise NotAllowedError(
            f"{runs_dir} cannot hold runs: {error.strerror}\nName a folder: --runs-dir DIR"
        ) from error
    return log


def _leave(log: Path) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    for target, source in enumerate((nothing, output, output)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


def _teller(pipe: int) -> Callable[[str, str], None]:
    def started(run: str, url: str) -> None:
        os.write(pipe, (json.dumps({"run": run, "url": url}) + "\n").encode())
        os.close(pipe)

    return started
