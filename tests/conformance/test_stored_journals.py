"""Every journal that any version ever wrote keeps opening: read, migrated, folded, and resumed by its app."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning.app.journal.recovery import recover
from lightning.app.journal.runs import Run, Runs
from lightning.app.journal.sqlite import SCHEMA, SqliteJournal, SqliteReader
from lightning.app.kernel.facts import decode_turn
from lightning.app.kernel.model import Model, fold
from tests.corpus import make
from tests.corpus.layout import Layout, broken_rules, layout
from tests.corpus.told import missing, told

STORED = [path for folder in make.formats() for path in sorted(folder.glob("*.sqlite"))]


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


Recall = Callable[[SqliteJournal | SqliteReader], Model]


def recalled(journal: SqliteJournal | SqliteReader) -> Model:
    return recover(journal).model


def folded(journal: SqliteJournal | SqliteReader) -> Model:
    return fold((turn.at, decode_turn(turn.facts)) for turn in journal.read())


def test_there_are_journals_of_the_format_that_this_version_writes() -> None:
    newest = make.formats()[-1]
    made_with = json.loads((newest / "layout.json").read_text())
    assert (make.schema_of(newest), made_with) == (SCHEMA, layout()), (
        "the tables, a fact or a snapshot have changed: store journals of the new format, "
        "python -m tests.corpus.make, and commit them"
    )


@pytest.mark.parametrize("folder", make.formats(), ids=lambda folder: folder.name)
def test_facts_and_snapshots_have_only_been_added_to_since(folder: Path) -> None:
    before = json.loads((folder / "layout.json").read_text())
    assert broken_rules(before, layout()) == []


@pytest.mark.parametrize(
    ("change", "told_as"),
    [
        (lambda now: now.pop("Deleted"), "Deleted is gone"),
        (lambda now: now["Deleted"].update(tag=99), "Deleted is gone, or has another tag"),
        (lambda now: now["Deleted"]["fields"].pop(), "Deleted has lost or moved a field"),
        (lambda now: now["Gone"]["fields"].reverse(), "Gone has lost or moved a field"),
        (
            lambda now: now["Gone"]["fields"].append(["at", "float", None]),
            "Gone.at is new and has no default",
        ),
        (lambda now: now.update(New={"tag": 4, "fields": [["path", "str", None]]}), "the same tag"),
    ],
)
def test_a_change_that_old_journals_would_not_survive_is_found(
    change: Callable[[Layout], object], told_as: str
) -> None:
    now = layout()
    change(now)
    (problem,) = broken_rules(layout(), now)
    assert told_as in problem


@pytest.mark.parametrize("recall", [folded, recalled])
@pytest.mark.parametrize("way", [SqliteJournal.reader, SqliteJournal.open])
def test_it_comes_to_the_state_that_was_noted_when_it_was_stored(
    way: Callable[[Path], SqliteJournal | SqliteReader], recall: Recall, stored: Path, run: Run
) -> None:
    expected = json.loads(stored.with_suffix(".json").read_text())
    journal = way(run.journal_path)
    assert missing(expected, json.loads(json.dumps(told(recall(journal))))) == []
    journal.close()


def test_its_app_goes_on_from_it(stored: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "go on").touch()
    ends = {"calls": "quiet", "values": "written", "passes": "waits"}
    app = app_of(stored)
    with make.play(tmp_path, app, "--resume", run.id, LIGHTNING_GPUS="2", CODE_CHANGED="yes") as terminal:
        if app in ends:
            terminal.line(ends[app])
            terminal.stop()
        else:
            terminal.end(1 if app == "failure" else 0)
    journal = SqliteJournal.reader(run.journal_path)
    before = json.loads(stored.with_suffix(".json").read_text())
    after = told(recover(journal).model)
    journal.close()
    assert after["epoch"] == before["epoch"] + 1
    finished = {
        (path, call["number"]): call["value"]
        for path, each in before["components"].items()
        if each["work"]
        for call in each["work"]["latest"]
        if call["story"][-1] == "SUCCEEDED" and not call["tick"]  # a schedule may be due again
    }
    kept = {
        (path, call["number"]): call["value"]
        for path, each in after["components"].items()
        if each["work"]
        for call in each["work"]["latest"]
    }
    assert {key: kept.get(key) for key in finished} == finished, "no finished call was lost or ran again"
