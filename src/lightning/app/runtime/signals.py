"""The three signals that end an app, and what they mean before it runs and after it has ended.

While it starts and while it runs, ``serve`` and the loop say what they mean.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def on_signals(handler: Callable[[int, FrameType | None], Any]) -> None:
    """Let each of them call ``handler``; a SIGHUP that the caller ignores (``nohup``) stays ignored."""
    for number in ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def leave_at_once(code: int = 0) -> None:
    """From here on there is nothing to take down: a signal ends this process with the code that it has."""
    on_signals(lambda number, frame: os._exit(code))


def leave_undisturbed(code: int) -> None:
    """The same, and also in the last milliseconds, when Python gives back the signals that it handles."""
    leave_at_once(code)
    atexit.register(lambda: [signal.signal(number, signal.SIG_IGN) for number in ENDING])
