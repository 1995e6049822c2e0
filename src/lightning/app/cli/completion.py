"""``lightning completion``: what a shell must read to complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the lines with which SHELL completes commands and options.

    \b
    bash:  eval "$(lightning completion bash)"        in ~/.bashrc
    zsh:   eval "$(lightning completion zsh)"         in ~/.zshrc
    fish:  lightning completion fish | source         in ~/.config/fish/config.fish
    """
    root = context.find_root()
    name = root.info_name or "lightning"
    kind = get_completion_class(shell)
    assert kind is not None  # Choice admits no other
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    click.echo(kind(root.command, {}, name, variable).source())
