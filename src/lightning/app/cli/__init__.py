"""The command line. One thin module per command group, loaded when one of its commands is named.

So ``lightning --help`` loads the list below and click. An error leaves as one block on stderr, with the exit
code that its class names; data goes to stdout.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from lightning.app import __version__
from lightning.app.cli.errors import INTERRUPTED, complain, reporting


class Group(click.Group):
    """Commands by name, each with the place it is loaded from and the line that the help shows for it."""

    def __init__(self, name: str, places: Mapping[str, tuple[str, str]], help: str) -> None:
        super().__init__(name, help=help, context_settings={"help_option_names": ["-h", "--help"]})
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.places:
            return None
        module, _, name = self.places[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.places.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        finally:
            if ctx.parent is None:
                from lightning.app.storage.home import sweep  # a help needs nothing of it

                sweep()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        wanted = args[0]
        if wanted in self.places or wanted.startswith("-"):
            return super().resolve_command(ctx, args)
        if wanted.endswith(".py"):
            remedy = f"Did you mean: lightning run app {wanted}"
        elif close := difflib.get_close_matches(wanted, self.places, n=1):
            remedy = f"Did you mean: {ctx.command_path} {close[0]}"
        else:
            remedy = f"There is: {', '.join(self.places)}"
        raise click.UsageError(f"no command {wanted!r} in {ctx.command_path!r}\n{remedy}", ctx)


cli = Group(
    "lightning",
    {
        "run": ("lightning.app.cli.run:run", "Run an app: lightning run app app.py"),
        "list": ("lightning.app.cli.listing:listing", "What there is: lightning list runs"),
        "show": ("lightning.app.cli.show:show", "Look at a run: lightning show run"),
        "logs": ("lightning.app.cli.logs:logs", "What components printed: lightning logs --follow"),
        "history": (
            "lightning.app.cli.history:history",
            "What changed, when, by whom: lightning history RUN",
        ),
        "fork": ("lightning.app.cli.fork:fork", "Go on from a point of a run: lightning fork RUN --at 10m"),
        "replay": (
            "lightning.app.cli.replay:replay",
            "Compare a flow with a recorded run: lightning replay RUN",
        ),
        "delete": ("lightning.app.cli.delete:delete", "Delete old runs: lightning delete run --keep 10"),
        "completion": ("lightning.app.cli.completion:completion", "Complete commands with the tab key."),
    },
    help="Plain Python that runs as many processes: apps of flows and works.",
)
click.version_option(__version__, prog_name="lightning-apps", message="%(prog)s %(version)s")(cli)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    called = os.path.basename(sys.argv[0])
    name = "lightning" if called.endswith(".py") else called

    def command() -> int:
        try:
            code = cli.main(args=arguments, prog_name=name, standalone_mode=False)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return error.exit_code
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            help = f"\nHelp: {context.command_path} --help" if context else ""
            complain(f"{error.format_message()}{help}")
            return error.exit_code
        except click.Abort:
            return INTERRUPTED
        return code if isinstance(code, int) else 0

    return reporting(command)
