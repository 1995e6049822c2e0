from __future__ import annotations

import copy
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.msgpack import Ext

from lightning.app.core.state import State
from lightning.app.kernel import delta as d
from lightning.app.kernel.canonical import canonical
from lightning.app.kernel.delta import Undo, apply, apply_copy, conflicts, rebase, revert
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import decode, encode, pack, unpack
from tests.unit.kernel import drawn
from tests.unit.kernel.drawn import alike


def content(state: dict[str, Any]) -> bytes:
    return canonical(pack(dict(state)))


class Silent:
    """The owner of a state that is only applied to."""

    _where = "root.w"

    def _change(self, delta: Delta) -> None:
        raise AssertionError("nobody changes this state through its containers")


def tracked(state: dict[str, Any]) -> State:
    made = State(Silent())
    for name, value in state.items():
        apply(made, Delta(d.SET, (name,), pack(value)))
    return made


def travelled(delta: Delta) -> Delta:
    """The delta as another process gets it."""
    op, path, value = decode(encode([delta.op, list(delta.path), delta.value]))
    return Delta(op, tuple(path), value)


# -- one change -----------------------------------------------------------------------------------


@given(st.data(), drawn.states)
def test_what_is_reverted_never_was(data: Any, state: dict[str, Any]) -> None:
    for kept in (copy.deepcopy(state), tracked(state)):
        before = content(kept)
        undos = []
        for _ in range(3):
            undos.append(apply(kept, data.draw(drawn.deltas(dict(kept)))))
        for undo in reversed(undos):
            revert(kept, undo)
        assert content(kept) == before


@given(st.data(), drawn.states)
def test_plain_and_tracked_states_become_the_same(data: Any, state: dict[str, Any]) -> None:
    plain, kept = copy.deepcopy(state), tracked(state)
    for _ in range(3):
        delta = data.draw(drawn.deltas(plain))
        assert apply(plain, travelled(delta)).fitted == apply(kept, delta).fitted
        assert content(plain) == content(kept)


@given(st.data(), drawn.states)
def test_a_copy_on_write_leaves_every_container_as_it_was(data: Any, state: dict[str, Any]) -> None:
    for kept in (copy.deepcopy(state), tracked(state)):
        held = [(node, copy.deepcopy(node)) for _, node in drawn.containers(dict(kept), ())[1:]]
        delta = data.draw(drawn.deltas(dict(kept)))
        expected = copy.deepcopy(dict(kept))
        apply(expected, delta)
        apply_copy(kept, delta)
        assert content(kept) == content(expected)
        assert all(alike(copy.deepcopy(node), before) for node, before in held)


@given(st.data(), drawn.states)
def test_what_an_undo_remembers_is_not_what_somebody_holds(data: Any, state: dict[str, Any]) -> None:
    kept = tracked(state)
    before = content(kept)
    held = [node for _, node in drawn.containers(dict(kept), ())[1:]]
    undo = apply(kept, data.draw(drawn.deltas(dict(kept))))
    still = {id(node) for _, node in drawn.containers(dict(kept), ())}
    for node in held:
        if id(node) not in still:  # taken out of the state: an ordinary container now
            node.clear()
    revert(kept, undo)
    assert content(kept) == before


def test_what_comes_back_into_a_set_or_a_dictionary_is_of_the_kind_that_was_there() -> None:
    state: dict[str, Any] = {"s": {1, 2.0}, "d": {1: "x"}}
    before = content(state)
    for delta in (Delta(d.DISCARD, ("s",), [True, 2]), Delta(d.DELETE, ("d", True))):
        undo = apply(state, delta)
        assert undo.fitted
        revert(state, undo)
        assert content(state) == before


@pytest.mark.parametrize(
    "delta",
    [
        Delta(d.SET, (), 1),
        Delta(d.SET, (5,), 1),
        Delta(d.SET, ([1],), 1),
        Delta(d.SET, ("x",), Ext(d.SET, b"no")),
        Delta(d.SET, ("l", 7), 1),
        Delta(d.SET, ("l", 2**80), 1),
        Delta(d.SET, ("l", "a"), 1),
        Delta(d.SET, ("n", "a"), 1),
        Delta(d.SET, ("none", "a"), 1),
        Delta(d.SET, ("l", 0, 1), 1),
        Delta(d.DELETE, ("none",)),
        Delta(d.DELETE, ("l", 0)),
        Delta(d.INSERT, ("d",), [None, [1]]),
        Delta(d.INSERT, ("l",), [None, [1, Ext(99, b"")]]),
        Delta(d.INSERT, ("l",), None),
        Delta(d.INSERT, ("l",), ["a", [1]]),
        Delta(d.SPLICE, ("s",), [0, 1, []]),
        Delta(d.SPLICE, ("l",), [0, 1]),
        Delta(d.ADD, ("l",), [1]),
        Delta(d.ADD, ("s",), [1, [2]]),
        Delta(d.DISCARD, ("s",), 5),
        Delta(d.UPDATE, ("d",), [["a", 5], ["b"]]),
        Delta(d.UPDATE, ("d",), [["a", 5], [[], 5]]),
        Delta(d.UPDATE, (), [["a", 5]]),
        Delta(d.CLEAR, ()),
        Delta(d.CLEAR, ("n",)),
        Delta(d.REORDER, ("l",), [0, 0]),
        Delta(d.REORDER, ("l",), [1]),
        Delta(d.REORDER, ("l",), [2, 1, 0]),
        Delta(d.REORDER, ("d",), []),
        Delta(77, ("l",), 1),
    ],
    ids=lambda delta: f"{delta.op}-{delta.path}",
)
def test_what_does_not_fit_changes_nothing_and_says_so(delta: Delta) -> None:
    first = {"l": ["text", 2], "d": {"a": 1}, "s": {3}, "n": 4}
    for state in (copy.deepcopy(first), tracked(first)):
        before = content(state)
        undo = apply(state, delta)
        assert not undo.fitted
        assert content(state) == before
        revert(state, undo)
        apply_copy(state, delta)
        rebase(state, [], delta)
        assert content(state) == before


def _encoded(value: Any) -> bytes:
    try:
        return encode(value)
    except OverflowError:
        return b"\xc1"


garbage = st.recursive(
    st.none() | st.integers(-3, 3) | st.just(2**70) | st.text(max_size=2) | st.booleans() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.builds(Ext, st.integers(0, 16), inner.map(_encoded)),
    max_leaves=5,
)


@given(st.integers(-1, 10), st.lists(st.sampled_from(("l", "d", "s")) | garbage, max_size=3), garbage)
def test_garbage_either_fits_or_changes_nothing(op: int, path: list[Any], value: Any) -> None:
    state: dict[str, Any] = {"l": [[1], 2], "d": {"a": [1]}, "s": {3}}
    before = copy.deepcopy(state)
    undo = apply(state, Delta(op, tuple(path), value))
    if not undo.fitted:
        assert state == before
    revert(state, undo)
    assert state == before


def test_a_change_of_one_key_costs_the_same_in_a_large_state() -> None:
    state = {"d": {position: [position] for position in range(1000)}}
    held = dict(state["d"])
    apply(state, Delta(d.SET, ("d", 5), 1))
    assert all(state["d"][position] is held[position] for position in range(1000) if position != 5)


# -- conflicts ------------------------------------------------------------------------------------


@given(st.data(), drawn.states)
@settings(max_examples=300)
def test_changes_without_conflict_may_come_in_either_order(data: Any, state: dict[str, Any]) -> None:
    one, other = data.draw(drawn.deltas(state)), data.draw(drawn.deltas(state))
    if conflicts(one, other):
        return
    assert not conflicts(other, one)
    first, second = copy.deepcopy(state), copy.deepcopy(state)
    for delta in (one, other):
        assert apply(first, delta).fitted
    for delta in (other, one):
        assert apply(second, delta).fitted
    if one.op == other.op == d.INSERT and one.path == other.path:  # each appended, in the order of arrival
        (ours, theirs) = (_at(each, one.path) for each in (first, second))
        assert sorted(canonical(pack(each)) for each in ours) == sorted(
            canonical(pack(each)) for each in theirs
        )
        ours.clear(), theirs.clear()
    assert alike_but_for_equal_keys(first, second)


def _at(state: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        state = state[unpack(step)]
    return state


def alike_but_for_equal_keys(one: Any, other: Any) -> bool:
    """1 and True are one key, and one element: the first to come stays."""
    return bool(one == other)


@pytest.mark.parametrize(
    ("later", "unseen", "expected"),
    [
        (Delta(d.SET, ("a",), 1), Delta(d.SET, ("a",), 1), True),
        (Delta(d.SET, ("a",), 1), Delta(d.SET, ("b",), 1), False),
        (Delta(d.SET, ("a",), 1), Delta(d.SET, ("a", "k"), 1), True),
        (Delta(d.SET, ("a", "k"), 1), Delta(d.DELETE, ("a",)), True),
        (Delta(d.SET, ("a", "k"), 1), Delta(d.SET, ("a", "j"), 1), False),
        (Delta(d.SET, ("a", "k"), 1), Delta(d.UPDATE, ("a",), [["j", 1]]), False),
        (Delta(d.SET, ("a", "k"), 1), Delta(d.UPDATE, ("a",), [["k", 1]]), True),
        (Delta(d.UPDATE, ("a",), [["k", 1]]), Delta(d.UPDATE, ("a",), [["j", 1]]), False),
        (Delta(d.UPDATE, ("a",), [["k", 1]]), Delta(d.UPDATE, ("a",), [["k", 1], ["j", 1]]), True),
        (Delta(d.UPDATE, ("a",), [["k", 1]]), Delta(d.SET, ("a",), {}), True),
        (Delta(d.INSERT, ("a",), [None, [1]]), Delta(d.INSERT, ("a",), [None, [2]]), False),
        (Delta(d.INSERT, ("a",), [None, [1]]), Delta(d.SET, ("a", 0), 1), False),
        (Delta(d.SET, ("a", 0), 1), Delta(d.INSERT, ("a",), [None, [1]]), False),
        (Delta(d.INSERT, ("a",), [0, [1]]), Delta(d.INSERT, ("a",), [None, [2]]), False),
        (Delta(d.INSERT, ("a",), [None, [1]]), Delta(d.SET, ("a",), []), True),
        (Delta(d.SET, ("a", 1), 1), Delta(d.SPLICE, ("a",), [0, 1, []]), True),
        (Delta(d.SPLICE, ("a",), [1, 2, []]), Delta(d.SPLICE, ("a",), [0, 1, []]), True),
        (Delta(d.REORDER, ("a",), [1, 0]), Delta(d.SET, ("a", 1), 1), True),
        (Delta(d.ADD, ("a",), [1]), Delta(d.ADD, ("a",), [1]), False),
        (Delta(d.ADD, ("a",), [1]), Delta(d.DISCARD, ("a",), [1]), True),
        (Delta(d.ADD, ("a",), [1]), Delta(d.DISCARD, ("a",), [2]), False),
        (Delta(d.CLEAR, ("a",)), Delta(d.ADD, ("a",), [2]), True),
    ],
)
def test_what_conflicts_and_what_merges(later: Delta, unseen: Delta, expected: bool) -> None:
    assert conflicts(later, unseen) is expected


# -- many who write -------------------------------------------------------------------------------


class Host:
    """A work's process: it writes at once, and puts what others wrote before what is not yet taken in."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = tracked(state)
        self.pending: list[tuple[Delta, Undo]] = []
        self.inbox: deque[Delta | None] = deque()  # None: the first of what is pending was taken in
        self.outbox: deque[Delta] = deque()

    def hear(self) -> None:
        delta = self.inbox.popleft()
        if delta is None:
            self.pending.pop(0)
            return
        held = [(node, copy.deepcopy(node)) for _, node in drawn.containers(dict(self.state), ())[1:]]
        if any(mine.path[0] == delta.path[0] for mine, _ in self.pending):
            self.pending = rebase(self.state, self.pending, delta)
        else:
            apply_copy(self.state, delta)
        assert all(alike(copy.deepcopy(node), before) for node, before in held), "a reader saw it change"


class Convergence(RuleBasedStateMachine):
    """A runtime and the hosts of works that share one state, with writes and acks on their way at any time."""

    @initialize(state=drawn.states, hosts=st.integers(1, 3))
    def begin(self, state: dict[str, Any], hosts: int) -> None:
        self.state = copy.deepcopy(state)
        self.hosts = [Host(state) for _ in range(hosts)]

    @rule(data=st.data(), which=st.integers(0, 2))
    def a_host_writes(self, data: Any, which: int) -> None:
        host = self.hosts[which % len(self.hosts)]
        delta = data.draw(drawn.deltas(dict(host.state)))
        host.pending.append((delta, apply(host.state, delta)))
        host.outbox.append(travelled(delta))

    @rule(data=st.data())
    def the_flow_writes(self, data: Any) -> None:
        delta = data.draw(drawn.deltas(self.state))
        apply(self.state, delta)
        for host in self.hosts:
            host.inbox.append(travelled(delta))

    @rule(which=st.integers(0, 2))
    def the_runtime_takes_in(self, which: int) -> None:
        writer = self.hosts[which % len(self.hosts)]
        if writer.outbox:
            delta = writer.outbox.popleft()
            apply(self.state, delta)
            for host in self.hosts:
                host.inbox.append(None if host is writer else delta)

    @rule(which=st.integers(0, 2))
    def a_host_hears(self, which: int) -> None:
        host = self.hosts[which % len(self.hosts)]
        if host.inbox:
            host.hear()

    @invariant()
    def all_would_agree_after_all_acks(self) -> None:
        if not hasattr(self, "hosts"):
            return
        world = copy.deepcopy(
            (self.state, [(dict(h.state), h.outbox, h.inbox, h.pending) for h in self.hosts])
        )
        end = Convergence()
        end.state, end.hosts = world[0], []
        for state, outbox, inbox, pending in world[1]:
            host = Host({})
            host.state = tracked(state)
            host.outbox, host.inbox, host.pending = outbox, inbox, pending
            end.hosts.append(host)
        while any(host.inbox or host.outbox for host in end.hosts):
            for which, host in enumerate(end.hosts):
                end.the_runtime_takes_in(which)
                while host.inbox:
                    host.hear()
        assert not any(host.pending for host in end.hosts)
        for host in end.hosts:
            assert content(host.state) == content(end.state)


TestConvergence = Convergence.TestCase
TestConvergence.settings = settings(max_examples=40, stateful_step_count=15)
