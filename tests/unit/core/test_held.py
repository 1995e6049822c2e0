"""Containers that somebody holds: across foreign writes, across threads, inside of what cannot change."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning.app.core.state import State
from lightning.app.errors import StateValueError
from lightning.app.kernel.delta import CLEAR, INSERT, SET, SPLICE, UPDATE, apply, apply_copy
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import unpack
from tests.unit.core.test_state import Owner as Told
from tests.unit.kernel.network import Network, Replica, places, same, some_value


class Owner(Told):
    """The same, with its attributes as items."""

    def __getitem__(self, name: str) -> Any:
        return self.state[name]

    @property
    def other(self) -> dict[str, Any]:
        return self.elsewhere


@dataclass(frozen=True)
class Box:
    inside: list[int]


class Point(NamedTuple):
    x: int
    y: list[int]


def test_a_change_costs_what_it_changes() -> None:
    owner = Owner(it=[0] * 1000, table={"k": [1]})
    owner["it"].append(1)
    owner["it"].pop()
    owner["it"].pop(0)
    owner["table"]["k"] += [2]
    owner["table"]["k"] *= 2
    owner["table"].update(a=1)
    assert owner.told == [
        Delta(INSERT, ("it",), [None, [1]]),
        Delta(SPLICE, ("it",), [1000, 1001, []]),
        Delta(SPLICE, ("it",), [0, 1, []]),
        Delta(INSERT, ("table", "k"), [None, [2]]),
        Delta(INSERT, ("table", "k"), [None, [1, 2]]),
        Delta(UPDATE, ("table",), [["a", 1]]),
    ]


def test_a_part_is_found_wherever_it_has_drifted() -> None:
    owner = Owner(it=[[n] for n in range(40)])
    last = owner["it"][-1]
    del owner["it"][:30]
    last.append("moved")
    owner["it"].insert(0, 0)
    owner["it"].extend([[1]] * 20)
    last.append("again")
    assert owner.other["it"] == owner["it"]
    assert owner.other["it"][10] == [39, "moved", "again"]


def test_what_was_taken_out_is_a_container_by_itself() -> None:
    owner = Owner(it={"k": [1], "gone": {"deep": [2]}})
    deep, gone = owner["it"]["gone"]["deep"], owner["it"].pop("gone")
    owner.told.clear()
    gone["other"] = object()  # what is no state may hold anything
    deep.append(3)
    assert not owner.told
    assert gone["deep"] == [2, 3]
    owner["it"]["gone"] = {"deep": []}  # another one at the same place
    deep.append(4)
    assert len(owner.told) == 1


def test_what_was_taken_out_is_freed_at_once() -> None:
    owner = Owner(it=[[1], {"k": [2]}])
    gone = weakref.ref(owner["it"][1]["k"])
    gc.disable()
    try:
        owner["it"].clear()
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("value", [([1],), Box([1]), Point(1, [1]), [{"k": ((1, [1]),)}]])
def test_what_is_inside_of_the_unchangeable_refuses_change(value: Any) -> None:
    def innermost(part: Any) -> Any:
        if isinstance(part, list) and part == [1]:
            return part
        inner = (
            vars(part).values()
            if isinstance(part, Box)
            else part.values()
            if isinstance(part, dict)
            else part
        )
        return next(
            found for each in inner if not isinstance(each, int) and (found := innermost(each)) is not None
        )

    owner = Owner(it=value)
    assert owner["it"] == value
    with pytest.raises(StateValueError, match="inside a tuple or a frozen dataclass"):
        innermost(owner["it"]).append(2)
    assert owner["it"] == value


def test_who_holds_a_container_while_others_write_to_it_loses_nothing() -> None:
    owner = Owner(it=[1, {"k": 1}], table={"inner": {"x": 1}})
    held, part, inner = owner["it"], owner["it"][1], owner["table"]["inner"]
    for foreign in (
        Delta(INSERT, ("it",), [0, [0]]),
        Delta(SET, ("table", "inner", "y"), 2),
        Delta(SET, ("it", 2, "foreign"), 2),
    ):
        apply_copy(owner.state, foreign)
        apply(owner.other, foreign)
    assert held == [1, {"k": 1}]  # as it was: somebody may be iterating over it
    part["mine"] = 3
    assert held.pop(0) == 0  # the next change of its own brings it up to date
    held.append(4)
    inner["z"] = 3
    assert owner["it"] is held
    assert owner["table"]["inner"] is inner
    assert held == owner.other["it"] == [1, {"k": 1, "foreign": 2, "mine": 3}, 4]
    assert inner == owner.other["table"]["inner"] == {"x": 1, "y": 2, "z": 3}


def test_an_alias_of_what_is_gone_is_a_container_by_itself() -> None:
    owner = Owner(it=[1])
    held = owner["it"]
    apply_copy(owner.state, Delta(INSERT, ("it",), [None, [2]]))
    apply_copy(owner.state, Delta(SET, ("it",), None))
    held.append(3)
    assert held == [1, 3]
    assert not owner.told


def test_two_aliases_take_turns() -> None:
    owner = Owner(it=[0])
    one = owner["it"]
    apply_copy(owner.state, Delta(INSERT, ("it",), [None, ["foreign"]]))
    other = owner["it"]
    for n in range(3):
        one.append(n)
        other.append(n)
    assert owner["it"] is other
    assert other == [0, "foreign", 0, 0, 1, 1, 2, 2]


class Holding(Network):
    """Hosts that change their state as user code does: through containers that they hold for long."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng, 2)
        self.held: dict[int, list[Any]] = {id(replica): [] for replica in self.replicas}

    def write(self, replica: Replica) -> None:
        rng, held = self.rng, self.held[id(replica)]
        if rng.random() < 0.3:
            super().write(replica)
            return
        here = [node for _, node in places(replica.state)]
        if here and (not held or rng.random() < 0.3):
            held.append(rng.choice(here))
        if not held:
            return
        node = rng.choice(held)
        place = node._place()
        told = len(replica.outbox)
        value = some_value(rng, 1)
        if isinstance(node, list):
            rng.choice(
                (lambda: node.append(value), lambda: node.insert(0, value), node.reverse, node.clear)
            )()
        elif isinstance(node, dict):
            rng.choice(
                (lambda: node.update(x=value), lambda: node.pop("x", None), lambda: node.setdefault("y", []))
            )()
        else:
            rng.choice((lambda: node.add(7), lambda: node.discard(7)))()
        if place is None:
            assert len(replica.outbox) == told
        elif len(replica.outbox) > told:
            found: Any = replica.state
            for step in place.path:
                found = found[unpack(step)]
            assert found is node


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_hosts_that_hold_containers_agree_with_everybody(seed: int) -> None:
    network = Holding(random.Random(seed))
    for _ in range(80):
        network.step()
    network.settle()
    for replica in network.replicas:
        assert same(replica.state, network.state)


class Overtaken(Owner):
    """Somebody else's write slips in between what a thread sees and what it says."""

    slips: Delta | None = None

    def _change(self, delta: Delta) -> None:
        slips, self.slips = self.slips, None
        if slips is not None:
            apply_copy(self.state, slips)
            apply(self.elsewhere, slips)
        super()._change(delta)


@pytest.mark.parametrize(
    ("change", "result", "after"),
    [
        (lambda it: it.append(3), None, ["foreign", 0, 1, 2, 3]),
        (lambda it: it.pop(), 2, ["foreign", 0, 1]),
        (lambda it: it.pop(0), "foreign", [0, 1, 2]),
        (lambda it: it.insert(1, 9), None, ["foreign", 9, 0, 1, 2]),
        (lambda it: it.remove(1), None, ["foreign", 0, 2]),
        (lambda it: it.__setitem__(slice(0, 1), iter("ab")), None, ["a", "b", 0, 1, 2]),
        (lambda it: it.sort(key=str, reverse=True), None, ["foreign", 2, 1, 0]),
        (lambda it: it.clear(), None, []),
    ],
)
def test_a_change_of_a_list_is_of_the_list_as_it_is_then(change: Any, result: Any, after: list[Any]) -> None:
    owner = Overtaken(it=[0, 1, 2])
    held = owner["it"]
    owner.slips = Delta(INSERT, ("it",), [0, ["foreign"]])
    assert change(held) == result
    assert held == owner.elsewhere["it"] == after
    assert owner["it"] is held


def test_setdefault_gives_what_is_there_then() -> None:
    owner = Overtaken(it={})
    held = owner["it"]
    owner.slips = Delta(SET, ("it", "foreign"), 1)
    held.setdefault("k", []).append(2)
    assert held == owner.elsewhere["it"] == {"foreign": 1, "k": [2]}


def test_nobody_looks_for_a_place_while_foreign_writes_are_put_in_theirs() -> None:
    owner = Owner(it=[0], table={})
    held = owner["it"]
    done = threading.Event()
    thread = threading.Thread(target=lambda: (held.append("mine"), done.set()))

    class Slow(State):
        """Lets somebody else try in the middle."""

        def renew(self, node: Any, parent: Any, key: Any) -> Any:
            copy = super().renew(node, parent, key)
            thread.start()
            assert not done.wait(0.05)
            return copy

    slow = Slow(owner)
    dict.update(slow, {name: slow.adopt(owner.state.pop(name), slow, name) for name in ("it", "table")})
    owner.state = slow
    foreign = Delta(INSERT, ("it",), [None, ["foreign"]])
    apply_copy(slow, foreign)
    apply(owner.elsewhere, foreign)
    thread.join()
    assert held == slow["it"] == owner.elsewhere["it"] == [0, "foreign", "mine"]


def test_what_does_not_fit_leaves_everything_in_its_place() -> None:
    owner = Owner(it={"k": [1]})
    table, held = owner["it"], owner["it"]["k"]
    assert not apply_copy(owner.state, Delta(SET, ("it", "k", 5), 1)).fitted
    held.append(2)
    table["j"] = 3
    assert owner["it"] == owner.elsewhere["it"] == {"k": [1, 2], "j": 3}


def test_threads_take_turns() -> None:
    owner = Owner(queue=list(range(400)), done=[])
    queue, done = owner["queue"], owner["done"]

    def drain() -> None:
        while True:
            try:
                taken = queue.pop()
            except IndexError:
                return
            done.append(taken)

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == list(range(400))
    assert owner.other["done"] == done


def test_clearing_says_only_that() -> None:
    owner = Owner(it=[1], table={1: 1}, words={"a"})
    for name in ("it", "table", "words"):
        owner[name].clear()
    assert owner.told == [Delta(CLEAR, (name,)) for name in ("it", "table", "words")]
