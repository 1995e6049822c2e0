"""What crosses a channel between the runtime and a work's host. Data only: decoding never builds code.

A message is a frozen sentence. ``value``, ``args`` and ``state`` are *packed* (``values.pack``): what
msgpack can carry, with everything else in tagged extensions. A frame is ``[seq, ack, message]``: ``seq``
counts the sender's messages from 1, ``ack`` is the highest ``seq`` of the other side that the sender had
taken in when it sent. So a work's write says by itself which foreign writes it had seen.
"""

from __future__ import annotations

from typing import Any

import msgspec

LARGEST_FRAME = 64 << 20
"""Bytes of a message with what says who sent it and when. A larger one is refused where it is made."""


class Delta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One change of one component's state. See ``delta.py`` for the operations.

    ``path[0]`` is the attribute; each further step is a dictionary's key (packed) or a list's index.
    """

    op: int
    path: tuple[Any, ...]
    value: Any = None


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


# -- runtime to host ------------------------------------------------------------------------------


class Begin(Message, frozen=True, tag=1):
    """The first message: who you are, and the object to be. ``body`` is a pickle, opened only in the host."""

    run: str
    epoch: int
    work: str  # "root.train"
    generation: int
    body: bytes
    state: dict[str, Any]  # packed; laid over what the pickle carries
    app_file: str = ""  # for a host that did not inherit the app by fork
    app_module: str = ""


class Call(Message, frozen=True, tag=2):
    """Run this. ``call`` is the number that ``Returned`` and ``Raised`` answer with."""

    call: int
    call_id: str
    args: list[Any]  # packed
    kwargs: dict[str, Any]  # packed


class Write(Message, frozen=True, tag=3):
    """The flow or the page wrote these, in this order."""

    deltas: list[Delta]


class Stop(Message, frozen=True, tag=4):
    """End in order: no further call, ``on_exit``, goodbye."""


class Ack(Message, frozen=True, tag=5):
    """Nothing but the ``ack`` of its frame. Its own ``seq`` is 0: it is never replayed."""


# -- host to runtime ------------------------------------------------------------------------------


class Ready(Message, frozen=True, tag=20):
    """The object lives; calls may come."""

    pid: int


class Changed(Message, frozen=True, tag=21):
    """The work wrote these, in this order.

    ``overtaken`` are the positions that overwrite what others wrote, which had arrived, but after the work had
    last looked. What had not arrived, the frame's ``ack`` tells.
    """

    deltas: list[Delta]
    overtaken: list[int] = []


class Returned(Message, frozen=True, tag=22):
    call: int
    value: Any  # packed


class Raised(Message, frozen=True, tag=23):
    """``run`` raised. ``traceback`` begins at the user's own frames."""

    call: int
    kind: str  # "ValueError"
    message: str
    traceback: str


class Broken(Message, frozen=True, tag=24):
    """The host could not begin: the object did not open, ``on_start`` raised."""

    kind: str
    message: str
    traceback: str


class Noticed(Message, frozen=True, tag=25):
    """A warning for the log, in the work's name: a change that bypassed tracking, a slow exit."""

    message: str


class Left(Message, frozen=True, tag=26):
    """The last word of an orderly end, after ``on_exit``."""


class Moved(Message, frozen=True, tag=27):
    """How far a transfer is that takes longer than a second. For whoever looks on: it changes nothing."""

    what: str  # "lit://data model.pt from root.train"
    done: int  # bytes
    total: int | None  # None: not known
    began: float
    ended: float | None = None  # with this one it is over


ToHost = Begin | Call | Write | Stop | Ack
ToRuntime = Ready | Changed | Returned | Raised | Broken | Noticed | Left | Moved | Ack
