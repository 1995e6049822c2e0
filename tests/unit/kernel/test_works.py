"""Rules about works, one at a time, with plain values."""

from __future__ import annotations

import pytest

from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel import orders as o
from lightning.app.kernel.delta import SET
from lightning.app.kernel.lifecycle import Phase, Process
from lightning.app.kernel.messages import Delta
from tests.unit.kernel.stage import Stage, W, raised


def test_a_message_that_comes_again_is_dropped() -> None:
    stage = Stage()
    stage.running()
    stage.say(m.Noticed("once"))
    stage.say(m.Changed([]))
    stage.orders()
    stage.say(m.Noticed("once"), seq=stage.seq)
    assert stage.orders() == []


def test_a_failed_call_is_tried_again_as_often_as_retries_say() -> None:
    stage = Stage(retries=2, raise_exception=False)
    call = stage.running()
    for attempt in (1, 2, 3):
        stage.say(raised(call))
        assert call.attempts == attempt
        assert call.phase is (Phase.RUNNING if attempt < 3 else Phase.FAILED)


def test_a_failure_ends_the_app_unless_it_is_told_not_to() -> None:
    for ends in (True, False):
        stage = Stage(raise_exception=ends)
        stage.say(raised(stage.running()))
        assert bool(stage.ends()) is ends


def test_a_call_whose_process_dies_runs_again_and_fails_at_the_third_death() -> None:
    stage = Stage(raise_exception=False)
    call = stage.running()
    for deaths in (1, 2):
        stage.die()
        assert (call.phase, call.deaths) == (Phase.WAITING, deaths)
        stage.say(m.Ready(1))
    stage.die()
    assert call.phase is Phase.FAILED
    assert call.failure is not None
    assert "death 3" in call.failure.message


def test_an_interrupted_call_runs_before_those_that_wait() -> None:
    stage = Stage(parallel=True)
    call = stage.running()
    stage.call(b"later")
    stage.die()
    assert stage.life().queue[0] is call


def test_with_on_crash_fail_a_call_runs_at_most_once() -> None:
    stage = Stage(on_crash="fail", raise_exception=False)
    call = stage.running()
    stage.die()
    assert call.phase is Phase.FAILED


def test_a_finished_call_is_the_same_call_for_ever() -> None:
    stage = Stage()
    call = stage.running()
    stage.say(m.Returned(call.number, 5))
    assert stage.call() is call
    assert stage.life().asked == 1


def test_a_return_of_another_call_is_not_taken_for_this_one() -> None:
    stage = Stage()
    call = stage.running()
    stage.say(m.Returned(call.number + 7, 5))
    assert call.phase is Phase.RUNNING


def test_a_call_that_takes_too_long_fails_and_its_process_is_stopped() -> None:
    stage = Stage(timeout=10.0, raise_exception=False)
    call = stage.running()
    stage.ledger.at = 9.0
    stage.works.elapsed()
    assert call.phase is Phase.RUNNING
    stage.ledger.at = 10.0
    stage.works.elapsed()
    assert call.phase is Phase.FAILED
    assert stage.life().timeouts == 1
    assert stage.life().process is Process.STOPPING


def test_an_idle_process_is_stopped_after_its_idle_timeout() -> None:
    stage = Stage(idle_timeout=10.0)
    stage.say(m.Returned(stage.running().number, 5))
    for at, process in ((9.0, Process.READY), (10.0, Process.STOPPING)):
        stage.ledger.at = at
        stage.works.elapsed()
        assert stage.life().process is process


def test_devices_are_handed_out_to_one_at_a_time() -> None:
    stage = Stage(devices=1, works=(W, "root.v"), gpus=1, parallel=True)
    stage.call()
    stage.call(path="root.v")
    assert [each.path for each in stage.orders() if isinstance(each, o.Place)] == [W]
    stage.works.stop(W)
    stage.die()
    assert [each.path for each in stage.orders() if isinstance(each, o.Place)] == ["root.v"]


def test_stop_cancels_what_is_not_finished_and_a_later_pass_asks_anew() -> None:
    stage = Stage(parallel=True)
    call, other = stage.running(), stage.call(b"other")
    stage.passes.begin()
    stage.passes.stop_work(W)
    assert (call.phase, other.phase) == (Phase.CANCELLED, Phase.CANCELLED)
    assert stage.passes.call(W, b"k", [], {}) is None
    stage.passes.begin()
    assert stage.passes.call(W, b"k", [], {}) is not call


def test_a_deleted_work_ends_its_process_and_what_it_says_is_refused() -> None:
    stage = Stage()
    stage.running()
    incarnation = stage.life().incarnation
    stage.orders()
    stage.passes.delete(W)
    assert stage.orders() == [o.StopWorker(W, incarnation)]
    stage.works.take(W, incarnation, 9, 0, m.Noticed("still here"))
    stage.works.exited(W, incarnation, "")
    assert stage.orders() == []


def test_a_host_that_cannot_begin_or_be_had_is_not_tried_again() -> None:
    broken, nowhere = Stage(retries=5), Stage(retries=5)
    calls = broken.call(), nowhere.call()
    broken.say(m.Broken("TypeError", "cannot open", ""))
    nowhere.works.could_not_start(W, nowhere.life().incarnation, f.Failure("OSError", "no process"))
    assert [call.phase for call in calls] == [Phase.FAILED, Phase.FAILED]
    assert broken.ends()
    assert nowhere.ends()


def test_the_end_of_an_app_cancels_no_call_and_starts_nothing() -> None:
    stage = Stage()
    call = stage.running()
    stage.works.stop_all()
    assert call.phase is Phase.RUNNING
    stage.die()
    assert not any(isinstance(order, o.Place) for order in stage.orders()[1:])


def test_a_call_that_may_run_once_and_was_interrupted_ends_each_resumed_run_anew() -> None:
    stage = Stage(on_crash="fail")
    call = stage.running()
    for _ in range(2):
        stage.orders()
        stage.resume()
        assert call.phase is Phase.FAILED
        (end,) = stage.ends()
        assert (end.code, end.work) == (1, W)
        assert end.failure is not None
        assert "interrupted while this call ran, and on_crash is 'fail'" in end.failure.message


def test_a_call_that_may_run_once_and_whose_process_died_is_not_tried_again_by_a_resumed_run() -> None:
    stage = Stage(on_crash="fail")
    call = stage.running()
    stage.die()
    stage.resume()
    assert call.phase is Phase.FAILED
    assert stage.ends()


@pytest.mark.parametrize("on_crash", ["rerun", "fail"])
def test_a_call_that_ended_the_app_by_an_exception_is_tried_again_by_a_resumed_run(on_crash: str) -> None:
    stage = Stage(on_crash=on_crash)
    call = stage.running()
    stage.say(raised(call))
    stage.orders()
    stage.resume()
    assert call.phase is Phase.WAITING
    assert stage.ends() == []


def test_a_call_that_never_began_is_tried_again_by_a_resumed_run() -> None:
    stage = Stage(on_crash="fail")
    call = stage.call()
    for _ in range(3):
        stage.die()
    assert call.phase is Phase.FAILED
    stage.orders()
    stage.resume()
    assert call.phase is Phase.WAITING
    assert stage.ends() == []


def test_an_interrupted_call_says_what_happened_to_it() -> None:
    stage = Stage(raise_exception=False)
    call = stage.running()
    stage.resume()
    assert call.phase is Phase.WAITING
    assert call.failure is not None
    assert call.failure.message == "the run was interrupted while this call ran"
    assert call.deaths == 0


def test_a_process_that_dies_is_named_with_its_reason_and_that_its_call_runs_again() -> None:
    stage = Stage(raise_exception=False)
    call = stage.running()
    stage.orders()
    for reason, told in (("killed by SIGSEGV", "killed by SIGSEGV"), ("", "it left by itself")):
        stage.die(reason=reason)
        died = f"the process of {W} died while run was going on: {told}"
        assert stage.notices() == [f"{died}; the same call runs again"]
        stage.say(m.Ready(1))
    stage.die()
    assert call.failure is not None
    assert call.failure.message.endswith("killed by SIGKILL (death 3: not tried again)")
    assert stage.notices() == []


def test_a_process_that_dies_at_its_start_again_and_again_is_given_up() -> None:
    stage = Stage(raise_exception=False)
    call, other = stage.call(), stage.call(b"other")
    for _ in range(2):
        stage.die()
        assert call.phase is Phase.WAITING
    stage.die()
    assert call.phase is Phase.FAILED
    assert call.failure is not None
    assert "died 3 times at its start: killed by SIGKILL" in call.failure.message
    assert (other.phase, stage.life().process) == (Phase.WAITING, Process.STARTING)


def test_deaths_at_the_start_count_only_in_a_row() -> None:
    stage = Stage()
    stage.works.start(W)
    stage.works.settle()
    for _ in range(4):
        stage.die()
        stage.die()
        stage.say(m.Ready(1))
        assert stage.life().process is Process.READY
        stage.die()
    assert stage.life().wanted


def test_a_start_that_cannot_be_had_is_given_up_and_ends_the_app_unless_told_not_to() -> None:
    for ends in (True, False):
        stage = Stage(raise_exception=ends)
        stage.works.start(W)
        stage.works.settle()
        for _ in range(3):
            assert stage.life().wanted
            stage.die()
        assert (stage.life().process, stage.life().wanted) == (Process.ABSENT, False)
        assert [end.code for end in stage.ends()] == [1] * ends


def test_of_a_work_that_was_deleted_before_its_process_could_be_had_the_devices_are_free_again() -> None:
    stage = Stage(devices=1, works=(W, "root.v"), gpus=1)
    stage.call()
    stage.call(path="root.v")
    incarnation = stage.life().incarnation
    stage.passes.delete(W)
    stage.passes.make(f.Made(W, "work", "app:Work", {}, f.WorkOptions(gpus=1)))
    stage.orders()
    stage.works.could_not_start(W, incarnation, f.Failure("OSError", "no process"))
    stage.works.settle()
    assert [each.path for each in stage.orders() if isinstance(each, o.Place)] == ["root.v"]


def test_who_waits_for_a_device_gets_that_of_a_process_that_could_not_be_had() -> None:
    stage = Stage(devices=1, works=(W, "root.v"), gpus=1, raise_exception=False)
    stage.call()
    stage.call(path="root.v")
    stage.works.could_not_start(W, stage.life().incarnation, f.Failure("OSError", "no process"))
    stage.works.settle()
    assert stage.life("root.v").process is Process.STARTING


def test_more_devices_than_there_are_is_all_of_them() -> None:
    stage = Stage(devices=2, gpus=3)
    stage.call()
    assert stage.orders() == [o.Place(W, 1, (0, 1), cpu_only_notice=True)]
    stage = Stage(devices=2, gpus=2)
    stage.call()
    assert stage.orders() == [o.Place(W, 1, (0, 1))]


def test_what_a_stopped_process_could_not_begin_is_no_failure_of_the_next_call() -> None:
    stage = Stage()
    stage.call()
    stage.passes.begin()
    stage.works.stop(W)
    later = stage.call(b"later")
    stage.say(m.Broken("TypeError", "on_start", ""))
    assert later.phase is Phase.WAITING
    assert stage.ends() == []


def test_a_write_to_a_process_that_stops_is_overwritten_seen() -> None:
    stage = Stage()
    stage.running()
    stage.works.stop(W)
    stage.facts()
    stage.passes.write(W, Delta(SET, ("n",), 1))
    stage.say(m.Changed([Delta(SET, ("m",), 5), Delta(SET, ("n",), 5)]), seen=99)
    (changed,) = [fact for fact in stage.facts() if isinstance(fact, f.Changed)]
    assert changed.conflicts == [1]
    stage.die()
    assert not stage.life().unseen


def test_a_write_that_goes_over_what_its_writer_had_not_seen_is_marked() -> None:
    stage = Stage()
    stage.running()  # the object is message 1, the call 2
    stage.passes.write(W, Delta(SET, ("n",), 1))
    stage.facts()
    for seen, overtaken, marked in ((2, [], [0]), (3, [], []), (3, [0], [0]), (2, [0], [0])):
        stage.say(m.Changed([Delta(SET, ("n",), 5)], overtaken), seen=seen)
        (changed,) = stage.facts()
        assert isinstance(changed, f.Changed)
        assert changed.conflicts == marked
        if not stage.life().unseen:
            stage.life().unseen.append((3, Delta(SET, ("n",), 1)))


def test_what_a_host_has_seen_is_forgotten_whatever_it_says() -> None:
    stage = Stage()
    stage.running()
    incarnation = stage.life().incarnation
    for value in (1, 2, 3):
        stage.passes.write(W, Delta(SET, ("n",), value))
    assert [number for number, _ in stage.life().unseen] == [3, 4, 5]
    stage.works.acknowledged(W, incarnation, 3)
    assert [number for number, _ in stage.life().unseen] == [4, 5]
    stage.works.acknowledged(W, incarnation - 1, 5)
    stage.works.acknowledged("root.gone", 7, 5)
    assert [number for number, _ in stage.life().unseen] == [4, 5]
    stage.say(m.Noticed("slow"), seen=4)
    assert [number for number, _ in stage.life().unseen] == [5]


def test_an_app_ends_once_and_as_the_first_said_who_ended_it() -> None:
    stage = Stage()
    stage.works.end(0, "stopped", "done")
    stage.works.end(1, "failed")
    assert stage.ends() == [o.EndApp(0, "stopped", "done")]


def test_after_a_timeout_the_calls_that_wait_are_run_by_a_new_process() -> None:
    stage = Stage(timeout=10.0, raise_exception=False, parallel=True)
    stage.running()
    later = stage.call(b"later")
    stage.ledger.at = 10.0
    stage.works.elapsed()
    assert stage.life().stage == "failed"
    stage.die()
    stage.say(m.Ready(2))
    assert later.phase is Phase.RUNNING


def test_a_process_with_calls_to_run_is_not_idle() -> None:
    stage = Stage(idle_timeout=0.0, parallel=True)
    call = stage.running()
    stage.passes.call(W, b"later", [], {})
    stage.works.take(W, stage.life().incarnation, 2, 0, m.Returned(call.number, 5))
    stage.works.elapsed()
    assert stage.life().process is Process.READY


def test_to_stop_a_stopped_work_and_to_start_one_that_is_there_is_nothing_new() -> None:
    stage = Stage()
    stage.works.stop(W)
    stage.facts()
    stage.works.stop(W)
    assert stage.facts() == []
    stage.works.start(W)
    stage.works.settle()
    stage.facts()
    stage.works.start(W)
    assert stage.facts() == []


def test_a_started_work_whose_process_is_gone_gets_another() -> None:
    stage = Stage()
    stage.works.start(W)
    stage.works.settle()
    stage.say(m.Ready(1))
    stage.die()
    assert (stage.life().process, stage.life().incarnation) == (Process.STARTING, 2)


def test_where_it_listened_is_forgotten_with_the_process() -> None:
    stage = Stage()
    stage.finished()
    stage.say(m.Changed([Delta(SET, ("url",), "http://127.0.0.1:7000")]))
    stage.die()
    assert stage.ledger.model.components[W].state["url"] == ""
    facts = [fact for fact in stage.facts() if isinstance(fact, f.Wrote)]
    assert facts == [f.Wrote(W, Delta(SET, ("url",), ""), "runtime")]


def test_an_app_is_busy_while_a_call_waits_or_runs() -> None:
    stage = Stage()
    assert not stage.works.busy
    call = stage.call()
    assert stage.works.busy
    stage.say(m.Ready(1))
    assert stage.works.busy
    stage.say(m.Returned(call.number, 5))
    assert not stage.works.busy


def test_a_status_tells_stage_time_reason_and_how_many_calls_there_were() -> None:
    stage = Stage(raise_exception=False)
    stage.ledger.at = 7.0
    call = stage.running()
    stage.say(raised(call))
    assert list(stage.life().statuses) == [
        ("pending", 7.0, "", "", 1),
        ("running", 7.0, "", "", 1),
        ("failed", 7.0, "ValueError", "no", 1),
    ]


def test_what_runs_or_waits_is_cancelled_and_what_is_finished_stays() -> None:
    stage = Stage(parallel=True)
    done = stage.finished(b"done")
    call = stage.call(b"runs")
    stage.works.stop(W)
    assert (done.phase, call.phase) == (Phase.SUCCEEDED, Phase.CANCELLED)
    assert stage.life().latest == {b"done": done}


def test_a_failure_of_another_call_is_not_taken_for_that_of_this_one() -> None:
    stage = Stage()
    call = stage.running()
    stage.say(m.Raised(call.number + 7, "ValueError", "no", "..."))
    assert call.phase is Phase.RUNNING


def test_a_process_that_could_not_be_had_and_was_stopped_meanwhile_fails_nobody() -> None:
    stage = Stage()
    stage.works.start(W)
    stage.works.settle()
    stage.works.stop(W)
    stage.works.could_not_start(W, stage.life().incarnation, f.Failure("OSError", "no process"))
    assert stage.life().process is Process.ABSENT
    assert stage.ends() == []


def test_an_app_that_ends_gives_no_call_up_for_want_of_a_process() -> None:
    stage = Stage()
    call = stage.call()
    stage.works.stop_all()
    stage.works.could_not_start(W, stage.life().incarnation, f.Failure("OSError", "no process"))
    assert call.phase is Phase.WAITING


def test_a_process_ends_once_and_gives_back_what_it_held() -> None:
    stage = Stage(devices=1, gpus=1, raise_exception=False)
    stage.finished()
    incarnation = stage.life().incarnation
    stage.facts()
    stage.die(reason="")
    stage.works.exited(W, incarnation, "")
    assert stage.facts() == [f.Gone(W, incarnation, "")]
    assert (stage.life().devices, stage.life().pid, stage.ledger.model.held) == ((), 0, {})
