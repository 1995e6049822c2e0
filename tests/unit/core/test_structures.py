"""Lists and dictionaries of components, as plain Python and as places in a tree."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import lightning as L
from lightning.app import structures
from lightning.app.errors import ComponentError


class Work(L.LightningWork):
    def __init__(self, n: int = 0) -> None:
        super().__init__()
        self.n = n


class Flow(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.rows: structures.List[Work] = structures.List(Work(0), Work(1), Work(2))
        self.named: structures.Dict[Any] = structures.Dict({"a": Work(0)}, b=Work(1))


@pytest.fixture
def flow() -> Flow:
    return Flow()


def numbers(rows: structures.List[Work]) -> list[int]:
    return [row.n for row in rows]


# -- lists ----------------------------------------------------------------------------------------


def test_a_list_is_read_like_a_list(flow: Flow) -> None:
    rows = flow.rows
    first, *_, last = rows
    assert (len(rows), bool(rows), rows[0], rows[-1]) == (3, True, first, last)
    assert [each.n for each in rows[1:]] == [1, 2]
    assert [each.n for each in rows[::-2]] == [2, 0]
    assert first in rows
    assert Work(0) not in rows
    assert not structures.List()


def test_members_have_places_in_the_tree(flow: Flow) -> None:
    assert [row.name for row in flow.rows] == ["root.rows.0", "root.rows.1", "root.rows.2"]
    assert [name for name, _ in flow.named_works] == [
        "root.rows.0",
        "root.rows.1",
        "root.rows.2",
        "root.named.a",
        "root.named.b",
    ]


def test_a_member_keeps_its_name_when_others_go(flow: Flow) -> None:
    gone = flow.rows.pop(1)
    assert (gone.n, gone.name) == (1, "1")
    assert [row.name for row in flow.rows] == ["root.rows.0", "root.rows.2"]
    assert flow.rows[1].n == 2
    flow.rows.append(Work(3))
    assert flow.rows[-1].name == "root.rows.3"
    assert numbers(flow.rows) == [0, 2, 3]


def test_ten_members_stay_in_the_order_in_which_they_came() -> None:
    rows = structures.List(*[Work(n) for n in range(12)])
    assert numbers(rows) == list(range(12))


def test_what_was_taken_out_may_be_put_in_again(flow: Flow) -> None:
    flow.rows.append(flow.rows.pop())
    assert flow.rows[-1].name == "root.rows.2"  # the last name was free again


def test_a_member_is_replaced_in_its_place(flow: Flow) -> None:
    flow.rows[1] = Work(7)
    assert numbers(flow.rows) == [0, 7, 2]
    assert flow.rows[1].name == "root.rows.1"


def test_a_list_is_emptied_and_filled(flow: Flow) -> None:
    del flow.rows[0]
    flow.rows.clear()
    assert (len(flow.rows), list(flow.rows), flow.rows[:]) == (0, [], [])
    flow.rows.extend(Work(n) for n in (4, 5))
    assert [row.name for row in flow.rows] == ["root.rows.0", "root.rows.1"]


def test_a_list_may_lose_members_while_one_goes_through_it(flow: Flow) -> None:
    for row in flow.rows:
        if row.n != 1:
            flow.rows.pop(list(flow.rows).index(row))
    assert numbers(flow.rows) == [1]


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_that_is_not_there_says_how_many_there_are(flow: Flow, index: int) -> None:
    with pytest.raises(IndexError, match=rf"^root\.rows\[{index}\]: it has 3 members$"):
        flow.rows[index]
    with pytest.raises(IndexError, match="it has 3 members"):
        del flow.rows[index]


# -- dictionaries ---------------------------------------------------------------------------------


def test_a_dictionary_is_read_like_a_dictionary(flow: Flow) -> None:
    named = flow.named
    assert (list(named), named.keys(), len(named)) == (["a", "b"], ["a", "b"], 2)
    assert [work.n for work in named.values()] == [0, 1]
    assert named.items() == [("a", named["a"]), ("b", named["b"])]
    assert (named.get("a"), named.get("c"), named.get("c", named["b"])) == (named["a"], None, named["b"])
    assert "a" in named
    assert "c" not in named


def test_names_come_and_go(flow: Flow) -> None:
    flow.named["c"] = Work(3)
    flow.named.update({"d": Work(4), "a": Work(9)})
    assert [(name, work.n, work.name) for name, work in flow.named.items()] == [
        ("a", 9, "root.named.a"),  # replaced in its place
        ("b", 1, "root.named.b"),
        ("c", 3, "root.named.c"),
        ("d", 4, "root.named.d"),
    ]
    assert flow.named.pop("b").n == 1
    del flow.named["c"]
    assert sorted(flow.named) == ["a", "d"]


def test_a_dictionary_may_lose_names_while_one_goes_through_it(flow: Flow) -> None:
    for name in flow.named:
        del flow.named[name]
    assert not flow.named


def test_a_missing_key_names_itself_and_what_is_there(flow: Flow) -> None:
    for ask in (flow.named.__getitem__, flow.named.pop, flow.named.__delitem__):
        with pytest.raises(KeyError, match=r"root\.named has no member 'c'; it has \['a', 'b'\]"):
            ask("c")


@pytest.mark.parametrize("name", ["", "a.b", 3, None])
def test_a_members_name_is_a_text_without_a_dot(flow: Flow, name: Any) -> None:
    with pytest.raises(ComponentError, match=r"root\.named\[.*\]: a member's name is a text without a dot"):
        flow.named[name] = Work()


def test_a_name_may_be_that_of_a_method() -> None:
    named = structures.Dict(pop=Work(1), keys=Work(2), _private=Work(3))
    assert [named["pop"].n, named["keys"].n, named["_private"].n] == [1, 2, 3]
    assert named.keys() == ["pop", "keys", "_private"]


# -- what is refused, and copies ------------------------------------------------------------------


@pytest.mark.parametrize("value", [3, "text", None, [Work()]])
def test_a_plain_value_belongs_into_an_ordinary_list(flow: Flow, value: Any) -> None:
    told = (
        f"holds flows and works, not a {type(value).__name__}; keep plain values in an ordinary list or dict"
    )
    with pytest.raises(ComponentError, match=told):
        flow.rows.append(value)
    with pytest.raises(ComponentError, match=told):
        flow.rows[0] = value
    with pytest.raises(ComponentError, match=told):
        flow.named["a"] = value


def test_a_structure_has_members_only(flow: Flow) -> None:
    with pytest.raises(ComponentError, match=r"root\.rows\.size = \.\.\.: a structure has members only"):
        flow.rows.size = 3  # type: ignore[attr-defined]


def test_a_member_has_one_place(flow: Flow) -> None:
    with pytest.raises(ComponentError, match=r"already at root\.rows\.0; a component has one place"):
        flow.named["c"] = flow.rows[0]


def test_structures_hold_structures_and_flows() -> None:
    nested: structures.Dict[Any] = structures.Dict(inner=structures.List(Work(5)), flow=Flow())
    assert nested["inner"][0].n == 5
    assert [each.name for each in nested._walk()][:3] == ["root", "root.inner", "root.inner.0"]


def test_a_copy_is_another_tree(flow: Flow) -> None:
    other = copy.deepcopy(flow)
    other.rows[0].n = 9
    other.rows.pop()
    assert (numbers(other.rows), numbers(flow.rows)) == ([9, 1], [0, 1, 2])


def test_a_structure_can_be_pickled_and_its_members_stay_where_they_are(flow: Flow) -> None:
    assert not pickle.loads(pickle.dumps(flow.rows))
