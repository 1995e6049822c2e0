"""What the runtime and the supervisor tell each other: orders one way, news the other, and settings at the start.

An order or a piece of news is one packet of a socket that keeps packets apart. Both ends come from the same
installation: no format has to last.
"""

from __future__ import annotations

from typing import Any

import msgspec

# -- runtime to supervisor; descriptors travel beside ---------------------------------------------


class Start(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Start a work. With it: its end of the channel."""

    process: int  # the number of the start, never given twice
    work: str
    method: str
    environment: dict[str, str]


class Stop(msgspec.Struct, frozen=True, array_like=True, tag=2):
    process: int
    grace: float


class Serve(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Run the server: ``main`` is "module:function", called with a listening descriptor, which comes with
    this, and the arguments."""

    main: str
    arguments: dict[str, Any]


class Carry(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Carry the flow's output too. With it: what it prints into."""


class Sync(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Answer when all that has been printed is written."""


class Shutdown(msgspec.Struct, frozen=True, array_like=True, tag=6):
    grace: float


class Keep(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Keep what is printed in ``folder``, at most ``bound`` bytes, with the values of ``secrets`` masked;
    with ``masks`` also where it is passed on."""

    folder: str
    bound: int
    secrets: list[str]
    masks: bool


Order = Start | Stop | Serve | Carry | Sync | Shutdown | Keep


# -- supervisor to runtime ------------------------------------------------------------------------


class Began(msgspec.Struct, frozen=True, array_like=True, tag=1):
    process: int
    pid: int


class Ended(msgspec.Struct, frozen=True, array_like=True, tag=2):
    process: int
    reason: str


class Synced(msgspec.Struct, frozen=True, array_like=True, tag=3):
    pass


class Noted(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Something for the log."""

    text: str


class Finished(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """The last word. ``leftovers`` is how many processes had outlived their works."""

    leftovers: int


News = Began | Ended | Synced | Noted | Finished


class Settings(msgspec.Struct, frozen=True):
    run: str
    forks: bool  # whether works may be forked from this supervisor
    program: list[str]  # what a spawned work's Python runs, before ``--fd N --origin M``
    files: int  # how many open files a work is allowed (the supervisor itself needs more)
    cgroup: str = ""  # what the works' cgroups are made in; empty where there can be none
