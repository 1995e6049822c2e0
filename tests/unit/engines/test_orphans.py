"""Marks, sweeps, and the words for how a process ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lightning.app.engines import orphans
from lightning.app.testing.seats import run_id
from tests.unit.engines.stage import await_end, gone

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
NESTED = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
import time; time.sleep(600)
"""


@pytest.fixture
def run() -> Iterator[str]:
    name = run_id()
    yield name
    orphans.sweep(name)


def marked(run: str, text: str = SLEEP, **marks: str) -> subprocess.Popen[str]:
    environment = {**os.environ, orphans.RUN: run, **marks}
    child = subprocess.Popen([sys.executable, "-c", text], env=environment, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    return child


def first_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    child.stdout.close()
    return line


def test_a_sweep_ends_what_carries_the_mark_in_sessions_of_their_own_too(run: str) -> None:
    child = marked(run, NESTED)
    grandchild = int(first_line(child))
    assert set(orphans.members(run)) == {child.pid, grandchild}
    assert orphans.sweep(run) == 2
    assert gone(grandchild)
    assert orphans.members(run) == []
    child.wait()


def test_a_sweep_spares_other_runs_and_what_is_no_work(run: str) -> None:
    with marked(run) as bare, marked(run, LIGHTNING_WORK="root.w") as work, marked(run + "-other") as other:
        for child in (bare, work, other):
            first_line(child)
        assert orphans.sweep(run, works_only=True) == 1
        await_end(work.pid)
        assert not gone(bare.pid)
        assert orphans.sweep(run) == 1
        assert not gone(other.pid)
        assert orphans.sweep(run + "-other") == 1


def test_a_sweep_of_nothing_finds_nothing(run: str) -> None:
    assert orphans.sweep(run) == 0


def test_children_are_found_with_and_without_the_kernels_list(
    monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    with marked(run) as child:
        first_line(child)
        assert child.pid in orphans.children()
        monkeypatch.setattr(
            os, "listdir", lambda path, real=os.listdir: real(path) if path == "/proc" else [""]
        )
        assert child.pid in orphans.children()
        child.kill()


def test_chosen_children_end_with_their_groups_and_others_stay(run: str) -> None:
    chosen, other = marked(run), marked(run)
    with other:
        for child in (chosen, other):
            first_line(child)
        assert orphans.end_children({chosen.pid}) == 1
        assert not gone(other.pid)
        other.kill()
    chosen.wait()


def test_a_forked_process_shows_a_name_and_marks_of_its_own(run: str) -> None:
    plate = orphans.Nameplate()
    heard, tell = os.pipe()
    held, release = os.pipe()
    child = os.fork()
    if child == 0:
        shown = plate.show("lightning: a test", {orphans.RUN: run, orphans.WORK: "root.w"})
        os.write(tell, b"1" if shown else b"0")
        os.close(release)
        os.read(held, 1)
        os._exit(0)
    try:
        assert os.read(heard, 1) == b"1"
        assert orphans.marks(child) == {orphans.RUN: run, orphans.WORK: "root.w"}
        with open(f"/proc/{child}/cmdline") as file:
            assert file.read() == "lightning: a test\0"
        with open(f"/proc/{child}/environ") as file:
            assert f"PATH={os.environ['PATH']}" in file.read().split("\0")
    finally:
        for fd in (heard, tell, held, release):
            os.close(fd)
        os.waitpid(child, 0)


def test_the_marks_of_a_stranger_are_none() -> None:
    assert orphans.marks(1 << 30) == {}


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("pass", ""),
        ("raise SystemExit(7)", "exit code 7"),
        (
            "import os, signal; os.kill(0 or os.getpid(), signal.SIGSEGV)",
            "killed by SIGSEGV (segmentation fault)",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 5)", "killed by signal"),
    ],
)
def test_an_end_is_put_in_words(program: str, reason: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", program])
    status = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    child.wait()
    assert status is not None
    if reason == "killed by signal":
        assert orphans.reason(status) == f"killed by signal {signal.SIGRTMIN + 5}"
    else:
        assert orphans.reason(status) == reason


def test_the_count_of_memory_kills_can_be_read() -> None:
    assert orphans.memory_kills() >= 0
