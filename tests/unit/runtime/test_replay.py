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
from lightning.app.runtime.replay import Report, replay
from lightning.app.testing import Harness, crash
from tests.unit.runtime.programs import Programmed, drawn


def replayed(journal: MemoryJournal, make: Callable[[], Any]) -> Report:
    return replay(journal.read, lambda: L.LightningApp(make()))


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


@pytest.mark.parametrize("seed", range(120))
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
