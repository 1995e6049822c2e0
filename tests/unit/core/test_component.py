"""Components as plain objects: their place in a tree, and what hears of their changes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import lightning as L
from lightning.app.core.component import PLAIN, Component, Plain, send_elsewhere
from lightning.app.errors import ComponentError, FlowError, StateValueError, WorkError
from lightning.app.kernel.delta import DELETE, INSERT, SET, apply
from lightning.app.kernel.messages import Delta


class Work(L.LightningWork):
    rows: list[int] = []  # noqa: RUF012  # a class attribute that is state
    _cache: Any = None

    def __init__(self, n: int = 0) -> None:
        super().__init__()
        self.n = n
        self._cache = {"made": n}

    @property
    def half(self) -> float:
        return self.n / 2

    @property
    def settable(self) -> int:
        return self.n

    @settable.setter
    def settable(self, value: int) -> None:
        self.n = value

    def run(self, by: int = 1) -> int:
        self.n += by
        return self.n


class Flow(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.work = Work(1)
        self.inner = Inner()


class Inner(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.work = Work(2)


class Listener(Plain):
    """Hears of everything."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def change(self, component: Component, delta: Delta) -> None:
        self.heard.append(delta)
        apply(component._state, delta)

    def read(self, component: Component, name: str) -> None:
        self.heard.append(name)

    def attach(self, parent: Component, name: str, child: Component) -> Component:
        self.heard.append(("attach", name))
        return child

    def detach(self, parent: Component, name: str) -> None:
        self.heard.append(("detach", name))


def own(work: Work) -> dict[str, Any]:
    """The state that is not every work's."""
    common = L.LightningWork()._state
    return {name: value for name, value in work._state.items() if name not in common}


@pytest.fixture
def flow() -> Flow:
    return Flow()


@pytest.fixture
def listener(flow: Flow) -> Listener:
    flow._binding = flow.work._binding = Listener()
    return flow._binding


# -- attributes -----------------------------------------------------------------------------------


def test_public_names_are_state_and_private_ones_are_not(flow: Flow) -> None:
    flow._private = 3
    assert dict(flow._state) == {"count": 0}
    assert own(flow.work) == {"rows": [], "n": 1}
    assert (flow._private, flow.work._cache) == (3, {"made": 1})


def test_each_change_is_one_delta(flow: Flow, listener: Listener) -> None:
    flow.count = 5
    flow.table = {"a": [1]}
    flow.table["a"].append(2)
    del flow.table
    changes = [each for each in listener.heard if isinstance(each, Delta)]
    assert changes == [
        Delta(SET, ("count",), 5),
        Delta(SET, ("table",), {"a": [1]}),
        Delta(INSERT, ("table", "a"), [None, [2]]),
        Delta(DELETE, ("table",)),
    ]


def test_each_read_of_state_is_heard_and_of_nothing_else(flow: Flow, listener: Listener) -> None:
    _ = flow.count, flow.name, flow.works(), flow._children
    assert listener.heard == ["count"]


@pytest.mark.parametrize(
    "value", [None, True, 0, -(2**63), 2**64 - 1, 2**64, 2**100, 1.5, "a", "\u00e9", b"b", (1, [2])]
)
def test_a_value_comes_back_as_it_was_set(value: Any) -> None:
    work = Work()
    for _ in range(2):  # a new name, and one that is there
        work.value = value
        assert work.value == value
        assert type(work.value) is type(value)


def test_a_class_attribute_gives_each_its_own() -> None:
    one, other = Work(), Work()
    one.rows.append(1)
    assert (one.rows, other.rows, Work.rows) == ([1], [], [])


def test_a_subclass_inherits_what_is_state() -> None:
    class Sub(Work):
        more = 1

    assert own(Sub()) == {"rows": [], "more": 1, "n": 0}
    assert "more" not in Work()._state


def test_assigning_copies() -> None:
    given = [1]
    work = Work()
    work.given = given
    given.append(2)
    assert work.given == [1]


def test_assigning_what_is_there_is_no_change(flow: Flow, listener: Listener) -> None:
    flow.items = [1]
    listener.heard.clear()
    items = flow.items
    flow.items = items
    flow.items += [2]
    assert [each for each in listener.heard if isinstance(each, Delta)] == [
        Delta(INSERT, ("items",), [None, [2]])
    ]
    assert flow.items is items


def test_a_property_with_a_setter_is_set_and_one_without_says_so() -> None:
    work = Work(4)
    work.settable = 6
    assert (work.n, work.half) == (6, 3.0)
    with pytest.raises(StateValueError, match=r"Work\.half cannot be set.*property without a setter"):
        work.half = 1.0  # type: ignore[misc]


def test_a_method_is_not_to_be_overwritten() -> None:
    with pytest.raises(
        StateValueError, match=r"Work\.run cannot be set: Work\.run is a function of the class"
    ):
        Work().run = 3  # type: ignore[assignment,method-assign]


def test_what_is_not_there_is_named_with_its_place(flow: Flow) -> None:
    for missing in (lambda: flow.inner.work.speed, lambda: delattr(flow.inner.work, "speed")):
        with pytest.raises(AttributeError, match=r"^root\.inner\.work \(Work\) has no attribute 'speed'$"):
            missing()


def test_dir_knows_state_and_children(flow: Flow) -> None:
    assert {"count", "work", "inner", "run"} <= set(dir(flow))


# -- the tree -------------------------------------------------------------------------------------


def test_paths_name_places(flow: Flow) -> None:
    assert [each.name for each in flow._walk()] == ["root", "root.work", "root.inner", "root.inner.work"]
    assert repr(flow.inner.work) == f"<{__name__}.Work root.inner.work>"
    assert repr(Work()) == f"<{__name__}.Work Work>"


def test_a_component_takes_the_place_of_another(flow: Flow) -> None:
    old = flow.work
    flow.work = Work(9)
    assert (flow.work.n, flow.work.name) == (9, "root.work")
    assert list(flow._children) == ["work", "inner"]
    flow.work = flow.work  # nothing
    assert flow.work.n == 9
    assert old.n == 1


def test_a_value_takes_the_place_of_a_component_and_back(flow: Flow, listener: Listener) -> None:
    flow.work = 3  # type: ignore[assignment]
    assert (flow.work, list(flow._children), flow._state["work"]) == (3, ["inner"], 3)
    flow.work = Work(4)
    assert (flow.work.n, "work" in flow._state) == (4, False)
    told = [each for each in listener.heard if each != "work"]
    assert told == [
        ("detach", "work"),
        Delta(SET, ("work",), 3),
        ("attach", "work"),
        Delta(DELETE, ("work",)),
    ]


def test_a_component_that_was_taken_out_may_be_put_elsewhere(flow: Flow) -> None:
    work = flow.work
    del flow.work
    assert not hasattr(flow, "work")
    assert work._parent is None
    flow.inner.other = work
    assert work.name == "root.inner.other"


def test_a_refused_component_leaves_everything_as_it_was(flow: Flow) -> None:
    with pytest.raises(
        ComponentError, match=r"Flow\.work = \.\.\.: this Work is already at root\.inner\.work"
    ):
        flow.work = flow.inner.work
    with pytest.raises(ComponentError, match="a component cannot be below itself"):
        flow.inner.flow = flow
    with pytest.raises(ComponentError, match=r"Flow\.name cannot hold a component"):
        flow.name = Work()  # type: ignore[assignment,misc]
    assert [each.name for each in flow._walk()] == ["root", "root.work", "root.inner", "root.inner.work"]


# -- bindings -------------------------------------------------------------------------------------


def test_outside_an_app_it_is_plain_python(flow: Flow) -> None:
    assert (flow.work.run(2), flow.work.run(by=3)) == (3, 6)
    flow.work.start()
    flow.work.stop()
    assert flow.work._binding is PLAIN
    assert list(flow.experimental_iterate([1, 2])) == [1, 2]
    assert list(flow.experimental_iterate([1, 2])) == [1, 2]  # nobody keeps the place


@pytest.mark.parametrize(
    "ask", [lambda flow: flow.schedule("hourly"), lambda flow: flow.stop(), lambda flow: flow.fail()]
)
def test_what_only_an_app_can_do_says_so(ask: Any) -> None:
    with pytest.raises(
        FlowError, match=r"only an app that runs .* run, and start the app with lightning run app"
    ):
        ask(Flow())


def test_in_a_works_process_others_are_elsewhere(flow: Flow) -> None:
    send_elsewhere(flow)
    for ask in (flow.work.run, flow.work.start, flow.inner.work.stop):
        with pytest.raises(WorkError, match=r"root\.(inner\.)?work\.run was called from another work"):
            ask()
    assert flow.work.n == 1


# -- travelling -----------------------------------------------------------------------------------


def test_a_pickle_carries_what_is_private_and_knows_where_it_came_from(flow: Flow) -> None:
    work = pickle.loads(pickle.dumps(flow.inner.work))
    assert (work._cache, work.name, own(work)) == ({"made": 2}, "root.inner.work", {"rows": []})
    with pytest.raises(WorkError):
        work.run()


def test_a_copy_is_another_component_with_no_place(flow: Flow) -> None:
    flow.inner.work.rows.append(1)
    flow.inner.work._cache["made"] = 7
    other = copy.deepcopy(flow.inner)
    other.work.rows.append(2)
    other.work._cache["made"] = 8
    assert (flow.inner.work.rows, other.work.rows) == ([1], [1, 2])
    assert flow.inner.work._cache == {"made": 7}
    assert (other._parent, other.work.name) == (None, "root.work")
    shallow = copy.copy(flow.work)
    shallow.n = 9
    assert flow.work.n == 1


def test_two_names_in_what_is_copied_stay_one_component() -> None:
    work = Work()
    one, other = copy.deepcopy([work, work])
    assert one is other
