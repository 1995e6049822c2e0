"""Apps started from a test end with it, however the test went. And each that ran inline replays on its journal."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lightning.app.config import Config
from lightning.app.core.app import LightningApp
from lightning.app.journal.memory import MemoryJournal
from lightning.app.runtime.replay import Replay
from lightning.app.testing import Harness

from .live import Stage

FROM_OUTSIDE = {
    "test_b_five_seconds_after_a_starts_six_seconds_after_the_first_pass",
    "test_a_schedule_is_true_on_the_first_pass_then_once_per_tick",
    "test_other_arguments_replace_it_and_its_generation_rises",
    "test_structures_hold_components_that_come_and_go",
    "test_gpus_are_handed_out_exclusively_and_waited_for",
}
"""These reach into the flow from the test: they write its attributes, or hand it the test's clock."""


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path, stack)


@pytest.fixture(autouse=True)
def _replays(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a flow asked for, it asks for again when its journal is replayed."""
    runs: dict[int, tuple[MemoryJournal, list[LightningApp], str]] = {}
    begin: Callable[..., None] = Harness.__init__

    def recorded(harness: Harness, app: Any, **options: Any) -> None:
        pristine = app if isinstance(app, LightningApp) else LightningApp(app)
        pristine = copy.copy(pristine)
        pristine.root = copy.deepcopy(pristine.root)
        begin(harness, app, **options)
        _, apps, _ = runs.setdefault(
            id(harness.journal), (harness.journal, [], options.get("timezone", "UTC"))
        )
        apps.append(pristine)

    monkeypatch.setattr(Harness, "__init__", recorded)
    yield
    monkeypatch.undo()
    for journal, apps, timezone in runs.values():
        if request.node.name in FROM_OUTSIDE:
            continue
        journal.reopen()
        build = iter(apps)
        report = Replay(journal, lambda build=build: next(build), Config(timezone=timezone)).run()
        assert report.difference is None
