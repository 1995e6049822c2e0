"""The life of a work, sentence by sentence, where one process is enough to show it."""

from __future__ import annotations

from typing import Any

import pytest

import lightning as L
from lightning.app.errors import ComponentError, UsageError
from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.model import Model
from lightning.app.kernel.works import Works
from lightning.app.testing import Harness
from tests.contract.components import Echo, Flow, once


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
