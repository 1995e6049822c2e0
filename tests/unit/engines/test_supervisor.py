"""The supervisor seen from a terminal: programs play the runtime, and are interrupted, cut off, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lightning.app.engines import orphans
from tests.unit.engines.stage import await_end, gone

PRELUDE = """
import os, signal, socket, subprocess, sys, time
from lightning.app.engines.engine import Exited, Started
from tests.unit.engines.stage import Stage, say

def sleeper(channel):
    # a grandchild with a session of its own, which prints its number
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    say(channel, child.pid)
    channel.recv(100)

def fork_daemon(channel):
    # the same without an exec
    child = os.fork()
    if child == 0:
        os.setsid()
        time.sleep(600)
    say(channel, child)
    channel.recv(100)

def print_lines(channel):
    say(channel, "ready")
    count, text = channel.recv(100).decode().split()
    for number in range(int(count)):
        print(f"{text}{number}")
    say(channel, "printed")
    channel.recv(100)

def print_and_die(channel):
    for number in range(1000):
        print("line", number)
    print("the last one, without an end", end="", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

stage = Stage({name: part for name, part in globals().items() if callable(part)})
"""

CROWD = (
    PRELUDE
    + """
first, second = stage.start("sleeper", "root.a"), stage.start("fork_daemon", "root.b")
pids = [first.hear(), second.hear(), first.started().pid, second.started().pid]
print(stage.run, stage.engine._supervisor, *pids, flush=True)
"""
)


@contextmanager
def running(text: str) -> Iterator[subprocess.Popen[str]]:
    """A program that plays the runtime, in a group of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as program:
        try:
            yield program
        finally:
            program.kill()


def run(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=50, check=False
    )


def crowd(program: subprocess.Popen[str]) -> tuple[str, int, list[int]]:
    """The run, its supervisor, and what lives under it."""
    assert program.stdout is not None
    run_id, supervisor, *pids = program.stdout.readline().split()
    return run_id, int(supervisor), list(map(int, pids))


# -- nothing is left ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 9)", "os._exit(1)", "sys.exit(1)", "1 / 0"])
def test_nothing_is_left_of_a_runtime_that_ends_without_a_word(end: str) -> None:
    with running(CROWD + end) as program:
        run_id, supervisor, pids = crowd(program)
        program.wait(50)
        for pid in [supervisor, *pids]:
            await_end(pid)
        assert orphans.members(run_id) == []


def test_nothing_is_left_of_a_spawned_run_either() -> None:
    thread = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    text = PRELUDE.replace("stage = Stage", thread + "stage = Stage")
    text += """
work = stage.start("introduce")
work.hear()
waiting = stage.start("wait", "root.waiting")
print(stage.run, stage.engine._supervisor, waiting.started().pid, flush=True)
os.kill(os.getpid(), 9)
"""
    with running(text) as program:
        run_id, supervisor, pids = crowd(program)
        for pid in [supervisor, *pids]:
            await_end(pid)
        assert orphans.members(run_id) == []


def test_when_runtime_and_supervisor_are_killed_at_once_works_die_and_a_sweep_gets_the_rest() -> None:
    with running(CROWD + "time.sleep(600)") as program:
        run_id, supervisor, pids = crowd(program)
        os.kill(supervisor, signal.SIGSTOP)  # so that neither survives the other
        program.kill()
        os.kill(supervisor, signal.SIGKILL)
        for pid in [supervisor, *pids[2:]]:
            await_end(pid)
        assert not any(gone(pid) for pid in pids[:2])
        assert orphans.sweep(run_id) == 2
        assert all(gone(pid) for pid in pids[:2])


def test_ctrl_c_reaches_the_runtime_alone() -> None:
    text = (
        CROWD
        + """
try:
    print("ready", flush=True)
    signal.pause()
except KeyboardInterrupt:
    stage.engine.ready()
    print("reports", [report for report in stage.reports if isinstance(report, Exited)])
    stage.close(5)
    print("closed", stage.engine.leftovers)
"""
    )
    with running(text) as program:
        crowd(program)
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        os.killpg(program.pid, signal.SIGINT)
        out, err = program.communicate(timeout=50)
        assert out == "reports []\nclosed 0\n", err


def test_a_supervisor_that_is_asked_to_end_goes_on() -> None:
    text = (
        PRELUDE
        + """
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    os.kill(stage.engine._supervisor, number)
print(stage.start("sleeper").started().method)
stage.close()
"""
    )
    assert run(text).stdout == "fork\n"


# -- output ---------------------------------------------------------------------------------------


def test_what_a_work_printed_right_before_it_was_killed_is_complete_and_in_order() -> None:
    text = (
        PRELUDE
        + """
stage.engine.take_output()
for round in range(5):
    work = stage.start("print_and_die", f"root.w{round}")
    print(f" {work.exited().reason}")
stage.close()
"""
    )
    done = run(text)
    lines = "".join(f"line {number}\n" for number in range(1000))
    assert done.stdout == (lines + "the last one, without an end killed by SIGKILL\n") * 5, done.stderr


def test_the_flow_does_not_say_done_before_the_works_last_line_is_out() -> None:
    text = (
        PRELUDE
        + """
stage.engine.take_output()
works = [stage.start("print_lines", f"root.w{number}") for number in range(3)]
for number, work in enumerate(works):
    assert work.hear() == "ready"
    work.tell(f"5 {'abc'[number]}")
for work in works:
    work.hear()
print("done")
print("and gone", file=sys.stderr)
stage.close()
print("released")
"""
    )
    done = run(text)
    lines = done.stdout.splitlines()
    assert lines[-2:] == ["done", "released"], done
    assert sorted(lines[:-2]) == sorted(f"{name}{number}" for name in "abc" for number in range(5))
    assert done.stderr == "and gone\n"


def test_a_hundred_megabytes_of_prints_arrive() -> None:
    text = (
        PRELUDE
        + """
def flood(channel):
    line = "x" * 999
    for number in range(100_000):
        print(line)
stage.close()
stage = Stage({"flood": flood})
stage.engine.take_output()
assert stage.start("flood").exited().reason == ""
stage.close()
"""
    )
    with running(text) as program:
        assert program.stdout is not None
        size = 0
        while piece := os.read(program.stdout.fileno(), 1 << 20):
            size += len(piece)
        assert size == 100_000_000
        assert program.wait(50) == 0


def test_works_live_on_when_nobody_reads_stdout_any_more() -> None:
    text = (
        PRELUDE
        + """
def chatter(channel):
    say(channel, "up")
    channel.recv(100)
    for number in range(10_000):
        print("nobody reads this")
    say(channel, "still here")
stage.close()
import logging; logging.basicConfig(format="%(message)s")
stage = Stage({"chatter": chatter})
stage.engine.take_output()
work = stage.start("chatter")
assert work.hear() == "up"
os.write(2, b"ready\\n")
sys.stdin.readline()
work.tell("go")
assert work.hear() == "still here"
assert work.exited().reason == ""
print("nor this")
stage.close()
"""
    )
    with subprocess.Popen(
        [sys.executable, "-c", text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdin is not None
        assert program.stderr.readline() == "ready\n"
        program.stdout.close()
        program.stdin.write("\n")
        program.stdin.flush()
        said = program.stderr.read()
        assert "nobody reads it any more" in said
        assert "Traceback" not in said
        assert program.wait(50) == 0


def test_output_of_a_killed_runtimes_works_is_still_carried() -> None:
    text = (
        PRELUDE
        + """
stage.engine.take_output()
work = stage.start("print_lines")
assert work.hear() == "ready"
work.tell("1000 line")
work.hear()
os.kill(os.getpid(), 9)
"""
    )
    assert run(text).stdout == "".join(f"line{number}\n" for number in range(1000))


def test_a_stop_gets_through_though_the_terminal_stands_still() -> None:
    text = (
        PRELUDE
        + """
def flood(channel):
    say(channel, "flooding")
    while True:
        print("x" * 1000)
stage.close()
stage = Stage({"flood": flood})
work = stage.start("flood")
work.hear()
work.worker.stop(0)
os.write(2, work.exited().reason.encode() + b"\\n")
os.kill(os.getpid(), 9)
"""
    )
    with running(text) as program:  # whose stdout is not read before the end
        assert program.stderr is not None
        assert program.stderr.readline() == "killed by SIGKILL\n"


def test_both_streams_to_one_place_keep_their_order() -> None:
    text = (
        PRELUDE
        + """
def both(channel):
    for number in range(100):
        print(number, file=sys.stderr if number % 2 else sys.stdout)
stage.close()
stage = Stage({"both": both})
stage.start("both").exited()
stage.close()
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=50, check=True
    )
    assert done.stdout.decode().split() == [str(number) for number in range(100)]


def test_a_program_without_standard_streams_can_run_works() -> None:
    program = subprocess.run(
        ["sh", "-c", f'{sys.executable} -c "$TEXT" <&- >&- 2>&-'],
        env={**os.environ, "TEXT": PRELUDE + "stage.start('sleeper').hear()\nstage.close()\n"},
        timeout=50,
        check=False,
    )
    assert program.returncode == 0


def test_the_ends_of_many_works_are_noticed_and_the_supervisor_can_be_waited_for() -> None:
    text = (
        PRELUDE
        + """
works = [stage.start("print_and_die", f"root.w{number}") for number in range(40)]
assert {work.exited().reason for work in works} == {"killed by SIGKILL"}
stage.close()
print(stage.engine.leftovers, file=sys.stderr)
"""
    )
    done = run(text)
    assert done.stderr == "0\n"
    assert done.stdout.count("\n") == 40 * 1000
