"""``breakpoint()`` and ``set_trace()`` where stdin and stdout are no terminal: in a flow, and in a work.

Both print into a pipe, and a work has no stdin and is not in the terminal's foreground. So the debugger opens
the terminal itself, takes it for the time of each prompt, and gives it back. Works that stop at the same time
have it one after the other.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType, TracebackType
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdb import Pdb

_TERMINAL = "/dev/tty"
_debugger: Pdb | None = None
_home = 0  # the group that had the terminal before there were works
_told: set[tuple[str, int]] = set()  # where it was said that there is no terminal


def install() -> None:
    """Let ``breakpoint()`` in this process mean ``set_trace()``, unless PYTHONBREAKPOINT says otherwise."""
    if "PYTHONBREAKPOINT" not in os.environ:
        sys.breakpointhook = _breakpoint


def set_trace() -> None:
    """Stop here and ask at the terminal what to do:  ``lightning.app.pdb.set_trace()``"""
    _stop_in(sys._getframe(1))


def _breakpoint(*args: Any, **kwargs: Any) -> None:
    _stop_in(sys._getframe(1))


def _stop_in(frame: FrameType) -> None:
    global _debugger
    if not _has_terminal():
        place = frame.f_code.co_filename, frame.f_lineno
        if place not in _told:
            _told.add(place)
            print(
                f"{place[0]}:{place[1]}: breakpoint() found no terminal and goes on; start the app in a "
                "terminal, or with `lightning run app --debug`, where a debugger listens on stdin",
                file=sys.stderr,
            )
        return
    if _debugger is None or not _debugger.breaks:  # else it goes on with its breakpoints
        _debugger = _make()
    _debugger.set_trace(frame)


def _has_terminal() -> bool:
    try:
        os.close(os.open(_TERMINAL, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _make() -> Pdb:
    import pdb  # takes a moment, and is hardly ever needed

    class Debugger(pdb.Pdb):
        """Python's own, on a terminal that it holds only while it asks."""

        def interaction(self, frame: FrameType | None, traceback: TracebackType | None) -> None:
            with _held_terminal() as (stdin, stdout), _interruptible():
                self.stdin, self.stdout = stdin, stdout
                super().interaction(frame, traceback)

    # While the code goes on, Ctrl-C is the runtime's. Our own frames are none of the user's business.
    return Debugger(stdin=sys.__stdin__, stdout=sys.__stderr__, nosigint=True, skip=["lightning.app.*"])


@contextmanager
def _held_terminal() -> Iterator[tuple[IO[str], IO[str]]]:
    """The terminal to read from and write to, with this process in its foreground."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    with ExitStack() as held:
        terminal = os.open(_TERMINAL, os.O_RDWR | os.O_CLOEXEC)
        held.callback(os.close, terminal)
        held.enter_context(_alone())
        held.enter_context(_foreground(terminal))
        stdin = held.enter_context(open(terminal, closefd=False))
        stdout = held.enter_context(open(terminal, "w", closefd=False))
        yield stdin, stdout


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end what is done at the prompt, not the work or the app."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _alone() -> Iterator[None]:
    """One process of this terminal at a time: the next one waits here."""
    path = _real_terminal()
    if path is None:
        yield
        return
    lock = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _real_terminal() -> str | None:
    """The terminal behind /dev/tty, which is the same file for everybody."""
    for fd in (0, 1, 2):
        with suppress(OSError):
            return os.ttyname(fd)
    try:
        with open("/proc/self/stat", "rb") as file:
            number = int(file.read().rpartition(b")")[2].split()[4])
    except OSError:
        return None
    path = f"/dev/pts/{os.minor(number)}" if 136 <= os.major(number) <= 143 else f"/dev/tty{os.minor(number)}"
    return path if os.access(path, os.R_OK) else None


@contextmanager
def _foreground(terminal: int) -> Iterator[None]:
    """Be the group that the terminal's keys go to, and give that back to who was it before."""
    before = os.tcgetpgrp(terminal)
    mine = os.getpgrp()
    if before == mine:
        yield
        return
    _take(terminal, mine)
    try:
        yield
    finally:
        with suppress(OSError):
            _take(terminal, before)
        if _home and not _lives(before):  # looked at last: whoever dies from now on, `give_back` hears of
            with suppress(OSError):
                _take(terminal, _home)


def remember_foreground() -> None:
    """Whose the terminal is now, it shall be again when a work has died at a prompt."""
    global _home
    _home = _holder()


def give_back(dead: int) -> None:
    """Give the terminal back, if who has it is this group, which has died at a prompt and was taken leave of."""
    if _home and _holder() == dead:
        with suppress(OSError):  # hung up, or nobody is left to have it
            terminal = os.open(_TERMINAL, os.O_RDWR | os.O_CLOEXEC)
            try:
                _take(terminal, _home)
            finally:
                os.close(terminal)


def _holder() -> int:
    """The group that the terminal's keys go to; 0 without a terminal."""
    try:
        terminal = os.open(_TERMINAL, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return os.tcgetpgrp(terminal)
    except OSError:  # it has been hung up
        return 0
    finally:
        os.close(terminal)


def _lives(group: int) -> bool:
    """Whether a group's first process is there, and not dead with nobody having taken leave of it."""
    try:
        with open(f"/proc/{group}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def _take(terminal: int, group: int) -> None:
    # A group in the background is stopped when it asks for the terminal, unless it does not hear of that.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(terminal, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
