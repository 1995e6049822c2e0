"""The record of a run: what it holds, what it never holds, and how two are compared."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lightning.app.runtime import record
from lightning.app.runtime.record import Git, Origin, Record, code_of, differences, distributions_of


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An app's file beside modules, of which some are imported."""
    folder = tmp_path / "project"
    (folder / "lib_of_record").mkdir(parents=True)
    (folder / ".venv" / "site-packages").mkdir(parents=True)
    for name in ("app.py", "lib_of_record/__init__.py", "lib_of_record/model.py", "unused_of_record.py"):
        (folder / name).write_text(f"# {name}\n")
    (folder / ".venv" / "site-packages" / "installed_of_record.py").write_text("")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.syspath_prepend(folder / ".venv" / "site-packages")
    for module in ("lib_of_record.model", "installed_of_record"):
        importlib.import_module(module)
    yield folder / "app.py"
    for module in ("lib_of_record.model", "lib_of_record", "installed_of_record"):
        del sys.modules[module]


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", "-C", folder, *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


# -- code -------------------------------------------------------------------------------------------


def test_code_is_the_apps_file_and_what_was_imported_from_its_folder(app: Path) -> None:
    assert code_of(app) == {
        name: digest(f"# {name}\n")
        for name in ("app.py", "lib_of_record/__init__.py", "lib_of_record/model.py")
    }


def test_files_that_an_earlier_record_names_are_looked_at_though_not_imported_yet(app: Path) -> None:
    assert code_of(app, ["unused_of_record.py", "gone.py"])["unused_of_record.py"] == digest(
        "# unused_of_record.py\n"
    )
    assert "gone.py" not in code_of(app, ["gone.py"])


def test_one_hash_tells_whether_any_file_differs(app: Path) -> None:
    before = record.code_hash(code_of(app))
    assert record.code_hash(code_of(app)) == before
    (app.parent / "lib_of_record" / "model.py").write_text("edited = True\n")
    assert record.code_hash(code_of(app)) != before


# -- distributions ----------------------------------------------------------------------------------


def test_distributions_are_told_by_their_folders_and_the_first_on_the_path_counts(tmp_path: Path) -> None:
    for name in ("a/Some_Thing-1.2.dist-info", "b/some.thing-9.dist-info", "b/old-3.0-py3.11.egg-info"):
        (tmp_path / name).mkdir(parents=True)
    found, origins = distributions_of([str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "none")])
    assert found == {"some-thing": "1.2", "old": "3.0"}
    assert origins == {}


@pytest.mark.parametrize(
    ("told", "origin"),
    [
        ({"url": "file:///src", "dir_info": {"editable": True}}, Origin("editable", "file:///src")),
        ({"url": "file:///src", "dir_info": {}}, Origin("folder", "file:///src")),
        (
            {
                "url": "https://me:secret@host/x.git",
                "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": "abc"},
            },
            Origin("git", "https://host/x.git", "abc"),
        ),
        (
            {"url": "file:///x.whl", "archive_info": {"hash": "sha256=0", "hashes": {"sha256": "12"}}},
            Origin("archive", "file:///x.whl", "sha256=12"),
        ),
        ({"url": "file:///x.whl", "archive_info": {}}, Origin("archive", "file:///x.whl")),
    ],
)
def test_what_came_from_no_index_says_from_where(tmp_path: Path, told: object, origin: Origin) -> None:
    folder = tmp_path / "thing-1.0.dist-info"
    folder.mkdir()
    (folder / "direct_url.json").write_text(json.dumps(told))
    assert distributions_of([str(tmp_path)]) == ({"thing": "1.0"}, {"thing": origin})


def test_what_is_installed_here_is_found_as_pip_finds_it() -> None:
    from importlib.metadata import distributions

    told = {record.normalized(each.metadata["Name"]): each.version for each in distributions()}
    found, _ = distributions_of(sys.path)
    assert {name: found[name] for name in told} == told


# -- git --------------------------------------------------------------------------------------------


def test_git_tells_commit_branch_and_whether_something_differs(tmp_path: Path) -> None:
    git(tmp_path, "init", "-b", "work")
    (tmp_path / "app.py").write_text("1")
    assert record.git_of(str(tmp_path), ["app.py"]) is None  # no commit yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("not the app's")
    assert record.git_of(str(tmp_path), ["app.py"]) == Git(commit, "work", False)
    (tmp_path / "model.py").write_text("the app's, and never committed")
    assert record.git_of(str(tmp_path), ["app.py", "model.py"]) == Git(commit, "work", True)
    (tmp_path / "app.py").write_text("2")
    git(tmp_path, "checkout", "--detach")
    assert record.git_of(str(tmp_path), ["app.py"]) == Git(commit, "", True)


def test_without_git_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert record.git_of(str(tmp_path), []) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert record.git_of(str(tmp_path), []) is None


def test_a_git_that_is_slow_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(record, "GIT_SECONDS", 0.05)
    assert record.git_of(str(tmp_path), []) is None


# -- the whole --------------------------------------------------------------------------------------


def test_a_record_has_names_of_variables_and_no_values(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "xyzzy-canary")
    taken = record.taken(str(app), epoch=3, arguments=["--lr", "1"], given=["CANARY"])
    record.write(tmp_path, taken)
    text = (tmp_path / record.FILE).read_text()
    assert "xyzzy-canary" not in text
    assert record.records(tmp_path) == [taken]
    assert "CANARY" in taken.variables
    assert (taken.given, taken.arguments, taken.epoch) == (("CANARY",), ("--lr", "1"), 3)
    assert taken.python == sys.version.split()[0]
    assert taken.distributions["msgspec"] == msgspec.__version__


def test_every_resume_adds_a_record_and_the_first_stays(tmp_path: Path) -> None:
    for epoch in range(1, record.KEPT + 20):
        record.write(tmp_path, Record(epoch=epoch))
    record.write(tmp_path, Record(epoch=record.KEPT + 19, python="3.99"))
    known = record.records(tmp_path)
    assert len(known) == record.KEPT
    assert (known[0].epoch, known[-1].epoch, known[-1].python) == (1, record.KEPT + 19, "3.99")


@pytest.mark.parametrize("content", [None, "", "{", '{"a": 1}', "\0"])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / record.FILE).write_text(content)
    assert record.records(tmp_path) == []
    record.write(tmp_path, Record(epoch=2))
    assert [each.epoch for each in record.records(tmp_path)] == [2]


def test_a_record_of_a_later_version_is_read(tmp_path: Path) -> None:
    (tmp_path / record.FILE).write_text('[{"epoch": 4, "weather": "fine"}]')
    assert [each.epoch for each in record.records(tmp_path)] == [4]


def test_what_changed_is_told_a_line_each() -> None:
    old = Record(
        python="3.11.7", implementation="cpython", code={"app.py": "a" * 64, "gone.py": "c"},
        distributions={"numpy": "1.0"}, variables=("HOME",), git=Git("1" * 40, "main", False),
    )  # fmt: skip
    new = Record(
        python="3.12.1", implementation="cpython", code={"app.py": "b" * 64, "fresh.py": "d"},
        distributions={"numpy": "2.0"}, variables=("HOME", "TOKEN"), git=Git("1" * 40, "main", True),
    )  # fmt: skip
    assert differences(old, old) == []
    assert differences(old, new) == [
        "Python: cpython 3.11.7 -> cpython 3.12.1",
        "git: 111111111111 -> 111111111111 and changes",
        "code app.py: aaaaaaaaaaaa -> bbbbbbbbbbbb",
        "code fresh.py: new",
        "code gone.py: gone",
        "distribution numpy: 1.0 -> 2.0",
        "variable TOKEN: new",
    ]
