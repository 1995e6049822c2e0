"""The pages for users say what is so: their lines are read, their tables compared, their files loaded."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from lightning.app.config import Config, Kept, Resources
from lightning.app.core.compute import MACHINES, CloudCompute, resources
from lightning.app.kernel.schedule import NAMES, Schedule
from lightning.app.storage.stores.remote import EXTRAS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table whose first heading is ``heading``."""
    lines = (DOCS / page).read_text().splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    table = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return table


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_every_page_is_found_from_the_readme() -> None:
    readme = (DOCS.parent / "README.md").read_text()
    assert set(re.findall(r"\(docs/(\w+\.md)\)", readme)) == set(PAGES)


def test_every_name_of_a_schedule_is_told_with_its_line() -> None:
    told = {
        name: line.strip("`")
        for names, line in rows("schedules.md", "name")
        for name in re.findall(r"`(\w+)`", names)
    }
    assert told == NAMES


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("*/5 * * * *", "2026-11-21 12:05"),
        ("30 9 * * MON-FRI", "2026-11-23 09:30"),
        ("0 0,12 1 */2 *", "2027-01-01 00:00"),
        ("0 0 L * *", "2026-11-30 00:00"),
        ("0 8 LW * *", "2026-11-30 08:00"),
        ("0 8 * * 5L", "2026-11-27 08:00"),
        ("0 8 * * 1#2", "2026-12-14 08:00"),
        ("0 0 13 * FRI", "2026-11-27 00:00"),
    ],
)
def test_a_line_ticks_when_the_page_says(line: str, first: str) -> None:
    from datetime import UTC, datetime

    assert f"`{line}`" in (DOCS / "schedules.md").read_text()
    tick = Schedule.parse(line, "UTC").next_after(datetime(2026, 11, 21, 12, 1, tzinfo=UTC).timestamp())
    assert tick == datetime.fromisoformat(first).replace(tzinfo=UTC).timestamp()


def test_every_line_of_the_page_can_be_read() -> None:
    lines = re.findall(r"`([^`\n]*\*[^`\n]* [^`\n]*)`", (DOCS / "schedules.md").read_text())
    assert len(lines) > 12
    for line in lines:
        Schedule.parse(line, "Europe/Berlin")


def test_the_files_of_the_page_mean_what_it_says(tmp_path: Path) -> None:
    own, shared, *_ = blocks("configuration.md", "toml")
    for name, text in (("lightning.toml", own), ("pyproject.toml", shared)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(text)
        config = Config.load(folder, {})
        assert config.timezone == "Europe/Berlin"
        assert config.storage == "s3://bucket/prefix"
        assert resources(CloudCompute("trainer"), config) == Resources(8, 2, 64 * 1024**3, "A100")


def test_how_much_history_stays_is_told_with_its_default(tmp_path: Path) -> None:
    page = (DOCS / "configuration.md").read_text()
    default = re.search(r"^\| `history` \|.*\| (\d+) \|$", page, re.MULTILINE)
    assert default is not None
    assert int(default[1]) == Config.history
    (block,) = (each for each in blocks("configuration.md", "toml") if "[journal]" in each)
    (tmp_path / "lightning.toml").write_text(block)
    assert Config.load(tmp_path, {}).history == 1_000_000


def test_every_kind_of_storage_is_told_with_what_it_needs() -> None:
    told = {url.strip("`").partition("://")[0]: needs for url, _, needs in rows("configuration.md", "url")}
    folder = told.pop("/data/store")
    needs = {"https" if kind == "http" else kind: extra for kind, extra in EXTRAS.items()}
    assert told == {kind: f"`pip install 'lightning-apps[{extra}]'`" for kind, extra in needs.items()}
    assert folder == "nothing"


def test_every_machine_is_told_with_what_it_has() -> None:
    told = {
        name.strip("`"): Resources(float(cpus), int(gpus), int(memory.removesuffix(" GB")) * 1000**3)
        for name, cpus, gpus, memory in (row for row in rows("configuration.md", "name"))
    }
    assert told == MACHINES


@pytest.mark.parametrize("page", PAGES)
def test_every_sample_is_python(page: str) -> None:
    for block in blocks(page, "python"):
        compile(block, page, "exec")


def test_the_defaults_of_runs_are_those_the_pages_tell() -> None:
    from lightning.app import config

    (text,) = blocks("runs.md", "toml")
    assert config._kept(tomllib.loads(text)["runs"], "") == Kept()
    page = (DOCS / "configuration.md").read_text()
    told = dict(re.findall(r"^\| `(keep|keep_days|output)` \|.*\| `?\"?(\w+)\"?`? \|$", page, re.MULTILINE))
    assert told == {"keep": "100", "keep_days": "90", "output": "64MB"}


def test_every_state_of_a_run_is_told() -> None:
    from typing import get_args

    from lightning.app.journal.runs import State

    assert {state.strip("`") for state, _ in rows("runs.md", "state")} == set(get_args(State))


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https:)([^)#]+)", (DOCS / page).read_text()):
        assert (DOCS / target).exists()
