"""What happened: the sentences of which the journal is made, and by which alone the model changes.

A fact carries packed values only, so that it is written as it came. A turn's facts are one row of the
journal; the row has the time, so no fact repeats it. Paths of components are ``root.train``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from lightning.app.kernel.messages import Delta
from lightning.app.kernel.schedule import Ticks


class WorkOptions(msgspec.Struct, frozen=True, array_like=True):
    """What a work was told about how to run. Part of the model: the rules depend on it."""

    parallel: bool = False
    cache_calls: bool = True
    raise_exception: bool = True
    retries: int = 0
    timeout: float | None = None
    on_crash: str = "rerun"
    start_method: str | None = None
    gpus: int = 0
    idle_timeout: float | None = None


class Failure(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why a call failed. ``traceback`` begins at the user's own frames; empty when there is none."""

    kind: str
    message: str
    traceback: str = ""


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    pass


class EpochBegan(Fact, frozen=True, tag=1):
    """The run was started (epoch 1) or resumed: no process of an earlier epoch counts any more."""

    epoch: int


class Made(Fact, frozen=True, tag=2):
    """A component joined the tree. ``origin``, the constructor's arguments, is there for what ``run`` made."""

    path: str
    kind: str  # "flow", "work", "structure"
    cls: str  # "module:Class"
    state: dict[str, Any]
    options: WorkOptions | None = None
    origin: list[Any] | None = None


class Configured(Fact, frozen=True, tag=3):
    """The options of a work differ from those the journal knew: the app's code changed."""

    path: str
    options: WorkOptions


class Deleted(Fact, frozen=True, tag=4):
    """A component and everything below it left the tree."""

    path: str
    by: str = (
        "flow"  # or "code": at a resume the app's code no longer makes it, or something else in its place
    )


class Wrote(Fact, frozen=True, tag=5):
    """The flow (or the page) changed a component's state; or, at a resume, the code did."""

    path: str
    delta: Delta
    by: str = "flow"


class Changed(Fact, frozen=True, tag=6):
    """A work changed its own state. ``conflicts`` are the positions that overwrote what it had not seen of others."""

    path: str
    seq: int
    deltas: list[Delta]
    conflicts: list[int] = []


class Called(Fact, frozen=True, tag=7):
    """The flow asked for a call. ``tick`` names the schedules under which it runs anew."""

    path: str
    number: int
    key: bytes
    args: list[Any]
    kwargs: dict[str, Any]
    tick: str = ""


class Dispatched(Fact, frozen=True, tag=8):
    """The call was given to the work's process (once this fact is durable, it may have begun)."""

    path: str
    number: int


class Returned(Fact, frozen=True, tag=9):
    path: str
    seq: int
    number: int
    value: Any


class CallFailed(Fact, frozen=True, tag=10):
    """The call did not return. ``again``: it goes back to the queue. ``died``: its process ended under it."""

    path: str
    seq: int  # 0 when no message of the work said so
    number: int
    failure: Failure
    again: bool
    died: bool = False
    timeout: bool = False


class Placed(Fact, frozen=True, tag=11):
    """A process was asked for. ``incarnation`` counts the processes of the run, so that none is mistaken."""

    path: str
    incarnation: int
    devices: list[int] = []


class Up(Fact, frozen=True, tag=12):
    path: str
    seq: int
    pid: int


class Gone(Fact, frozen=True, tag=13):
    """The process has ended. ``reason`` is empty after an orderly end."""

    path: str
    incarnation: int
    reason: str


class StartAsked(Fact, frozen=True, tag=14):
    path: str


class StopAsked(Fact, frozen=True, tag=15):
    """The work's process is to end; ``cancel`` its unfinished calls. Else (idle) the process only."""

    path: str
    cancel: bool = True
    by: str = "flow"  # or "runtime": it idled, took too long, could not begin, or the app ends


class Ticked(Fact, frozen=True, tag=16):
    """A schedule stands elsewhere. ``active``: it has just come true."""

    key: str
    ticks: Ticks
    active: bool


class PassCompleted(Fact, frozen=True, tag=17):
    """A pass got through: ``consumed`` schedules are false until their next tick, uncached calls are over.

    ``reached`` lists ``[path, key]`` of every call of the pass; None: as in the pass before.
    """

    consumed: list[str] = []
    reached: list[tuple[str, bytes]] | None = None
    spent: bool = False


class CursorMoved(Fact, frozen=True, tag=18):
    """An ``experimental_iterate`` went on to ``index``."""

    path: str
    key: str
    index: int


class Ended(Fact, frozen=True, tag=19):
    """The app is over: ``reason`` is stopped, failed or signal."""

    code: int
    reason: str
    message: str = ""


class PassesRan(Fact, frozen=True, tag=20):
    """So many passes came to their end in this turn, within ``took`` microseconds. Before it stands what was
    taken in and what they asked for, behind it what followed. ``cut``: the last was broken off, the app ending.
    """

    count: int
    took: int = 0
    cut: bool = False


class PassesIdled(Fact, frozen=True, tag=21):
    """So many passes since the last turn here had changed nothing: the first began ``since``, the last ``at``."""

    count: int
    since: float
    at: float


class PassWentOn(Fact, frozen=True, tag=22):
    """This turn began within a pass: when it read, for the ``rereads``-th time, what it had read before.

    Counted since the pass began or last went on. ``began`` is when it began, if no turn before this one says.
    """

    rereads: int
    began: float = 0.0


class EndAsked(Fact, frozen=True, tag=23):
    """The flow ended the app. ``raised``: by an exception, and what that pass had asked for did not happen."""

    path: str
    code: int
    reason: str
    message: str = ""
    raised: bool = False


class Forgotten(Fact, frozen=True, tag=24):
    """A call is dropped: the code of a resumed run no longer takes its arguments, or cannot read its result."""

    path: str
    number: int


class Rebound(Fact, frozen=True, tag=25):
    """The signature of ``run`` changed: an unfinished call goes on as the call that the same arguments now are."""

    path: str
    number: int
    key: bytes
    args: list[Any]
    kwargs: dict[str, Any]


class Renamed(Fact, frozen=True, tag=26):
    """The class of a component has another name or module than when it was made."""

    path: str
    cls: str


class ClockSet(Fact, frozen=True, tag=27):
    """The machine's clock was set on, or back, by so many seconds, in which nothing took long and nobody idled."""

    by: float


AnyFact = (
    EpochBegan
    | Made
    | Configured
    | Deleted
    | Wrote
    | Changed
    | Called
    | Dispatched
    | Returned
    | CallFailed
    | Placed
    | Up
    | Gone
    | StartAsked
    | StopAsked
    | Ticked
    | PassCompleted
    | CursorMoved
    | Ended
    | PassesRan
    | PassesIdled
    | PassWentOn
    | EndAsked
    | Forgotten
    | Rebound
    | Renamed
    | ClockSet
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[AnyFact])


def encode_turn(facts: list[Fact]) -> bytes:
    """The facts of one turn as a row of the journal."""
    return _encoder.encode(facts)


def decode_turn(row: bytes) -> list[AnyFact]:
    """
    >>> decode_turn(encode_turn([StartAsked("root.w")]))
    [StartAsked(path='root.w')]
    """
    return _decoder.decode(row)
