"""Passes of a flow, sentence by sentence, with a clock that the test turns."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

import lightning as L
from lightning.app.testing import Harness, crash
from tests.contract.components import Echo, Flow


def test_run_is_replayed_from_the_top_on_every_change() -> None:
    seen = []

    def run(flow: Any) -> None:
        seen.append("top")
        flow.echo.run(1)
        seen.append("below")

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
    assert seen[:3] == ["top", "top", "below"] or seen[:2] == ["top", "top"]
    assert 0 < seen.count("below") < seen.count("top")


def test_a_call_that_has_not_finished_ends_the_pass_through_all_nested_flows() -> None:
    reached = []

    class Inner(L.LightningFlow):
        def __init__(self) -> None:
            super().__init__()
            self.echo = Echo()

        def run(self) -> None:
            self.echo.run(1)
            reached.append("inner")

    def run(flow: Any) -> None:
        flow.inner.run()
        reached.append("outer")

    with Harness(Flow(run, inner=Inner())) as app:
        app.step()
        assert reached == []
        app.run_until_idle()
        assert reached[:2] == ["inner", "outer"]


def test_except_exception_does_not_swallow_the_end_of_a_pass() -> None:
    below = []

    def run(flow: Any) -> None:
        try:
            flow.echo.run(1)
        except Exception:
            below.append("swallowed")

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
    assert below == []


@pytest.mark.parametrize("request_", ["call", "write", "schedule"])
def test_swallowed_by_a_bare_except_it_is_raised_again_by_the_next_request(request_: str) -> None:
    reached = []

    def run(flow: Any) -> None:
        try:  # noqa: SIM105
            flow.echo.run(1)
        except:  # noqa: E722
            pass
        if request_ == "call":
            flow.other.run(2)
        elif request_ == "write":
            flow.x = 1
        else:
            flow.schedule("hourly")
        reached.append(flow.echo.has_succeeded)

    with Harness(Flow(run, echo=Echo(), other=Echo())) as app:
        app.step()
        assert reached == []
        app.run_until_idle()
        assert app.exit_code is None
        assert set(reached) == {True}


def test_a_run_that_returns_although_its_pass_had_ended_is_an_error_naming_the_line() -> None:
    def run(flow: Any) -> None:
        try:  # noqa: SIM105
            flow.echo.run(1)  # this line
        except:  # noqa: E722
            pass

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        line = run.__code__.co_firstlineno + 2
        assert f"{__file__}:{line}" in app.failure
        assert "except" in app.failure


def test_once_finished_the_same_call_returns_its_result_and_the_pass_goes_on() -> None:
    results = []

    def run(flow: Any) -> None:
        results.append((flow.echo.run("a"), flow.echo.run("b")))

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert results[0] == ("a", "b")
        assert app.root.echo.ran == ["a", "b"]


def test_a_call_to_a_parallel_work_returns_none_until_it_has_finished_then_its_result() -> None:
    results = []

    def run(flow: Any) -> None:
        results.append(flow.echo.run(7))

    with Harness(Flow(run, echo=Echo(parallel=True))) as app:
        app.run_until_idle()
    assert results[0] is None
    assert results[-1] == 7
    assert results == sorted(results, key=lambda each: each is not None)


def test_a_write_above_a_blocking_call_counts_passes_and_below_it_calls() -> None:
    passes = []

    def run(flow: Any) -> None:
        passes.append(1)
        flow.above += 1
        flow.echo.run("once")
        if flow.below == 0:
            flow.below += 1
        if flow.below == 1:
            flow.stop()

    flow = Flow(run, echo=Echo())
    flow.above = flow.below = 0
    with Harness(flow) as app:
        app.run_until_idle()
        assert flow.above == len(passes) > 1
        assert flow.below == 1


def test_what_a_pass_wrote_before_a_blocking_call_is_committed_with_the_calls_start() -> None:
    def run(flow: Any) -> None:
        flow.i += 1
        flow.echo.run(flow.i)

    flow = Flow(run, echo=Echo())
    flow.i = 0
    app = Harness(flow)
    app.step()
    journal = crash(app)
    rows = [row for row in journal.read() if b"root.echo" in row.facts]
    from lightning.app.kernel.facts import Called, Wrote, decode_turn

    turns = [[type(fact) for fact in decode_turn(row.facts)] for row in rows]
    assert any(Called in turn and Wrote in turn for turn in turns)
    assert not any(Wrote in turn and Called not in turn for turn in turns[1:])


def test_a_pass_runs_at_a_steady_heartbeat() -> None:
    passes = []
    with Harness(Flow(lambda flow: passes.append(1))) as app:
        app.run_until_idle()
        before = len(passes)
        app.beat(5)
        assert len(passes) == before + 5


def test_b_five_seconds_after_a_starts_six_seconds_after_the_first_pass() -> None:
    """The sample of the seeds, read literally: ``elapsed.seconds > 5``."""
    clock: list[Any] = []

    def run(flow: Any) -> None:
        now = datetime.fromtimestamp(clock[0].now(), UTC)
        if flow._start is None:
            flow._start = now
        flow.a.run("A")
        if (now - flow._start).seconds > 5:
            flow.b.run("B")

    flow = Flow(run, a=Echo(), b=Echo())
    flow._start = None
    with Harness(flow) as app:
        clock.append(app.clock)
        app.run_until_idle()
        while app.clock.monotonic() < 5.95:
            app.beat()
            assert flow.b.ran == []
        app.beat()
        app.beat()
        assert flow.b.ran == ["B"]


def test_the_pass_that_first_returns_a_result_is_followed_at_once_by_another() -> None:
    done = []

    def run(flow: Any) -> None:
        if flow.echo.run(flow.i) == flow.i and flow.i < 5:
            done.append(flow.i)
            flow.i += 1

    flow = Flow(run, echo=Echo())
    flow.i = 0
    with Harness(flow) as app:
        app.run_until_idle()
        assert done == [0, 1, 2, 3, 4]
        assert app.clock.monotonic() == 0.0


def test_sixteen_passes_from_own_writes_run_at_once_then_they_wait_for_the_heartbeat() -> None:
    def run(flow: Any) -> None:
        flow.count += 1

    flow = Flow(run)
    flow.count = 0
    with Harness(flow) as app:
        app.run_until_idle()
        assert flow.count == 17  # the first one, and sixteen that followed from its writes
        app.beat()
        assert flow.count == 18
        app.beat(10)
        assert flow.count == 28


def test_an_echo_of_the_flows_own_write_causes_no_pass() -> None:
    passes = []

    def run(flow: Any) -> None:
        passes.append(1)
        flow.echo.note = "same"

    with Harness(Flow(run, echo=Echo())) as app:
        app.root.echo.note = "same"
        app.run_until_idle()
        before = len(passes)
        app.run_until_idle()
        assert len(passes) == before


def test_the_flow_sees_every_value_a_work_wrote_one_pass_each() -> None:
    class Counter(L.LightningWork):
        def __init__(self) -> None:
            super().__init__(parallel=True)
            self.x = 0

        def run(self) -> None:
            for value in range(1, 51):
                self.x = value

    seen = []

    def run(flow: Any) -> None:
        flow.counter.run()
        seen.append(flow.counter.x)

    with Harness(Flow(run, counter=Counter())) as app:
        app.run_until_idle()
    assert sorted(set(seen)) == list(range(51))


def test_with_many_changes_waiting_the_flow_sees_the_newest_and_the_journal_has_every_one() -> None:
    class Flood(L.LightningWork):
        def __init__(self) -> None:
            super().__init__(parallel=True)
            self.x = 0

        def run(self) -> None:
            for value in range(1, 1001):
                self.x = value

    seen = []

    def run(flow: Any) -> None:
        flow.flood.run()
        seen.append(flow.flood.x)

    from lightning.app.kernel.facts import Changed, decode_turn

    with Harness(Flow(run, flood=Flood())) as app:
        app.run_until_idle()
        assert seen[-1] == 1000
        assert len(set(seen)) < 200
        facts = [fact for row in app.journal.read() for fact in decode_turn(row.facts)]
    written = [delta.value for fact in facts if isinstance(fact, Changed) for delta in fact.deltas]
    assert written == list(range(1, 1001))


def test_an_exception_in_run_fails_the_app_with_the_users_frames_only() -> None:
    def run(flow: Any) -> None:
        raise ValueError("bad luck")

    with Harness(Flow(run)) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "ValueError: bad luck" in app.failure
        assert __file__ in app.failure
        assert "lightning/app" not in app.failure


class Writes(L.LightningWork):
    def __init__(self) -> None:
        super().__init__(parallel=True)
        self.x = 0

    def run(self) -> None:
        for value in (1, 2, 3):
            self.x = value


def test_reading_an_attribute_again_lets_waiting_changes_in_so_a_loop_that_waits_ends() -> None:
    def run(flow: Any) -> None:
        flow.writes.run()
        while flow.writes.x < 3:
            time.sleep(0.002)

    with Harness(Flow(run, writes=Writes())) as app:
        app.step()  # asks for the process
        app.step()
        assert app.root.writes.x == 3


def test_an_attribute_read_at_two_places_of_a_pass_has_one_value() -> None:
    """``if self.train.checkpoint: self.deploy.run(self.train.checkpoint)`` deploys what it has checked."""
    seen = []

    def run(flow: Any) -> None:
        flow.writes.run()
        first = flow.writes.x
        time.sleep(0.002)
        seen.append((first, flow.writes.x))

    with Harness(Flow(run, writes=Writes())) as app:
        app.run_until_idle()
    assert {first for first, _ in seen} == {0, 1, 2, 3}
    assert all(first == second for first, second in seen)
