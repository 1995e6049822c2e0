"""What deltas promise: one order gives one state, everywhere; nothing that does not fit changes anything."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from lightning.app.core.state import State
from lightning.app.errors import ProtocolError
from lightning.app.kernel.delta import (
    ADD,
    CLEAR,
    DELETE,
    DISCARD,
    INSERT,
    ORDER,
    SET,
    SPLICE,
    UPDATE,
    apply,
    apply_copy,
    conflicts,
    rebase,
    revert,
)
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import canonical, pack, same, unpack
from tests.unit.kernel.network import Network, Replica, places, some_delta, start

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


@pytest.mark.parametrize(
    ("later", "unseen", "conflict"),
    [
        (Delta(SET, ("x",), 1), Delta(SET, ("x",), 1), True),
        (Delta(SET, ("x",), 1), Delta(SET, ("y",), 1), False),
        (Delta(SET, ("x",), 1), Delta(SET, ("x", "k"), 1), True),
        (Delta(SET, ("x", "k"), 1), Delta(SET, ("x",), {}), True),
        (Delta(SET, ("x", "k"), 1), Delta(SET, ("x", "j"), 1), False),
        (Delta(DELETE, ("x", "k")), Delta(SET, ("x", "k", 0), 1), True),
        (Delta(INSERT, ("x",), [None, [1]]), Delta(INSERT, ("x",), [None, [2]]), False),
        (Delta(INSERT, ("x",), [None, [1]]), Delta(SET, ("x",), []), False),
        (Delta(INSERT, ("x",), [None, [1]]), Delta(SET, ("x",), None), True),
        (Delta(SET, ("x",), []), Delta(INSERT, ("x",), [None, [1]]), True),
        (Delta(INSERT, ("x",), [0, [1]]), Delta(INSERT, ("x",), [0, [2]]), True),
        (Delta(SET, ("x", 0), 1), Delta(INSERT, ("x",), [None, [2]]), False),
        (Delta(SET, ("x", 3), 1), Delta(INSERT, ("x",), [0, [2]]), True),
        (Delta(SET, ("x", 0), 1), Delta(SPLICE, ("x",), [3, 4, []]), False),
        (Delta(SPLICE, ("x",), [0, 1, [5]]), Delta(SPLICE, ("x",), [2, 3, [6]]), False),
        (Delta(SPLICE, ("x",), [0, 1, []]), Delta(SPLICE, ("x",), [2, 3, [6]]), True),
        (Delta(SET, ("x", 1, "k"), 1), Delta(ORDER, ("x",), [1, 0]), True),
        (Delta(CLEAR, ("x",)), Delta(INSERT, ("x",), [None, [1]]), True),
        (Delta(INSERT, ("x",), [None, [1]]), Delta(CLEAR, ("x",)), False),
        (Delta(ADD, ("x",), [1]), Delta(ADD, ("x",), [2]), False),
        (Delta(ADD, ("x",), [1]), Delta(DISCARD, ("x",), [2]), False),
        (Delta(ADD, ("x",), [1]), Delta(DISCARD, ("x",), [1]), True),
        (Delta(UPDATE, ("x",), [["k", 1]]), Delta(UPDATE, ("x",), [["j", 1]]), False),
        (Delta(UPDATE, ("x",), [["k", 1]]), Delta(UPDATE, ("x",), [["k", 1]]), True),
        (Delta(UPDATE, ("x",), [["k", 1]]), Delta(SET, ("x", "k"), 1), True),
        (Delta(UPDATE, ("x",), [["k", 1]]), Delta(SET, ("x", "j", "deep"), 1), False),
    ],
)
def test_a_conflict_is_an_overwriting_of_the_unseen(later: Delta, unseen: Delta, conflict: bool) -> None:
    assert conflicts(later, unseen) is conflict


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


BAD = [
    Delta(SET, (), 1),
    Delta(SET, (1,), 1),
    Delta(SET, (None, "a"), 1),
    Delta(99, ("a",), 1),
    Delta(INSERT, ("a",), 5),
    Delta(INSERT, ("a",), [-1, [1]]),
    Delta(INSERT, ("a",), [None, 5]),
    Delta(SPLICE, ("a",), [3, 1, []]),
    Delta(SPLICE, ("a",), ["0", 1, []]),
    Delta(ADD, ("b", "y", "x"), [[1]]),
    Delta(ADD, ("b", "y", "x"), "ab"),
    Delta(UPDATE, ("b",), [["x"]]),
    Delta(UPDATE, ("b",), [["new", 1], [[1], 1]]),
    Delta(ORDER, ("a",), [0, 0]),
    Delta(ORDER, ("a",), [True, False]),
    Delta(SET, ("b", {}), 1),
    Delta(SET, ("b", Ext(2, b"\x91\x01")), 1),
    Delta(SET, ("a",), Ext(77, b"")),
    Delta(SET, ("a", *[0] * 64), 1),
]


@pytest.mark.parametrize("delta", BAD)
@pytest.mark.parametrize("change", [apply, apply_copy])
def test_what_no_honest_peer_sends_is_refused_and_changes_nothing(delta: Delta, change: Any) -> None:
    state = start()
    with pytest.raises(ProtocolError):
        change(state, delta)
    assert same(state, start())


nonsense = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 5),
        st.floats(),
        st.text(max_size=3),
        st.binary(max_size=3),
        st.builds(Ext, st.integers(0, 16), st.binary(max_size=6)),
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)
steps = st.one_of(st.sampled_from(["a", "b", "x", "y", 0, 1, 2, 3]), nonsense)


@settings(max_examples=500, deadline=None)
@given(st.integers(-1, 10), st.lists(steps, max_size=4), nonsense, st.sampled_from([apply, apply_copy]))
def test_no_delta_whatever_does_more_than_fit_or_be_refused(
    op: int, path: list[Any], value: Any, change: Any
) -> None:
    state = start()
    try:
        fitted = change(state, Delta(op, tuple(path), value)).fitted
    except ProtocolError:
        fitted = False
    if not fitted:
        assert same(state, start())
    try:
        conflicts(Delta(op, tuple(path), value), Delta(INSERT, ("a",), [0, [1]]))
    except ProtocolError:
        assert not fitted
