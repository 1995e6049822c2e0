"""What an app asks to be installed, and installing it: ``lightning run app FILE --setup``."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import click

from lightning.app.errors import LightningError, UsageError


def install(file: str, *, fresh: bool = False) -> None:
    """Install what lies beside ``file``, into the environment that runs this. Its output goes to stderr."""
    wanted = requirements_of(Path(file).absolute().parent)
    if not wanted:
        click.echo(
            f"Nothing to install: no requirements.txt or pyproject.toml asks for anything beside {file}",
            err=True,
        )
        return
    command = [*_installer(), "install", *(["--no-cache-dir"] if fresh else []), *wanted]
    code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno())
    if code:
        raise LightningError(
            f"the app's requirements could not be installed: exit code {code}\n"
            f"What stood in the way is said above. To try by hand: {' '.join(command)}"
        )


def requirements_of(folder: Path) -> list[str]:
    """What to hand to pip for an app in ``folder``: its requirements.txt, else its project's dependencies."""
    listed = folder / "requirements.txt"
    if listed.exists():
        return ["-r", str(listed)]
    project = folder / "pyproject.toml"
    if not project.exists():
        return []
    try:
        table = tomllib.loads(project.read_text())
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{project} cannot be read: {error}") from error
    return list(table.get("project", {}).get("dependencies", []))


def _installer() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip"]  # reached through VIRTUAL_ENV or the folder's .venv, as by hand
    raise LightningError(
        f"--setup needs pip or uv, and {sys.executable} has neither\n"
        f"Give it one: {sys.executable} -m ensurepip"
    )
