"""SIGKILL at random moments of anybody: nothing is lost, and nothing that has finished runs again."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lightning.app.testing import Terminal
from lightning.app.testing.terminal import ended

from .campaign import GRANDCHILD, PHASES, Case, campaign, command
from .extent import HOURS, LONG, ONLY, either

WITH_GRANDCHILDREN = 4
"""A seed whose works start processes with sessions of their own."""


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


@pytest.mark.parametrize("options", [["--resume"], []], ids=["resumed", "another"])
def test_what_outlived_everybody_ends_with_the_next_command(tmp_path: Path, options: list[str]) -> None:
    """A session of a work's own survives when all are killed at once: for as long as nothing else is started."""
    case = Case(WITH_GRANDCHILDREN, tmp_path, kills=False, environment={"CHAOS_PAUSE": "0.3"})
    with ExitStack() as terminals:
        terminal = case.start(terminals)
        while not (strays := [pid for pid in terminal.processes() if command(pid) == GRANDCHILD]):
            assert terminal.process.poll() is None, str(terminal)
        for pid in set(terminal.processes()) - set(strays):
            with suppress(ProcessLookupError):  # it has followed another already
                os.kill(pid, signal.SIGKILL)
        terminal.process.wait()
        words = [*case.words, *options]
        environment = {"CHAOS_SEED": str(WITH_GRANDCHILDREN)}
        following = terminals.enter_context(Terminal(*words, folder=tmp_path, environment=environment))
        following.line("INFO: Your app has started.")
        assert not [pid for pid in strays if not ended(pid, 0)]
        following.kill()
