"""The processes of the program being measured, seen from outside through /proc.

The harness makes itself the reaper of orphans: whatever a program starts, however it detaches, stays among
the harness's descendants. Programs run one at a time, so all descendants belong to the current one: they can
be counted, weighed and, in the end, swept, without asking the program and without touching anybody else's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections import defaultdict
from pathlib import Path

PROC = Path("/proc")
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "could not become the reaper of orphans; this needs Linux")


def descendants() -> list[int]:
    """Every living process below this one."""
    children: dict[int, list[int]] = defaultdict(list)
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    children[int(parent)].append(int(entry.name))
    found = list(children[os.getpid()])
    for pid in found:  # grows while it is walked
        found.extend(children[pid])
    return found


def sweep(grace: float) -> int:
    """End what is left of a program after ``grace`` seconds, and say how many processes that were."""
    deadline = time.monotonic() + grace
    while descendants() and time.monotonic() < deadline:
        time.sleep(0.01)
    left: set[int] = set()
    while remaining := descendants():
        left.update(remaining)
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return len(left)


def cpu_seconds(pids: list[int]) -> float:
    """The time these processes have spent on a core, all threads together, to the nanosecond."""
    spent = 0
    for pid in pids:
        for task in (PROC / str(pid) / "task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                spent += int(task.read_text().split()[0])
    return spent / 1e9


def memory(pid: int) -> dict[str, float]:
    """A process's own memory (``private``) and its fair share of all it maps (``pss``), in MB."""
    fields: dict[str, int] = {}
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        name, _, amount = line.partition(":")
        fields[name] = int(amount.split()[0])
    return {
        "private": (fields["Private_Clean"] + fields["Private_Dirty"]) / 1024,
        "pss": fields["Pss"] / 1024,
    }
