"""State between flow and works, sentence by sentence, where one process is enough to show it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import lightning as L
from lightning.app.errors import StateValueError
from lightning.app.testing import Harness, crash
from tests.contract.components import Echo, Flow, once


class Color(Enum):
    RED = 1


@dataclass(frozen=True)
class Point:
    x: int
    y: int


def test_changes_inside_lists_dicts_and_sets_reach_the_flow_in_order() -> None:
    class Grow(L.LightningWork):
        def __init__(self) -> None:
            super().__init__()
            self.losses: list[float] = []
            self.table: dict[str, Any] = {}
            self.tags: set[str] = set()

        def run(self) -> None:
            self.losses.append(0.5)
            self.losses += [0.25]
            self.table["a"] = {"b": []}
            self.table["a"]["b"].append(1)
            self.tags.add("x")
            self.tags |= {"y"}
            del self.losses[0]

    with Harness(Flow(lambda flow: flow.grow.run(), grow=Grow())) as app:
        app.run_until_idle()
        grow = app.root.grow
        assert (grow.losses, grow.table, grow.tags) == ([0.25], {"a": {"b": [1]}}, {"x", "y"})


def test_keys_of_every_kind_travel() -> None:
    class Keys(L.LightningWork):
        def __init__(self) -> None:
            super().__init__()
            self.table: dict[Any, Any] = {}

        def run(self) -> None:
            self.table[(1, 2)] = "tuple"
            self.table[(1, 2)] = "again"
            self.table[2**70] = "large"
            self.table[None] = "none"

    with Harness(Flow(lambda flow: flow.keys.run(), keys=Keys())) as app:
        app.run_until_idle()
        assert app.root.keys.table == {(1, 2): "again", 2**70: "large", None: "none"}


def test_the_flow_may_set_attributes_which_the_next_call_sees() -> None:
    class Adds(L.LightningWork):
        def __init__(self) -> None:
            super().__init__()
            self.offset = 0

        def run(self, value: int) -> int:
            return value + self.offset

    results = []

    def run(flow: Any) -> None:
        flow.adds.offset = 10
        results.append(flow.adds.run(1))

    with Harness(Flow(run, adds=Adds())) as app:
        app.run_until_idle()
        assert results[0] == 11


def test_the_flow_reads_its_own_writes_at_once() -> None:
    read = []

    def run(flow: Any) -> None:
        flow.echo.note = "mine"
        read.append(flow.echo.note)

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert read[0] == "mine"


VALUES = [
    None, True, 7, 2**80, -1.5, float("inf"), "text", b"bytes", [1, [2]], {"a": {"b": 1}}, (1, (2,)), {1, 2},
    datetime(2026, 1, 2, 3, 4, tzinfo=UTC), date(2026, 1, 2), timedelta(seconds=3), Color.RED, Path("a/b"),
    Point(1, 2), L.CloudCompute("gpu"), L.BuildConfig(requirements=["numpy"]),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[type(each).__name__ + str(n) for n, each in enumerate(VALUES)])
def test_state_values_travel_to_the_work_and_back_and_over_a_restart(value: Any) -> None:
    results = []
    app = Harness(once(lambda echo: results.append(echo.run(value))))
    app.run_until_idle()
    assert results[0] == value
    assert type(results[0]) is type(value)
    journal = crash(app)
    with Harness(once(lambda echo: echo.run(value)), journal=journal) as again:
        assert again.root.echo.ran == [value]


def test_numpy_scalars_become_python_numbers() -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    echo = Echo()
    echo.x = numpy.float32(0.5)
    echo.y = numpy.int64(3)
    assert (type(echo.x), type(echo.y)) == (float, int)


def test_assigning_copies_containers() -> None:
    echo = Echo()
    mine = [1, {"a": 2}]
    echo.x = mine
    mine.append(3)
    assert echo.x == [1, {"a": 2}]


@pytest.mark.parametrize(
    ("value", "told"),
    [(object(), "Payload"), (lambda: 1, "code"), ([1, {"a": object()}], r"\[1\]\['a'\]"), (print, "code")],
)
def test_anything_else_is_refused_where_it_is_set_with_name_and_remedy(value: Any, told: str) -> None:
    echo = Echo()
    with pytest.raises(StateValueError, match=told) as refused:
        echo.config = value
    assert "config" in str(refused.value)


def test_a_cycle_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(StateValueError, match="contains itself"):
        Echo().x = cycle


def test_public_attributes_come_back_after_a_restart() -> None:
    app = Harness(once(lambda echo: echo.run({"a": 1})))
    app.run_until_idle()
    journal = crash(app)
    with Harness(once(lambda echo: echo.run({"a": 1})), journal=journal) as again:
        assert again.root.echo.ran == [{"a": 1}]


def test_a_class_attribute_that_is_a_value_is_state_of_each_instance() -> None:
    class Counts(L.LightningWork):
        count = 0
        seen: list[int] = []  # noqa: RUF012

        def run(self) -> None:
            self.count += 1
            self.seen.append(self.count)

    one, two = Counts(), Counts()
    one.run()
    assert (one.count, one.seen, two.count, two.seen) == (1, [1], 0, [])
    assert Counts.count == 0
    assert copy.deepcopy(dict(one._state))["count"] == 1
