"""Code that changed between two starts of a run: what is honoured, and what is refused or dropped."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

import lightning.app as L
from lightning.app.core.structures import List
from lightning.app.errors import CodeChangedError
from lightning.app.journal.memory import MemoryJournal
from lightning.app.kernel import facts as f
from lightning.app.kernel.model import fold
from lightning.app.testing import Harness, crash


class Flow(L.LightningFlow):
    """Its ``__init__`` and its ``run`` are what a version of the code says."""

    def __init__(self, begin: Callable[[Any], None], run: Callable[[Any], None] = lambda flow: None) -> None:
        super().__init__()
        self._run = run
        begin(self)

    def run(self) -> None:
        self._run(self)


class Work(L.LightningWork):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.n = 0

    def run(self, x: int) -> int:
        self.n += x
        return x


class Child(L.LightningFlow):
    pass


def killed(root: L.LightningFlow) -> MemoryJournal:
    """The journal of an app that was killed when it had nothing more to do."""
    harness = Harness(root)
    harness.run_until_idle()
    assert harness.exit_code is None
    return crash(harness)


def resumed(root: L.LightningFlow, journal: MemoryJournal, *, drop: bool = False) -> Harness:
    harness = Harness(root, journal=journal, drop_unfit=drop)
    harness.run_until_idle()
    return harness


def refusal(root: L.LightningFlow, journal: MemoryJournal) -> str:
    with pytest.raises(CodeChangedError) as refused:
        Harness(root, journal=journal)
    return str(refused.value)


def setting(**values: Any) -> Callable[[Any], None]:
    def begin(flow: Any) -> None:
        for name, value in values.items():
            setattr(flow, name, value() if isinstance(value, type) else value)

    return begin


# -- honoured without a question ------------------------------------------------------------------


def test_new_attributes_appear_changed_defaults_leave_the_state_and_what_is_not_set_any_more_stays() -> None:
    def count(flow: Any) -> None:
        if flow.n == 1:
            flow.n, flow.made_in_run = 7, "kept"

    journal = killed(Flow(setting(n=1, made_in_run=None), count))
    with resumed(Flow(setting(n=100, new="here")), journal) as harness:
        assert harness.root.state_dict()["vars"] == {"n": 7, "made_in_run": "kept", "new": "here"}


def test_new_children_appear_and_those_that_are_no_longer_made_go_with_their_calls() -> None:
    def first(flow: Any) -> None:
        flow.old.run(1)

    journal = killed(Flow(setting(old=Work), first))
    with resumed(Flow(setting(young=Work), lambda flow: flow.young.run(2)), journal) as harness:
        assert [work.name for work in harness.app.works] == ["root.young"]
        assert harness.root.young.n == 2
        assert harness.runtime.tree.told == ["root.old is no longer in the code: deleted, with what it had"]


def test_options_are_those_of_the_new_code_and_a_finished_call_stays_finished() -> None:
    def run(flow: Any) -> None:
        flow.work.run(1)

    journal = killed(Flow(setting(work=Work), run))
    with resumed(Flow(lambda flow: setattr(flow, "work", Work(retries=3)), run), journal) as harness:
        assert harness.root.work.n == 1
        assert harness.runtime.model.works["root.work"].options.retries == 3


def test_a_structure_that_has_become_shorter_loses_its_last() -> None:
    journal = killed(Flow(lambda flow: setattr(flow, "rows", List(Work(), Work(), Work()))))
    with resumed(Flow(lambda flow: setattr(flow, "rows", List(Work()))), journal) as harness:
        assert len(harness.root.rows) == 1
        assert harness.runtime.tree.told[0].startswith("root.rows.1 is no longer in the code")


def test_a_field_that_a_dataclass_has_got_since_has_its_default(module: Any) -> None:
    module.Point = at_top(module, dataclass(frozen=True)(type("Point", (), {"__annotations__": {"x": int}})))
    journal = killed(Flow(setting(point=module.Point(1))))
    annotated = {"__annotations__": {"x": int, "y": int}, "y": 5}
    module.Point = at_top(module, dataclass(frozen=True)(type("Point", (), annotated)))
    with resumed(Flow(setting(point=None)), journal) as harness:
        assert harness.root.point == module.Point(1, 5)


def test_a_failed_call_whose_arguments_were_mended_in_the_code_is_not_tried_again() -> None:
    class Fails(Work):
        def run(self, x: int) -> int:
            raise ValueError("x is not enough")

    class Mended(Work):
        def run(self, x: int, y: int) -> int:
            return x + y

    harness = Harness(Flow(setting(work=Fails), lambda flow: flow.work.run(1)))
    harness.run_until_idle()
    assert harness.exit_code == 1
    told: list[int] = []
    journal = crash(harness)
    with resumed(Flow(setting(work=Mended), lambda flow: told.append(flow.work.run(1, 2))), journal) as again:
        assert told[0] == 3
        assert again.exit_code is None
        assert "root.work.run(1) had failed" in again.runtime.tree.told[-1]


# -- refused, or dropped --------------------------------------------------------------------------


def test_a_work_that_has_become_a_flow_is_refused_with_the_choice_to_go_on_or_to_start_anew() -> None:
    journal = killed(Flow(setting(part=Work), lambda flow: flow.part.run(1)))
    said = refusal(Flow(setting(part=Child)), journal.reopen())
    assert "root.part: the run has a work" in said
    assert "the code has a flow" in said
    assert "--drop-unfit" in said
    assert "start a new run (without --resume)" in said


def test_dropped_it_is_made_anew_and_the_journal_says_so() -> None:
    journal = killed(Flow(setting(part=Work), lambda flow: flow.part.run(1)))
    with resumed(Flow(setting(part=Child)), journal, drop=True) as harness:
        assert isinstance(harness.root.part, Child)
        assert harness.runtime.tree.told[0].startswith("dropped: root.part: the run has a work")
    facts = [fact for turn in journal.reopen().read() for fact in f.decode_turn(turn.facts)]
    assert f.Deleted("root.part", "code") in facts
    assert (
        fold((turn.at, f.decode_turn(turn.facts)) for turn in journal.read()).components["root.part"].kind
        == "flow"
    )


def test_what_is_below_a_component_of_another_kind_goes_with_it() -> None:
    def deep(flow: Any) -> None:
        flow.part = Flow(setting(inner=Work, n=1))

    journal = killed(Flow(deep))
    with resumed(Flow(lambda flow: setattr(flow, "part", List())), journal, drop=True) as harness:
        assert len(harness.root.part) == 0


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (property(lambda self: 1), "a property"),
        (lambda self: 1, "a function"),
        (staticmethod(len), "a staticmethod"),
    ],
)
def test_an_attribute_whose_name_the_code_uses_otherwise_is_a_misfit(now: Any, what: str) -> None:
    journal = killed(Flow(setting(rate=0.1)))
    other = type("Other", (Flow,), {"rate": now})
    assert f"root.rate: the run has the value 0.1, the code has {what}" in refusal(other(setting()), journal)
    with resumed(other(setting()), journal.reopen(), drop=True) as harness:
        assert "rate" not in harness.root.state_dict()["vars"]


def test_an_attribute_that_has_become_a_component_is_a_misfit() -> None:
    journal = killed(Flow(setting(part=[1, 2])))
    assert "root.part: the run has the value [1, 2], the code has a work" in refusal(
        Flow(setting(part=Work)), journal
    )
    with resumed(Flow(setting(part=Work)), journal.reopen(), drop=True) as harness:
        assert isinstance(harness.root.part, Work)


def test_a_component_that_has_become_an_attribute_is_replaced_by_it() -> None:
    journal = killed(Flow(setting(part=Work)))
    with resumed(Flow(setting(part=3)), journal) as harness:
        assert harness.root.part == 3
        assert harness.app.works == []


def test_a_value_of_a_class_that_is_gone_is_a_misfit_also_deep_inside(module: Any) -> None:
    module.Color = at_top(module, Enum("Color", "RED BLUE"))
    journal = killed(Flow(setting(table={"wheel": [module.Color.RED]}, n=1)))
    del module.Color
    said = refusal(Flow(setting(table=None, n=0)), journal)
    assert "root.table: the run has a value of" in said
    assert "Color" in said
    with resumed(Flow(setting(table=None, n=0)), journal.reopen(), drop=True) as harness:
        assert harness.root.state_dict()["vars"] == {"table": None, "n": 1}


def test_a_call_that_waits_and_that_run_no_longer_takes_is_a_misfit() -> None:
    class Changed(Work):
        def run(self, x: int, scale: float) -> int:
            return int(x * scale)

    harness = Harness(Flow(setting(work=Work), lambda flow: flow.work.run(5)))
    harness.step()  # asked for, and not yet run
    journal = crash(harness)
    now = lambda flow: flow.work.run(5, 2.0)  # noqa: E731 - a version of the code
    said = refusal(Flow(setting(work=Changed), now), journal)
    assert (
        "root.work.run(5) is not finished, and run(self, x" not in said
    )  # as the user calls it: without self
    assert "root.work.run(5) is not finished, and run(x: int, scale: float) -> int does not take it" in said
    with resumed(Flow(setting(work=Changed), now), journal.reopen(), drop=True) as again:
        assert again.root.work.num_successes == 1
    model = fold((turn.at, f.decode_turn(turn.facts)) for turn in journal.reopen().read())
    assert not list(model.works["root.work"].unfinished())


def test_a_component_made_in_run_whose_class_is_gone_or_takes_other_arguments_is_a_misfit(
    module: Any,
) -> None:
    class Made(Child):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.size = size

    class Other(Child):
        def __init__(self, size: int, depth: int) -> None:
            super().__init__()
            self.depth = depth

    def make(flow: Any) -> None:
        if not hasattr(flow, "gone"):
            flow.gone, flow.changed = module.Gone(1), module.Changed(2)

    module.Gone = at_top(module, type("Gone", (Made,), {}))
    module.Changed = at_top(module, type("Changed", (Made,), {}))
    journal = killed(Flow(setting(), make))
    del module.Gone
    module.Changed = at_top(module, type("Changed", (Other,), {}))
    said = refusal(Flow(setting()), journal)
    assert "root.gone was made by run as a versions:Gone, which the code no longer has" in said
    assert "root.changed was made by run as Changed(2), which now raises TypeError:" in said
    with resumed(Flow(setting()), journal.reopen(), drop=True) as harness:
        assert [flow.name for flow in harness.app.flows] == ["root"]


def test_a_class_made_in_run_that_is_of_another_kind_now_is_a_misfit_and_made_anew(module: Any) -> None:
    def make(flow: Any) -> None:
        if not hasattr(flow, "part"):
            flow.part = module.Part()

    module.Part = at_top(module, type("Part", (Child,), {}))
    journal = killed(Flow(setting(), make))
    module.Part = at_top(module, type("Part", (Work,), {}))
    assert "root.part: the run has a flow" in refusal(Flow(setting(), make), journal)
    with resumed(Flow(setting(), make), journal.reopen(), drop=True) as harness:
        assert isinstance(harness.root.part, Work)
    with resumed(Flow(setting()), journal.reopen()) as again:  # it is known as made by run
        assert isinstance(again.root.part, Work)


def test_a_root_of_another_kind_leaves_nothing_to_go_on_with() -> None:
    journal = killed(Flow(setting()))
    with pytest.raises(CodeChangedError) as refused:
        Harness(type("Other", (Work,), {"run": lambda self: None})(), journal=journal, drop_unfit=True)
    assert "root: the run has a flow" in str(refused.value)
    assert "--drop-unfit" not in str(refused.value)


def test_every_misfit_is_named_at_once_and_nothing_is_written(module: Any) -> None:
    journal = killed(Flow(setting(a=1, b=2, part=Work)))
    last = journal.last
    other = type("Other", (Flow,), {"a": property(lambda self: 1), "b": property(lambda self: 1)})
    said = refusal(other(setting(part=Child)), journal)
    assert said.count("\n  root.") == 3
    assert journal.last == last


# -- classes of another version -------------------------------------------------------------------


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """The app's module, in which classes come and go."""
    made = sys.modules["versions"] = types.ModuleType("versions")
    yield made
    del sys.modules["versions"]


def at_top(module: types.ModuleType, cls: Any) -> Any:
    cls.__module__ = module.__name__
    cls.__qualname__ = cls.__name__
    return cls
