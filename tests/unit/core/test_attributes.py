"""Attributes of components outside an app: what users write in plain Python means what it means there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

import lightning as L
from lightning.app.errors import StateValueError


class Answering:
    def __getattr__(self, name: str) -> int:
        if name == "magic":
            return 42
        raise AttributeError(name)


class Answered(Answering, L.LightningWork):
    def __init__(self) -> None:
        super().__init__()
        self.plain = 1


class Extended(Answered):
    def __getattr__(self, name: str) -> int:
        return 7 if name == "seven" else super().__getattr__(name)


class Broken(L.LightningWork):
    @property
    def fraction(self) -> Any:
        return self.misspelt


def test_state_comes_before_a_getattr_of_the_users() -> None:
    work = Answered()
    assert (work.plain, work.magic) == (1, 42)
    assert not hasattr(work, "other")
    assert not hasattr(work, "_private")


def test_a_getattr_of_the_users_may_extend_another() -> None:
    work = Extended()
    assert (work.plain, work.seven, work.magic) == (1, 7, 42)


def test_a_property_that_fails_says_what_failed_in_it() -> None:
    with pytest.raises(AttributeError, match="'misspelt'"):
        _ = Broken().fraction


@pytest.mark.parametrize("name", ["name", "state"])
def test_a_name_that_is_taken_says_to_choose_another(name: str) -> None:
    with pytest.raises(StateValueError, match=rf"LightningFlow\.{name} cannot be set.*choose another name"):
        setattr(L.LightningFlow(), name, "mine")


def test_works_in_a_plain_list_are_refused_with_the_way_to_keep_several() -> None:
    with pytest.raises(StateValueError, match=r"LightningFlow\.works_\[0\].*structures\.List"):
        L.LightningFlow().works_ = [L.LightningWork()]


class Keeping(L.LightningWork):
    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.losses = [float(epochs)]
        self._private = {"epochs": epochs}


class Holding(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.keeping = Keeping(3)
        self.several = L.structures.List(Keeping(4))


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_component_is_another_with_the_same_state(copied: Callable[[Holding], Holding]) -> None:
    one = Holding()
    other = copied(one)
    other.keeping.losses.append(1.0)
    other.several[0]._private["epochs"] = 5
    assert one.keeping.losses == [3.0]
    assert other.keeping.losses == [3.0, 1.0]
    assert one.several[0]._private == {"epochs": 4}
    assert [each.name for each in other.works()] == ["root.keeping", "root.several.0"]


def test_a_component_may_have_a_copy_beside_it() -> None:
    flow = Holding()
    flow.another = copy.deepcopy(flow.keeping)
    assert [each.name for each in flow.works()] == ["root.keeping", "root.several.0", "root.another"]


def test_a_set_prints_as_a_set() -> None:
    flow = L.LightningFlow()
    flow.seen = {1}
    assert str(flow.seen) == "{1}"
    flow.seen.clear()
    assert str(flow.seen) == "set()"
