"""The three streams every program begins with, which its caller may have closed, filled up or left."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


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


def complain(line: str) -> None:
    """A line on stderr. Where it takes none, nobody is left to tell."""
    with suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def leave_streams() -> None:
    """Write what waits, or drop it: Python, trying again at its exit, would change the exit code."""
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), fd)
