"""What no message could carry is refused where the flow makes it, by name, and leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest

import lightning as L
from lightning.app.errors import CallError, StateValueError
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
    ("call", "name"),
    [
        (lambda echo: echo.run(LARGE), "value"),
        (lambda echo: echo.run(value=[LARGE]), "value"),
        (lambda echo: echo.run(L.Keyed(LARGE, key="large")), "value"),
        (lambda echo: echo.run([HALF, HALF, "and more"]), "value"),
    ],
)
def test_large_arguments_are_refused_by_name_before_the_call_is_journaled(call: Any, name: str) -> None:
    def run(flow: Any) -> None:
        with pytest.raises(
            CallError, match=rf"^root\.echo\.run: argument {name} is of 67\.\d MB, .*Payload$"
        ):
            call(flow.echo)
        flow.refused = True

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert app.root.refused
        assert app.root.echo.status.count == 0
        assert sum(len(turn.facts) for turn in app.journal.read()) < 10_000


def test_the_largest_of_several_arguments_is_the_one_named() -> None:
    class Two(L.LightningWork):
        def run(self, first: str, second: str = "") -> None:
            pass

    def run(flow: Any) -> None:
        flow.two.run("x" * (LARGEST_VALUE // 2), second="x" * (LARGEST_VALUE // 2 + 10))

    with Harness(Flow(run, two=Two()), log_level="error") as app:
        app.run_until_idle()
        assert "argument second is of" in app.failure


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
