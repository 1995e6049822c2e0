"""What the journal tells of passes: as much as a replay needs, and of passes that change nothing, nothing."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from lightning.app.kernel import facts as f
from lightning.app.testing import Harness


class Count(L.LightningWork):
    def __init__(self) -> None:
        super().__init__(parallel=True)
        self.x = 0

    def run(self, number: int) -> None:
        for _ in range(number):
            self.x += 1


class Waiting(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.work = Count()

    def run(self) -> None:
        self.work.run(3)
        while self.work.x < 3:
            time.sleep(0.002)
        self.seen()

    def seen(self) -> None:
        pass


def told(app: Harness) -> list[list[f.Fact]]:
    return [list(f.decode_turn(turn.facts)) for turn in app.journal.read()]


def test_a_turn_says_how_many_passes_ran_behind_what_they_asked_for() -> None:
    class Two(L.LightningFlow):
        def __init__(self) -> None:
            super().__init__()
            self.n = 0

        def run(self) -> None:
            self.n = min(self.n + 1, 2)

    with Harness(Two()) as app:
        app.run_until_idle()
    assert [type(fact) for fact in told(app)[1]] == [f.Wrote, f.Wrote, f.PassesRan]
    assert told(app)[1][-1] == f.PassesRan(3)


def test_passes_that_change_nothing_are_told_of_by_the_next_turn_alone() -> None:
    class Late(L.LightningFlow):
        def __init__(self) -> None:
            super().__init__()
            self._passes = 0

        def run(self) -> None:
            self._passes += 1
            if self._passes == 6:
                self.late = True

    app = Harness(Late())
    app.run_until_idle()
    app.beat(4)
    assert len(told(app)) == 1
    app.beat()
    idled = told(app)[1][0]
    app.close()
    assert isinstance(idled, f.PassesIdled)
    assert (idled.count, round(idled.at - idled.since, 3)) == (5, 0.4)


def test_a_waiting_pass_goes_on_where_the_next_turn_says() -> None:
    with Harness(Waiting()) as app:
        app.run_until_idle()
    turns = told(app)
    first = next(place for place, facts in enumerate(turns) if isinstance(facts[0], f.PassWentOn))
    assert f.PassesRan(0) in turns[first - 1]  # a pass began in it, and had not ended with it
    waited = [facts[0] for facts in turns if isinstance(facts[0], f.PassWentOn)]
    assert all(each.began == 0 and each.rereads > 0 for each in waited)
    assert sum(fact.count for facts in turns for fact in facts if isinstance(fact, f.PassesRan)) >= 1


def test_waiting_for_what_does_not_come_writes_nothing() -> None:
    class Patient(Waiting):
        def run(self) -> None:
            self.work.run(3)
            for _ in range(100):
                if self.work.x > 3:
                    break
                time.sleep(0.0011)

    app = Harness(Patient())
    app.run_until_idle()
    before = app.journal.last
    app.beat(2)
    assert app.journal.last == before
    app.close()


def test_what_a_work_has_said_is_kept_when_the_pass_that_waited_for_it_raises() -> None:
    class Raising(Waiting):
        def seen(self) -> None:
            raise ValueError("no")

    app = Harness(Raising(), log_level="error")
    app.run_until_idle()
    app.close()
    changes: list[Any] = [fact for facts in told(app) for fact in facts if isinstance(fact, f.Changed)]
    assert [delta.value for fact in changes for delta in fact.deltas] == [1, 2, 3]
    assert [fact.seq for fact in changes] == [2, 3, 4]
    assert app.exit_code == 1


def test_the_journal_tells_how_the_flow_ended_the_app() -> None:
    class Stops(L.LightningFlow):
        def run(self) -> None:
            self.n = 1
            self.stop("enough")

    class Raises(L.LightningFlow):
        def run(self) -> None:
            self.n = 1
            raise ValueError("no")

    ends = []
    for flow in (Stops(), Raises()):
        app = Harness(flow, log_level="error")
        app.run_until_idle()
        app.close()
        ends.append(told(app)[1])
    assert ends[0][1:] == [f.EndAsked("root", 0, "stopped", "enough"), f.PassesRan(1)]
    assert ends[1] == [f.EndAsked("root", 1, "failed", "ValueError: no", True), f.PassesRan(1)]


def test_who_asked_a_process_to_end_is_told() -> None:
    class Stopping(Waiting):
        def seen(self) -> None:
            self.work.stop()

    with Harness(Stopping()) as app:
        app.run_until_idle()
        app.beat()
    asked = [fact for facts in told(app) for fact in facts if isinstance(fact, f.StopAsked)]
    assert asked == [f.StopAsked("root.work", True, "flow")]
    with Harness(Waiting()) as app:
        app.run_until_idle()
    asked = [fact for facts in told(app) for fact in facts if isinstance(fact, f.StopAsked)]
    assert asked == [f.StopAsked("root.work", False, "runtime")]
