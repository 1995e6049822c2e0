"""The three streams every program begins with, which its caller may have closed, filled up or left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress

_mask: Callable[[str], str] = str


def have_streams() -> None:
    """Where the caller closed 0, 1 or 2 (``>&-``), no file or socket of ours may get that number."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, so this one
            os.set_inheritable(fd, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "r" if fd == 0 else "w", closefd=False))  # noqa: SIM115 - for good


def say(line: str) -> None:
    """A line on stdout. Where it takes none, the relay says so once it carries the output."""
    with suppress(OSError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def mask(masked: Callable[[str], str]) -> None:
    """From here on what ``complain`` says goes through this: secrets stand in no line of ours."""
    global _mask
    _mask = masked


def complain(line: str) -> None:
    """A line on stderr. Where it takes none, nobody is left to tell."""
    with suppress(OSError):
        sys.stderr.write(_mask(line) + "\n")
        sys.stderr.flush()


def leave_streams() -> None:
    """Write what waits, or drop it: Python, trying again at its exit, would change the exit code."""
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), fd)
