"""What a flow has and does beside its passes, sentence by sentence."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.app.testing import Harness, crash
from tests.contract.components import Echo, Flow


def test_public_attributes_are_state_and_a_leading_underscore_is_private() -> None:
    def run(flow: Any) -> None:
        flow.public = {"a": [1]}
        flow._private = object()

    with Harness(Flow(run)) as app:
        app.run_until_idle()
        assert app.state["vars"] == {"public": {"a": [1]}}


def test_new_public_attributes_may_appear_in_run() -> None:
    def run(flow: Any) -> None:
        flow.fresh = 1

    with Harness(Flow(run)) as app:
        app.run_until_idle()
        assert app.root.fresh == 1


def test_stop_ends_the_app_with_exit_code_0_and_nothing_after_it_runs() -> None:
    after = []

    def run(flow: Any) -> None:
        flow.stop("enough")
        after.append(1)

    with Harness(Flow(run)) as app:
        app.run_until_idle()
        assert (app.exit_code, app.failure, after) == (0, "enough", [])


def test_fail_ends_the_app_with_exit_code_1() -> None:
    with Harness(Flow(lambda flow: flow.fail("no data"))) as app:
        app.run_until_idle()
        assert (app.exit_code, app.failure) == (1, "no data")


def test_experimental_iterate_goes_on_where_it_was() -> None:
    class Steps(L.LightningFlow):
        def __init__(self) -> None:
            super().__init__()
            self.echo = Echo()
            self.done: list[int] = []

        def run(self) -> None:
            for item in self.experimental_iterate(range(3)):
                self.echo.run(item)
                self.done.append(item)

    app = Harness(Steps())
    app.run_until_idle()
    assert app.root.done == [0, 1, 2]
    journal = crash(app)
    with Harness(Steps(), journal=journal) as again:
        again.run_until_idle()
        assert again.root.done == [0, 1, 2]
