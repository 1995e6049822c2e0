"""Everybody agrees in the end, whatever is under way, and whoever holds what."""

from __future__ import annotations

import copy
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lightning.app.core.state import State
from lightning.app.kernel.canonical import canonical
from lightning.app.kernel.delta import INSERT, SET, SPLICE, apply, apply_copy, conflicts, rebase, revert
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import pack, unpack
from tests.unit.kernel.network import Network, Replica, places, same, some_delta, start

seeds = st.integers(0, 2**32)


@settings(max_examples=300, deadline=None)
@given(seeds, st.integers(1, 3))
def test_after_all_acknowledgements_all_hold_the_same_state(seed: int, size: int) -> None:
    network = Network(random.Random(seed), size)
    for _ in range(60):
        network.step()
    network.settle()
    for replica in network.replicas:
        assert same(replica.state, network.state)


@settings(max_examples=300, deadline=None)
@given(seeds)
def test_an_undo_takes_back_exactly_what_was_done(seed: int) -> None:
    rng = random.Random(seed)
    state = start()
    story = []
    for _ in range(20):
        before = copy.deepcopy(state)
        story.append((before, apply(state, some_delta(rng, state))))
    for before, undo in reversed(story):
        revert(state, undo)
        assert same(state, before)


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_a_copy_changes_no_container_that_was_there(seed: int) -> None:
    rng = random.Random(seed)
    state, other = start(), start()
    for _ in range(20):
        held = [node for _, node in places(state)]
        looked = copy.deepcopy(held)
        delta = some_delta(rng, state)
        apply_copy(state, delta)
        apply(other, delta)
        assert same(held, looked)
        assert same(state, other)


@settings(max_examples=300, deadline=None)
@given(seeds)
def test_a_delta_that_does_not_fit_changes_nothing(seed: int) -> None:
    rng = random.Random(seed)
    elsewhere, state = start(), start()
    for _ in range(20):
        apply(elsewhere, some_delta(rng, elsewhere))
    for _ in range(20):
        delta = some_delta(rng, elsewhere)
        before = copy.deepcopy(state)
        if not apply(state, delta).fitted:
            assert same(state, before)


@settings(max_examples=300, deadline=None)
@given(seeds)
def test_what_does_not_conflict_comes_to_the_same_in_either_order(seed: int) -> None:
    rng = random.Random(seed)
    base = start()
    for _ in range(10):
        apply(base, some_delta(rng, base))
    one, other = some_delta(rng, base), some_delta(rng, base)
    if conflicts(one, other) or conflicts(other, one):
        return
    states = []
    for order in ((one, other), (other, one)):
        state = copy.deepcopy(base)
        for delta in order:
            apply(state, delta)
        states.append(state)
    if one.path == other.path and (one.op, other.op) in (
        (INSERT, INSERT),
        (INSERT, SPLICE),
        (SPLICE, INSERT),
    ):
        for state in states:  # both at the end: all there, in the order of arrival
            parts: Any = state
            for step in one.path:
                parts = parts[unpack(step)]
            parts.sort(key=lambda each: canonical(pack(each)))
    assert same(*states)


def test_nobody_sees_a_write_go_back_and_come_again() -> None:
    visible = []

    class Watched(State):
        """Looks at itself whenever something is built for it."""

        def adopt(self, value: Any, parent: Any, key: Any) -> Any:
            visible.append(list(self.get("a", [1, 2])))
            return super().adopt(value, parent, key)

    replica = Replica()
    state = replica.state = Watched(replica)
    replica._change(Delta(SET, ("a",), [1]))
    replica._change(Delta(INSERT, ("a",), [None, [2]]))
    visible.clear()
    rebase(state, [each[1:] for each in replica.mine], Delta(SET, ("a",), [7, [8]]))
    assert visible
    assert all(each == [1, 2] for each in visible)
    assert state["a"] == [1, 2]


def test_attributes_that_a_foreign_write_does_not_touch_stay_the_same_objects() -> None:
    replica = Replica()
    replica._change(Delta(INSERT, ("a",), [None, [2]]))
    held = replica.state["a"]
    rebase(replica.state, [each[1:] for each in replica.mine], Delta(SET, ("b",), 0))
    assert replica.state["a"] is held


def test_iterating_goes_on_over_what_was_there() -> None:
    replica = Replica()
    seen: list[Any] = []
    for key in replica.state["b"]:
        replica.inbox.append((0, Delta(SET, ("b", f"foreign {len(seen)}"), 1)))
        replica.hear()
        seen.append(key)
    assert seen == list(start()["b"])
    assert "foreign 2" in replica.state["b"]
