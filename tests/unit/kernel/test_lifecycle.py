from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.app.kernel.lifecycle import (
    CALL_MOVES,
    FINISHED,
    PROCESS_MOVES,
    IllegalMove,
    Phase,
    Process,
    Step,
    check_process_move,
    continued,
    next_phase,
)


@pytest.mark.parametrize(("phase", "step"), list(itertools.product(Phase, Step)), ids=str)
def test_a_move_that_is_not_in_the_table_is_refused_with_the_story(phase: Phase, step: Step) -> None:
    story = (Phase.WAITING, Phase.RUNNING, phase)
    if (phase, step) in CALL_MOVES:
        assert next_phase("root.w#3", story, step) is CALL_MOVES[phase, step]
        return
    told = (
        rf"call root\.w#3 is {phase.name.lower()} and cannot take {step.name}; "
        rf"its story so far: waiting -> running -> {phase.name.lower()}$"
    )
    with pytest.raises(IllegalMove, match=told):
        next_phase("root.w#3", story, step)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Process, Process)), ids=str)
def test_a_process_becomes_only_what_the_table_says(before: Process, after: Process) -> None:
    if (before, after) in PROCESS_MOVES:
        check_process_move("root.w", before, after)
        return
    with pytest.raises(IllegalMove, match=f"root.w is {before.name.lower()} .* become {after.name.lower()}"):
        check_process_move("root.w", before, after)


@given(st.lists(st.sampled_from(Step), max_size=20))
def test_no_story_returns_twice_or_leaves_a_success_unless_what_it_made_is_lost(steps: list[Step]) -> None:
    story = (Phase.WAITING,)
    lost = 0
    for step in steps:
        try:
            story = continued(story, next_phase("root.w#1", story, step))
        except IllegalMove:
            continue
        lost += step is Step.LOST
    assert story[:-1].count(Phase.SUCCEEDED) == lost <= 1
    assert Phase.CANCELLED not in story[:-1]


def test_whoever_is_not_finished_can_still_be_cancelled() -> None:
    for phase in Phase:
        assert ((phase, Step.CANCELLED) in CALL_MOVES) is (phase not in FINISHED)


def test_calls_with_the_same_story_share_it() -> None:
    one = continued((Phase.WAITING,), Phase.RUNNING)
    assert continued((Phase.WAITING,), Phase.RUNNING) is one
