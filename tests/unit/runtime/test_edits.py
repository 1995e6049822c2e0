"""What of a run that is resumed goes on with edited code, what does not, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

import lightning as L
from lightning.app import structures
from lightning.app.config import Config
from lightning.app.core.arguments import arguments_of
from lightning.app.core.component import PLAIN
from lightning.app.errors import CodeChangedError
from lightning.app.kernel import facts as f
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.model import Model, fold
from lightning.app.runtime.tree import Tree, made, origin_of


class Work(L.LightningWork):
    def run(self, x: Any = 0) -> Any:
        return x


class Wider(Work):
    def run(self, x: Any = 0, rate: float = 0.1) -> Any:
        return x


class Other(L.LightningWork):
    def run(self, x: Any = 0) -> Any:
        return x


class Narrow(Work):
    def run(self) -> Any:  # type: ignore[override]
        return 0


class Flow(L.LightningFlow):
    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def run(self) -> None:
        pass


class Leaf(L.LightningFlow):
    def __init__(self, size: int = 1) -> None:
        super().__init__()
        if size < 0:
            raise ValueError("a size is positive")
        self.size = size

    def run(self) -> None:
        pass


class Color(Enum):
    RED = 1


@dataclass(frozen=True)
class Point:
    x: int


class Run:
    """One run's journal, over resumes with other objects: no engine, no loop."""

    def __init__(self, root: L.LightningFlow) -> None:
        self.turns: list[list[f.Fact]] = []
        self.resume(root)

    def resume(self, root: L.LightningFlow, *, drop_unfit: bool = False) -> Tree:
        model = fold((0.0, f.decode_turn(f.encode_turn(turn))) for turn in self.turns)
        ledger = Ledger(model)
        tree = Tree(root, ledger, Config(), PLAIN, drop_unfit=drop_unfit)
        tree.join()
        self.root = root
        self.turns.append(ledger.close_turn()[0])
        return tree

    def happen(self, *facts: f.Fact) -> None:
        self.turns.append(list(facts))

    def make(self, name: str, child: L.LightningFlow | L.LightningWork) -> None:
        """As ``run`` makes one."""
        self.root._adopt(name, child)
        self.happen(made(child, Config(), origin_of(child, f"root.{name}")))

    def call(self, path: str, work: L.LightningWork, *args: Any, number: int = 1) -> None:
        key, packed, named = arguments_of(type(work).run).bind(path, args, {})
        self.happen(f.Called(path, number, key, packed, named))

    @property
    def model(self) -> Model:
        return fold((0.0, turn) for turn in self.turns)


def _wrote(name: str, value: Any) -> f.Wrote:
    from lightning.app.kernel.delta import SET
    from lightning.app.kernel.messages import Delta
    from lightning.app.kernel.values import pack

    return f.Wrote("root", Delta(SET, (name,), pack(value)))


@pytest.fixture
def lost() -> Iterator[None]:
    """The classes of values go from the module, as an edit would make them go."""
    kept = {"Color": Color, "Point": Point}
    for name in kept:
        del globals()[name]
    yield
    globals().update(kept)


def _misfit(run: Run, root: L.LightningFlow) -> str:
    turns = len(run.turns)
    with pytest.raises(CodeChangedError) as caught:
        run.resume(root)
    assert len(run.turns) == turns
    assert caught.value.exit_code == 5
    told = str(caught.value)
    assert "--drop-unfit" in told
    assert "without --resume" in told
    return told


def test_new_attributes_and_children_appear_and_defaults_do_not_overwrite_state() -> None:
    run = Run(Flow(count=1, kept=1))
    run.happen(_wrote("count", 7))
    tree = run.resume(Flow(count=2, new="x", work=Work()))
    assert dict(run.root._state) == {"count": 7, "new": "x", "kept": 1}
    assert "root.work" in run.model.components
    assert tree.told == []


def test_what_the_code_no_longer_makes_is_deleted_and_said_and_may_come_back() -> None:
    run = Run(Flow(work=Work(), branch=Flow(leaf=Work())))
    tree = run.resume(Flow())
    assert set(run.model.components) == {"root"}
    assert [line.split()[0] for line in tree.told] == ["root.branch", "root.work"]
    run.resume(Flow(work=Work()))
    assert run.root.work.name == "root.work"
    assert run.model.components["root.work"].generation == 2


def test_a_structure_that_shrank_loses_its_last_members() -> None:
    run = Run(Flow(rows=structures.List(Work(), Work())))
    run.resume(Flow(rows=structures.List(Work())))
    assert sorted(run.model.components) == ["root", "root.rows", "root.rows.0"]


def test_options_follow_the_code() -> None:
    run = Run(Flow(work=Work(retries=1)))
    run.resume(Flow(work=Work(retries=3, parallel=True)))
    assert run.model.works["root.work"].options.retries == 3
    assert run.model.works["root.work"].options.parallel


def test_a_class_that_was_renamed_goes_on_and_is_said() -> None:
    run = Run(Flow(work=Work()))
    first = run.turns[0]
    first[:] = [
        f.Made(each.path, each.kind, "app:Gone", each.state, each.options)
        if isinstance(each, f.Made) and each.kind == "work"
        else each
        for each in first
    ]
    tree = run.resume(Flow(work=Work()))
    assert tree.told == [f"root.work was a app:Gone and goes on as a {__name__}:Work"]
    assert run.resume(Flow(work=Work())).told == []


def test_a_subclass_takes_its_bases_place() -> None:
    run = Run(Flow(work=Work()))
    run.resume(Flow(work=Wider()))
    assert run.model.components["root.work"].generation == 1


@pytest.mark.parametrize("other", [Other, Flow, structures.List])
def test_something_else_in_a_childs_place_is_a_misfit_and_begins_anew_when_dropped(other: Any) -> None:
    run = Run(Flow(child=Work()))
    told = _misfit(run, Flow(child=other()))
    assert f"root.child: the run has a work ({__name__}:Work), the code has a {other._kind}" in told
    tree = run.resume(Flow(child=other()), drop_unfit=True)
    assert run.model.components["root.child"].kind == other._kind
    assert run.model.components["root.child"].generation == 2
    assert tree.told[0].startswith("dropped: root.child")
    deleted = [fact for turn in run.turns for fact in turn if type(fact) is f.Deleted]
    assert deleted == [f.Deleted("root.child", "code")]
    assert run.resume(Flow(child=other())).told == []


def test_an_attribute_that_became_a_child_is_a_misfit() -> None:
    run = Run(Flow(x=3))
    assert "root.x: the run has the value 3, the code has a work (Work)" in _misfit(run, Flow(x=Work()))
    run.resume(Flow(x=Work()), drop_unfit=True)
    assert isinstance(run.root.x, Work)
    assert run.model.components["root"].state == {}


@pytest.mark.parametrize(("name", "kind"), [("size", "property"), ("grow", "function")])
def test_an_attribute_that_became_a_property_or_a_method_is_a_misfit(name: str, kind: str) -> None:
    class Edited(Flow):
        @property
        def size(self) -> int:
            return 1

        def grow(self) -> int:
            return 2

    run = Run(Flow(**{name: 3}))
    assert f"root.{name}: the run has the value 3, the code has a {kind} of Edited" in _misfit(run, Edited())
    run.resume(Edited(), drop_unfit=True)
    assert run.model.components["root"].state == {}


def test_a_child_that_became_an_attribute_gives_way_to_it() -> None:
    run = Run(Flow(x=Work()))
    run.resume(Flow(x=3))
    assert run.root.x == 3
    assert set(run.model.components) == {"root"}


def test_a_component_made_by_run_where_the_code_now_has_an_attribute_is_a_misfit() -> None:
    run = Run(Flow())
    run.make("x", Leaf(2))
    assert f"root.x: the run has a flow made by run ({__name__}:Leaf)" in _misfit(run, Flow(x=3))
    run.resume(Flow(x=3), drop_unfit=True)
    assert run.root.x == 3


def test_an_attribute_that_run_replaced_by_a_component_is_no_misfit() -> None:
    run = Run(Flow())
    run.resume(Flow(x=None))
    from lightning.app.kernel.delta import DELETE
    from lightning.app.kernel.messages import Delta

    run.happen(f.Wrote("root", Delta(DELETE, ("x",))))
    run.make("x", Leaf(2))
    run.resume(Flow(x=None))
    assert run.root.x.size == 2


def test_arguments_that_a_class_no_longer_takes_are_a_misfit() -> None:
    run = Run(Flow())
    run.make("leaf", Leaf(2))
    made_by_run = run.turns[-1][0]
    assert isinstance(made_by_run, f.Made)
    assert made_by_run.origin is not None
    for args, reason in (([1, 2], "positional argument"), ([-1], "a size is positive")):
        made_by_run.origin[1] = args
        told = _misfit(run, Flow())
        assert "root.leaf was made by run as Leaf(" in told
        assert reason in told
    run.resume(Flow(), drop_unfit=True)
    assert set(run.model.components) == {"root"}


def test_a_class_made_by_run_that_is_gone_is_a_misfit_and_one_that_moved_is_found() -> None:
    run = Run(Flow())
    run.make("leaf", Leaf(2))
    made_by_run = run.turns[-1][0]
    assert isinstance(made_by_run, f.Made)
    origin = ["elsewhere:Leaf", [2], {}]
    run.turns[-1] = [f.Made("root.leaf", "flow", "elsewhere:Leaf", made_by_run.state, None, origin)]
    run.resume(Flow())
    assert run.root.leaf.size == 2
    assert run.model.components["root.leaf"].cls == f"{__name__}:Leaf"
    run.turns[-2:] = [[f.Made("root.leaf", "flow", "elsewhere:Gone", {}, None, ["elsewhere:Gone", [2], {}])]]
    assert "which the code no longer has" in _misfit(run, Flow())


@pytest.mark.parametrize("value", [Color.RED, [1, {"a": Point(1)}]])
def test_a_value_whose_class_is_gone_is_a_misfit_and_the_codes_default_takes_its_place(
    value: Any, lost: None
) -> None:
    run = Run(Flow(x=None))
    run.happen(_wrote_lost(value))
    named = "Color" if isinstance(value, _COLOR) else "Point"
    assert f"root.x: the run has a value of {__name__}:{named}" in _misfit(run, Flow(x=None))
    run.resume(Flow(x="default"), drop_unfit=True)
    assert run.root.x == "default"
    run.resume(Flow(x="another"))
    assert run.root.x == "default"


def _wrote_lost(value: Any) -> f.Wrote:
    """Packed while the classes were there."""
    there = {type(value).__name__: type(value), "Point": _POINT, "Color": _COLOR}
    globals().update(there)
    try:
        return _wrote("x", value)
    finally:
        for name in ("Color", "Point"):
            globals().pop(name, None)


_COLOR, _POINT = Color, Point


def test_a_result_whose_class_is_gone_is_a_misfit_and_the_call_runs_again_when_dropped(lost: None) -> None:
    run = Run(Flow(work=Work()))
    run.call("root.work", run.root.work, 1)
    run.happen(f.Placed("root.work", 1), f.Up("root.work", 1, 1), f.Dispatched("root.work", 1))
    run.happen(f.Returned("root.work", 2, 1, _wrote_lost(_COLOR.RED).delta.value))
    assert "root.work.run, call 1: the run has a result with a value of" in _misfit(run, Flow(work=Work()))
    run.resume(Flow(work=Work()), drop_unfit=True)
    assert run.model.works["root.work"].latest == {}


def test_a_waiting_call_that_run_no_longer_takes_is_a_misfit() -> None:
    run = Run(Flow(work=Work()))
    run.call("root.work", run.root.work, 5)
    told = _misfit(run, Flow(work=Narrow()))
    assert "root.work.run(5) is not finished, and run() -> Any does not take it" in told
    run.resume(Flow(work=Narrow()), drop_unfit=True)
    life = run.model.works["root.work"]
    assert life.latest == {}
    assert not life.queue


def test_a_waiting_call_goes_on_as_what_the_new_signature_makes_of_it() -> None:
    run = Run(Flow(work=Work()))
    run.call("root.work", run.root.work, 5)
    run.resume(Flow(work=Wider()))
    key, packed, _ = arguments_of(Wider.run).bind("root.work", (5,), {})
    life = run.model.works["root.work"]
    assert list(life.latest) == [key]
    assert life.queue[0].number == 1
    assert life.queue[0].args == packed == [5, 0.1]


def test_every_misfit_is_listed() -> None:
    run = Run(Flow(a=1, b=Work(), c=2))
    told = _misfit(run, Flow(a=Work(), b=Leaf(), c=Leaf()))
    assert [line.split(":")[0].strip() for line in told.splitlines()[1:4]] == ["root.b", "root.a", "root.c"]


def test_code_that_cannot_run_leaves_the_run_as_it_was() -> None:
    class Waiting(Work):
        async def run(self, x: Any = 0) -> Any:
            return x

    run = Run(Flow(work=Work()))
    with pytest.raises(CodeChangedError, match="run is async"):
        run.resume(Flow(work=Waiting()))
