"""Signals before an app runs and after it has ended, each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from lightning.app.runtime.signals import ENDING

PRELUDE = """
import atexit, os, signal, sys
from lightning.app.runtime.signals import leave_at_once, leave_undisturbed, on_signals
"""


def ended(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PRELUDE + body], capture_output=True, text=True)


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_signal_before_anything_is_there_is_quiet(number: signal.Signals) -> None:
    process = ended(f"leave_at_once(); os.kill(os.getpid(), {number:d}); signal.pause()")
    assert (process.returncode, process.stderr) == (0, "")


@pytest.mark.parametrize("number", ENDING, ids=lambda number: number.name)
def test_a_signal_after_the_end_leaves_the_exit_code_alone(number: signal.Signals) -> None:
    at_once = f"os.kill(os.getpid(), {number:d})"
    assert ended(f"leave_undisturbed(3); {at_once}; signal.pause()").returncode == 3
    assert ended(f"atexit.register(lambda: {at_once}); leave_undisturbed(3); sys.exit(3)").returncode == 3


def test_a_hangup_that_the_caller_ignores_stays_ignored() -> None:
    process = ended(
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); on_signals(lambda number, frame: os._exit(7))\n"
        "os.kill(os.getpid(), signal.SIGHUP); sys.exit(5)"
    )
    assert process.returncode == 5
