"""The tree of components, made, changed and deleted in run, sentence by sentence."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.app import structures
from lightning.app.testing import Harness, crash
from tests.contract.components import Echo, Flow


class Maker(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def run(self) -> None:
        if not hasattr(self, "echo"):
            self.echo = Echo(parallel=False)
            self.made += 1
        self.echo.run("x")


def test_a_component_made_in_run_is_rebuilt_before_the_first_pass_after_a_restart() -> None:
    app = Harness(Maker())
    app.run_until_idle()
    assert app.root.echo.ran == ["x"]
    journal = crash(app)
    root = Maker()
    with Harness(root, journal=journal) as again:
        assert root.echo.ran == ["x"]
        again.run_until_idle()
        assert root.made == 1
        assert root.echo.ran == ["x"]


class Assigner(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.option = True

    def run(self) -> None:
        self.echo = Echo(parallel=self.option)
        self.echo.run("x")


def test_assigning_the_same_class_and_arguments_keeps_the_old_component() -> None:
    with Harness(Assigner()) as app:
        app.run_until_idle()
        first = app.root.echo
        app.beat(3)
        assert app.root.echo is first
        assert first.ran == ["x"]


def test_other_arguments_replace_it_and_its_generation_rises() -> None:
    with Harness(Assigner()) as app:
        app.run_until_idle()
        first = app.root.echo
        app.root.option = False
        app.beat(2)
        assert app.root.echo is not first
        assert app.root.echo.ran == ["x"]
        assert app.runtime.model.components["root.echo"].generation == 2


class Asks(L.LightningWork):
    def __init__(self, whom: Any) -> None:
        super().__init__()
        self._whom = whom

    def run(self) -> None:
        pass


def test_a_component_made_in_run_takes_state_values_only() -> None:
    def run(flow: Any) -> None:
        flow.asks = Asks(whom=lambda: True)

    with Harness(Flow(run)) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "argument whom" in app.failure
        assert __file__ in app.failure


def test_children_can_be_deleted_in_run_and_stay_deleted_after_a_restart() -> None:
    def run(flow: Any) -> None:
        flow.echo.run(1) if hasattr(flow, "echo") else None
        if hasattr(flow, "echo"):
            del flow.echo

    app = Harness(Flow(run, echo=Echo()))
    app.run_until_idle()
    assert not hasattr(app.root, "echo")
    journal = crash(app)
    with Harness(Flow(run, echo=Echo()), journal=journal) as again:
        assert not hasattr(again.root, "echo")


class Nest(L.LightningFlow):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.echo = Echo()

    def run(self) -> None:
        if self.depth and not hasattr(self, "below"):
            self.below = Nest(self.depth - 1)
        self.echo.run(self.depth)
        if self.depth:
            self.below.run()


def test_children_may_be_created_at_any_depth() -> None:
    app = Harness(Nest(3))
    app.run_until_idle()
    assert app.root.below.below.below.echo.ran == [0]
    journal = crash(app)
    with Harness(Nest(3), journal=journal) as again:
        assert again.root.below.below.below.echo.ran == [0]
        assert len(again.app.works) == 4


class Pool(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.works_list = structures.List(Echo(), Echo())
        self.by_name = structures.Dict(a=Echo())
        self.wanted = 2

    def run(self) -> None:
        while len(self.works_list) < self.wanted:
            self.works_list.append(Echo())
        while len(self.works_list) > self.wanted:
            self.works_list.pop()
        for position, work in enumerate(self.works_list):
            work.run(position)
        self.by_name["a"].run("a")


def test_structures_hold_components_that_come_and_go() -> None:
    app = Harness(Pool())
    app.run_until_idle()
    app.root.wanted = 4
    app.beat(2)
    assert [work.ran for work in app.root.works_list] == [[0], [1], [2], [3]]
    app.root.wanted = 1
    app.beat(2)
    assert [work.name for work in app.root.works_list] == ["root.works_list.0"]
    journal = crash(app)
    with Harness(Pool(), journal=journal) as again:
        assert [work.ran for work in again.root.works_list] == [[0]]
        assert again.root.by_name["a"].ran == ["a"]


def test_a_deleted_work_says_so_when_it_is_called() -> None:
    kept: list[Any] = []

    def run(flow: Any) -> None:
        if hasattr(flow, "echo"):
            kept.append(flow.echo)
            del flow.echo
        kept[0].run(1)

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "deleted" in app.failure


def test_names_works_flows_and_state_tell_the_tree() -> None:
    inner = Nest(0)
    flow = Flow(lambda flow: None, inner=inner, echo=Echo())
    with Harness(flow) as app:
        assert flow.name == "root"
        assert inner.echo.name == "root.inner.echo"
        assert {work.name for work in flow.works()} == {"root.inner.echo", "root.echo"}
        assert [work.name for work in flow.works(recurse=False)] == ["root.echo"]
        assert dict(flow.named_works)["root.echo"] is flow.echo
        assert flow.flows == {"inner": inner}
        assert app.app.get_component_by_name("root.inner.echo") is inner.echo
        assert flow.state["flows"]["inner"]["vars"] == {"depth": 0}


def test_load_state_dict_sets_what_state_dict_gave() -> None:
    one, two = Nest(0), Nest(0)
    one.depth = 5
    one.echo.ran.append("x")
    two.load_state_dict(one.state_dict())
    assert two.depth == 5
    assert two.echo.ran == ["x"]
