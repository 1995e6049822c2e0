"""What a new process does first: leave its parent's things, take its own, and later end for good.

A forked Python is a copy of one that meant to go on with something else. So it gives back signals and
descriptors, forgets what it was to do at exit, and never returns into the frames it was forked in: it ends
with ``leave``.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import io
import os
import resource
import signal
import stat
import subprocess
import sys
import traceback
import warnings
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

from lightning.app.engines import orphans

# The terminal's signals are the runtime's to answer, and so is SIGTERM: a manager that ends a whole group of
# processes must not take the supervisor from works that are being stopped in order.
_NOT_FOR_SUPERVISORS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
_PYTHONS_OWN = (signal.SIGPIPE, signal.SIGXFSZ)  # ignored by every Python
_MEMORY_DEVICES = 1  # the major number of /dev/null, /dev/urandom and their like

_CLOSE_RANGE = 436  # the system call's number, the same on every architecture

_libc = ctypes.CDLL(None)
_wakeup: list[int] = []


def flush() -> None:
    """Write out what Python and C hold back, before a fork would double it or an exit lose it."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with suppress(Exception):
            if stream is not None:
                stream.flush()
    _libc.fflush(None)


def ensure_streams() -> None:
    """Open what the caller closed of 0, 1 and 2, so that no pipe of ours gets such a number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number: this one


def quiet_fork(held: Collection[int]) -> int:
    """Fork with these signals held back. What arrives in the child waits until it is ready for it."""
    with warnings.catch_warnings():
        # Newer Pythons count native threads and warn; whether they matter has been looked into (forking.py).
        warnings.simplefilter("ignore", DeprecationWarning)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
        try:
            pid = os.fork()
        except OSError:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            raise
        if pid:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid


def fork(supervisor: int) -> int:
    """Fork a work or the server: in a group of its own, dying with its supervisor, with default signals."""
    pid = quiet_fork(_NOT_FOR_SUPERVISORS)
    if pid:
        with suppress(OSError):  # both do it, so that it is true for both; it may have ended already
            os.setpgid(pid, pid)
        return pid
    with last_breath():
        os.setpgid(0, 0)
        orphans.die_with(supervisor)
        signal.set_wakeup_fd(-1)
        for number in (*_NOT_FOR_SUPERVISORS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        return 0


# -- the supervisor's beginning -------------------------------------------------------------------


def withdraw(needed: Sequence[int]) -> list[int]:
    """Make the copy of a runtime a process of its own right; answer which files it still shares with it.

    Signals are held back when it begins.
    """
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if number in _NOT_FOR_SUPERVISORS:
            signal.signal(number, signal.SIG_IGN)
        elif number not in _PYTHONS_OWN and signal.getsignal(number) is not signal.SIG_DFL:
            with suppress(OSError, ValueError):  # SIGKILL, SIGSTOP
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _let_go(needed)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    print_by_lines(replace=True)
    _forget_exit()
    return [fd for fd in open_files() if fd not in needed]


def _let_go(needed: Sequence[int]) -> None:
    """Turn what the app's import left open into /dev/null, except plain files.

    Closing would let the number be given anew, and the object that still holds it write into another's file.
    Files stay: a log opened at import works in works too.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    for fd in open_files():
        if fd == null or fd in needed:
            continue
        state = os.fstat(fd)
        plain = stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)
        if plain or (stat.S_ISCHR(state.st_mode) and os.major(state.st_rdev) == _MEMORY_DEVICES):
            continue
        try:
            os.dup2(null, fd, inheritable=False)
        except OSError:  # above a limit that was lowered after it was opened: that number comes no more
            os.close(fd)
    os.close(null)


def open_files() -> list[int]:
    """The descriptors above stderr that are open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        with suppress(OSError):  # the one that listed them is closed by now
            if fd > 2:
                fcntl.fcntl(fd, fcntl.F_GETFD)
                found.append(fd)
    return found


def print_by_lines(*, replace: bool) -> None:
    """Let ``print`` write whole lines at once; with ``replace``, to 1 and 2 whatever the app put there."""
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        try:
            if stream.fileno() == fd:
                stream.reconfigure(line_buffering=True)
                continue
        except (AttributeError, OSError, ValueError):
            pass
        if not replace:
            continue
        encoding = getattr(stream, "encoding", None) or "utf-8"
        binary = open(fd, "wb", closefd=False)  # noqa: SIM115 - for the life of the process
        setattr(sys, name, io.TextIOWrapper(binary, encoding, "backslashreplace", line_buffering=True))


def _forget_exit() -> None:
    """What the app registered for its end is the runtime's to do: a work must not remove its folders."""
    atexit._clear()
    registry = weakref.finalize._registry  # type: ignore[attr-defined]  # no public way to disown them
    registry.clear()
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]  # so that new ones register
    if (logging := sys.modules.get("logging")) is not None:
        atexit.register(logging.shutdown)
    if (util := sys.modules.get("multiprocessing.util")) is not None:
        util._finalizer_registry.clear()
        sys.modules["multiprocessing.process"]._children.clear()
        atexit.register(util._exit_function)


def wake_on_children() -> int:
    """A descriptor that becomes readable when a child has ended."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _wakeup[:] = [read]
    return read


def awake() -> None:
    """Take note of the wake-up."""
    with suppress(BlockingIOError):
        os.read(_wakeup[0], 4096)


# -- a work's beginning ---------------------------------------------------------------------------


def take_streams(out: int, err: int) -> None:
    os.dup2(out, 1)
    os.dup2(err, 2)


def close_all_but(kept: Iterable[int], files: int) -> None:
    """Close every descriptor but 0, 1, 2 and these. The objects that held them are never finalized: the
    frames they live in never return."""
    start = 3
    for fd in sorted(kept):
        _close_range(start, fd - 1)
        start = fd + 1
    _close_range(start, 0xFFFFFFFF)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))


def _close_range(first: int, last: int) -> None:
    """``os.closerange`` tries every number up to the limit where Python was built for an older C library."""
    if first > last:
        return
    if _libc.syscall(_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(last), 0) != 0:
        for fd in open_files():
            if first <= fd <= last:
                os.close(fd)


def become(
    arguments: list[str], inherited: Iterable[int], environment: Mapping[str, str], folder: str
) -> NoReturn:
    """Be a new Python that runs these, in this folder."""
    for fd in inherited:
        os.set_inheritable(fd, True)
    with suppress(OSError):  # it has been removed
        os.chdir(folder)
    for number in _PYTHONS_OWN:
        signal.signal(number, signal.SIG_DFL)
    os.execve(sys.executable, python(arguments), {**os.environ, **environment})


def python(arguments: Sequence[str]) -> list[str]:
    """The command of a Python like this one (``-X``, ``-W``, ``-O``) that runs these.

    ``-P``: a file of the user's that is called like a module of Python's must not stand before it.
    """
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return [sys.executable, *flags, "-P", *arguments]


def settle(plate: orphans.Nameplate, title: str, environment: Mapping[str, str]) -> None:
    """Be a forked process with a name, an environment and chances of its own (``random`` sees to itself)."""
    os.environ.update(environment)
    plate.show(title, environment)
    if (numpy := sys.modules.get("numpy.random")) is not None:
        numpy.seed()
    if (torch := sys.modules.get("torch.random")) is not None:
        torch.default_generator.seed()


# -- the end --------------------------------------------------------------------------------------


@contextmanager
def last_breath() -> Iterator[None]:
    """Whatever happens inside, a forked process does not return into its parent's frames."""
    try:
        yield
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            leave(end.code or 0)
        print(end.code, file=sys.stderr)
        leave(1)
    except BaseException:
        traceback.print_exc()
        leave(1)


def leave(code: int) -> NoReturn:
    """End, through what was registered for the exit."""
    try:
        atexit._run_exitfuncs()
    finally:
        flush()
        os._exit(code & 0xFF)
