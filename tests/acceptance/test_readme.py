"""What README.md shows is what happens: its samples are typed in and run, its commands exist."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PORT = re.compile(r"127\.0\.0\.1:\d+")


@dataclass
class Shown:
    """A command in a console block, and what it prints. ``^C`` is typed when the line above it came."""

    command: str
    lines: list[str]
    interrupted: bool


def files() -> Iterator[tuple[str, str]]:
    for kind, text in BLOCKS:
        if kind == "python":
            first = text.partition("\n")[0]
            assert first.startswith("# "), f"the sample {first!r} does not name its file"
            yield first.removeprefix("# "), text


def shown() -> Iterator[Shown]:
    for kind, text in BLOCKS:
        if kind == "console":
            command, *lines = text.splitlines()
            interrupted = lines[-1] == "^C"
            yield Shown(command.removeprefix("$ "), lines[:-1] if interrupted else lines, interrupted)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader would try it: the samples, in one folder, run in the order of the page."""
    folder = tmp_path_factory.mktemp("readme")
    for name, text in files():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("shown", list(shown()), ids=lambda shown: shown.command)
def test_a_sample_prints_what_the_page_shows(shown: Shown, folder: Path) -> None:
    words = shown.command.split()
    assert words[0] == "lightning"
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning.app", *words[1:]],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        printed = [process.stdout.readline().rstrip("\n") for _ in shown.lines]
        if shown.interrupted:
            process.send_signal(signal.SIGINT)
        rest, errors = process.communicate()
    finally:
        process.kill()
        process.communicate()
    assert [PORT.sub("", line) for line in printed] == [PORT.sub("", line) for line in shown.lines], errors
    assert rest == ""
    assert process.returncode == 0, errors


def test_every_make_target_of_the_page_exists() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for text in (README, (PROJECT / "CONTRIBUTING.md").read_text()):
        for target in re.findall(r"^make (\w+)", text, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_every_option_of_the_page_exists() -> None:
    help = subprocess.run(
        [sys.executable, "-m", "lightning.app", "run", "app", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [
        line for kind, text in BLOCKS if kind != "python" for line in text.splitlines() if "run app" in line
    ]
    for option in {word for line in lines for word in re.findall(r"--[\w-]+", line)} - {"--lr", "--help"}:
        assert option in help


def test_every_file_of_the_page_exists() -> None:
    for name in re.findall(r"\]\((\w[^):]*)\)", README):
        assert (PROJECT / name).exists(), name
