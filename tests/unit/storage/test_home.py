"""The places of a run: made while others come and go, and left clean."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lightning.app.storage import home
from lightning.app.storage.home import Home


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all runs in shared memory, here one of this test's."""
    monkeypatch.setenv(home.VARIABLE, "")
    monkeypatch.setattr(home, "shared_memory", lambda: tmp_path / "shared")
    return tmp_path / "shared"


def test_runs_come_and_go_while_others_sweep(shared: Path, tmp_path: Path) -> None:
    over = threading.Event()

    def sweep() -> None:
        while not over.is_set():
            home.sweep()

    def come_and_go(name: str) -> None:
        made = Home(name, tmp_path, shared / name)
        for _ in range(200):
            made.enter()
            assert os.readlink(made.memory / home.ORIGIN) == str(tmp_path)
            made.leave()

    failed: list[BaseException] = []

    def tried(name: str) -> None:
        try:
            come_and_go(name)
        except BaseException as err:
            failed.append(err)

    sweeper = threading.Thread(target=sweep)
    runs = [threading.Thread(target=tried, args=(name,)) for name in ("one", "two")]
    for each in (sweeper, *runs):
        each.start()
    for each in runs:
        each.join()
    over.set()
    sweeper.join()
    assert failed == []
    assert not shared.exists()


def test_what_a_run_that_is_gone_has_left_is_swept(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    Home("one", tmp_path / "run", shared / "one").enter()
    home.sweep()
    assert (shared / "one").exists()
    (tmp_path / "run").rmdir()
    home.sweep()
    assert not (shared / "one").exists()


def test_what_was_begun_long_ago_and_has_no_run_is_swept(shared: Path) -> None:
    (shared / "begun").mkdir(parents=True)
    home.sweep()
    assert (shared / "begun").exists()
    os.utime(shared / "begun", (0, 0))
    home.sweep()
    assert not (shared / "begun").exists()
