"""A recorded run's flow is run again, and compared."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest

import lightning as L
from lightning.app.errors import UsageError
from lightning.app.journal.journal import Turn
from lightning.app.journal.memory import MemoryJournal
from lightning.app.kernel import facts as f
from lightning.app.kernel.messages import Delta
from lightning.app.runtime.replay import replay
from lightning.app.runtime.report import Report
from lightning.app.testing import Harness, crash
from tests.unit.runtime.programs import Programmed, drawn


def replayed(journal: MemoryJournal, make: Callable[[], Any]) -> Report:
    return replay(journal, lambda: L.LightningApp(make()))


def recorded(make: Callable[[], Any], hours: int = 0, beats: int = 0) -> MemoryJournal:
    with Harness(make()) as app:
        app.run_until_idle()
        for _ in range(hours):
            app.advance(hours=1)
        app.beat(beats)
    return app.journal


def asked(turn: Turn) -> list[f.Fact]:
    return list(f.decode_turn(turn.facts))


def turn_with(journal: MemoryJournal, wanted: Callable[[f.Fact], bool]) -> int:
    return next(turn.seq for turn in journal.read() if any(wanted(fact) for fact in asked(turn)))


# -- random flows ---------------------------------------------------------------------------------


def lived(seed: int) -> tuple[MemoryJournal, list[Any], dict[str, dict[str, Any]]]:
    """The journal of a random flow that ran through a random life, with crashes and resumes."""
    rng = random.Random(seed)
    program, options = drawn(rng)
    journal = MemoryJournal()
    for _ in range(rng.choice((1, 1, 2, 3))):
        app = Harness(Programmed(program, options), journal=journal, log_level="error")
        for _ in range(rng.randrange(1, 6)):
            if app.runtime.over:
                break
            match rng.randrange(4):
                case 0:
                    app.step()
                case 1:
                    app.clock.advance(rng.choice((0.1, 1, 60, 3600)))
                    app.step()
                case _:
                    for _ in range(5):
                        app.step()
        if rng.random() < 0.5 and not app.runtime.over:
            journal = crash(app)
        else:
            app.close()
            journal.reopen()
    return journal, program, options


# In the last two a pass raises, and what it had asked for is not there when the run goes on.
@pytest.mark.parametrize("seed", [*range(120), 2340, 2875])
def test_a_flow_replays_without_a_difference_on_its_own_journal(seed: int) -> None:
    journal, program, options = lived(seed)
    report = replayed(journal, lambda: Programmed(program, options))
    assert report.difference is None
    assert report.turns == journal.last


@pytest.mark.parametrize("seed", range(60))
def test_a_statement_more_is_found_in_the_turn_that_first_reaches_it(seed: int) -> None:
    journal, program, options = lived(seed)
    ran = (f.PassesRan, f.PassesIdled, f.PassWentOn)
    reached = [turn.seq for turn in journal.read() if any(isinstance(fact, ran) for fact in asked(turn))]
    difference = replayed(journal, lambda: Programmed([("write", "a", 99), *program], options)).difference
    assert (difference is not None) == bool(reached)
    if difference is not None:
        assert (difference.replayed, difference.turn) == ("root.a.x = 99", reached[0])


@pytest.mark.parametrize("seed", range(60))
def test_a_statement_less_is_found_or_asked_for_nothing(seed: int) -> None:
    journal, program, options = lived(seed)
    less = program[:]
    del less[random.Random(seed).randrange(len(program))]
    report = replayed(journal, lambda: Programmed(less, options))
    assert report.difference is None or report.difference.recorded != report.difference.replayed


# -- edited flows ---------------------------------------------------------------------------------


class Add(L.LightningWork):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.x = 0

    def run(self, number: int) -> int:
        self.x += number
        return self.x


class Sums(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.one = Add()
        self.two = Add(parallel=True)
        self.three = Add(parallel=True)
        self.total = 0
        self.log: list[str] = []

    def run(self) -> None:
        self.total = self.one.run(1)
        self.log.append("one")
        self.two.run(2)
        self.three.run(3)
        if self.three.x == 3 and self.two.x == 2:
            self.one.run(4)
            self.stop("all summed up")


def sums(run: Callable[[Sums], None]) -> type[Sums]:
    return type("Sums", (Sums,), {"run": run, "__module__": __name__, "__qualname__": "Sums"})


def changed_argument(self: Sums) -> None:
    self.total = self.one.run(1)
    self.log.append("one")
    self.two.run(2)
    self.three.run(33)  # here


def removed_write(self: Sums) -> None:
    self.total = self.one.run(1)
    self.two.run(2)  # here


def added_stop(self: Sums) -> None:
    self.total = self.one.run(1)
    self.log.append("one")
    self.two.run(2)
    self.three.run(3)
    if self.two.num_successes:
        self.two.stop()  # here


def reordered_calls(self: Sums) -> None:
    self.total = self.one.run(1)
    self.log.append("one")
    self.three.run(3)  # here
    self.two.run(2)


def removed_call(self: Sums) -> None:
    self.total = self.one.run(1)
    self.log.append("one")
    self.two.run(2)


def raising(self: Sums) -> None:
    self.total = self.one.run(1)
    raise LookupError("nothing there")  # here


def ending_otherwise(self: Sums) -> None:
    self.total = self.one.run(1)
    self.log.append("one")
    self.two.run(2)
    self.three.run(3)
    if self.three.x == 3 and self.two.x == 2:
        self.one.run(4)
        self.stop("enough")  # here


def called(path: str, number: int) -> Callable[[f.Fact], bool]:
    return lambda fact: isinstance(fact, f.Called) and (fact.path, fact.args) == (path, [number])


def ended(fact: f.Fact) -> bool:
    return isinstance(fact, f.EndAsked)


def stopped(fact: f.Fact) -> bool:
    return isinstance(fact, f.Returned) and fact.path == "root.two"


@pytest.mark.parametrize(
    ("run", "turn_of", "was", "now"),
    [
        (changed_argument, called("root.two", 2), "root.three.run(3)", "root.three.run(33)"),
        (removed_write, called("root.two", 2), "root.log.append('one')", "root.two.run(2)"),
        (added_stop, stopped, "root.one.run(4)", "root.two.stop()"),
        (reordered_calls, called("root.two", 2), "root.two.run(2)", "root.three.run(3)"),
        (removed_call, called("root.two", 2), "root.three.run(3)", "root.log.append('one')"),
        (
            raising,
            called("root.two", 2),
            "root.log.append('one')",
            "root.run raises LookupError: nothing there",
        ),
        (ending_otherwise, ended, "root.stop('all summed up')", "root.stop('enough')"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_edit_is_found_in_its_turn_with_both_sides_and_the_line(
    run: Callable[[Sums], None], turn_of: Callable[[f.Fact], bool], was: str, now: str
) -> None:
    journal = recorded(Sums, beats=3)
    assert replayed(journal, Sums).difference is None
    difference = replayed(journal, sums(run)).difference
    assert difference is not None
    assert (difference.recorded, difference.replayed) == (was, now)
    assert difference.turn == turn_with(journal, turn_of)
    if "here" in difference.line:
        assert difference.where.startswith(__file__)


def test_a_difference_deep_within_a_long_value_is_shown() -> None:
    class Long(L.LightningFlow):
        _between = 7

        def run(self) -> None:
            self.numbers = [*range(500), self._between, *range(500)]

    journal = recorded(lambda: Long())
    Long._between = 8
    difference = replayed(journal, lambda: Long()).difference
    assert difference is not None
    assert "499, 7, 0" in difference.recorded
    assert "499, 8, 0" in difference.replayed


def test_an_endless_wait_is_a_difference() -> None:
    class Waits(Sums):
        _least = 2

        def run(self) -> None:
            self.two.run(2)
            while self.two.x < self.bound:
                time.sleep(0.002)
            self.stop()

        @property
        def bound(self) -> int:
            return type(self)._least

    journal = recorded(lambda: Waits())
    assert replayed(journal, lambda: Waits()).difference is None
    Waits._least = 3
    difference = replayed(journal, lambda: Waits()).difference
    assert difference is not None
    assert difference.replayed == "the pass waits here for what does not come"


# -- ends -----------------------------------------------------------------------------------------


class Ending(L.LightningFlow):
    how: Callable[[Ending], None] = staticmethod(lambda flow: None)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def run(self) -> None:
        self.count += 1
        if self.count == 3:
            type(self).how(self)


def ending(how: Callable[[Any], None]) -> type[Ending]:
    return type(
        "Ending", (Ending,), {"how": staticmethod(how), "__module__": __name__, "__qualname__": "Ending"}
    )


def raise_(error: BaseException) -> None:
    raise error


ENDS: dict[str, Callable[[Any], None]] = {
    "stop": lambda flow: flow.stop("done"),
    "fail": lambda flow: flow.fail("no"),
    "exit": lambda flow: raise_(SystemExit(3)),
    "error": lambda flow: raise_(ValueError(f"of {object()}")),
    "other error": lambda flow: raise_(LookupError("of 1")),
    "goes on": lambda flow: None,
}


@pytest.mark.parametrize("was", ENDS)
@pytest.mark.parametrize("now", ENDS)
def test_how_the_flow_ends_the_app_is_compared(was: str, now: str) -> None:
    journal = MemoryJournal()
    app = Harness(ending(ENDS[was])(), journal=journal, log_level="error")
    app.run_until_idle()
    app.close()
    report = replayed(journal.reopen(), ending(ENDS[now]))
    assert (report.difference is None) == (was == now)


# -- starts ---------------------------------------------------------------------------------------


def test_what_init_sets_is_compared() -> None:
    class Other(Sums):
        def __init__(self) -> None:
            super().__init__()
            self.total = 5

    journal = recorded(Sums)
    difference = replayed(journal, lambda: Other()).difference
    assert difference is not None
    assert (difference.turn, difference.recorded) == (1, "root.total = 0")
    assert difference.replayed == "root.total = 5 from the start"


def test_what_init_makes_is_compared() -> None:
    class More(Sums):
        def __init__(self) -> None:
            super().__init__()
            self.more = Add()

    difference = replayed(recorded(Sums), lambda: More()).difference
    assert difference is not None
    assert (difference.turn, difference.replayed) == (1, "root.more = Add(...), from the start")
    difference = replayed(recorded(lambda: More()), Sums).difference
    assert difference is not None
    assert (difference.turn, difference.replayed) == (1, "no root.more, from the start")


def test_what_init_draws_by_chance_is_taken_from_the_record() -> None:
    class Chance(L.LightningFlow):
        def __init__(self) -> None:
            super().__init__()
            self.seed = random.random()
            self.began = time.time()

        def run(self) -> None:
            self.double = self.seed * 2

    assert replayed(recorded(lambda: Chance()), lambda: Chance()).difference is None


def test_the_apps_file_may_have_another_name_by_now() -> None:
    def moved(fact: f.Fact) -> f.Fact:
        if not isinstance(fact, f.Made):
            return fact
        origin = fact.origin and [fact.origin[0].replace(__name__, "__main__"), *fact.origin[1:]]
        return f.Made(
            fact.path, fact.kind, fact.cls.replace(__name__, "__main__"), fact.state, fact.options, origin
        )

    class Making(Sums):
        def run(self) -> None:
            self.extra = Add()
            self.extra.run(1)

    Making.__qualname__ = "Sums"
    journal, elsewhere = recorded(lambda: Making()), MemoryJournal()
    for turn in journal.read():
        elsewhere.append(turn.at, f.encode_turn([moved(fact) for fact in asked(turn)]))
    elsewhere.commit()
    assert replayed(elsewhere, lambda: Making()).difference is None


# -- the record -----------------------------------------------------------------------------------


def cut(journal: MemoryJournal, turns: int) -> MemoryJournal:
    """The journal as a kill after so many turns leaves it."""
    shorter = MemoryJournal()
    for turn in journal.read():
        if turn.seq <= turns:
            shorter.append(turn.at, turn.facts)
    shorter.commit()
    return shorter


def test_a_record_may_end_at_any_turn() -> None:
    class Waits(Sums):
        def run(self) -> None:
            self.log.append("again")
            if len(self.log) > 4:
                self.log.clear()
            self.two.run(5)
            while self.two.x < 5:
                time.sleep(0.002)
            self.one.run(1)
            self.stop()

    journal = recorded(lambda: Waits())
    for turns in range(1, journal.last + 1):
        assert replayed(cut(journal, turns), lambda: Waits()).difference is None


def test_a_record_that_does_not_tell_of_passes_is_refused() -> None:
    journal, older = recorded(Sums), MemoryJournal()
    for turn in journal.read():
        older.append(
            turn.at, f.encode_turn([fact for fact in asked(turn) if not isinstance(fact, f.PassesRan)])
        )
    older.commit()
    with pytest.raises(UsageError, match="turn 2 does not tell of its passes"):
        replayed(older, Sums)


def test_nothing_recorded_is_nothing_to_replay() -> None:
    with pytest.raises(UsageError, match="nothing to replay"):
        replayed(MemoryJournal(), Sums)


RUNS: list[int] = []


class Counted(Add):
    def run(self, number: int) -> int:
        RUNS.append(number)
        return number


def test_a_replay_starts_no_process_and_writes_nothing() -> None:
    class One(L.LightningFlow):
        def __init__(self) -> None:
            super().__init__()
            self.work = Counted()

        def run(self) -> None:
            self.result = self.work.run(3)

    RUNS.clear()
    journal = recorded(lambda: One())
    before = list(journal.read())
    report = replayed(journal, lambda: One())
    assert (report.difference, report.compared) == (None, 2)
    assert RUNS == [3]
    assert list(journal.read()) == before


# -- time -----------------------------------------------------------------------------------------


def by_hand(*turns: tuple[float, list[f.Fact]]) -> MemoryJournal:
    journal = MemoryJournal()
    for at, facts in turns:
        journal.append(at, f.encode_turn(facts))
    journal.commit()
    return journal


class Clocks(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.told: Any = None

    def run(self) -> None:
        self.told = self.tell()

    def tell(self) -> Any:
        return None


START = (1_700_000_000.0, [f.Made("root", "flow", f"{__name__}:Clocks", {"told": None}), f.EpochBegan(1)])


def told(value: Any) -> f.Wrote:
    return f.Wrote("root", Delta(0, ("told",), value))


def clocks(tell: Callable[[Any], Any]) -> type[Clocks]:
    return type("Clocks", (Clocks,), {"tell": tell, "__module__": __name__, "__qualname__": "Clocks"})


def test_the_flow_sees_the_recorded_time() -> None:
    from datetime import UTC, datetime

    journal = by_hand(START, (1_700_003_600.5, [told("23:13:20.500 1700003600.500"), f.PassesRan(1)]))
    tell = clocks(lambda self: f"{datetime.now(UTC):%H:%M:%S}.500 {time.time():.3f}")
    assert replayed(journal, tell).difference is None


def test_sleeping_takes_no_time_and_moves_the_recorded_one() -> None:
    def tell(self: Any) -> list[int]:
        began = time.time(), time.monotonic(), time.perf_counter()
        time.sleep(7200)
        return [
            round(each - start)
            for each, start in zip((time.time(), time.monotonic(), time.perf_counter()), began, strict=True)
        ]

    journal = by_hand(START, (1_700_003_600.0, [told([7200, 7200, 7200]), f.PassesRan(1, 7_200_000_000)]))
    began = time.monotonic()
    assert replayed(journal, clocks(tell)).difference is None
    assert time.monotonic() - began < 3600


def test_a_pass_may_have_looked_at_the_clock_late() -> None:
    journal = by_hand(START, (1_700_003_600.0, [told(True), f.PassesRan(1, 2_000_000)]))
    assert replayed(journal, clocks(lambda self: time.time() > 1_700_003_601)).difference is None
    assert replayed(journal, clocks(lambda self: time.time() > 1_700_003_603)).difference is not None


def test_clocks_are_the_machines_again_afterwards() -> None:
    before = time.time(), time.sleep, time.monotonic
    replayed(by_hand(START), Clocks)
    assert abs(time.time() - before[0]) < 3600
    assert (time.sleep, time.monotonic) == before[1:]


def test_passes_that_changed_nothing_run_again_at_their_times() -> None:
    def tell(self: Any) -> Any:
        self._passes = getattr(self, "_passes", 0) + 1
        return None if self._passes < 5 else [self._passes, round(time.time() - 1_700_000_000.0)]

    journal = by_hand(
        START,
        (1_700_000_009.0, [f.PassesIdled(4, 1_700_000_001.0, 1_700_000_004.0), told([5, 9]), f.PassesRan(1)]),
    )
    assert replayed(journal, clocks(tell)).difference is None
