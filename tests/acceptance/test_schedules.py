"""The examples that wait for an hour, under a clock that the test turns."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lightning.app.runtime.loader import load_app
from lightning.app.testing.harness import Harness

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "once", "hourly"), [("schedule", "work_A", "work_B"), ("scheduler", "train", "analyze")]
)
def test_the_second_work_runs_once_and_then_again_every_hour(
    name: str, once: str, hourly: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for attribute in ("argv", "path"):  # loading an app sets both
        monkeypatch.setattr(sys, attribute, list(getattr(sys, attribute)))
    with Harness(load_app(EXAMPLES / name / "app.py")) as app:
        app.run_until_idle()
        for runs in range(1, 4):
            assert getattr(app.root, once).num_successes == 1
            assert getattr(app.root, hourly).num_successes == runs
            app.advance(hours=1)
