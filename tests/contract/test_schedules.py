"""Schedules, sentence by sentence, with a clock that the test turns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lightning.app.testing import Harness, crash
from tests.contract.components import Echo, Flow


def test_a_schedule_is_true_on_the_first_pass_then_once_per_tick() -> None:
    fired = []

    def run(flow: Any) -> None:
        if flow.schedule("hourly"):
            fired.append(flow._clock.now())

    flow = Flow(run)
    with Harness(flow) as app:
        flow._clock = app.clock
        app.run_until_idle()
        assert len(fired) == 1
        for _ in range(5):
            app.advance(hours=1)
            app.beat(3)
        assert len(fired) == 6


def test_b_runs_once_and_then_again_every_hour() -> None:
    """The sample of the seeds."""

    def run(flow: Any) -> None:
        flow.a.run("A")
        if flow.schedule("hourly"):
            flow.b.run("B")

    flow = Flow(run, a=Echo(), b=Echo())
    with Harness(flow) as app:
        app.run_until_idle()
        assert (flow.a.ran, flow.b.ran) == (["A"], ["B"])
        for hours in range(1, 4):
            app.advance(hours=1)
            app.beat(2)
            assert (flow.a.ran, flow.b.ran) == (["A"], ["B"] * (1 + hours))


def test_a_schedule_stays_true_until_a_pass_gets_through() -> None:
    answers = []

    def run(flow: Any) -> None:
        answers.append(flow.schedule("daily"))
        flow.echo.run(1)

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert answers[:2] == [True, True]
        assert answers[-1] is False


def test_schedules_differ_by_line_start_time_and_user_key() -> None:
    fired: list[str] = []
    start = datetime(2030, 1, 1, tzinfo=UTC)

    def run(flow: Any) -> None:
        if flow.schedule("hourly"):
            fired.append("plain")
        if flow.schedule("hourly", user_key="second"):
            fired.append("keyed")
        if flow.schedule("hourly", start_time=start):
            fired.append("later")

    with Harness(Flow(run)) as app:
        app.run_until_idle()
        assert fired == ["plain", "keyed"]
        app.clock.jump(start.timestamp() - app.clock.now() + 1)
        app.beat()
        assert "later" in fired


def test_after_a_restart_a_schedule_catches_up_once() -> None:
    fired = []

    def run(flow: Any) -> None:
        if flow.schedule("hourly"):
            fired.append(1)

    app = Harness(Flow(run))
    app.run_until_idle()
    journal, clock = crash(app), app.clock
    clock.advance(hours=10)
    with Harness(Flow(run), journal=journal, clock=clock) as again:
        again.run_until_idle()
        again.beat(3)
        assert len(fired) == 2


def test_a_bad_cron_line_is_an_error_at_the_users_line() -> None:
    with Harness(Flow(lambda flow: flow.schedule("every day"))) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "every day" in app.failure
        assert __file__ in app.failure
