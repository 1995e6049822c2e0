"""Apps started from a test end with it, however the test went."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning.app.testing import Terminal

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
def run_app(lightning_app: RunApp) -> RunApp:
    """``lightning run app FILE --open-ui=false OPTION...`` in the test's folder."""
    return lightning_app
