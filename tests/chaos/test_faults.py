"""A disk that fails at its Nth write or sync, for every N: nothing is done that is not recorded, and nothing is
tried again on a disk of which nobody knows what it holds."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest

from lightning.app.errors import JournalError
from lightning.app.journal.journal import Turn
from lightning.app.journal.sqlite import SqliteJournal

from .campaign import Case
from .extent import HOURS, SIDE_BY_SIDE, either
from .power import Fault, PowerVFS

WORDS = {"full": "the disk is full", "io": "the disk failed to read or write"}
KINDS = {"write": ("write", "truncate"), "sync": ("sync",)}
SHAPE = 3


@pytest.mark.parametrize("how", ["full", "io"])
@pytest.mark.parametrize("kind", ["write", "sync"])
def test_whatever_step_of_a_journal_fails_nothing_acknowledged_is_lost(
    kind: str, how: str, memory: Path
) -> None:
    step = either(4, 1) if kind == "write" else 1  # a few hundred writes, much alike
    for nth in count(1, step):
        folder = memory / str(nth)
        folder.mkdir()
        if not _fail_once(folder, Fault(KINDS[kind], nth, how), random.Random(nth)):
            break
    assert nth > 20, f"only {nth} steps could fail"


def _fail_once(folder: Path, fault: Fault, dice: random.Random) -> bool:
    """A life of a journal with one fault in it; whether it came so far."""
    turns: list[Turn] = []
    acknowledged = opened = 0
    told = ""
    with PowerVFS(fault.step) as disk:
        try:
            for _ in range(2):
                journal = SqliteJournal.open(folder / "journal.sqlite")
                opened += not fault.struck
                try:
                    for _ in range(12):
                        facts = dice.randbytes(60_000)  # a megabyte soon, so that a checkpoint comes by
                        turns.append(Turn(journal.append(1.0, facts), 1.0, journal.epoch, facts))
                        journal.commit()
                        acknowledged = len(turns)
                finally:
                    if fault.struck and not fault.unheard:
                        _expect_refusals(journal)
                    fault.close(journal)
        except JournalError as error:
            told = str(error)
        disk.cut(dice, folder / "cut")
    assert not told or (WORDS[fault.how] in told and str(folder / "journal.sqlite") in told), told
    assert bool(told) is bool(fault.struck and not fault.unheard), (
        f"struck at {fault.struck}, and said {told!r}"
    )
    again = [step for step in fault.afterwards if fault.struck == "sync" and step.startswith("sync")]
    if fault.unheard or not opened:  # it was closed anyway; or making it failed, and was rolled back
        again.clear()
    assert not again, f"after sync {fault.nth} had failed, it was tried again: {again}"
    for home in (folder, folder / "cut"):
        journal = SqliteJournal.open(home / "journal.sqlite")
        there = list(journal.read())
        assert there == turns[: len(there)]
        assert len(there) >= acknowledged, (
            f"{acknowledged - len(there)} acknowledged rows are gone from {home}"
        )
        journal.append(1.0, b"it goes on")
        journal.close()
    return bool(fault.struck)


def _expect_refusals(journal: SqliteJournal) -> None:
    """Once it has failed it takes no more, whatever the disk says now."""
    with pytest.raises(JournalError):
        journal.append(1.0, b"more")
    with pytest.raises(JournalError):
        journal.commit()


def _play(folder: Path, kind: str, nth: int, how: str) -> int:
    """An app on a disk that fails once, judged, resumed on a good one, judged again; how many steps it had."""
    folder.mkdir()
    case = Case(SHAPE, folder, kills=False)
    doom = {"kind": "disk", "kinds": KINDS[kind], "nth": nth, "how": how}
    try:
        with ExitStack() as terminals:
            terminal = case.start(terminals, doom)
            code = case.end(terminal)
            terminal.hear_out()
            told = json.loads((folder / "disk.json").read_text())
            assert bool(told["struck"] and not told["unheard"]) is bool(code), (
                f"exit code {code}; {told}; {terminal}"
            )
            if code:
                assert code == 1, f"exit code {code}; {terminal}"
                assert WORDS[how] in terminal.errors, str(terminal)
                assert "Traceback" not in terminal.errors, str(terminal)
                again = [step for step in told["afterwards"] if step.startswith(told["struck"])]
                if told["afterwards"][:1] == [
                    "truncate journal.sqlite"
                ]:  # making it failed, and was rolled back
                    again.clear()
                assert not again, f"tried again: {again}"
                case.judge_so_far()
                assert case.end(case.start(terminals)) == 0
        case.judge()
    except AssertionError as error:
        raise AssertionError(f"{kind} {nth} failed with {how}, in {folder}: {error}") from error
    return int(told["seen"])


@pytest.mark.slow
@pytest.mark.timeout(either(600, HOURS))
def test_an_app_stops_before_it_acts_on_what_it_could_not_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dooms = []
    for kind in KINDS:
        steps = _play(tmp_path / f"whole {kind}", kind, 0, "io")
        for nth in either(sorted(random.Random(kind).sample(range(1, steps), 7)), range(1, steps + 1)):
            dooms += [(kind, nth, how) for how in either([random.Random(nth).choice([*WORDS])], [*WORDS])]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(lambda doom: _play(tmp_path / "{} {} {}".format(*doom), *doom), dooms))
    with capsys.disabled():
        print(f"\n{len(dooms)} apps whose disk failed at a write or a sync")
