"""The life of one call to ``run``, and of one work's process. Every legal move is a row of a table.

A call is *waiting* until its work's process can take it, *running* from the moment it was sent, and then
*succeeded*, *failed* or *cancelled*. A crash or a retry sends it back to waiting, under the same ``call_id``.

A work's process is *absent*, *starting* from the moment it was placed, *ready* once its host said so, and
*stopping* from the moment it was asked to end.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

from lightning.app.errors import LightningError


class IllegalMove(LightningError):
    """The kernel was about to break its own rules. A defect of this package, not of the app."""


class Phase(IntEnum):
    """Where a call stands."""

    WAITING = 0
    RUNNING = 1
    SUCCEEDED = 2
    FAILED = 3
    CANCELLED = 4


class Process(IntEnum):
    """Where a work's process stands."""

    ABSENT = 0
    STARTING = 1
    READY = 2
    STOPPING = 3


class Step(IntEnum):
    """What can happen to a call."""

    DISPATCHED = 0
    RETURNED = 1
    FAILED = 2
    REQUEUED = 3  # a retry, or the process died and the call may run again
    CANCELLED = 4
    LOST = 5  # what it had made is gone, and it must not run again


CALL_MOVES: dict[tuple[Phase, Step], Phase] = {
    (Phase.WAITING, Step.DISPATCHED): Phase.RUNNING,
    (Phase.WAITING, Step.FAILED): Phase.FAILED,
    (Phase.WAITING, Step.CANCELLED): Phase.CANCELLED,
    (Phase.RUNNING, Step.RETURNED): Phase.SUCCEEDED,
    (Phase.RUNNING, Step.FAILED): Phase.FAILED,
    (Phase.RUNNING, Step.REQUEUED): Phase.WAITING,
    (Phase.RUNNING, Step.CANCELLED): Phase.CANCELLED,
    (Phase.FAILED, Step.REQUEUED): Phase.WAITING,  # a resumed run tries the call again that ended it
    (Phase.SUCCEEDED, Step.LOST): Phase.FAILED,
}

PROCESS_MOVES: frozenset[tuple[Process, Process]] = frozenset(
    {
        (Process.ABSENT, Process.STARTING),
        (Process.STARTING, Process.READY),
        (Process.STARTING, Process.STOPPING),
        (Process.STARTING, Process.ABSENT),
        (Process.READY, Process.STOPPING),
        (Process.READY, Process.ABSENT),
        (Process.STOPPING, Process.ABSENT),
    }
)

FINISHED = frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED})

Story = tuple[Phase, ...]


@lru_cache(maxsize=4096)
def continued(story: Story, phase: Phase) -> Story:
    """``story`` and one more phase. Shared: a million calls with the same story hold one tuple."""
    return (*story, phase)


def next_phase(name: str, story: Story, step: Step) -> Phase:
    """The phase after ``step``, or an error that tells the story of the call so far."""
    phase = CALL_MOVES.get((story[-1], step))
    if phase is None:
        told = " -> ".join(each.name.lower() for each in story)
        raise IllegalMove(
            f"call {name} is {story[-1].name.lower()} and cannot take {step.name}; its story so far: {told}"
        )
    return phase


def check_process_move(work: str, before: Process, after: Process) -> None:
    if (before, after) not in PROCESS_MOVES:
        raise IllegalMove(
            f"the process of {work} is {before.name.lower()} and cannot become {after.name.lower()}"
        )
