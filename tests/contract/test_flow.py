"""The Flow section of the contract, sentence by sentence, with a clock that the test turns."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

import lightning as L
from lightning.app import structures
from lightning.app.testing import Harness, crash


class Echo(L.LightningWork):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ran: list[Any] = []

    def run(self, value: Any = None) -> Any:
        self.ran.append(value)
        return value


class Flow(L.LightningFlow):
    """A flow whose ``run`` a test writes as a function."""

    def __init__(self, run: Any, **children: Any) -> None:
        super().__init__()
        self._run = run
        for name, child in children.items():
            setattr(self, name, child)

    def run(self) -> None:
        self._run(self)


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


class Maker(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.made = 0

    def run(self) -> None:
        if not hasattr(self, "echo"):
            self.echo = Echo(parallel=False)
            self.made += 1
        self.echo.run("x")


def test_a_component_made_in_run_is_rebuilt_before_the_first_pass_after_a_restart() -> None:
    app = Harness(Maker())
    app.run_until_idle()
    assert app.root.echo.ran == ["x"]
    journal = crash(app)
    root = Maker()
    with Harness(root, journal=journal) as again:
        assert root.echo.ran == ["x"]
        again.run_until_idle()
        assert root.made == 1
        assert root.echo.ran == ["x"]


class Assigner(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.option = True

    def run(self) -> None:
        self.echo = Echo(parallel=self.option)
        self.echo.run("x")


def test_assigning_the_same_class_and_arguments_keeps_the_old_component() -> None:
    with Harness(Assigner()) as app:
        app.run_until_idle()
        first = app.root.echo
        app.beat(3)
        assert app.root.echo is first
        assert first.ran == ["x"]


def test_other_arguments_replace_it_and_its_generation_rises() -> None:
    with Harness(Assigner()) as app:
        app.run_until_idle()
        first = app.root.echo
        app.root.option = False
        app.beat(2)
        assert app.root.echo is not first
        assert app.root.echo.ran == ["x"]
        assert app.runtime.model.components["root.echo"].generation == 2


def test_a_component_made_in_run_takes_state_values_only() -> None:
    def run(flow: Any) -> None:
        flow.echo = Echo(parallel=lambda: True)

    with Harness(Flow(run)) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "argument parallel" in app.failure
        assert __file__ in app.failure


def test_children_can_be_deleted_in_run_and_stay_deleted_after_a_restart() -> None:
    def run(flow: Any) -> None:
        flow.echo.run(1) if hasattr(flow, "echo") else None
        if hasattr(flow, "echo"):
            del flow.echo

    app = Harness(Flow(run, echo=Echo()))
    app.run_until_idle()
    assert not hasattr(app.root, "echo")
    journal = crash(app)
    with Harness(Flow(run, echo=Echo()), journal=journal) as again:
        assert not hasattr(again.root, "echo")


class Nest(L.LightningFlow):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth
        self.echo = Echo()

    def run(self) -> None:
        if self.depth and not hasattr(self, "below"):
            self.below = Nest(self.depth - 1)
        self.echo.run(self.depth)
        if self.depth:
            self.below.run()


def test_children_may_be_created_at_any_depth() -> None:
    app = Harness(Nest(3))
    app.run_until_idle()
    assert app.root.below.below.below.echo.ran == [0]
    journal = crash(app)
    with Harness(Nest(3), journal=journal) as again:
        assert again.root.below.below.below.echo.ran == [0]
        assert len(again.app.works) == 4


class Pool(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.works_list = structures.List(Echo(), Echo())
        self.by_name = structures.Dict(a=Echo())
        self.wanted = 2

    def run(self) -> None:
        while len(self.works_list) < self.wanted:
            self.works_list.append(Echo())
        while len(self.works_list) > self.wanted:
            self.works_list.pop()
        for position, work in enumerate(self.works_list):
            work.run(position)
        self.by_name["a"].run("a")


def test_structures_hold_components_that_come_and_go() -> None:
    app = Harness(Pool())
    app.run_until_idle()
    app.root.wanted = 4
    app.beat(2)
    assert [work.ran for work in app.root.works_list] == [[0], [1], [2], [3]]
    app.root.wanted = 1
    app.beat(2)
    assert [work.name for work in app.root.works_list] == ["root.works_list.0"]
    journal = crash(app)
    with Harness(Pool(), journal=journal) as again:
        assert [work.ran for work in again.root.works_list] == [[0]]
        assert again.root.by_name["a"].ran == ["a"]


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


def test_names_works_flows_and_state_tell_the_tree() -> None:
    inner = Nest(0)
    flow = Flow(lambda flow: None, inner=inner, echo=Echo())
    with Harness(flow) as app:
        assert flow.name == "root"
        assert inner.echo.name == "root.inner.echo"
        assert {work.name for work in flow.works()} == {"root.inner.echo", "root.echo"}
        assert [work.name for work in flow.works(recurse=False)] == ["root.echo"]
        assert dict(flow.named_works)["root.echo"] is flow.echo
        assert flow.flows == {"inner": inner}
        assert app.app.get_component_by_name("root.inner.echo") is inner.echo
        assert flow.state["flows"]["inner"]["vars"] == {"depth": 0}


def test_load_state_dict_sets_what_state_dict_gave() -> None:
    one, two = Nest(0), Nest(0)
    one.depth = 5
    one.echo.ran.append("x")
    two.load_state_dict(one.state_dict())
    assert two.depth == 5
    assert two.echo.ran == ["x"]


def test_an_exception_in_run_fails_the_app_with_the_users_frames_only() -> None:
    def run(flow: Any) -> None:
        raise ValueError("bad luck")

    with Harness(Flow(run)) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "ValueError: bad luck" in app.failure
        assert __file__ in app.failure
        assert "lightning/app" not in app.failure


def test_a_deleted_work_says_so_when_it_is_called() -> None:
    kept: list[Any] = []

    def run(flow: Any) -> None:
        if hasattr(flow, "echo"):
            kept.append(flow.echo)
            del flow.echo
        kept[0].run(1)

    with Harness(Flow(run, echo=Echo())) as app:
        app.run_until_idle()
        assert app.exit_code == 1
        assert "deleted" in app.failure


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
