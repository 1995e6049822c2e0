"""Ends that come in the wrong moment: a flow that raises while it waits or stops, a call cut short."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.app.kernel.facts import decode_turn
from lightning.app.kernel.model import Model, fold
from lightning.app.testing import Harness, crash


class Echo(L.LightningWork):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ran: list[Any] = []

    def run(self, value: Any) -> Any:
        self.ran.append(value)
        return value


class Flow(L.LightningFlow):
    def __init__(self, run: Callable[[Any], None], **options: Any) -> None:
        super().__init__()
        self._run = run
        self.echo = Echo(**options)

    def run(self) -> None:
        self._run(self)


def journaled(app: Harness) -> Model:
    return fold((turn.at, decode_turn(turn.facts)) for turn in crash(app).read())


def test_what_a_work_said_while_a_pass_waited_is_not_lost_when_the_flow_raises() -> None:
    def run(flow: Any) -> None:
        flow.echo.run(1)
        while not flow.echo.ran:
            pass
        flow.seen = list(flow.echo.ran)
        raise ValueError("after waiting")

    app = Harness(Flow(run, parallel=True))
    app.run_until_idle()
    assert (app.exit_code, "after waiting" in app.failure) == (1, True)
    model = journaled(app)
    assert model.components["root.echo"].state["ran"] == [1]
    assert "seen" not in model.components["root"].state


def test_a_flow_that_raises_while_it_stops_the_app_has_failed_and_the_app_ends() -> None:
    def run(flow: Any) -> None:
        try:
            flow.stop("done")
        finally:
            raise ValueError("on the way out")

    with Harness(Flow(run)) as app:
        app.run_until_idle()
        assert (app.exit_code, "on the way out" in app.failure) == (1, True)


def test_a_call_that_may_run_once_is_not_run_again_by_a_resumed_run_which_says_so() -> None:
    def run(flow: Any) -> None:
        flow.echo.run(1)

    app = Harness(Flow(run, on_crash="fail"))
    while app.runtime.model.works["root.echo"].running is None:
        app.step()
    journal = crash(app)
    for _ in range(2):
        again = Harness(Flow(run, on_crash="fail"), journal=journal)
        again.run_until_idle()
        assert (again.exit_code, again.root.echo.ran) == (1, [])
        assert "the run was interrupted while this call ran, and on_crash is 'fail'" in again.failure
        journal = crash(again)
    with Harness(Flow(run, on_crash="fail", raise_exception=False), journal=journal) as goes_on:
        goes_on.run_until_idle()
        assert (goes_on.exit_code, goes_on.root.echo.ran) == (None, [])
