"""How much more may go into shared memory, so that nobody is ended for want of memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from lightning.app.storage.stores.arrival import free_at

SMALL = 1 << 20
"""What is smaller is not worth asking for."""

_RESERVE = 16  # one part in so many of a memory stays free

_GROUPS = Path("/sys/fs/cgroup")
_MEMORY = Path("/proc/meminfo")


def free_memory(folder: Path) -> int:
    """The bytes that may go into a folder in memory: of its file system, of the machine, of our control groups."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    whole = os.statvfs(there)
    free = [(free_at(folder) or 0) - whole.f_blocks * whole.f_frsize // _RESERVE, *_of_groups()]
    with suppress(OSError, KeyError, ValueError):
        told = dict(line.split(":") for line in _MEMORY.read_text().splitlines())
        available, total = (int(told[key].split()[0]) << 10 for key in ("MemAvailable", "MemTotal"))
        free.append(available - total // _RESERVE)
    return min(free)


def amount(size: int) -> str:
    """Bytes, for people."""
    unit, name = next(
        ((unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= unit), (1, "bytes")
    )
    return f"{size / unit:.{0 if unit == 1 else 1}f} {name}"


def _of_groups() -> Iterator[int]:
    for group in _groups():
        with suppress(OSError, ValueError):  # no limit is told by a word
            most = int((group / "memory.max").read_text())
            yield most - int((group / "memory.current").read_text()) + _reclaimable(group) - most // _RESERVE


def _reclaimable(group: Path) -> int:
    """What counts as used and would be given up: files of a disk that nobody uses."""
    told = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(told["inactive_file"])


@cache
def _groups() -> tuple[Path, ...]:
    """Our control group, and those around it."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                own = _GROUPS / line[3:].strip("/")
                return tuple(each for each in (own, *own.parents) if each.is_relative_to(_GROUPS))
    return ()
