"""Calls of works, their arguments and results, sentence by sentence, where one process is enough to show it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import lightning as L
from lightning.app.errors import CallError
from lightning.app.testing import Harness, crash
from tests.contract.components import Echo, Flow, once


def test_the_same_arguments_run_once_and_new_ones_again() -> None:
    def run(flow: Any) -> None:
        for value in (1, 2, 1, 2):
            flow.echo.run(value)

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert app.root.echo.ran == [1, 2]


def test_a_call_is_known_by_its_arguments_however_they_are_written() -> None:
    def run(flow: Any) -> None:
        flow.echo.run(1)
        flow.echo.run(value=1)

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert app.root.echo.ran == [1]


def test_arguments_of_other_kinds_are_other_calls() -> None:
    values = [1, 1.0, True, "1", b"1", (1,), [1], None]

    def run(flow: Any) -> None:
        for value in values:
            flow.echo.run(value)

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        ran = copy.deepcopy(app.root.echo.ran)
        assert [(type(each), each) for each in ran] == [(type(each), each) for each in values]


def test_sets_and_keys_are_sorted_for_the_key() -> None:
    def run(flow: Any) -> None:
        flow.echo.run({"a": {3, 1, 2}, "b": 1})
        flow.echo.run({"b": 1, "a": {2, 3, 1}})

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert len(app.root.echo.ran) == 1


def test_arrays_are_known_by_content() -> None:
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")

    class Sum(L.LightningWork):
        def __init__(self) -> None:
            super().__init__()
            self.sums: list[float] = []

        def run(self, array: Any) -> None:
            self.sums.append(float(array.sum()))

    def run(flow: Any) -> None:
        flow.sum.run(numpy.arange(4))
        flow.sum.run(numpy.arange(4))
        flow.sum.run(numpy.arange(5))

    with Harness(Flow(run, sum=Sum())) as app:
        app.run_until_idle()
        assert app.root.sum.sums == [6.0, 10.0]


def test_any_other_object_is_passed_as_keyed() -> None:
    class Length(L.LightningWork):
        def run(self, thing: Any) -> int:
            return len(thing.items)

    class Thing:
        def __init__(self, *items: int) -> None:
            self.items = items

    results = []

    def run(flow: Any) -> None:
        results.append(flow.length.run(L.Keyed(Thing(1, 2), key="two")))
        results.append(flow.length.run(L.Keyed(Thing(1, 2, 3), key="two")))

    with Harness(Flow(run, length=Length())) as app:
        app.run_until_idle()
        assert results[-2:] == [2, 2]


def test_an_object_without_a_key_is_refused_by_name() -> None:
    with Harness(once(lambda echo: echo.run(object()))) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "argument value" in app.failure
        assert "Keyed" in app.failure


def test_a_work_as_an_argument_is_refused() -> None:
    with Harness(once(lambda echo: echo.run(echo))) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "attributes" in app.failure


def test_wrong_arguments_are_an_error_at_the_users_line() -> None:
    with Harness(once(lambda echo: echo.run(1, 2, 3))) as app:
        app.run_until_idle()
        assert "too many positional arguments" in app.failure
        assert __file__ in app.failure


def test_the_same_key_twice_in_a_pass_is_one_call() -> None:
    def run(flow: Any) -> None:
        flow.echo.run(1)
        flow.echo.run(1)

    with Harness(Flow(run, echo=Echo(parallel=True))) as app:
        app.run_until_idle()
        assert app.root.echo.ran == [1]


def test_a_parallel_work_queues() -> None:
    def run(flow: Any) -> None:
        for value in range(5):
            flow.echo.run(value)

    with Harness(Flow(run, echo=Echo(parallel=True))) as app:
        app.run_until_idle()
        assert app.root.echo.ran == [0, 1, 2, 3, 4]


def test_uncached_calls_run_once_per_pass_that_gets_through_and_per_occurrence() -> None:
    def run(flow: Any) -> None:
        if flow.rounds < 3:
            flow.echo.run("x")
            flow.echo.run("x")
            flow.rounds += 1

    flow = Flow(run, echo=Echo(cache_calls=False))
    flow.rounds = 0
    with Harness(flow) as app:
        app.run_until_idle()
        assert flow.echo.ran == ["x"] * 6


def test_run_returns_a_state_value_which_the_flows_call_returns() -> None:
    results = []
    value = {"a": [1, (2, 3)], "b": {4}}
    with Harness(once(lambda echo: results.append(echo.run(value)))) as app:
        app.run_until_idle()
        assert results[0] == value


def test_changing_a_result_changes_nothing_else() -> None:
    results = []

    def run(flow: Any) -> None:
        result = flow.echo.run([1])
        results.append(list(result))
        result.append(2)

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        app.beat()
        assert {tuple(each) for each in results} == {(1,)}


def test_a_result_that_is_no_state_value_says_return_a_payload() -> None:
    class Odd(L.LightningWork):
        def run(self) -> Any:
            return object()

    with Harness(Flow(lambda flow: flow.odd.run(), odd=Odd())) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "Payload" in app.failure


def test_a_result_of_more_than_16_mb_says_return_a_payload() -> None:
    class Big(L.LightningWork):
        def run(self) -> Any:
            return b"x" * (17 * 1024 * 1024)

    with Harness(Flow(lambda flow: flow.big.run(), big=Big())) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "Payload" in app.failure


def test_a_keyed_argument_needs_a_text_as_its_key() -> None:
    with pytest.raises(CallError, match="key"):
        L.Keyed(object(), key="")


def test_call_id_is_there_inside_run_and_differs_from_call_to_call() -> None:
    class Ids(L.LightningWork):
        def __init__(self) -> None:
            super().__init__()
            self.ids: list[str] = []

        def run(self, value: int) -> None:
            self.ids.append(self.call_id)

    def run(flow: Any) -> None:
        flow.ids.run(1)
        flow.ids.run(2)

    with Harness(Flow(run, ids=Ids())) as app:
        app.run_until_idle()
        assert len(set(app.root.ids.ids)) == 2


def test_finished_calls_are_not_run_again_after_a_restart() -> None:
    def run(flow: Any) -> None:
        flow.echo.run(1)
        flow.echo.run(2)

    app = Harness(Flow(run, echo=Echo()))
    app.run_until_idle()
    journal = crash(app)
    with Harness(Flow(run, echo=Echo()), journal=journal) as again:
        again.run_until_idle()
        assert again.root.echo.ran == [1, 2]
        assert again.runtime.model.incarnations == 1
