from __future__ import annotations

from typing import Any

from lightning.app.kernel import facts as f
from lightning.app.kernel import messages as m
from lightning.app.kernel import orders as o
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.lifecycle import Phase, Process
from lightning.app.kernel.model import Call, Model, WorkLife
from lightning.app.kernel.passes import Passes
from lightning.app.kernel.works import Works

W = "root.w"


class Stage:
    """A flow with one work, and what was ordered of the world around them."""

    def __init__(self, devices: int = 0, works: tuple[str, ...] = (W,), **options: Any) -> None:
        self.ledger = Ledger(Model())
        self.works = Works(self.ledger, devices=range(devices))
        self.passes = Passes(self.works)
        self.ledger.enter(f.Made("root", "flow", "app:Root", {}))
        for path in works:
            self.ledger.enter(f.Made(path, "work", "app:Work", {}, f.WorkOptions(**options)))
        self.works.begin_epoch()
        self.seq = 0

    def life(self, path: str = W) -> WorkLife:
        return self.ledger.model.works[path]

    def orders(self) -> list[o.Order]:
        return self.ledger.close_turn()[1]

    def call(self, key: bytes = b"k", path: str = W) -> Call:
        call = self.passes.call(path, key, [], {})
        assert call is not None
        self.works.settle()
        return call

    def say(self, message: m.Message, path: str = W, seq: int | None = None) -> None:
        self.seq = self.seq + 1 if seq is None else seq
        self.works.take(path, self.life(path).incarnation, self.seq, 0, message)
        self.works.settle()

    def die(self, path: str = W) -> None:
        self.works.exited(path, self.life(path).incarnation, "killed by SIGKILL")
        self.seq = 0
        self.works.settle()

    def running(self) -> Call:
        call = self.call()
        self.say(m.Ready(1))
        assert call.phase is Phase.RUNNING
        return call

    def ends(self) -> bool:
        return any(isinstance(order, o.EndApp) for order in self.orders())


def raised(call: Call) -> m.Raised:
    return m.Raised(call.number, "ValueError", "no", "...")


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
        assert stage.ends() is ends


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
