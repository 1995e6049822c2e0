"""How many files may be open at once. A work takes one here and three in the supervisor, and the last few are
kept for the runtime itself: it must be able to write down what happens, and to end in order."""

from __future__ import annotations

import errno
import os
import resource
import socket
from contextlib import suppress

from lightning.app.errors import EngineError

_LEAST = 24
"""Without so many to open there can be no app with a work."""
_SPARE = 8


def raise_limit() -> int:
    """Allow as many as may be. Answers the limit as it was, which works get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and (used := _used(limit)) + _LEAST > limit:
        raise EngineError(
            f"this process may have {limit} files open at once and has {used}; an app needs {_LEAST} more, and some "
            f"for each work: {_REMEDY}"
        )
    return soft


def _used(limit: int) -> int:
    """How many are open already, counted without opening one."""
    used = 0
    for fd in range(limit):
        with suppress(OSError):
            os.fstat(fd)
            used += 1
        if fd - used >= _LEAST:
            break  # there is room, however many come after
    return used


def keep_spare(fd: int) -> None:
    """Refuse a descriptor that is one of the last: the lowest that is free is always given first."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and fd >= limit - _SPARE:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def pair() -> tuple[socket.socket, socket.socket]:
    """A channel's two ends, if that leaves enough."""
    ours, theirs = socket.socketpair()
    try:
        keep_spare(max(ours.fileno(), theirs.fileno()))
    except OSError:
        ours.close()
        theirs.close()
        raise
    return ours, theirs


def too_many(works: int) -> str:
    """What is said when one more work cannot be had."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return f"too many open files with {works} works running and a limit of {limit}; {_REMEDY}, or run fewer works at once"


_REMEDY = "raise the hard limit (ulimit -Hn; LimitNOFILE= of a systemd unit)"
