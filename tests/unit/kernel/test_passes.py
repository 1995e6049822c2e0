"""Rules about requests of the flow, one at a time, with plain values."""

from __future__ import annotations

import pytest

from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel import orders as o
from lightning.app.kernel.delta import DELETE, INSERT, SET
from lightning.app.kernel.lifecycle import Phase
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.model import Call
from lightning.app.kernel.passes import OWN_PASSES, result
from lightning.app.kernel.schedule import Schedule
from tests.unit.kernel.stage import Stage, W, raised

HOURLY = Schedule.parse("hourly", "UTC")
HOUR = 3600.0


def through(stage: Stage, *keys: bytes) -> list[Call | None]:
    """A pass that asks for these calls and gets through."""
    stage.passes.begin()
    calls = [stage.passes.call(W, key, [], {}) for key in keys]
    stage.passes.complete()
    stage.works.settle()
    return calls


def passed(stage: Stage) -> Call:
    """A finished call that the last completed pass reached."""
    call = stage.finished()
    through(stage, b"k")
    return call


def tick(stage: Stage, at: float, key: str = "root|hourly||", flow: str = "root") -> bool:
    stage.ledger.at = at
    return stage.passes.schedule(key, flow, HOURLY, None)


# -- calls ----------------------------------------------------------------------------------------


def test_the_same_key_is_one_call_wherever_it_is_asked_for() -> None:
    stage = Stage()
    stage.passes.begin()
    first = stage.passes.call(W, b"k", [1], {"x": 2})
    assert first is not None
    assert (first.number, first.args, first.kwargs, first.tick) == (1, [1], {"x": 2}, "")
    assert stage.passes.call(W, b"k", [1], {"x": 2}) is first
    other = stage.passes.call(W, b"other", [], {})
    assert other is not None
    assert (other.number, stage.life().asked) == (2, 2)


def test_the_pass_that_first_returns_a_result_is_followed_by_another() -> None:
    stage = Stage()
    call = stage.finished()
    for another in (True, False):
        assert through(stage, b"k") == [call]
        assert stage.passes.wants_another() is another


def test_a_result_that_came_anew_is_first_again() -> None:
    stage = Stage(raise_exception=True)
    call = stage.running()
    stage.say(raised(call))
    through(stage, b"k")
    stage.resume()
    stage.say(m.Ready(2))
    stage.say(m.Returned(call.number, 5))
    through(stage, b"k")
    assert stage.passes.wants_another()


def test_a_failed_call_gives_none_and_a_finished_one_a_fresh_value() -> None:
    stage = Stage(raise_exception=False)
    call = stage.finished(value=[1, [2]])
    given = result(call)
    assert given == [1, [2]]
    given.append(3)
    assert result(call) == [1, [2]]
    failed = stage.call(b"fails")
    stage.say(raised(failed))
    assert (failed.phase, result(failed)) == (Phase.FAILED, None)


def test_a_stopped_work_gives_nothing_new_in_that_pass_but_what_is_finished_stays() -> None:
    stage = Stage()
    done = stage.finished(b"done")
    stage.passes.begin()
    stage.passes.stop_work(W)
    assert stage.passes.call(W, b"new", [], {}) is None
    assert stage.passes.call(W, b"done", [], {}) is done
    stage.passes.begin()
    assert stage.passes.call(W, b"new", [], {}) is not None


def test_a_work_made_in_place_of_a_stopped_one_was_not_stopped() -> None:
    stage = Stage()
    stage.passes.begin()
    stage.passes.stop_work(W)
    stage.passes.delete(W)
    stage.passes.make(f.Made(W, "work", "app:Work", {}, f.WorkOptions()))
    assert stage.passes.call(W, b"k", [], {}) is not None


# -- uncached calls -------------------------------------------------------------------------------


def test_uncached_calls_are_told_apart_by_their_occurrence_in_the_pass() -> None:
    stage = Stage(cache_calls=False, parallel=True)
    one, two = through(stage, b"k", b"k")
    assert one is not None
    assert two is not None
    assert (one.key, two.key) == (b"k#0", b"k#1")
    assert through(stage, b"k", b"k") == [one, two]  # they still wait: joined, not doubled


def test_an_uncached_call_is_over_with_the_pass_that_gets_through() -> None:
    stage = Stage(cache_calls=False)
    call = stage.finished()
    stage.passes.begin()
    assert stage.passes.call(W, b"k", [], {}) is call  # this pass blocks further down
    assert through(stage, b"k") == [call]
    assert stage.passes.wants_another()
    (again,) = through(stage, b"k")
    assert again is not None
    assert again is not call


def test_an_uncached_call_that_no_pass_asks_for_any_more_is_over_as_well() -> None:
    stage = Stage(cache_calls=False)
    (call,) = through(stage, b"k")
    through(stage)
    assert call is not None
    stage.say(m.Ready(1))
    stage.say(m.Returned(call.number, 5))
    through(stage)
    assert not stage.life().latest
    stage.facts()
    through(stage)
    assert stage.facts() == []


def test_a_resumed_run_knows_that_uncached_calls_are_over() -> None:
    stage = Stage(cache_calls=False)
    stage.finished()
    stage.resume()
    through(stage)
    assert not stage.life().latest


def test_cached_calls_stay_when_uncached_ones_are_forgotten() -> None:
    stage = Stage()
    stage.passes.make(f.Made("root.u", "work", "app:Work", {}, f.WorkOptions(cache_calls=False)))
    kept = stage.finished()
    call = stage.call(path="root.u")
    stage.say(m.Ready(2), path="root.u", seq=1)
    stage.say(m.Returned(call.number, 5), path="root.u", seq=2)
    through(stage, b"k")
    assert stage.life("root.u").latest == {}
    assert list(stage.life().latest.values()) == [kept]


# -- schedules ------------------------------------------------------------------------------------


def test_a_schedule_is_true_on_the_first_pass_and_until_one_gets_through() -> None:
    stage = Stage()
    for blocked in (True, True, False):
        stage.passes.begin()
        assert tick(stage, 10.0)
        if not blocked:
            stage.passes.complete()
    stage.passes.begin()
    assert not tick(stage, 11.0)
    assert not tick(stage, HOUR - 1)
    assert tick(stage, HOUR)
    assert [fact.ticks.number for fact in stage.facts() if isinstance(fact, f.Ticked)] == [1, 2]


def test_a_schedule_that_the_pass_did_not_reach_stays_true() -> None:
    stage = Stage()
    stage.passes.begin()
    assert tick(stage, 10.0)
    through(stage)
    stage.passes.begin()
    assert tick(stage, 11.0)


def test_a_finished_call_runs_again_once_per_tick() -> None:
    stage = Stage()
    stage.passes.begin()
    assert tick(stage, 0.0)
    first = stage.finished()
    assert first.tick == "root|hourly||@1"
    stage.passes.complete()
    through(stage)
    stage.passes.begin()
    assert tick(stage, HOUR)
    second = stage.finished()
    assert (second.number, second.tick) == (first.number + 1, "root|hourly||@2")
    stage.passes.begin()
    assert tick(stage, HOUR + 1)  # still: no pass has got through
    assert stage.passes.call(W, b"k", [], {}) is second


def test_what_the_last_completed_pass_reached_does_not_run_again() -> None:
    stage = Stage()
    call = passed(stage)
    stage.passes.begin()
    assert tick(stage, 0.0)
    assert stage.passes.call(W, b"k", [], {}) is call


def test_the_second_place_that_asks_for_a_call_in_a_pass_does_not_run_it_again() -> None:
    stage = Stage()
    call = stage.finished()
    through(stage)
    stage.passes.begin()
    assert stage.passes.call(W, b"k", [], {}) is call
    assert tick(stage, 0.0)
    assert stage.passes.call(W, b"k", [], {}) is call


def test_a_tick_of_another_schedule_that_came_while_the_call_ran_does_not_run_it_again() -> None:
    """A long night's training in a flow with an hourly check above it."""
    stage = Stage()
    stage.passes.begin()
    assert tick(stage, 0.0, "root|check||")
    stage.passes.complete()
    stage.passes.begin()
    assert not tick(stage, 10.0, "root|check||")
    assert tick(stage, 10.0, "root|train||")
    call = stage.finished()
    stage.passes.begin()
    assert tick(stage, HOUR, "root|check||")
    assert tick(stage, HOUR, "root|train||")
    assert stage.passes.call(W, b"k", [], {}) is call


def test_the_names_of_ticks_are_told_apart_whatever_a_user_key_holds() -> None:
    stage = Stage()
    key = "root|hourly||a;b@1"
    stage.passes.begin()
    assert tick(stage, 0.0, key)
    first = stage.finished()
    stage.passes.complete()
    through(stage)
    stage.passes.begin()
    assert tick(stage, HOUR, key)
    assert stage.passes.call(W, b"k", [], {}) is not first


def test_a_schedule_moves_only_calls_below_its_flow() -> None:
    stage = Stage(works=(W, "root.f.v", "root.fv"))
    stage.passes.begin()
    assert tick(stage, 0.0, "root.f|hourly||", "root.f")
    ticks = [stage.call(path=path).tick for path in (W, "root.f.v", "root.fv")]
    assert ticks == ["", "root.f|hourly||@1", ""]


def test_what_a_pass_reached_is_remembered_by_a_resumed_run_with_schedules() -> None:
    stage = Stage()
    call = passed(stage)
    stage.passes.begin()
    assert tick(stage, 0.0)
    assert stage.passes.call(W, b"k", [], {}) is call
    stage.passes.complete()
    stage.resume()
    stage.passes.begin()
    assert tick(stage, HOUR)
    assert stage.passes.call(W, b"k", [], {}) is call


def test_the_first_schedule_of_a_resumed_run_runs_nothing_again_that_had_been_passed() -> None:
    stage = Stage()
    call = passed(stage)
    stage.resume()
    stage.passes.begin()
    assert tick(stage, 0.0)
    assert stage.passes.call(W, b"k", [], {}) is call


def test_a_kill_in_the_pass_that_asks_for_the_first_schedule_runs_nothing_again() -> None:
    stage = Stage()
    call = passed(stage)
    stage.passes.begin()
    assert tick(stage, 0.0)
    assert stage.call(b"another").phase is not Phase.SUCCEEDED  # the pass ends here
    stage.resume()
    stage.passes.begin()
    assert tick(stage, 0.0)
    assert stage.passes.call(W, b"k", [], {}) is call


def test_without_a_schedule_it_is_not_written_what_passes_reach() -> None:
    stage = Stage()
    stage.finished()
    stage.facts()
    through(stage, b"k")
    through(stage)
    assert stage.facts() == []


def test_a_pass_that_changed_nothing_writes_nothing() -> None:
    stage = Stage()
    stage.finished()
    stage.passes.begin()
    tick(stage, 0.0)
    stage.passes.complete()
    through(stage, b"k")
    stage.facts()
    for _ in range(3):
        through(stage, b"k")
    assert stage.facts() == []
    through(stage)
    assert stage.facts() == [f.PassCompleted([], [], False)]


# -- writes ---------------------------------------------------------------------------------------


def test_what_is_there_already_is_no_change() -> None:
    stage = Stage()
    stage.passes.write("root", Delta(SET, ("x",), 1))
    stage.passes.begin()
    stage.facts()
    stage.passes.write("root", Delta(SET, ("x",), 1))
    assert stage.facts() == []
    assert not stage.passes.wrote


@pytest.mark.parametrize(
    "delta",
    [
        Delta(SET, ("x",), True),  # equal to 1, and another kind
        Delta(SET, ("x",), 1.0),
        Delta(SET, ("y",), None),  # not there yet
        Delta(SET, ("table", "k"), 1),
        Delta(INSERT, ("items",), [None, [1]]),
        Delta(DELETE, ("x",)),
        Delta(DELETE, ("nothing",)),
    ],
)
def test_everything_else_is_a_change(delta: Delta) -> None:
    stage = Stage()
    for name, value in (("x", 1), ("items", []), ("table", {"k": 1}), ("nothing", None)):
        stage.passes.write("root", Delta(SET, (name,), value))
    stage.passes.begin()
    stage.facts()
    stage.passes.write("root", delta)
    assert stage.facts() == [f.Wrote("root", delta, "flow")]
    assert stage.passes.wrote


def test_a_flow_that_only_writes_gets_so_many_passes_at_once_and_then_waits() -> None:
    stage = Stage()
    for number in range(100):
        stage.passes.begin()
        stage.ledger.fresh = False
        stage.passes.write("root", Delta(SET, ("n",), number))
        stage.passes.complete()
        if not stage.passes.wants_another():
            break
    assert number == OWN_PASSES == 16
    stage.passes.begin()
    stage.passes.complete()
    assert not stage.passes.wants_another()  # it wrote nothing
    stage.passes.begin()
    stage.passes.write("root", Delta(SET, ("n",), -1))
    assert stage.passes.wants_another()  # the count begins anew


@pytest.mark.parametrize("news", ["something came in", "a result came first"])
def test_news_let_a_flow_write_on(news: str) -> None:
    stage = Stage()
    call = stage.finished()
    for number in range(OWN_PASSES + 1):
        stage.passes.begin()
        stage.ledger.fresh = False
        stage.passes.write("root", Delta(SET, ("n",), number))
    assert not stage.passes.wants_another()
    if news == "something came in":
        stage.ledger.fresh = True
    else:
        assert stage.passes.call(W, b"k", [], {}) is call
        assert stage.passes.wants_another()
    stage.passes.begin()
    stage.passes.write("root", Delta(SET, ("n",), -1))
    assert stage.passes.wants_another()


def test_others_writes_are_news_for_the_flow_and_its_own_are_not() -> None:
    stage = Stage()
    stage.ledger.fresh = False
    stage.passes.write("root", Delta(SET, ("n",), 1))
    assert not stage.ledger.fresh
    stage.works.write("root", Delta(SET, ("n",), 2), "page")
    assert stage.ledger.fresh


# -- loops, the tree, ends ------------------------------------------------------------------------


def test_a_loop_goes_on_where_it_stood_and_belongs_to_its_flow() -> None:
    stage = Stage()
    assert stage.passes.cursor("root", "i") == 0
    stage.passes.begin()
    stage.passes.move_cursor("root", "i", 3)
    assert stage.passes.wrote
    assert stage.facts()[-1:] == [f.CursorMoved("root", "i", 3)]
    stage.resume()
    assert (stage.passes.cursor("root", "i"), stage.passes.cursor("root", "j")) == (3, 0)
    assert stage.passes.cursor("root.f", "i") == 0


def test_what_is_made_or_deleted_lets_another_pass_follow() -> None:
    stage = Stage()
    for change in (
        lambda: stage.passes.make(f.Made("root.f", "flow", "app:Flow", {})),
        lambda: stage.passes.delete("root.f"),
    ):
        stage.passes.begin()
        change()
        assert stage.passes.wants_another()


def test_with_a_flow_goes_all_that_is_below_it() -> None:
    stage = Stage()
    for path, kind in (("root.f", "flow"), ("root.f.g", "flow"), ("root.fg", "flow")):
        stage.passes.make(f.Made(path, kind, "app:Flow", {}))
        tick(stage, 0.0, f"{path}|hourly||", path)
        stage.passes.move_cursor(path, "i", 1)
    stage.passes.make(f.Made("root.f.g.v", "work", "app:Work", {}, f.WorkOptions(timeout=5.0)))
    stage.call(path="root.f.g.v")
    stage.orders()
    stage.passes.delete("root.f")
    assert stage.orders() == [o.StopWorker("root.f.g.v", 1)]
    model = stage.ledger.model
    assert sorted(model.components) == ["root", "root.fg", W]
    assert sorted(model.works) == [W]
    assert model.deleted == {"root.f", "root.f.g", "root.f.g.v"}
    assert (list(model.schedules), list(model.cursors)) == (["root.fg|hourly||"], [("root.fg", "i")])
    stage.works.elapsed()
    stage.works.settle()


def test_each_component_of_a_name_has_a_generation_of_its_own() -> None:
    stage = Stage()
    assert stage.ledger.model.components[W].generation == 1
    stage.passes.delete(W)
    stage.passes.make(f.Made(W, "work", "app:Work", {}, f.WorkOptions()))
    assert stage.ledger.model.components[W].generation == 2
    assert W not in stage.ledger.model.deleted


def test_a_flow_that_raises_has_asked_for_nothing_in_that_pass() -> None:
    stage = Stage()
    stage.running()
    stage.works.write(W, Delta(SET, ("n",), 1), "page")
    stage.passes.begin()
    stage.passes.write("root", Delta(SET, ("x",), 1))
    stage.passes.stop_work(W)
    stage.passes.undo()
    facts, orders = stage.ledger.close_turn()
    assert facts[-1] == f.Wrote(W, Delta(SET, ("n",), 1), "page")
    assert orders[-1] == o.Send(W, m.Write([Delta(SET, ("n",), 1)]))


def test_what_came_in_while_the_pass_waited_happened_though_the_flow_raises() -> None:
    stage = Stage()
    call = stage.running()
    stage.passes.begin()
    stage.passes.write("root", Delta(SET, ("x",), 1))
    stage.ledger.close_turn()
    stage.works.take(W, stage.life().incarnation, 2, 0, m.Returned(call.number, 5))
    stage.passes.closed_turn()
    stage.passes.write("root", Delta(SET, ("x",), 2))
    stage.passes.undo()
    assert stage.facts() == [f.Returned(W, 2, call.number, 5)]


def test_a_flow_that_raises_after_it_stopped_the_app_has_failed() -> None:
    stage = Stage()
    stage.passes.begin()
    stage.passes.end(0, "stopped", "done")
    stage.passes.undo()
    failure = f.Failure("ValueError", "in a finally clause")
    stage.works.end(1, "failed", work="root", failure=failure)
    assert stage.ends() == [o.EndApp(1, "failed", work="root", failure=failure)]
