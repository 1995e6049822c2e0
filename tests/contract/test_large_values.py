"""What no message could carry: arguments of calls go by pointer, values of attributes are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

import lightning as L
from lightning.app.errors import StateValueError
from lightning.app.kernel.size import LARGEST_VALUE
from lightning.app.testing import Harness
from tests.contract.components import Echo, Flow

LARGE = "x" * (LARGEST_VALUE + 1)
HALF = "x" * (LARGEST_VALUE // 2)


def _write(flow: Any) -> None:
    flow.text = LARGE


def _write_to_a_work(flow: Any) -> None:
    flow.echo.text = [LARGE]


def _append(flow: Any) -> None:
    flow.items = []
    flow.items.append(LARGE)


def _put(flow: Any) -> None:
    flow.table = {"a": {}}
    flow.table["a"]["b"] = LARGE


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (_write, r"root\.text"),
        (_write_to_a_work, r"root\.echo\.text"),
        (_append, r"root\.items"),
        (_put, r"root\.table\['a'\]\['b'\]"),
    ],
)
def test_a_large_write_is_refused_by_name_before_it_is_journaled(write: Any, name: str) -> None:
    def run(flow: Any) -> None:
        with pytest.raises(
            StateValueError, match=rf"^{name}: .* 67\.0 MB .*lightning\.app\.storage\.Payload$"
        ):
            write(flow)
        flow.refused = True

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert app.root.refused
        assert sum(len(turn.facts) for turn in app.journal.read()) < 10_000


@pytest.mark.parametrize(
    ("call", "length"),
    [
        (lambda echo: echo.run(LARGE), len(LARGE)),
        (lambda echo: echo.run(value=[LARGE]), 1),
        (lambda echo: echo.run(L.Keyed(LARGE, key="large")), len(LARGE)),
        (lambda echo: echo.run([HALF, HALF, "and more"]), 3),
    ],
)
def test_large_arguments_travel_by_pointer(call: Any, length: int) -> None:
    class Length(L.LightningWork):
        def run(self, value: Any) -> int:
            return len(value)

    def run(flow: Any) -> None:
        flow.found = call(flow.length)

    with Harness(Flow(run, length=Length())) as app:
        app.run_until_idle()
        assert app.root.found == length
        assert sum(len(turn.facts) for turn in app.journal.read()) < 10_000


def test_arguments_that_are_many_and_too_large_together_are_refused_and_the_largest_is_named() -> None:
    class Many(L.LightningWork):
        def run(self, *each: str) -> None:
            pass

    def run(flow: Any) -> None:
        flow.many.run(*["x" * 250_000] * 269, "x" * 250_001)

    with Harness(Flow(run, many=Many()), log_level="error") as app:
        app.run_until_idle()
        assert "argument *args[269] is of 0.3 MB" in app.failure


def test_a_large_value_is_refused_in_init_and_outside_an_app() -> None:
    with pytest.raises(StateValueError, match=r"^Echo\.text: .*Payload"):
        Echo().text = LARGE


def test_what_just_fits_reaches_the_work() -> None:
    class Length(L.LightningWork):
        def run(self, text: str) -> int:
            return len(text)

    def run(flow: Any) -> None:
        flow.length.text = "x" * (LARGEST_VALUE - 16)
        flow.counted = flow.length.run("x" * (LARGEST_VALUE - 16))

    with Harness(Flow(run, length=Length())) as app:
        app.run_until_idle()
        assert app.root.counted == LARGEST_VALUE - 16
