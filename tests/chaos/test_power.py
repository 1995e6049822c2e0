"""Power cuts at random moments: under ``full`` no acknowledged row is lost, and the file opens whatever happened.

The same cuts must cost rows under ``process``, which promises to survive the process only. That is the control:
a disk that loses nothing would prove nothing.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lightning.app.journal.journal import Durability, Turn
from lightning.app.journal.sqlite import SqliteJournal

from .extent import HOURS, ONLY, either
from .power import PowerVFS

CUTS_A_CASE = 10
HISTORIES = (5, 100_000)
OLD = Path(__file__).parents[1] / "corpus" / "schema-1"
GENERATIONS = 3
"""How often a journal goes on after a cut, only to meet the next."""


@dataclass
class Cut:
    """An image of the disk, and what had been promised when the power went."""

    folder: Path
    acknowledged: int
    epoch: int  # of the last opening that was through; 0 before
    turns: list[Turn]
    snapshots: dict[int, bytes]
    snapshot: int  # the newest that was acknowledged; 0 before


@dataclass
class Tally:
    cuts: int = 0
    unborn: int = 0  # cuts before the first commit
    rows: int = 0
    lost: int = 0  # acknowledged rows, in cuts where any was lost
    compacted: int = 0  # rows that a snapshot stood for
    torn: int = 0  # cuts after which rows were there that nobody had acknowledged

    def __str__(self) -> str:
        return (
            f"{self.cuts} cuts ({self.unborn} before the first commit), {self.rows} acknowledged rows, {self.lost} "
            f"lost, {self.compacted} compacted; {self.torn} cuts kept rows that nobody had acknowledged yet"
        )


def _write(dice: random.Random, journal: SqliteJournal, turns: list[Turn]) -> None:
    size = dice.choice([10, 10, 300, 3000, 60_000])
    at = dice.uniform(0, 2e9)
    facts = dice.randbytes(size)
    turns.append(Turn(journal.append(at, facts), at, journal.epoch, facts))


def _live(
    dice: random.Random, folder: Path, durability: Durability, turns: list[Turn], home: Path
) -> list[Cut]:
    """A life of a journal, and some of the ways in which the power could have gone during it."""
    cuts: list[Cut] = []
    acknowledged = len(turns)
    epoch = snapshot = 0
    snapshots: dict[int, bytes] = {}

    def step(what: str, path: str) -> None:
        if len(cuts) < CUTS_A_CASE and dice.random() < 0.06:
            image = home / f"cut {len(cuts)}"
            disk.cut(dice, image)
            cuts.append(Cut(image, acknowledged, epoch, list(turns), dict(snapshots), snapshot))

    with PowerVFS(step) as disk:
        for _ in range(dice.randint(1, 3)):
            journal = SqliteJournal.open(
                folder / "journal.sqlite", durability, history=dice.choice(HISTORIES)
            )
            epoch = journal.epoch
            for _ in range(dice.randint(0, 40)):
                for _ in range(dice.choice([1, 1, 1, 3])):
                    _write(dice, journal, turns)
                if dice.random() < 0.2:
                    snapshots[journal.last] = model = dice.randbytes(dice.choice([10, 5000]))
                    journal.snapshot(model)
                journal.commit()
                acknowledged, snapshot = len(turns), max(snapshots, default=0)
                if dice.random() < 0.05:
                    reader = SqliteJournal.reader(folder / "journal.sqlite")
                    assert list(reader.read(reader.first - 1)) == turns[reader.first - 1 :]
                    reader.close()
            journal.close()
    return cuts


def _survive(cut: Cut, durability: Durability, tally: Tally) -> None:
    """Open what the cut has left, look at what is there, and go on."""
    tally.cuts += 1
    tally.unborn += not cut.acknowledged
    tally.rows += cut.acknowledged
    path = cut.folder / "journal.sqlite"
    journal = SqliteJournal.open(path)
    try:
        first = journal.first - 1
        there = [*cut.turns[:first], *journal.read(first)]
        assert there == cut.turns[: len(there)], "rows that nobody wrote, or not in this order"
        tally.compacted += first
        _check_snapshots(journal, cut, durability)
        tally.lost += max(0, cut.acknowledged - len(there))
        tally.torn += len(there) > cut.acknowledged
        assert durability == "process" or journal.epoch > cut.epoch, "an epoch was given twice"
        journal.append(1.0, b"it goes on")
        journal.commit()
    finally:
        journal.close()
    reader = SqliteJournal.reader(path)
    assert [turn.facts for turn in reader.read(len(there))] == [b"it goes on"]
    reader.close()


def _check_snapshots(journal: SqliteJournal, cut: Cut, durability: Durability) -> None:
    newest = journal.newest()
    assert not journal.damage
    if newest is not None and newest.seq in cut.snapshots:
        assert newest.model == cut.snapshots[newest.seq], "a snapshot that nobody made"
    assert durability == "process" or (newest.seq if newest else 0) >= cut.snapshot, "a snapshot is gone"
    assert journal.first == 1 or newest is not None, "turns are compacted, and no snapshot stands for them"


def _cut_again_and_again(seed: int, durability: Durability, memory: Path, tally: Tally) -> None:
    dice = random.Random(f"power {seed}")
    turns: list[Turn] = []
    folder = memory / f"case {seed}"
    folder.mkdir()
    for generation in range(GENERATIONS):
        home = memory / f"case {seed} generation {generation}"
        home.mkdir()
        cuts = _live(dice, folder, durability, turns, home)
        for cut in cuts:
            try:
                _survive(cut, durability, tally)
            except Exception as error:
                raise AssertionError(f"CHAOS_SEED={seed} replays it, {cut.folder.name}: {error!r}") from error
        if not cuts:
            return
        folder = cuts[-1].folder
        journal = SqliteJournal.open(folder / "journal.sqlite")
        turns = [*cuts[-1].turns[: journal.first - 1], *journal.read(journal.first - 1)]
        journal.close()


def _campaign(cuts: int, durability: Durability, memory: Path) -> Tally:
    tally = Tally()
    seed = 1 if ONLY is None else ONLY
    while tally.cuts < cuts:
        with TemporaryDirectory(dir=memory) as home:
            _cut_again_and_again(seed, durability, Path(home), tally)
        seed += 1
        if ONLY is not None:
            break
    return tally


@pytest.mark.timeout(either(300, HOURS))
def test_under_full_no_power_cut_loses_an_acknowledged_row(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = _campaign(either(1000, 20_000), "full", memory)
    with capsys.disabled():
        print(f"\nfull: {tally}")
    assert tally.lost == 0, str(tally)
    assert tally.rows
    assert tally.compacted or ONLY is not None
    assert tally.unborn or ONLY is not None


@pytest.mark.timeout(either(300, HOURS))
def test_the_same_cuts_lose_rows_under_process_but_never_the_file(
    memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = _campaign(either(200, 5000), "process", memory)
    with capsys.disabled():
        print(f"\nprocess: {tally}")
    assert tally.lost > 0 or ONLY is not None, f"these cuts cut nothing: {tally}"


@pytest.mark.timeout(either(300, HOURS))
@pytest.mark.parametrize("stored", sorted(OLD.glob("*.sqlite")), ids=lambda path: path.stem)
def test_a_power_cut_while_an_old_journal_is_updated_loses_nothing(stored: Path, memory: Path) -> None:
    shutil.copy(stored, memory / "whole.sqlite")  # looking would leave something beside the stored one
    reader = SqliteJournal.reader(memory / "whole.sqlite")
    turns = list(reader.read())
    reader.close()
    dice = random.Random(stored.stem)
    for nth in count(1):
        folder = memory / str(nth)
        folder.mkdir()
        shutil.copy(stored, folder / "journal.sqlite")
        cuts: list[Path] = []
        if not _cut_at(nth, folder, cuts, dice):
            break
        for image in cuts:
            journal = SqliteJournal.open(image / "journal.sqlite")
            assert list(journal.read()) == turns, f"cut at step {nth}"
            journal.close()
    assert nth > 5, f"only {nth} steps"


def _cut_at(nth: int, folder: Path, cuts: list[Path], dice: random.Random) -> bool:
    """Open it, and have the power go at the step of that number, in ten ways; whether there was one."""
    steps = count(1)

    def step(what: str, path: str) -> None:
        if next(steps) == nth:
            for way in range(10):
                cuts.append(folder / f"cut {way}")
                disk.cut(dice, cuts[-1])

    with PowerVFS(step) as disk:
        SqliteJournal.open(folder / "journal.sqlite").close()
    return bool(cuts)
