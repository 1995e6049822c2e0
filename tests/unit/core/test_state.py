"""Tracked containers are lists, dicts and sets, and every change of them is told."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import random
import re
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning.app.core.state import State, TrackedDict, TrackedList, TrackedSet
from lightning.app.errors import StateValueError
from lightning.app.kernel.delta import CLEAR, INSERT, ORDER, SET, SPLICE, UPDATE, apply, apply_copy
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import pack, same, unpack
from tests.unit.kernel.network import Network, Replica, places, some_value


class Owner:
    """A component, as far as a state can tell: it applies, and remembers what it was told."""

    _where = "root.train"

    def __init__(self, **values: Any) -> None:
        self.state = State(self)
        self.told: list[Delta] = []
        self.other = {name: unpack(pack(value)) for name, value in values.items()}
        for name, value in values.items():
            apply(self.state, Delta(SET, (name,), pack(value)))

    def _change(self, delta: Delta) -> None:
        self.told.append(delta)
        apply(self.state, delta)
        apply(self.other, delta)

    def __getitem__(self, name: str) -> Any:
        return self.state[name]


@dataclass(frozen=True)
class Box:
    inside: list[int]


class Point(NamedTuple):
    x: int
    y: list[int]


atoms = st.one_of(st.integers(0, 5), st.sampled_from(["a", "b", "c"]))
values = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(atoms, inner, max_size=2), max_leaves=5
)
indices = st.integers(-6, 6)
slices = st.builds(slice, *[st.none() | indices] * 2, st.none() | st.sampled_from([1, 2, -1, -2, 3]))


def outcome(action: Callable[[Any], Any], container: Any) -> tuple[str, Any]:
    """What came of it: a value (the container itself is "self") or an exception."""
    try:
        result = action(container)
    except Exception as error:
        return type(error).__name__, re.sub(
            "Tracked(List|Dict|Set)", lambda name: name[1].lower(), str(error)
        )
    return "returned", "self" if result is container else result


def behaves_like_plain(kind: type, start: Any, actions: list[tuple[str, Callable[[Any], Any]]]) -> None:
    """Attached, detached and plain go the same way; what was told leads another state to the same."""
    owner = Owner(it=start)
    attached, plain = owner["it"], copy.deepcopy(start)
    loose = Owner(it=start).state.pop("it")
    assert type(attached) is kind
    for name, action in actions:
        expected = outcome(action, plain)
        assert outcome(action, attached) == expected, name
        assert outcome(action, loose) == expected, name
        assert attached == plain == loose
        assert repr(attached) == repr(plain) or isinstance(plain, set)
        if not isinstance(plain, set):
            assert json.dumps(attached) == json.dumps(plain)
        assert owner["it"] is attached
        assert same(owner.other["it"], owner["it"])


def flat(container: list[Any]) -> bool:
    """Whether repeating it repeats no container: in a state those would be copies."""
    return not any(isinstance(each, (list, dict)) for each in container)


def lists() -> st.SearchStrategy[tuple[str, Callable[[Any], Any]]]:
    several = st.lists(values, max_size=4)
    return st.one_of(
        st.builds(lambda v: (f"append({v})", lambda c: c.append(copy.deepcopy(v))), values),
        st.builds(lambda v: (f"extend({v})", lambda c: c.extend(iter(copy.deepcopy(v)))), several),
        st.builds(lambda v: (f"+= {v}", lambda c: c.__iadd__(copy.deepcopy(v))), several),
        st.builds(lambda n: (f"*= {n}", lambda c: c.__imul__(n) if flat(c) else None), st.integers(-1, 2)),
        st.builds(
            lambda i, v: (f"insert({i}, {v})", lambda c: c.insert(i, copy.deepcopy(v))), indices, values
        ),
        st.builds(lambda i: (f"pop({i})", lambda c: c.pop(i)), indices),
        st.just(("pop()", lambda c: c.pop())),
        st.builds(lambda v: (f"remove({v})", lambda c: c.remove(v)), values),
        st.builds(
            lambda i, v: (f"[{i}] = {v}", lambda c: c.__setitem__(i, copy.deepcopy(v))), indices, values
        ),
        st.builds(
            lambda i, v: (f"[{i}] = {v}", lambda c: c.__setitem__(i, copy.deepcopy(v))), slices, several
        ),
        st.builds(lambda i: (f"del [{i}]", lambda c: c.__delitem__(i)), indices | slices),
        st.builds(lambda r: (f"sort(reverse={r})", lambda c: c.sort(key=repr, reverse=r)), st.booleans()),
        st.just(("sort()", lambda c: c.sort() if all(type(each) is int for each in c) else None)),
        st.just(("reverse()", lambda c: c.reverse())),
        st.just(("clear()", lambda c: c.clear())),
        st.just(("copy()", lambda c: c.copy())),
        st.just(("[0].append", lambda c: c[0].append(9))),
        st.just(("['a'] = 1", lambda c: c.__setitem__("a", 1))),
        st.just(("= 5", lambda c: c.__setitem__(slice(0, 1), 5))),
    )


def dicts() -> st.SearchStrategy[tuple[str, Callable[[Any], Any]]]:
    some = st.dictionaries(atoms, values, max_size=3)
    return st.one_of(
        st.builds(
            lambda k, v: (f"[{k!r}] = {v}", lambda c: c.__setitem__(k, copy.deepcopy(v))), atoms, values
        ),
        st.builds(lambda k: (f"del [{k!r}]", lambda c: c.__delitem__(k)), atoms),
        st.builds(lambda k: (f"pop({k!r})", lambda c: c.pop(k)), atoms),
        st.builds(lambda k, v: (f"pop({k!r}, {v})", lambda c: c.pop(k, v)), atoms, values),
        st.just(("popitem()", lambda c: c.popitem())),
        st.builds(
            lambda k, v: (f"setdefault({k!r}, {v})", lambda c: c.setdefault(k, copy.deepcopy(v))),
            atoms,
            values,
        ),
        st.builds(lambda d: (f"update({d})", lambda c: c.update(copy.deepcopy(d))), some),
        st.builds(lambda d: (f"update(pairs of {d})", lambda c: c.update(list(d.items()), z=1)), some),
        st.builds(lambda d: (f"|= {d}", lambda c: c.__ior__(copy.deepcopy(d))), some),
        st.just(("clear()", lambda c: c.clear())),
        st.just(("copy()", lambda c: c.copy())),
        st.just(("[[]] = 1", lambda c: c.__setitem__([], 1))),
        st.just(("update(5)", lambda c: c.update(5))),
    )


def sets() -> st.SearchStrategy[tuple[str, Callable[[Any], Any]]]:
    some = st.sets(atoms, max_size=4)
    one_argument = ["update", "difference_update", "intersection_update", "symmetric_difference_update"]
    operators = ["__ior__", "__isub__", "__iand__", "__ixor__"]
    return st.one_of(
        st.builds(
            lambda n, e: (f"{n}({e!r})", lambda c: getattr(c, n)(e)),
            st.sampled_from(["add", "discard"]),
            atoms,
        ),
        st.builds(lambda e: (f"remove({e!r})", lambda c: c.remove(e)), atoms),
        st.builds(
            lambda n, s: (f"{n}({s})", lambda c: getattr(c, n)(list(s))), st.sampled_from(one_argument), some
        ),
        st.builds(
            lambda n, s: (f"{n}({s})", lambda c: getattr(c, n)(set(s))), st.sampled_from(operators), some
        ),
        st.builds(lambda n: (f"{n}([1])", lambda c: getattr(c, n)([1])), st.sampled_from(operators)),
        st.just(("update()", lambda c: c.update())),
        st.just(("update({1}, {2})", lambda c: c.update({1}, {2}))),
        st.just(("add([])", lambda c: c.add([]))),
        st.just(("discard({1})", lambda c: c.discard({1}))),
        st.just(("pop from empty", lambda c: (c.clear(), c.pop()))),
        st.just(("copy()", lambda c: c.copy())),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(values, max_size=5), st.lists(lists(), max_size=12))
def test_a_tracked_list_is_a_list(start: list[Any], actions: list[Any]) -> None:
    behaves_like_plain(TrackedList, start, actions)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(atoms, values, max_size=4), st.lists(dicts(), max_size=12))
def test_a_tracked_dict_is_a_dict(start: dict[Any, Any], actions: list[Any]) -> None:
    behaves_like_plain(TrackedDict, start, actions)


@settings(max_examples=150, deadline=None)
@given(st.sets(atoms, max_size=5), st.lists(sets(), max_size=12))
def test_a_tracked_set_is_a_set(start: set[Any], actions: list[Any]) -> None:
    behaves_like_plain(TrackedSet, start, actions)


def test_a_set_gives_up_any_element() -> None:
    owner = Owner(it={1, 2, 3})
    taken = {owner["it"].pop() for _ in range(3)}
    assert taken == {1, 2, 3}
    assert not owner["it"]
    assert not owner.other["it"]


@pytest.mark.parametrize("value", [[1, [2], {"k": {3}}], {"k": [1], (1, 2): {"x": {1}}}, {1, 2}])
def test_copies_and_pickles_are_plain(value: Any) -> None:
    def plain(part: Any) -> bool:
        inner = part.values() if isinstance(part, dict) else part
        return type(part) in (int, list, dict, set) and (type(part) is int or all(map(plain, inner)))

    tracked = Owner(it=value)["it"]
    assert type(tracked) is not type(value)
    for made in (copy.deepcopy(tracked), pickle.loads(pickle.dumps(tracked))):
        assert made == value
        assert plain(made)
    for made in (copy.copy(tracked), tracked.copy()):
        assert type(made) is type(value)
        assert made == value


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


def test_what_changes_nothing_is_not_told() -> None:
    owner = Owner(items=[1, 2], table={}, words={"a"})
    items, table, words = owner["items"], owner["table"], owner["words"]
    items.extend([])
    items.sort()
    items[1:1] = []
    items *= 1
    table.update({})
    table.clear()
    words.add("a")
    words.discard("b")
    words |= {"a"}
    words -= {"b"}
    assert not owner.told


def test_sorting_keeps_what_the_list_holds() -> None:
    owner = Owner(it=[{"n": 2}, {"n": 1}, {"n": 3}])
    first = owner["it"][0]
    owner["it"].sort(key=lambda each: each["n"])
    assert owner.told == [Delta(ORDER, ("it",), [1, 0, 2])]
    first["n"] = 5
    assert owner["it"] == owner.other["it"] == [{"n": 1}, {"n": 5}, {"n": 3}]
    owner["it"].reverse()
    first["n"] = 6
    assert owner["it"] == owner.other["it"] == [{"n": 3}, {"n": 6}, {"n": 1}]


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


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda it: it.append(object()), r"root\.train\.it\[2\]: a object"),
        (lambda it: it.extend([1, object()]), r"root\.train\.it\[3\]: a object"),
        (
            lambda it: it[1].update(k=[1, {"deep": object()}]),
            r"root\.train\.it\[1\]\['k'\]\[1\]\['deep'\]: a object",
        ),
        (lambda it: it[1].__setitem__("f", lambda: 1), r"root\.train\.it\[1\]\['f'\]: a function is code"),
        (lambda it: it[1].__setitem__(float("nan"), 1), r"root\.train\.it\[1\] \(its key nan\)"),
        (
            lambda it: it[1]["s"].add((1, object())),
            r"root\.train\.it\[1\]\['s'\] \(its element \(1, <.*>\)\)\[1\]: a object",
        ),
        (lambda it: it.__setitem__(slice(0, 1), [1, print]), r"root\.train\.it\[1\]: a builtin"),
        (lambda it: it.append(it[1]["itself"]), "contains itself"),
    ],
)
def test_a_refusal_names_the_place_and_changes_nothing(change: Callable[[Any], Any], place: str) -> None:
    endless: list[Any] = []
    endless.append(endless)
    owner = Owner(it=[1, {"s": set()}])
    if "itself" in place:
        change = lambda it: it.append(endless)  # noqa: E731  # the same, of a value made here
    with pytest.raises(StateValueError, match=place):
        change(owner["it"])
    assert not owner.told
    assert owner["it"] == [1, {"s": set()}]


def test_levels_are_counted_from_the_attribute() -> None:
    owner = Owner(it=[])
    inner = owner["it"]
    for _ in range(63):
        inner.append([])
        inner = inner[0]
    inner.append(1)
    with pytest.raises(StateValueError, match="64 levels"):
        inner.append([])
    assert same(owner.other["it"], owner["it"])


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


def test_a_state_travels_as_a_plain_dictionary() -> None:
    owner = Owner(it=[1], table={"k": {1}})
    assert type(pickle.loads(pickle.dumps(owner.state))) is dict
    assert copy.deepcopy(owner.state) == {"it": [1], "table": {"k": {1}}}


def test_clearing_says_only_that() -> None:
    owner = Owner(it=[1], table={1: 1}, words={"a"})
    for name in ("it", "table", "words"):
        owner[name].clear()
    assert owner.told == [Delta(CLEAR, (name,)) for name in ("it", "table", "words")]
