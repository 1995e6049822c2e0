"""Which requirements an app has."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning.app.cli.requirements import requirements_of
from lightning.app.errors import UsageError


def test_a_requirements_file_is_handed_over_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    assert requirements_of(tmp_path) == ["-r", str(tmp_path / "requirements.txt")]


def test_a_project_gives_its_dependencies(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["numpy>=2", "six"]\n')
    assert requirements_of(tmp_path) == ["numpy>=2", "six"]


def test_no_file_asks_for_nothing(tmp_path: Path) -> None:
    assert requirements_of(tmp_path) == []


def test_a_project_that_cannot_be_read_names_itself(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project\n")
    with pytest.raises(UsageError, match=r"pyproject\.toml cannot be read"):
        requirements_of(tmp_path)
