"""The Work section of the contract, sentence by sentence, where one process is enough to show it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import lightning as L
from lightning.app.errors import CallError, ComponentError, StateValueError, UsageError
from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.model import Model
from lightning.app.kernel.works import Works
from lightning.app.testing import Harness, crash
from tests.contract.test_flow import Echo, Flow


class Color(Enum):
    RED = 1


@dataclass(frozen=True)
class Point:
    x: int
    y: int


def once(call: Any) -> Any:
    """A flow that makes one call with the work ``echo``."""
    return Flow(lambda flow: call(flow.echo), echo=Echo())


def test_one_object_is_the_same_in_the_flow_and_an_instance_of_its_class() -> None:
    echo = Echo()
    flow = Flow(lambda flow: None, echo=echo)
    with Harness(flow):
        assert flow.echo is echo
        assert isinstance(flow.echo, Echo)


def test_outside_an_app_a_work_is_plain_python() -> None:
    echo = Echo()
    assert echo.run(3) == 3
    assert echo.ran == [3]


def test_other_methods_and_properties_run_where_they_are_called() -> None:
    class Twice(L.LightningWork):
        def __init__(self) -> None:
            super().__init__()
            self.x = 2

        def run(self) -> None:
            self.x = 21

        @property
        def doubled(self) -> int:
            return self.x * 2

        def plus(self, y: int) -> int:
            return self.x + y

    with Harness(Flow(lambda flow: flow.twice.run(), twice=Twice())) as app:
        app.run_until_idle()
        assert app.root.twice.doubled == 42
        assert app.root.twice.plus(1) == 22


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


def test_status_tells_where_a_work_stands() -> None:
    stages = []

    def run(flow: Any) -> None:
        stages.append(flow.echo.status.stage)
        flow.echo.run(1)

    with Harness(Flow(run, echo=Echo(parallel=True))) as app:
        app.run_until_idle()
        app.beat()
        echo = app.root.echo
        assert stages[0] == "not_started"
        assert stages[-1] == "succeeded"
        assert [each.stage for each in echo.statuses] == ["pending", "running", "succeeded"]
        assert echo.status.count == 1
        assert (echo.status.SUCCEEDED, echo.status.STOPPED) == (True, False)
        assert (echo.has_started, echo.has_succeeded, echo.has_failed, echo.is_running) == (
            True,
            True,
            False,
            False,
        )
        assert (echo.num_successes, echo.num_failures, echo.num_timeouts) == (1, 0, 0)


def test_start_provisions_without_running() -> None:
    with Harness(once(lambda echo: echo.start())) as app:
        app.run_until_idle()
        assert app.root.echo.ran == []
        assert app.runtime.model.works["root.echo"].process.name == "READY"


def test_a_finished_call_never_restarts_a_stopped_process() -> None:
    def run(flow: Any) -> None:
        flow.echo.run(1)
        flow.echo.stop()

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        app.beat(3)
        assert app.root.echo.ran == [1]
        assert app.root.echo.status.STOPPED
        assert app.runtime.model.incarnations == 1


def test_a_stopped_work_can_run_new_calls() -> None:
    def run(flow: Any) -> None:
        if flow.step == 0:
            flow.echo.run(1)
            flow.echo.stop()
            flow.step = 1
        flow.echo.run(2)

    flow = Flow(run, echo=Echo())
    flow.step = 0
    with Harness(flow) as app:
        app.run_until_idle()
        assert flow.echo.ran == [1, 2]


def test_calls_cancelled_by_stop_return_none_in_that_pass_and_start_anew_in_a_later_one() -> None:
    results = []

    def run(flow: Any) -> None:
        flow.passes += 1
        if flow.passes <= 2:
            flow.echo.run(1)
        if flow.passes == 1:
            flow.echo.stop()
            results.append(flow.echo.run(1))

    flow = Flow(run, echo=Echo(parallel=True))
    flow.passes = 0
    with Harness(flow) as app:
        app.run_until_idle()
        assert results == [None]
        assert flow.echo.ran == [1]


def test_delete_takes_the_work_out_of_the_tree() -> None:
    def run(flow: Any) -> None:
        if hasattr(flow, "echo"):
            flow.echo.run(1)
            flow.echo.delete()

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert not hasattr(app.root, "echo")
        assert app.app.works == []


class Fails(L.LightningWork):
    def __init__(self, times: int = 99, **options: Any) -> None:
        super().__init__(**options)
        self.times = times
        self.tries = 0

    def run(self) -> str:
        self.tries += 1
        if self.tries <= self.times:
            raise ValueError(f"try {self.tries}")
        return "done"


def test_with_raise_exception_the_app_fails_with_the_works_own_traceback() -> None:
    with Harness(Flow(lambda flow: flow.fails.run(), fails=Fails())) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "ValueError: try 1" in app.failure
        assert __file__ in app.failure
        assert "lightning/app" not in app.failure


def test_without_it_the_call_returns_none_and_the_flow_goes_on() -> None:
    results = []

    def run(flow: Any) -> None:
        results.append(flow.fails.run())

    with Harness(Flow(run, fails=Fails(raise_exception=False))) as app:
        app.run_until_idle()
        app.beat(3)
        assert set(results) == {None}
        fails = app.root.fails
        assert fails.has_failed
        assert fails.status.message == "try 1"
        assert fails.tries == 1


def test_a_failed_call_is_tried_again_so_many_times_as_retries_says() -> None:
    results = []

    def run(flow: Any) -> None:
        results.append(flow.fails.run())

    with Harness(Flow(run, fails=Fails(2, retries=2))) as app:
        app.run_until_idle()
        assert app.exit_code is None
        assert results[0] == "done"
        assert app.root.fails.tries == 3


def test_hooks_are_called() -> None:
    class Hooked(L.LightningWork):
        def __init__(self) -> None:
            super().__init__(raise_exception=False)
            self.heard: list[str] = []

        def on_start(self) -> None:
            self.heard.append("start")

        def on_exit(self) -> None:
            self.heard.append("exit")

        def on_exception(self, exception: BaseException) -> None:
            self.heard.append(f"exception {exception}")

        def run(self) -> None:
            self.heard.append("run")
            raise ValueError("no")

    app = Harness(Flow(lambda flow: flow.hooked.run(), hooked=Hooked()))
    app.run_until_idle()
    app.close()
    assert app.root.hooked.heard == ["start", "run", "exception no", "exit"]


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


def test_public_attributes_come_back_after_a_restart() -> None:
    app = Harness(once(lambda echo: echo.run({"a": 1})))
    app.run_until_idle()
    journal = crash(app)
    with Harness(once(lambda echo: echo.run({"a": 1})), journal=journal) as again:
        assert again.root.echo.ran == [{"a": 1}]


def _running(timeout: float) -> tuple[Ledger, Works]:
    """A kernel with one work, whose call runs since 0.0."""
    ledger = Ledger(Model())
    works = Works(ledger)
    options = f.WorkOptions(timeout=timeout, raise_exception=False)
    ledger.enter(f.Made("root", "work", "a:B", {}, options))
    works.begin_epoch()
    ledger.enter(f.Called("root", 1, b"k", [], {}))
    works.touch("root")
    works.settle()
    works.take("root", 1, 1, 0, m.Ready(1))
    works.settle()
    return ledger, works


def test_a_timeout_ends_a_call_that_takes_too_long() -> None:
    ledger, works = _running(timeout=10.0)
    ledger.at = 11.0
    works.elapsed()
    life = ledger.model.works["root"]
    assert life.stage == "failed"
    assert life.statuses[-1][2] == "timeout"
    assert life.timeouts == 1
    assert life.process.name == "STOPPING"


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_clock_that_is_set_makes_no_process_idle_and_keeps_none(jump: float) -> None:
    echo = Echo(cloud_compute=L.CloudCompute(idle_timeout=60))
    with Harness(Flow(lambda flow: flow.echo.run(1), echo=echo)) as app:
        app.run_until_idle()
        app.clock.jump(jump)
        app.beat()
        life = app.runtime.model.works["root.echo"]
        assert life.process.name == "READY"
        app.advance(seconds=61)
        assert life.process.name == "ABSENT"


def test_a_clock_that_is_set_makes_no_call_late() -> None:
    ledger, works = _running(timeout=10.0)
    works.clock_set(86_400.0)
    ledger.at += 86_400.0 + 9.0
    works.elapsed()
    life = ledger.model.works["root"]
    assert life.stage == "running"
    ledger.at += 1.0
    works.elapsed()
    assert life.stage == "failed"


def test_gpus_are_handed_out_exclusively_and_waited_for() -> None:
    environments: list[str] = []

    class Gpu(Echo):
        pass

    def run(flow: Any) -> None:
        flow.a.start()
        flow.b.start()

    gpu = L.CloudCompute("gpu")
    flow = Flow(run, a=Gpu(cloud_compute=gpu), b=Gpu(cloud_compute=L.CloudCompute("gpu")))
    with Harness(flow, devices=(3,)) as app:
        app.run_until_idle()
        works = app.runtime.model.works
        assert works["root.a"].devices == (3,)
        assert works["root.b"].process.name == "ABSENT"
        assert flow.b.is_pending
        flow._run = lambda flow: flow.a.stop()
        app.beat(2)
        assert works["root.b"].devices == (3,)
    assert environments == []


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


def test_a_child_assigned_to_a_work_is_refused() -> None:
    with pytest.raises(ComponentError, match="a work has no components"):
        Echo().child = Echo()


def test_one_component_in_two_places_is_refused() -> None:
    echo = Echo()
    flow = Flow(lambda flow: None, a=echo)
    with pytest.raises(ComponentError, match="already at"):
        flow.b = echo


@pytest.mark.parametrize(
    "options", [{"on_crash": "never"}, {"retries": -1}, {"timeout": 0}, {"start_method": "exec"}, {"port": 0}]
)
def test_wrong_options_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Echo(**options)


def test_a_keyed_argument_needs_a_text_as_its_key() -> None:
    with pytest.raises(CallError, match="key"):
        L.Keyed(object(), key="")


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
