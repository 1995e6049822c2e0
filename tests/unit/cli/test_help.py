"""Every command explains itself, and the lines that helps and pages show are lines that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from lightning.app.cli import Group, cli

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(group: Group, *above: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*above, name)
        if isinstance(command, Group):
            yield from commands(command, *above, name)


def understand(line: str) -> None:
    """Read the words of the line as the command line does. Nothing of it is done."""
    words = shlex.split(line, comments=True)[1:]
    context = click.Context(cli, info_name="lightning", **cli.context_settings)
    name, command, words = cli.resolve_command(context, words)
    while isinstance(command, Group):
        name, command, words = command.resolve_command(context, words)
    assert command is not None
    with suppress(click.exceptions.Exit):  # a line that asks for help
        command.make_context(name, words, parent=context)


@pytest.mark.parametrize("words", list(commands(cli)), ids=" ".join)
def test_every_command_has_help_with_lines_that_work(words: tuple[str, ...]) -> None:
    short, long = (CliRunner().invoke(cli, [*words, option]) for option in ("-h", "--help"))
    assert (short.exit_code, short.output) == (0, long.output)
    for line in re.findall(r"^  (lightning .*)", long.output, re.MULTILINE):
        assert line.split()[1 : len(words) + 1] == list(words)
        understand(line)


def test_the_lines_beside_the_commands_are_those_of_their_commands() -> None:
    def check(group: Group) -> None:
        for name, (_, told) in group.places.items():
            if line := re.search(r": (lightning .*)", told):
                assert f" {name}" in line[1]
                understand(line[1])
            found = group.get_command(click.Context(group), name)
            if isinstance(found, Group):
                check(found)

    check(cli)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_lines_of_a_page_are_ones_that_the_command_line_takes(page: Path) -> None:
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(), re.DOTALL):
        for line in re.findall(r"^(?:\$ )?(lightning .*)", block, re.MULTILINE):
            understand(line)
