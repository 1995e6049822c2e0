"""Ctrl-C at every offset, and processes that stand still for longer than any timeout of ours."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lightning.app.runtime.loop import SLOW_PASS
from lightning.app.runtime.perform import STOP_GRACE
from lightning.app.testing import Terminal
from lightning.app.testing.terminal import STARTING

from .books import effects
from .campaign import Case, Shot, kind
from .extent import HOURS, ONLY, SIDE_BY_SIDE, either

OFFSETS = either(30, 200)
A_RUN = 0.35
"""Seconds, about, from the command to its end when nothing happens to it."""
BUSY = 5.0
"""How long the journal waits for another process that has its file."""
STANDSTILL = max(STOP_GRACE, SLOW_PASS, BUSY) + 2.0


def _moment(terminal: Terminal, case: Case, number: int) -> None:
    """Wait for the offset of that number: of the start, of the first line, or of what the works have done."""
    share = number / OFFSETS
    if number % 3 == 0:
        case.await_shot(terminal, Shot("", 1 + int(share * 30), share / 100), len(effects(case.folder)))
    elif number % 3 == 1:
        terminal.line(STARTING)
        time.sleep(A_RUN * share)
    else:
        time.sleep(A_RUN * share / 2)


def _interrupted_at(folder: Path, number: int) -> str:
    """A life that ends by Ctrl-C, and one that goes on to the end; where the first of them was hit."""
    folder.mkdir()
    case = Case(number, folder, kills=False)
    try:
        with ExitStack() as terminals:
            terminal = case.start(terminals)
            _moment(terminal, case, number)
            starting, begun = terminal.out[:1] == [STARTING], bool(effects(folder))
            with suppress(ProcessLookupError):
                terminal.interrupt()
            code = case.end(terminal)
            # Until the first line Python is still loading the program, and does with a signal what it likes.
            assert code == 0 or not starting, f"exit code {code}; {terminal}"
            assert "Traceback" not in terminal.errors or not starting, str(terminal)
            if case.over():
                return "after the end"
            assert case.end(case.start(terminals)) == 0
        case.judge()
    except AssertionError as error:
        raise AssertionError(f"CHAOS_SEED={number} replays it: {error}") from error
    return "while works ran" if begun else "while it started" if starting else "before its first line"


@pytest.mark.slow
@pytest.mark.timeout(either(300, HOURS))
def test_after_ctrl_c_at_any_offset_nothing_is_left_and_the_run_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = range(OFFSETS) if ONLY is None else [ONLY]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        hits = list(pool.map(lambda n: _interrupted_at(tmp_path / str(n), n), seeds))
    with capsys.disabled():
        print("\nCtrl-C:", ", ".join(f"{where} {hits.count(where)}" for where in sorted(set(hits))))
    assert ONLY is not None or hits.count("while works ran")


def _stopped(terminal: Terminal, victim: str, folder: Path) -> int:
    """Some process of that kind, in the middle of it all, which now stands still."""
    while True:
        assert terminal.process.poll() is None, f"it ended before its {victim} could be stopped; {terminal}"
        for pid in terminal.processes() if len(effects(folder)) > 2 else ():
            if kind(pid, terminal) == victim:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    return pid


def _stand_still(folder: Path, victim: str) -> None:
    """Stop one process in the middle of it all, let it go on after longer than any patience, and judge."""
    folder.mkdir()
    case = Case(3, folder, kills=False, words=["--port", "0"], environment={"CHAOS_PAUSE": "0.2"})
    with ExitStack() as terminals:
        terminal = case.start(terminals)
        terminal.line(STARTING)
        pid = _stopped(terminal, victim, folder)
        time.sleep(STANDSTILL)  # the one thing that a test of patience has to wait for
        with suppress(ProcessLookupError):  # a server that stands still keeps no app from its end
            os.kill(pid, signal.SIGCONT)
        assert case.end(terminal) == 0, str(terminal)
    case.judge()


@pytest.mark.slow
@pytest.mark.timeout(either(120, HOURS))
def test_who_stood_still_for_long_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    victims = ("runtime", "supervisor", "work", "server")
    with ThreadPoolExecutor(len(victims)) as pool:
        list(pool.map(lambda victim: _stand_still(tmp_path / victim, victim), victims))
