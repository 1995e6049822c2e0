"""A home for each test that uses one, as the runtime gives one to each run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning.app.storage import home
from lightning.app.storage.home import Home


@pytest.fixture
def run_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """The home of a run whose folder is ``.lightning/runs/one`` of the current folder."""
    monkeypatch.setenv(home.VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".lightning/runs/one"
    folder.mkdir(parents=True)
    made = Home("one", folder, home.shared_memory() / f"test-{os.getpid()}")
    made.enter()
    yield made
    home.be("")
    made.leave()


@pytest.fixture
def be(run_home: Home) -> Callable[[str], None]:
    """Go on as another component."""
    return home.be
