"""Every journal that any version ever wrote keeps opening: read, migrated, folded, and resumed by its app."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning.app.journal.runs import Run, Runs
from lightning.app.journal.sqlite import SqliteJournal, SqliteReader
from lightning.app.kernel.facts import decode_turn
from lightning.app.kernel.model import Model, fold
from tests.corpus import make
from tests.corpus.told import missing, told

STORED = sorted(make.HERE.glob("schema-*/*.sqlite"))


def shown(stored: Path) -> str:
    return f"{stored.parent.name}/{stored.stem}"


@pytest.fixture(params=STORED, ids=shown)
def stored(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def run(stored: Path, tmp_path: Path) -> Run:
    """A run whose journal is a copy of the stored one, interrupted."""
    run = Runs(tmp_path / ".lightning" / "runs").create(f"{app_of(stored)}.py")
    shutil.copyfile(stored, run.journal_path)
    return run


def app_of(stored: Path) -> str:
    return stored.stem.partition("-")[0]


def folded(journal: SqliteJournal | SqliteReader) -> Model:
    return fold((turn.at, decode_turn(turn.facts)) for turn in journal.read())


def test_there_are_journals_of_every_format_up_to_this_one() -> None:
    assert [path.name for path in sorted(make.HERE.glob("schema-*"))] == [
        f"schema-{number}" for number in range(1, make.SCHEMA + 1)
    ]


@pytest.mark.parametrize("way", [SqliteJournal.reader, SqliteJournal.open])
def test_it_comes_to_the_state_that_was_noted_when_it_was_stored(
    way: Callable[[Path], SqliteJournal | SqliteReader], stored: Path, run: Run
) -> None:
    expected = json.loads(stored.with_suffix(".json").read_text())
    journal = way(run.journal_path)
    assert missing(expected, json.loads(json.dumps(told(folded(journal))))) == []
    journal.close()


def test_its_app_goes_on_from_it(stored: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "go on").touch()
    ends = {"calls": "quiet", "values": "written"}
    app = app_of(stored)
    with make.play(tmp_path, app, "--resume", run.id, LIGHTNING_GPUS="2") as terminal:
        if app in ends:
            terminal.line(ends[app])
            terminal.stop()
        else:
            terminal.end(1 if app == "failure" else 0)
    journal = SqliteJournal.reader(run.journal_path)
    before = json.loads(stored.with_suffix(".json").read_text())
    after = told(folded(journal))
    journal.close()
    assert after["epoch"] == before["epoch"] + 1
    finished = {
        (path, call["number"]): call["value"]
        for path, each in before["components"].items()
        if each["work"]
        for call in each["work"]["latest"]
        if call["story"][-1] == "SUCCEEDED"
    }
    kept = {
        (path, call["number"]): call["value"]
        for path, each in after["components"].items()
        if each["work"]
        for call in each["work"]["latest"]
    }
    assert {key: kept.get(key) for key in finished} == finished, "no finished call was lost or ran again"
