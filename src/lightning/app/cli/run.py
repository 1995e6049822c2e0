"""``lightning run``: from the command line to ``Options``, and on to the runtime."""

from __future__ import annotations

import os
import shlex
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from lightning.app.cli import Group
from lightning.app.cli.runs import complete_run
from lightning.app.errors import NotFoundError, UsageError
from lightning.app.journal.runs import Run, Runs
from lightning.app.runtime.options import Options

TYPED = "lightning.typed"
"""Where a command keeps its words as they were typed: its own, and the app's."""

run = Group(
    "run",
    {"app": ("lightning.app.cli.run:run_app", "Run the app in FILE: lightning run app app.py")},
    help="Run an app on this machine.",
)


class RunCommand(click.Command):
    """Takes what click has no words for: option values that may be left out, and the app's own arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own, app_args = split_app_args(args)
        ctx.meta[TYPED] = own, app_args
        rest = super().parse_args(ctx, say_left_out_values(own, "--cloud", "--resume"))
        ctx.params["app_args"] = tuple(app_args)
        return rest


def split_app_args(args: list[str]) -> tuple[list[str], list[str]]:
    """What follows ``--app_args`` is the app's, whatever it is; ``--app_args="--lr 0.1"`` ends by itself."""
    own: list[str] = []
    of_app: list[str] = []
    for place, word in enumerate(args):
        name, equals, value = word.partition("=")
        if name not in ("--app_args", "--app-args"):
            own.append(word)
        elif equals:
            of_app += shlex.split(value)
        else:
            return own, of_app + args[place + 1 :]
    return own, of_app


def say_left_out_values(args: list[str], *options: str) -> list[str]:
    """``--resume app.py`` means ``--resume= app.py``: a file is never the value."""
    words = []
    for word, following in zip_longest(args, args[1:], fillvalue="-"):
        alone = following.startswith("-") or following.endswith(".py") or os.path.isfile(following)
        words.append(f"{word}=" if word in options and alone else word)
    return words


def _pairs(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{word!r} is not NAME=VALUE", context, option)
        pairs[key] = value
    return pairs


def _secrets(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    secrets = {}
    for word in given:
        key, _, variable = word.partition("=")
        if (value := os.environ.get(variable or key)) is None:
            raise click.BadParameter(
                f"the environment has no variable {variable or key}. A secret is passed by the name of a "
                f"variable that holds it: export {variable or key}=..., then --secret {word}",
                context,
                option,
            )
        secrets[key] = value
    return secrets


@click.command("app", cls=RunCommand)
@click.argument("file", type=click.Path())
@click.option("--cloud", metavar="[CLUSTER]", help="Run on a cluster instead of this machine.")
@click.option(
    "--open-ui", type=bool, metavar="true|false", help="Open the page in a browser [true on a desktop]."
)
@click.option("--name", help="What to call this app [the file's name].")
@click.option("--env", metavar="K=V", multiple=True, callback=_pairs, help="Set a variable for the app.")
@click.option(
    "--secret", "secrets", metavar="K[=VAR]", multiple=True, callback=_secrets,
    help="Pass the variable VAR of your environment on as K, and never show it.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the page is served.")
@click.option("--port", type=click.IntRange(0, 65535), help="Its port [7501, or the next one that is free].")
@click.option("--without-server", is_flag=True, help="Serve no page.")
@click.option("--no-cache", is_flag=True, help="Install afresh, from no cache.")
@click.option(
    "--blocking", type=bool, metavar="true|false", default=True, help="false: return once the app runs."
)
@click.option(
    "--setup", is_flag=True, help="Install what the app's requirements.txt or pyproject.toml asks for."
)
@click.option(
    "--resume",
    metavar="[RUN]",
    shell_complete=complete_run,
    help="Go on with an interrupted run [the newest].",
)
@click.option("--drop-unfit", is_flag=True, help="Resume without what no longer fits changed code.")
@click.option(
    "--durability", type=click.Choice(["full", "process", "off"]), default="full", show_default=True,
    help="What the app survives: power loss, its own death, nothing.",
)  # fmt: skip
@click.option(
    "--storage", metavar="URL", help="Where files and payloads are kept: s3://bucket/prefix, or a folder."
)
@click.option("--until-idle", is_flag=True, help="End when nothing runs and nothing is due.")
@click.option(
    "--like", metavar="RUN", shell_complete=complete_run, help="Run in the environment of an earlier run."
)
@click.option(
    "--runs-dir", type=click.Path(file_okay=False, path_type=Path), default=Path(".lightning/runs"),
    show_default=True, help="The folder of the runs' journals.",
)  # fmt: skip
@click.option("--debug", is_flag=True, help="Run every work in this process, for a debugger.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info",
    show_default=True, help="What this program says of itself, on stderr.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, help="With --blocking false: say where the app runs as JSON."
)
@click.option("--app_args", metavar="...", help="All that follows is the app's sys.argv.")
def run_app(
    file: str,
    cloud: str | None,
    like: str | None,
    setup: bool,
    no_cache: bool,
    blocking: bool,
    as_json: bool,
    open_ui: bool | None,
    without_server: bool,
    **plain: Any,
) -> int:
    """Run the app in FILE.

    \b
    lightning run app app.py
    lightning run app app.py --open-ui=false --env MODEL=small
    lightning run app app.py --resume
    lightning run app train.py --app_args --lr 0.1
    """
    _refuse_what_is_to_come(cloud)
    if as_json and blocking:
        raise UsageError("--json goes with --blocking false: otherwise the app's own words are the output")
    if like is not None:
        given = {*os.environ, *plain["env"], *plain["secrets"]}
        become_like(Runs(plain["runs_dir"]).find(like), file, given, fresh=no_cache)
    if setup:
        from lightning.app.cli.requirements import install

        install(file, fresh=no_cache)
    plain["resume"] = True if plain["resume"] == "" else plain["resume"]
    options = Options(
        file=file,
        server=not without_server,
        open_ui=has_desktop() if open_ui is None else open_ui,
        **plain,
    )
    if options.storage is not None:
        from lightning.app.storage.stores.opening import check

        check(options.storage)
    if not blocking:
        from lightning.app.cli.background import run_in_background

        return run_in_background(options, as_json=as_json)
    from lightning.app.runtime.serve import serve

    return serve(options)


def has_desktop() -> bool:
    """Whether a browser window would be seen by whoever typed the command."""
    if sys.platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def become_like(run: Run, file: str, given: set[str], *, fresh: bool) -> None:
    """Start over in the environment of that run; return where this is the same."""
    from lightning.app.runtime.likeness import recreated

    python = recreated(run, file, given, fresh=fresh)
    if not python:
        return
    own, app_args = click.get_current_context().meta[TYPED]
    words = [*without_value(own, "--like"), *(["--app_args", *app_args] if app_args else [])]
    home = os.path.dirname(python)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
    environment["VIRTUAL_ENV"] = os.path.dirname(home)
    environment["PATH"] = home + os.pathsep + environment.get("PATH", os.defpath)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(python, [python, "-m", "lightning.app", "run", "app", *words], environment)


def without_value(words: list[str], option: str) -> list[str]:
    """``words`` without ``option`` and its value."""
    kept = []
    rest = iter(words)
    for word in rest:
        if word == option:
            next(rest, None)
        elif not word.startswith(f"{option}="):
            kept.append(word)
    return kept


def _refuse_what_is_to_come(cloud: str | None) -> None:
    if cloud is not None:
        known = f"no cluster {cloud!r}" if cloud else "no cluster"
        raise NotFoundError(
            f"{known}: this version runs apps on this machine only\n"
            "Leave out --cloud: every CloudCompute then means this machine"
        )
