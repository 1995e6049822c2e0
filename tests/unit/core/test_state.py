from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning.app.core.state import State, TrackedDict, TrackedList, TrackedSet
from lightning.app.core.work import LightningWork
from lightning.app.errors import StateValueError
from lightning.app.kernel import delta as d
from lightning.app.kernel.canonical import canonical
from lightning.app.kernel.delta import apply
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import decode, encode, pack
from tests.unit.kernel import drawn


class Owner:
    """A component that keeps what it is told, and a plain copy that only what it was told changes."""

    _where = "root.w"

    def __init__(self, **attributes: Any) -> None:
        self.state = State(self)
        self.told: list[Delta] = []
        self.elsewhere: dict[str, Any] = {}
        for name, value in attributes.items():
            self._change(Delta(d.SET, (name,), pack(value)))
        self.told.clear()

    def _change(self, delta: Delta) -> None:
        assert apply(self.state, delta).fitted
        self.told.append(delta)
        op, path, value = decode(encode([delta.op, list(delta.path), delta.value]))
        apply(self.elsewhere, Delta(op, tuple(path), value))


def outcome(act: Any, container: Any) -> Any:
    """What it gives, or the kind of exception that it raises."""
    try:
        return "gave", plain(act(container))
    except Exception as error:
        return "raised", type(error)


def plain(value: Any) -> Any:
    return copy.deepcopy(value)


def content(value: Any) -> bytes:
    return canonical(pack(plain(value)))


indices = st.integers(-5, 5)
slices = st.builds(slice, st.none() | indices, st.none() | indices, st.none() | st.integers(-3, 3))
odd = st.sampled_from((None, "ab", 1.5, object))
lists = st.lists(drawn.nested, max_size=4)
dicts = st.dictionaries(drawn.keys, drawn.nested, max_size=4)
sets = st.sets(drawn.small, max_size=4)
elements = drawn.small | st.just([1]) | st.sets(drawn.small, max_size=1)


def doing(name: str, *drawn_arguments: Any, **named: Any) -> Any:
    """A call of the method ``name``, with drawn arguments."""
    arguments = st.tuples(*drawn_arguments), st.fixed_dictionaries(named)
    return st.builds(
        lambda args, kwargs: (name, lambda it: getattr(it, name)(*copy.deepcopy(args), **kwargs)), *arguments
    )


def _assign(it: Any, index: Any, value: Any) -> None:
    it[index] = copy.deepcopy(value)


def _remove(it: Any, index: Any) -> None:
    del it[index]


def in_place(name: str, other: Any) -> Any:
    """``it += other`` and its kin."""

    def act(it: Any, other: Any) -> Any:
        operated = getattr(it, name)(copy.deepcopy(other))
        if operated is NotImplemented:
            raise TypeError(name)
        assert operated is it
        return None

    return st.builds(lambda other: (name, lambda it: act(it, other)), other)


list_methods = st.one_of(
    doing("append", drawn.nested),
    doing("extend", lists | odd),
    doing("extend", st.just("text")),
    doing("insert", indices | odd, drawn.nested),
    doing("pop"),
    doing("pop", indices | odd),
    doing("remove", drawn.nested),
    doing("clear"),
    doing("reverse"),
    doing("sort"),
    # Not by repr: a set and its copy may tell their elements in another order.
    doing(
        "sort",
        key=st.sampled_from((lambda x: canonical(pack(x)), lambda x: 0, lambda x: x[0])),
        reverse=st.booleans(),
    ),
    st.builds(
        lambda at, x: ("x[i] = y", lambda it: _assign(it, at, x)), indices | slices | odd, drawn.nested
    ),
    st.builds(lambda at, x: ("x[a:b] = y", lambda it: _assign(it, at, x)), slices, lists),
    st.builds(lambda at: ("del x[i]", lambda it: _remove(it, at)), indices | slices | odd),
    in_place("__iadd__", lists | odd),
    in_place("__imul__", st.integers(-1, 3) | odd),
)
dict_methods = st.one_of(
    st.builds(
        lambda key, x: ("x[k] = y", lambda it: _assign(it, key, x)), drawn.keys | st.just([]), drawn.nested
    ),
    st.builds(lambda key: ("del x[k]", lambda it: _remove(it, key)), drawn.keys | st.just([])),
    doing("pop", drawn.keys),
    doing("pop", drawn.keys, drawn.nested),
    doing("pop", drawn.keys, drawn.nested, drawn.nested),
    doing("popitem"),
    doing("setdefault", drawn.keys),
    doing("setdefault", drawn.keys, drawn.nested),
    doing("update"),
    doing("update", dicts | odd),
    doing(
        "update", st.lists(st.tuples(drawn.keys, drawn.nested), max_size=3), self=drawn.nested, a=drawn.nested
    ),
    doing("update", dicts, dicts),
    doing("clear"),
    in_place("__ior__", dicts | odd),
    in_place("__ior__", st.lists(st.tuples(drawn.keys, drawn.nested), max_size=2)),
)
set_methods = st.one_of(
    doing("add", elements),
    doing("discard", elements),
    doing("remove", elements),
    doing("clear"),
    *(doing(f"{name}", *[sets | st.lists(drawn.small, max_size=2) | odd] * count)
      for name in ("update", "difference_update", "intersection_update") for count in range(3)),
    doing("symmetric_difference_update", sets | st.lists(drawn.small) | odd),
    *(in_place(name, sets | st.frozensets(drawn.small, max_size=3) | st.lists(drawn.small, max_size=1) | odd)
      for name in ("__ior__", "__iand__", "__isub__", "__ixor__")),
)  # fmt: skip


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("first", "methods"), [(lists, list_methods), (dicts, dict_methods), (sets, set_methods)]
)
def test_every_method_does_what_python_does_and_says_what_it_changed(
    first: Any, methods: Any, deep: bool
) -> None:
    @settings(max_examples=250)
    @given(first, st.lists(methods, min_size=1, max_size=4))
    def check(value: Any, acts: list[Any]) -> None:
        ordinary = copy.deepcopy(value)
        owner = Owner(x=[0, {(1, 2): value}] if deep else value)
        find = (lambda: owner.state["x"][1][1, 2]) if deep else (lambda: owner.state["x"])
        node = find()
        for name, act in acts:
            before, ours, told = content(ordinary), content(node), len(owner.told)
            expected, got = outcome(act, ordinary), outcome(act, node)
            assert got[0] == expected[0], f"{name} {got}, where Python {expected}"
            if expected[0] == "raised":
                assert issubclass(got[1], expected[1]) or got[1] is StateValueError
                if content(ordinary) != before:  # Python had come halfway; here, nothing happened
                    ordinary = copy.deepcopy(node)
                assert content(node) == ours
                assert len(owner.told) == told
            else:
                assert content(got[1]) == content(expected[1]), name
            assert find() is node
            assert node == ordinary, name
            if not isinstance(node, set):  # of two equal elements Python's &= may keep either
                assert content(node) == content(ordinary), name
            assert content(owner.elsewhere) == content(owner.state), name
            assert type(copy.deepcopy(node)) in (list, dict, set)

    check()


def test_a_slice_that_is_wrong_is_said_before_the_value_is_looked_at() -> None:
    work = LightningWork()
    work.rows = [1, 2, 3]
    with pytest.raises(ValueError, match="slice step cannot be zero"):
        work.rows[::0] = 0  # type: ignore[call-overload]


def test_a_set_gives_up_any_element_and_says_which() -> None:
    owner = Owner(x={1, 2, 3})
    gone = owner.state["x"].pop()
    assert owner.state["x"] == owner.elsewhere["x"] == {1, 2, 3} - {gone}
    owner.state["x"].clear()
    with pytest.raises(KeyError):
        owner.state["x"].pop()


@pytest.mark.parametrize("kind", [list, dict, set])
def test_no_method_that_changes_a_container_is_forgotten(kind: type) -> None:
    tracked = {list: TrackedList, dict: TrackedDict, set: TrackedSet}[kind]
    reading = {
        "__add__ __mul__ __rmul__ __contains__ __getitem__ __iter__ __len__ __reversed__ count index __class_getitem__",
        "get items keys values fromkeys __or__ __ror__",
        "__and__ __rand__ __sub__ __rsub__ __xor__ __rxor__ difference intersection union symmetric_difference "
        "isdisjoint issubset issuperset",
        "__init__ __new__ __repr__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __hash__ __doc__ __getattribute__ "
        "__sizeof__ __reduce__ copy",
    }
    harmless = {name for names in reading for name in names.split()}
    for name in vars(kind):
        if name not in harmless:
            assert name in vars(tracked), f"{kind.__name__}.{name} would change it unseen"


# -- the place of a container ---------------------------------------------------------------------


def test_a_container_that_moved_in_its_list_is_found_again() -> None:
    owner = Owner(x=[[1], [2], [3]])
    last = owner.state["x"][2]
    owner.state["x"].insert(0, "new")
    owner.state["x"].remove([1])
    owner.state["x"].reverse()
    last.append(4)
    assert owner.elsewhere["x"] == [[3, 4], [2], "new"]


@pytest.mark.parametrize("takes_out", [
    lambda x: x.pop(0), lambda x: x.clear(), lambda x: x.__setitem__(0, 1), lambda x: x.__delitem__(slice(None)),
])  # fmt: skip
def test_a_container_that_was_taken_out_is_an_ordinary_one(takes_out: Any) -> None:
    owner = Owner(x=[[1, {"a": {1}}]])
    held = owner.state["x"][0]
    takes_out(owner.state["x"])
    owner.told.clear()
    held.append(object())
    held[1]["a"].add(2)
    held[1]["b"] = (1, [2])
    held.extend([(3,)])
    assert owner.told == []
    assert len(held) == 4
    assert held[3] == (3,)
    assert held[1] == {"a": {1, 2}, "b": (1, [2])}


def test_adding_to_what_is_there_says_what_was_added_and_no_more() -> None:
    owner = Owner(x={"l": [[1]], "s": {1}})
    x = owner.state["x"]
    x["l"] += [2]
    x["l"][0] += [3]
    x["s"] |= {4}
    assert [delta.op for delta in owner.told] == [d.INSERT, d.INSERT, d.ADD]
    assert owner.elsewhere["x"] == {"l": [[1, 3], 2], "s": {1, 4}}


def test_sorting_keeps_the_containers_that_are_sorted() -> None:
    owner = Owner(x=[[3], [1], [2]])
    first = owner.state["x"][0]
    owner.state["x"].sort()
    first.append(4)
    assert owner.elsewhere["x"] == [[1], [2], [3, 4]]
    assert owner.told[0] == Delta(d.REORDER, ("x",), [1, 2, 0])


def test_what_changes_nothing_says_nothing() -> None:
    owner = Owner(x=[1, 2], s={1}, d={})
    owner.state["x"].extend([])
    owner.state["x"].sort()
    owner.state["s"].add(1)
    owner.state["s"].update({1})
    owner.state["s"].discard(9)
    owner.state["d"].update({})
    assert owner.told == []


def test_a_container_is_copied_when_it_is_put_in() -> None:
    inner = [1]
    owner = Owner(x=[])
    owner.state["x"].append(inner)
    inner.append(2)
    owner.state["x"][0].append(3)
    assert inner == [1, 2]
    assert owner.state["x"] == [[1, 3]]


def test_a_container_inside_a_tuple_says_that_it_cannot_change() -> None:
    owner = Owner(x=([1], 2))
    with pytest.raises(StateValueError, match=r"inside a tuple.* use a list"):
        owner.state["x"][0].append(1)


@pytest.mark.parametrize(
    ("act", "told"),
    [
        (lambda s: s["l"].append(object()), r"^root.w.l\[1\]: a object cannot be state"),
        (lambda s: s["l"].extend([1, [object()]]), r"^root.w.l\[2\]\[0\]: "),
        (lambda s: s["l"][0].insert(3, {"k": object()}), r"^root.w.l\[0\]\[3\]\['k'\]: "),
        (lambda s: s["l"].__setitem__(slice(0, 1), [object()]), r"^root.w.l\[0\]: "),
        (lambda s: s["d"].__setitem__("k", object()), r"^root.w.d\['k'\]: "),
        (lambda s: s["d"].__setitem__(object, 1), r"^root.w.d \(its key <class 'object'>\): "),
        (lambda s: s["d"].update(k=[object()]), r"^root.w.d\['k'\]\[0\]: "),
        (lambda s: s["s"].add(object), r"^root.w.s \(its element <class 'object'>\): "),
    ],
)
def test_a_refusal_names_the_part(act: Any, told: str) -> None:
    owner = Owner(l=[[]], d={}, s=set())
    with pytest.raises(StateValueError, match=told):
        act(owner.state)
    assert owner.told == []


def test_a_tree_that_grows_by_itself_is_refused_where_it_becomes_too_deep() -> None:
    owner = Owner(x={})
    node = owner.state["x"]
    with pytest.raises(StateValueError, match="more than 64 levels"):  # noqa: PT012 - it is one of many steps
        for _ in range(100):
            node["c"] = {}
            node = node["c"]
    pack(owner.state["x"])


@pytest.mark.parametrize("key", [2**70, "\udcff", (1, 2), frozenset({1}), None, 1.5, b"k", True])
def test_a_path_through_any_key_travels(key: Any) -> None:
    owner = Owner(x={key: []})
    owner.state["x"][key].append(1)
    owner.state["x"][key] = [owner.state["x"].pop(key)]
    assert owner.elsewhere["x"] == {key: [[1]]}


# -- as the plain ones ----------------------------------------------------------------------------


@given(st.fixed_dictionaries({"l": lists, "d": dicts, "s": sets}))
def test_a_tracked_container_looks_like_a_plain_one(state: dict[str, Any]) -> None:
    owner = Owner(**state)
    for name, value in state.items():
        node = owner.state[name]
        assert node == value
        assert copy.copy(node) == value
        assert type(copy.copy(node)) is type(value)
        assert content(pickle.loads(pickle.dumps(node))) == content(value)
        assert type(pickle.loads(pickle.dumps(node))) is type(value)
    assert type(pickle.loads(pickle.dumps(owner.state))) is dict
    assert owner.told == []


def test_it_prints_and_dumps_like_a_plain_one() -> None:
    value = [1, {"a": [2, {"b": None}]}]
    node = Owner(x=value).state["x"]
    assert repr(node) == repr(value)
    assert json.dumps(node) == json.dumps(value)
    assert isinstance(node, list)
    assert isinstance(node[1], dict)
    assert type(node[:]) is list
    assert repr(Owner(x={"s": {1}, "e": set()}).state["x"]) == repr({"s": {1}, "e": set()})


def test_it_has_room_for_nothing_else() -> None:
    with pytest.raises(AttributeError):
        Owner(x=[]).state["x"].note = 1
