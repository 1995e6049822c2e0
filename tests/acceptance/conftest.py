"""Apps started from a test end with it, however the test went."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .terminal import Terminal

RunApp = Callable[..., Terminal]


@pytest.fixture
def write_app(tmp_path: Path) -> Callable[[str], Path]:
    """Write an app's file into the test's folder."""

    def write(source: str) -> Path:
        file = tmp_path / "app.py"
        file.write_text(textwrap.dedent(source).lstrip("\n"))
        return file

    return write


@pytest.fixture
def run_app(tmp_path: Path) -> Iterator[RunApp]:
    """``lightning run app FILE --open-ui=false OPTION...`` in the test's folder."""
    with ExitStack() as stack:

        def run(
            file: str | Path,
            *options: str | Path,
            environment: dict[str, str] | None = None,
            out: Path | None = None,
        ) -> Terminal:
            words = ("run", "app", file, "--open-ui=false", *options)
            return stack.enter_context(Terminal(*words, folder=tmp_path, environment=environment, out=out))

        yield run
