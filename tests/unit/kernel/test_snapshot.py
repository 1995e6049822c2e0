"""A snapshot stands for every turn before it: what follows from it is what follows from them."""

from __future__ import annotations

import random
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.app.errors import ProtocolError
from lightning.app.kernel import facts as f
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.model import Call, Component, Model, ScheduleLife, WorkLife, fold
from lightning.app.kernel.schedule import Ticks
from lightning.app.kernel.snapshot import (
    CallRow,
    ComponentRow,
    ModelRow,
    ScheduleRow,
    WorkRow,
    dump,
    load,
)
from lightning.app.kernel.values import encode, pack
from tests.corpus.told import told
from tests.unit.kernel.simulation import simulate

ROWS: dict[type, tuple[type, dict[str, str], set[str]]] = {
    Model: (ModelRow, {}, {"careful"}),
    Component: (ComponentRow, {"life": "kind"}, set()),
    WorkLife: (WorkRow, {}, {"sent", "unseen"}),
    Call: (CallRow, {}, {"seen"}),
    ScheduleLife: (ScheduleRow, {}, set()),
}
"""For each part of a model its row, what is told under another name, and what the docstring says is left out."""


@pytest.mark.parametrize("part", ROWS, ids=lambda part: part.__name__)
def test_every_part_of_a_model_is_in_it_but_what_only_a_living_process_knows(part: type) -> None:
    row, renamed, left_out = ROWS[part]
    there = set(vars(Model())) if part is Model else set(part.__slots__)  # type: ignore[attr-defined]
    told_of = {field.name for field in msgspec.structs.fields(row)}
    assert {renamed.get(name, name) for name in there - left_out} <= told_of
    assert left_out <= there


@pytest.mark.parametrize("seed", range(60))
def test_a_fold_may_begin_at_any_snapshot_of_any_run(seed: int) -> None:
    world = simulate(seed, steps=120)
    dice = random.Random(seed)
    whole = fold(world.log)
    cuts = sorted(dice.randrange(len(world.log) + 1) for _ in range(4))
    for cut in cuts:
        first, rest = world.log[:cut], world.log[cut:]
        begun = load(dump(fold(first)))
        assert told(begun) == told(fold(first))
        gone_on = fold(rest, begun)
        assert dump(gone_on) == dump(whole)
        assert told(gone_on) == told(whole)


@pytest.mark.parametrize("seed", range(1000, 1020))
def test_the_running_model_and_a_fold_of_its_journal_are_the_same_bytes(seed: int) -> None:
    world = simulate(seed, steps=120)
    assert not world.ledger.facts
    assert dump(world.ledger.model) == dump(fold(world.log))


def test_it_is_the_same_bytes_again_and_again() -> None:
    world = simulate(7, steps=200)
    data = dump(fold(world.log))
    assert dump(load(data)) == data == dump(load(dump(load(data))))


def test_what_it_gives_shares_nothing_with_the_model_that_it_was_made_of() -> None:
    model = fold([(1.0, [f.Made("root", "flow", "app:Root", {"items": [1, [2]]})])])
    copy = load(dump(model))
    before = dump(model)
    fold([(2.0, [f.Wrote("root", Delta(0, ("items",), [9]))])], copy)
    copy.components["root"].state["items"].append(3)
    copy.generations["root"] = 9
    assert dump(model) == before


def test_the_order_of_components_attributes_and_keys_is_kept() -> None:
    table = {"z": 1, "a": {"y": 2, "b": 3}}
    facts: list[f.Fact] = [
        f.Made("root", "flow", "app:Root", {"b": 1, "a": table}),
        f.Made("root.z", "work", "app:Work", {}, f.WorkOptions()),
        f.Made("root.a", "work", "app:Work", {}, f.WorkOptions()),
    ]
    model = load(dump(fold([(1.0, facts)])))
    assert list(model.components) == ["root", "root.z", "root.a"]
    assert list(model.works) == ["root.z", "root.a"]
    assert list(model.components["root"].state) == ["b", "a"]
    assert encode(pack(model.components["root"].state["a"])) == encode(table)


def test_a_call_that_waits_and_the_latest_of_its_key_are_one() -> None:
    facts: list[f.Fact] = [
        f.Made("root", "flow", "app:Root", {}),
        f.Made("root.w", "work", "app:Work", {}, f.WorkOptions(parallel=True)),
        f.Called("root.w", 1, b"one", [1], {}),
        f.Called("root.w", 2, b"two", [2], {}),
        f.Placed("root.w", 1),
        f.Up("root.w", 1, 77),
        f.Dispatched("root.w", 1),
    ]
    life = load(dump(fold([(1.0, facts)]))).works["root.w"]
    assert life.running is life.latest[b"one"]
    assert list(life.queue) == [life.latest[b"two"]]
    assert life.queue[0] is life.latest[b"two"]


def test_finished_calls_with_the_same_story_share_it() -> None:
    facts: list[f.Fact] = [f.Made("root.w", "work", "app:Work", {}, f.WorkOptions(parallel=True))]
    facts += [f.Called("root.w", number, b"%d" % number, [], {}) for number in range(300)]
    calls = load(dump(fold([(1.0, facts)]))).works["root.w"].latest.values()
    assert len({id(call.story) for call in calls}) == 1


def test_schedules_cursors_and_the_end_are_kept() -> None:
    facts: list[f.Fact] = [
        f.Made("root", "flow", "app:Root", {}),
        f.Ticked("root|hourly||", Ticks(3, 10.0, None, 5.0), True),
        f.CursorMoved("root", "run:3", 7),
        f.PassCompleted([], [("root.w", b"key")]),
        f.Ended(1, "failed", "no more"),
    ]
    model = load(dump(fold([(1.0, facts)])))
    assert model.schedules["root|hourly||"].ticks == Ticks(3, 10.0, None, 5.0)
    assert model.schedules["root|hourly||"].active
    assert model.cursors == {("root", "run:3"): 7}
    assert model.reached == {("root.w", b"key")}
    assert model.ended == f.Ended(1, "failed", "no more")


WHOLE = dump(fold(simulate(3, steps=120).log))


@given(st.data())
def test_a_damaged_one_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(1, len(damaged))) :]
    with suppress(ProtocolError):
        dump(load(bytes(damaged)))


@given(st.binary(max_size=60))
def test_what_is_no_snapshot_is_refused(noise: bytes) -> None:
    with pytest.raises(ProtocolError, match="no snapshot"):
        load(noise)
