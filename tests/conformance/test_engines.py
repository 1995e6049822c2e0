"""Every engine keeps the same promises."""

from __future__ import annotations

import os
import sys

import pytest

from lightning.app.engines import host, process
from lightning.app.engines.engine import Started
from lightning.app.engines.inline import InlineEngine
from lightning.app.engines.process import ProcessEngine
from lightning.app.testing.engines import EngineContract
from lightning.app.testing.seats import MakeEngine, Stage, run_id

# A parallel test run has a thread that waits for orders in every worker. It holds nothing that a fork needs.
THREADS_OF_THE_RUNNER = set(sys._current_frames())


@pytest.fixture
def may_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and set(sys._current_frames()) <= THREADS_OF_THE_RUNNER:
        monkeypatch.setattr(process, "obstacle", str)


class TestInlineEngine(EngineContract):
    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        return InlineEngine


class TestForkedProcesses(EngineContract):
    @pytest.fixture
    def make_engine(self, may_fork: None) -> MakeEngine:
        return lambda report: ProcessEngine(report, run_id(), app=None, body=host.main)

    def test_they_are_forked(self, stage: Stage, works: object) -> None:
        stage.seat(works.Plain())  # type: ignore[attr-defined]
        assert stage.report(Started, "root.w0").method == "fork"


class TestSpawnedProcesses(EngineContract):
    @pytest.fixture
    def make_engine(self, monkeypatch: pytest.MonkeyPatch) -> MakeEngine:
        monkeypatch.setattr(process, "obstacle", lambda: "this test wants new Pythons")
        return lambda report: ProcessEngine(report, run_id(), app=None)

    def test_they_are_spawned(self, stage: Stage, works: object) -> None:
        stage.seat(works.Plain())  # type: ignore[attr-defined]
        assert stage.report(Started, "root.w0").method == "spawn"
