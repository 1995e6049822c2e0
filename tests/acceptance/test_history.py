"""The page on the past of a run: its commands are typed, and what they print is compared."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance import test_command_line
from tests.acceptance.terminal import Terminal

PAGE = Path(__file__).parents[2] / "docs" / "history.md"
SAMPLE = "20261121-061530-k7q2"

Lightning = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def lightning(tmp_path: Path) -> Lightning:
    def typed(*words: object, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = test_command_line.lightning(*map(str, words), folder=tmp_path)
        assert code is None or done.returncode == code, done.stdout + done.stderr
        return done

    return typed


@pytest.fixture
def run(tmp_path: Path, lightning: Lightning) -> str:
    """The page's app, run to its end. Gives the run's ID."""
    source = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    (tmp_path / "app.py").write_text(source)
    (tmp_path / "edited.py").write_text(source.replace("train.run(3)", "train.run(4)"))
    lightning("run", "app", "app.py", "--open-ui=false")
    return newest(tmp_path)


def newest(folder: Path) -> str:
    return max(each.name for each in (folder / ".lightning" / "runs").iterdir())


def plain(text: str, run: str) -> list[str]:
    """What two runs of one app print alike: without times, turns, process numbers and ports."""
    text = text.replace(run, SAMPLE)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}", "TIME", text)
    text = re.sub(r"TIME +\d+ ", "TIME TURN ", text)
    text = re.sub(r"process \d+", "process PID", text)
    text = re.sub(r":\d+/view", ":PORT/view", text)
    text = re.sub(r"in \d+ turns, \d+ passes", "in N turns, N passes", text)
    return text.rstrip().splitlines()


def test_the_commands_of_the_page_print_what_it_shows(run: str, lightning: Lightning) -> None:
    found = re.findall(r"```console\n\$ lightning (.*?)```", PAGE.read_text(), re.DOTALL)
    blocks = [block.split("\n", 1) for block in found]
    assert len(blocks) == 6
    loss = half(lightning("history", run, "root.train.loss", "--json").stdout)
    for command, output in blocks:
        words = [run if word == SAMPLE else word for word in command.split()]
        if "--at" in words:
            words[words.index("--at") + 1] = str(loss)
            output = output.replace("turn 5,", f"turn {loss},")
        done = lightning(*words, code=None)
        assert plain(done.stdout, run) == plain(output, SAMPLE), command
        assert done.returncode == int("differs" in output), command


def half(events: str) -> int:
    """The turn in which the loss was 0.5."""
    return next(event["turn"] for event in map(json.loads, events.splitlines()) if event["value"] == 0.5)


def test_a_fork_has_the_past_of_its_run_and_leaves_it_alone(
    run: str, lightning: Lightning, tmp_path: Path
) -> None:
    before = lightning("history", run, "--json").stdout
    turn = half(lightning("history", run, "root.train.loss", "--json").stdout)
    lightning("fork", run, "edited.py", "--at", turn, "--without-server")
    forked = newest(tmp_path)
    assert forked != run
    assert lightning("history", run, "--json").stdout == before
    after = [json.loads(line) for line in lightning("history", forked, "--json").stdout.splitlines()]
    past = [json.loads(line) for line in before.splitlines()]
    shared = [event for event in past if event["turn"] <= turn]
    assert after[: len(shared)] == shared
    assert "root.train.run(4)" in [event["text"] for event in after]
    told = json.loads(lightning("show", "run", forked, "--json").stdout)
    assert (told["forked_from"], told["forked_at"]) == (run, turn)
    assert f"from run {run} at its turn {turn}" in lightning("show", "run", forked).stdout


def test_components_that_run_had_made_are_there_in_a_fork_with_another_file(
    lightning: Lightning, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(
        "import lightning as L\n"
        "class Work(L.LightningWork):\n"
        "    def run(self):\n"
        "        self.done = True\n"
        "class Root(L.LightningFlow):\n"
        "    def run(self):\n"
        "        if not hasattr(self, 'work'):\n"
        "            self.work = Work()\n"
        "        self.work.run()\n"
        "        self.stop()\n"
        "app = L.LightningApp(Root())\n"
        "app.run()\n"
    )
    shutil.copy(tmp_path / "app.py", tmp_path / "edited.py")
    subprocess.run([sys.executable, "app.py"], cwd=tmp_path, check=True, timeout=60)
    run = newest(tmp_path)
    lightning("fork", run, "edited.py", "--without-server")
    assert newest(tmp_path) != run
    lightning("replay", run, "edited.py")
    lightning("replay", newest(tmp_path), "app.py")


def test_a_point_that_is_none_is_refused_with_what_there_is(run: str, lightning: Lightning) -> None:
    assert "turns 1 to" in lightning("show", "run", run, "--at", 999, code=3).stderr
    assert "the run began at" in lightning("show", "run", run, "--at", "5w", code=3).stderr
    assert "10m ago" in lightning("show", "run", run, "--at", "soon", code=2).stderr
    assert "did you mean 'root.train.loss'" in lightning("history", run, "root.train.los", code=3).stderr
    assert "root, root.train" in lightning("history", run, "train", code=3).stderr
    assert "Nothing happened" in lightning("history", run, "root.train.port", "--since", "0s").stderr
    assert "no file nothing.py" in lightning("fork", run, "nothing.py", code=3).stderr
    assert len(json.loads(lightning("list", "runs", "--json").stdout)) == 1


@pytest.mark.parametrize("command", ["fork", "replay"])
def test_an_app_whose_file_is_gone_is_to_be_named(
    command: str, run: str, lightning: Lightning, tmp_path: Path
) -> None:
    (tmp_path / "app.py").unlink()
    said = lightning(command, run, code=3).stderr
    assert f"run {run} was one of app.py, which is not there any more" in said
    assert f"Name the app's file: lightning {command} {run} app.py" in said


def test_tail_and_since_choose_the_latest(run: str, lightning: Lightning) -> None:
    whole = lightning("history", run).stdout.splitlines()
    assert lightning("history", run, "--tail", 2).stdout.splitlines() == whole[-2:]
    assert lightning("history", run, "--since", "1h").stdout.splitlines() == whole
    assert lightning("history", run, "--since", "2100-01-01").stdout == ""


def test_a_reader_that_leaves_early_is_no_error(run: str, tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m lightning.app history {run} | head -1",
        shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""


WAITING = """
import time
import lightning as L

class Count(L.LightningWork):
    def __init__(self):
        super().__init__(parallel=True)
        self.x = 0
    def run(self):
        while True:
            self.x += 1
            time.sleep(0.005)

class Root(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.count = Count()
        self.seen = 0
        self._began = None
    def run(self):
        if self._began is None:
            self._began = time.monotonic()
        self.count.run()
        least = self.count.x + 5
        while self.count.x < least:
            time.sleep(0.01)
        if self.schedule("* * * * * *") and self.count.port:
            self.seen += 1
            print("seen", self.seen, flush=True)
        if time.monotonic() - self._began > 0.5:
            self._began = time.monotonic()

app = L.LightningApp(Root())
"""


def test_a_live_run_and_its_resumes_replay(
    lightning_app: Callable[..., Terminal], lightning: Lightning, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(WAITING)
    first = lightning_app("app.py")
    first.line("seen 1")
    run = newest(tmp_path)
    assert "no difference" in lightning("replay", run).stdout
    assert "root.count.x = 1" in lightning("history", run, "root.count.x").stdout
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    again = lightning_app("app.py", "--resume", run)
    again.line(re.compile("seen"))
    again.stop()
    assert "no difference" in lightning("replay", run).stdout
    (tmp_path / "edited.py").write_text(WAITING.replace("self.seen += 1", "self.seen += 2"))
    differs = lightning("replay", run, "edited.py", "--json", code=1).stdout
    assert json.loads(differs)["difference"]["replayed"] == "root.seen = 2"
