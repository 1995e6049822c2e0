"""A cgroup for each work, where the kernel lets us have them: what is in it ends as one, by ``cgroup.kill``.

A process cannot leave its cgroup as it can leave its group, its session, its parent and its environment, and
the kernel ends a cgroup at one blow, however fast what is in it forks. Everything else (``orphans.py``) is for
machines where we may have none.

We may have them where our own cgroup is *delegated* to us, as in a desktop's terminals, under a systemd unit
with ``Delegate=yes`` and in many containers: where we may make children of it and move into them. We ask for
no controllers, so the rule that a cgroup with processes has no children with resources does not touch us, and
whatever limits our own cgroup keep doing so. ``lightning-RUN.PID`` holds one cgroup for each start of a work;
PID is the runtime's, for a second start of a run that lives must not touch the first one's.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterator
from contextlib import suppress

_PREFIX = "lightning-"
_OURS = re.compile(r"^0::(/.*)$", re.MULTILINE)


def _mounts() -> Iterator[tuple[str, str]]:
    """Where cgroups of version 2 are mounted, and what is the topmost there."""
    with suppress(OSError), open("/proc/self/mountinfo") as file:
        for line in file:
            place, _, kind = line.partition(" - ")
            if kind.startswith("cgroup2 "):
                root, point = (re.sub(r"\\(\d{3})", _octal, word) for word in place.split(" ")[3:5])
                yield point, root


def _octal(escaped: re.Match[str]) -> str:
    return chr(int(escaped[1], 8))


def _ours() -> str:
    """The folder of the cgroup that this process is in; empty where there is none to be seen."""
    try:
        with open("/proc/self/cgroup") as file:
            found = _OURS.search(file.read())
    except OSError:
        return ""
    if found is None:
        return ""
    for point, root in _mounts():
        path = os.path.relpath(found[1], root)
        if path.split("/")[0] != "..":
            return os.path.normpath(os.path.join(point, path))
    return ""


def make(run: str) -> str:
    """A cgroup for this run's works, below our own; empty where we may not have one."""
    ours = _ours()
    # the kernel asks for this right of whoever moves a process below it
    if not ours or not os.access(f"{ours}/cgroup.procs", os.W_OK):
        return ""
    _tidy(ours)
    path = f"{ours}/{_PREFIX}{run}.{os.getpid()}"
    try:
        os.mkdir(path)
        with open(f"{path}/cgroup.type") as file:
            takes_processes = file.read() == "domain\n"
    except OSError:
        return ""
    if takes_processes and os.access(f"{path}/cgroup.kill", os.W_OK):  # since Linux 5.14
        return path
    remove(path)
    return ""


def _tidy(folder: str) -> None:
    """Remove what is empty of runs that were killed with all that was theirs."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(_PREFIX) and not os.path.exists(f"/proc/{name.rpartition('.')[2]}"):
                remove(f"{folder}/{name}")


def make_inner(path: str, number: int) -> str:
    """One for a single work in that of its run; empty where there is none, or no more may be made."""
    if not path:
        return ""
    inner = f"{path}/{number}"
    try:
        os.mkdir(inner)
    except OSError:
        return ""
    return inner


def enter(path: str) -> None:
    """Move this process there, and with it whatever it will start. Where that is refused it stays."""
    if path:
        with suppress(OSError), open(f"{path}/cgroup.procs", "wb", 0) as file:
            file.write(b"0")


def number_of(path: str, pid: int) -> str:
    """Which start of a work the process belongs to, if it is in a cgroup in ``path``; else empty."""
    if path:
        with suppress(OSError), open(f"/proc/{pid}/cgroup") as file:
            found = _OURS.search(file.read())
            name = re.escape(os.path.basename(path))
            if found and (inner := re.search(rf"/{name}/(\d+)(?:/|$)", found[1])):
                return inner[1]
    return ""


def kill(path: str) -> None:
    """SIGKILL everything in it and below it."""
    if path:
        with suppress(OSError), open(f"{path}/cgroup.kill", "wb", 0) as file:
            file.write(b"1")


def remove(path: str) -> bool:
    """Remove it and what is below it; False while something lives there."""
    for folder, _, _ in os.walk(path, topdown=False):
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            pass
        except OSError:
            return False
    return True


def end(path: str, patience: float) -> int:
    """SIGKILL everything in it, wait until that has happened, remove it; answer how many processes it were."""
    if not path:
        return 0
    found = sum(1 for _ in members(path))
    deadline = time.monotonic() + patience
    with suppress(OSError), open(f"{path}/cgroup.events") as events:
        change = select.poll()
        change.register(events, select.POLLPRI)
        kill(path)
        while events.seek(0) == 0 and "populated 1\n" in events.read():
            left = deadline - time.monotonic()
            if left <= 0 or not change.poll(left * 1000):
                break
    remove(path)
    return found


def members(path: str) -> Iterator[int]:
    """The processes in it and below it."""
    for folder, _, _ in os.walk(path):
        with suppress(OSError), open(f"{folder}/cgroup.procs") as file:
            yield from map(int, file)


def find(run: str) -> list[str]:
    """The cgroups of a run that was started somewhere on this machine, wherever that was."""
    return [
        os.path.join(folder, name)
        for point in {point for point, _ in _mounts()}
        for folder, below, _ in os.walk(point)
        for name in below
        if name.startswith(f"{_PREFIX}{run}.")
    ]
