"""The environment of an earlier run: what stands in its way is listed, all of it, before anything is done."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import msgspec
import pytest

from lightning.app.errors import ConflictError, NotFoundError
from lightning.app.journal.runs import Run, Runs
from lightning.app.runtime import record
from lightning.app.runtime.likeness import recreated, requirements
from lightning.app.runtime.record import Git, Origin, Record


class Past:
    """An app, and a run of it with a record that a test bends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = folder / "app.py"
        self.app.write_text("1\n")
        self.run: Run = Runs(folder / "runs").create("app.py")
        self.record = record.taken(str(self.app), epoch=1)

    def bent(self, **changes: object) -> None:
        record.write(self.run.folder, msgspec.structs.replace(self.record, **changes))

    def wanted(self, *present: str) -> str:
        return recreated(self.run, str(self.app), present)

    def refusal(self, *present: str) -> str:
        with pytest.raises(ConflictError, match="cannot be recreated here") as refused:
            self.wanted(*present)
        return str(refused.value)


@pytest.fixture
def past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Past:
    monkeypatch.chdir(tmp_path)
    return Past(tmp_path)


def test_where_everything_is_the_same_this_python_does(
    past: Past, capsys: pytest.CaptureFixture[str]
) -> None:
    past.bent()
    assert past.wanted() == ""
    local = [name for name, origin in past.record.origins.items() if origin.kind in ("editable", "folder")]
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(" is taken as it is now in ")[0] for line in told] == [
        f"INFO: {name}" for name in local
    ]


def test_a_run_without_a_record_says_so(past: Past) -> None:
    with pytest.raises(NotFoundError, match=r"has no record of its environment.*\n.*lightning list runs"):
        past.wanted()


def test_everything_that_stands_in_the_way_is_listed_at_once(past: Past) -> None:
    past.bent(
        machine="vax",
        python="3.3.99",
        given=("MODEL", "TOKEN"),
        code={"app.py": "0" * 64, "lib/gone.py": "0" * 64},
        git=Git("c" * 40, "main", False),
        distributions={"mine": "1.0", "wheel": "0.1", "click": "8.2"},
        origins={
            "mine": Origin("editable", "file:///src/mine"),
            "wheel": Origin("archive", "file:///no/such.whl", "sha256=12"),
        },
    )
    said = past.refusal("TOKEN").splitlines()
    assert said[0] == f"the environment of run {past.run.id} cannot be recreated here:"
    assert "it ran on Linux vax" in said[1]
    assert said[2] == f"  - the app's code differs in app.py, lib/gone.py: git checkout {'c' * 40}"
    assert said[3].startswith("  - it was given MODEL, which this command does not pass: --env NAME=VALUE")
    assert "lightning-apps was not installed" in said[4]
    assert "mine 1.0 was installed from file:///src/mine (editable), which no index has" in said[5]
    assert "wheel 0.1 was installed from /no/such.whl, which is gone" in said[6]
    assert "cpython 3.3.99 is not here, and uv cannot provide it: " in said[7]
    assert len(said) == 8
    assert not (past.folder / ".lightning").exists()


def test_code_that_was_never_committed_cannot_be_checked_out(past: Past) -> None:
    past.bent(code={"app.py": "0" * 64}, git=Git("c" * 40, "main", True))
    assert "it had changes that commit cccccccccccc does not have" in past.refusal()
    past.bent(code={"app.py": "0" * 64}, git=None)
    assert "it was under no version control" in past.refusal()


def test_an_archive_that_has_changed_is_not_what_it_was(past: Past) -> None:
    archive = past.folder / "a b.whl"
    archive.write_bytes(b"as it was")
    mark = f"sha256={hashlib.sha256(b'as it was').hexdigest()}"
    past.bent(
        distributions={"lightning-apps": "0.1", "x": "1.0"},
        origins={"x": Origin("archive", archive.as_uri(), mark)},
        given=("NOT_HERE",),
    )
    assert "a b.whl" not in past.refusal()
    archive.write_bytes(b"rebuilt")
    assert f"x 1.0 was installed from {archive}, which has changed since" in past.refusal()


def test_the_python_of_that_run_does_where_it_is_still_there(past: Past) -> None:
    other = past.folder / "python"
    other.write_text("#!/bin/sh\necho cpython 3.3.99\n")
    other.chmod(0o700)
    past.bent(
        python="3.3.99", executable=str(other), distributions={"lightning-apps": "0.1"}, given=("NOT_HERE",)
    )
    assert "cpython 3.3.99" not in past.refusal()


def test_without_uv_the_install_command_is_named(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    past.bent(distributions={"lightning-apps": "0.1"})
    monkeypatch.setenv("PATH", str(past.folder))
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NotFoundError, match=r"pip install 'lightning-apps\[environments\]'"):
        past.wanted()


def test_each_distribution_is_wanted_at_its_version_from_where_it_came() -> None:
    wanted = requirements(
        Record(
            distributions={"a": "1", "b": "2", "c": "3", "d": "4"},
            origins={
                "b": Origin("git", "https://host/b.git", "abc"),
                "c": Origin("archive", "https://host/c.whl", "sha256=12"),
                "d": Origin("archive", "file:///d.whl", "sha256=12"),
            },
        )
    )
    assert wanted == [
        "a==1",
        "b @ git+https://host/b.git@abc",
        "c @ https://host/c.whl#sha256=12",
        "d @ file:///d.whl",
    ]
