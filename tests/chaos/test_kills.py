"""SIGKILL at random moments of anybody: nothing is lost, and nothing that has finished runs again."""

from __future__ import annotations

from pathlib import Path

import pytest

from .campaign import PHASES, campaign
from .extent import HOURS, LONG, ONLY, either


@pytest.mark.slow
@pytest.mark.timeout(either(600, HOURS))
def test_kills_at_random_moments_lose_nothing_and_run_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}", flush=True)

    tally = campaign(either(300, 10_000), tmp_path, first=10**6 if LONG else 1, report=say)
    say(str(tally))
    if ONLY is None:
        assert all(tally.phases[phase] for phase in PHASES), f"a phase that no kill has hit: {tally}"
        assert len(tally.victims) == 5, f"somebody who was never hit: {tally}"
