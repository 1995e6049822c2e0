"""Who belongs to whom: the marks that works carry, and how what was left behind is found and ended.

A process can outlive the one that should end it, so three things are arranged beforehand. A work asks the
kernel to die with its supervisor (``die_with``). Supervisor and runtime are *subreapers*: an orphan below
them becomes their child instead of vanishing to init. And every process carries *marks* in its environment,
which descendants inherit even through sessions of their own: ``LIGHTNING_RUN``, and in works
``LIGHTNING_WORK`` and ``LIGHTNING_PROCESS``, the number of the start. Where the kernel lets us, each work also
has a cgroup (``cgroups.py``), which nothing leaves, whatever it does to its environment.

A process that was forked without an exec still shows the environment of the program it was forked from.
A ``Nameplate`` tells the kernel where the new one lies, so that ``/proc/PID/environ`` is true for it too.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

from lightning.app.engines import cgroups

RUN = "LIGHTNING_RUN"
WORK = "LIGHTNING_WORK"
PROCESS = "LIGHTNING_PROCESS"

_PR_SET_PDEATHSIG, _PR_SET_MM, _PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 1, 35, 36, 37
_PR_SET_MM_MAP = 14

_libc = ctypes.CDLL(None, use_errno=True)
_libc.sbrk.restype = ctypes.c_void_p
_libc.sbrk.argtypes = [ctypes.c_ssize_t]


def _prctl(option: int, *arguments: int) -> bool:
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    return bool(_libc.prctl(ctypes.c_int(option), *padded) == 0)


def adopt_orphans(adopt: bool) -> bool:
    """Become (or cease to be) the parent of every orphan below this process; answer what it was before."""
    before = ctypes.c_int(0)
    _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.addressof(before))
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopt))
    return bool(before.value)


def die_with(parent: int) -> None:
    """Have the kernel SIGKILL this process when ``parent``'s forking thread ends, or has ended already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died between the fork and the line above
        os._exit(1)


# -- marks ----------------------------------------------------------------------------------------


class _MemoryMap(ctypes.Structure):
    """``struct prctl_mm_map`` of Linux: where the parts of a process lie."""

    _fields_ = [
        *[
            (name, ctypes.c_uint64)
            for name in (
                "start_code",
                "end_code",
                "start_data",
                "end_data",
                "start_brk",
                "brk",
                "start_stack",
                "arg_start",
                "arg_end",
                "env_start",
                "env_end",
                "auxv",
            )
        ],
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    ]


# The numbers of these fields in /proc/PID/stat, as proc(5) counts them.
_STAT_FIELDS = {
    "start_code": 26,
    "end_code": 27,
    "start_stack": 28,
    "start_data": 45,
    "end_data": 46,
    "start_brk": 47,
    "arg_start": 48,
    "arg_end": 49,
}


class Nameplate:
    """What ``/proc/PID/environ`` and ``ps`` show of a process that was forked and did not exec.

    Made once, in the parent, so that a new process has next to nothing to do. Where the kernel has no such
    call, only what a process execs shows its marks.
    """

    def __init__(self) -> None:
        self._area: _MemoryMap | None = None
        self._environment = b"".join(
            os.fsencode(f"{name}={value}") + b"\0"
            for name, value in os.environ.items()
            if name not in (RUN, WORK, PROCESS)
        )
        with suppress(OSError, IndexError), open("/proc/self/stat", "rb") as file:
            stat = file.read().rpartition(b")")[2].split()
            self._area = _MemoryMap(**{name: int(stat[number - 3]) for name, number in _STAT_FIELDS.items()})

    def show(self, title: str, changes: Mapping[str, str]) -> bool:
        """Call this process ``title``, with these changes of the environment."""
        if (area := self._area) is None:
            return False
        shown_title = os.fsencode(title) + b"\0"
        added = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in changes.items())
        memory = ctypes.create_string_buffer(shown_title + added + self._environment)
        _shown.append(memory)  # for the kernel goes on reading it
        area.brk = _libc.sbrk(0)
        area.arg_start = ctypes.addressof(memory)
        area.arg_end = area.env_start = area.arg_start + len(shown_title)
        area.env_end = area.arg_start + ctypes.sizeof(memory) - 1
        area.exe_fd = 0xFFFFFFFF
        return _prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.addressof(area), ctypes.sizeof(area))


_shown: list[object] = []


def marks(pid: int) -> dict[str, str]:
    """The marks that the process carries; empty for a stranger, one of another user, and one that ended."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            block = file.read()
    except OSError:
        return {}
    if b"LIGHTNING_" not in block:
        return {}
    found: dict[str, str] = {}
    for entry in block.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if name.startswith(b"LIGHTNING_"):
            found.setdefault(os.fsdecode(name), os.fsdecode(value))
    return found


# -- finding and ending ---------------------------------------------------------------------------


def processes() -> list[int]:
    """Every process there is."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children() -> list[int]:
    """This process's children, adopted ones and zombies included."""
    found: list[int] = []
    try:
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children", "rb") as file:
                found.extend(map(int, file.read().split()))
        return found
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        me = os.getpid()
        return [pid for pid in processes() if _parent(pid) == me]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def members(run_id: str, *, works_only: bool = False) -> list[int]:
    """The living processes that carry this run's mark, the caller left out."""
    me = os.getpid()
    found = []
    for pid in processes():
        if pid != me and (carried := marks(pid)).get(RUN) == run_id and (WORK in carried or not works_only):
            found.append(pid)
    return found


def sweep(run_id: str, *, works_only: bool = False, patience: float = 5.0, cgroup: str | None = None) -> int:
    """SIGKILL every process that carries this run's mark or is in its cgroup, but the caller; answer how many
    there were. ``cgroup``: where that is, if it is known; empty if the run has none.

    For what survives when runtime and supervisor die at once: descendants of works with sessions of their
    own. Looks again until nothing is found, for what forks while it is being looked for.
    """
    penned = sum(
        cgroups.end(each, patience) for each in (cgroups.find(run_id) if cgroup is None else [cgroup])
    )
    ended: set[int] = set()
    deadline = time.monotonic() + patience
    while found := members(run_id, works_only=works_only):
        ended.update(found)
        for pid in found:
            _end(pid, run_id, deadline)
        if time.monotonic() > deadline:
            break
    return len(ended) + penned


def _end(pid: int, run_id: str, deadline: float) -> None:
    """SIGKILL one process and wait until it is gone. The descriptor pins it: its number may be given anew."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if marks(pid).get(RUN) == run_id:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
            waiting = select.poll()
            waiting.register(process, select.POLLIN)
            waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
    finally:
        os.close(process)
    with suppress(ChildProcessError):  # ours to reap if it was adopted
        os.waitpid(pid, os.WNOHANG)


def end_children(chosen: Collection[int] | None = None) -> int:
    """SIGKILL and reap children, and what becomes ours when they die; answer how many had to be killed.

    ``chosen`` limits it to these and their process groups. Without it everything below this process ends.
    """
    ended = 0
    while True:
        targets = [pid for pid in children() if chosen is None or pid in chosen or _group(pid) in chosen]
        if not targets:
            return ended
        for pid in targets:  # ours and not reaped, so the numbers cannot have been given anew
            os.kill(pid, signal.SIGKILL)
        for pid in targets:
            with suppress(ChildProcessError):
                _, status = os.waitpid(pid, 0)
                # else it had ended by itself before
                ended += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


# -- why a process ended --------------------------------------------------------------------------


def memory_kills() -> int:
    """How often the kernel has ended a process for lack of memory, on this machine and in this cgroup."""
    total = 0
    paths = ["/proc/vmstat"]
    with suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if not controllers:
                paths.append(f"/sys/fs/cgroup{path}/memory.events")
            elif "memory" in controllers.split(","):
                paths.append(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
    for path in paths:
        with suppress(OSError), open(path) as file:
            for line in file:
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    total += int(count)
    return total


def reason(status: os.waitid_result) -> str:
    """Why a process ended, in words; empty after exit code 0."""
    if status.si_code == os.CLD_EXITED:
        return f"exit code {status.si_status}" if status.si_status else ""
    try:
        name = signal.Signals(status.si_status).name
    except ValueError:
        return f"killed by signal {status.si_status}"
    words = (signal.strsignal(status.si_status) or "").lower()
    return f"killed by {name} ({words})" if words and words != "killed" else f"killed by {name}"
