"""Every way in which an app can end or lose a process: the exit code, the reason, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import RunApp
from .terminal import STARTING, ended

WriteApp = Callable[[str], Path]

ENDLESS = """
import os
import subprocess
import time

import lightning as L

class Work(L.LightningWork):
    def run(self):
        subprocess.Popen(["sleep", "600"], start_new_session=NEW_SESSION)
        print("work", os.getpid(), os.getppid())
        time.sleep(600)

    def on_exit(self):
        print("work leaves")

class Flow(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.work = Work(parallel=True)

    def run(self):
        self.work.run()

app = L.LightningApp(Flow())
"""
STARTS_A_PROCESS = 'subprocess.Popen(["sleep", "600"], start_new_session=False)'
PIDS = re.compile(r"^work (\d+) (\d+)$")


def _endless(new_session: bool = False) -> str:
    return ENDLESS.replace("NEW_SESSION", repr(new_session))


# -- asked to end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("new_session", [False, True], ids=["same session", "own session"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_one_signal_ends_an_app_in_order(
    number: signal.Signals, new_session: bool, write_app: WriteApp, run_app: RunApp
) -> None:
    write_app(_endless(new_session))
    terminal = run_app("app.py")
    terminal.line(PIDS)
    terminal.send(number)
    terminal.end(0)
    assert terminal.printed[1:] == ["work leaves"]


def test_ctrl_c_right_after_the_first_line_ends_in_order(write_app: WriteApp, run_app: RunApp) -> None:
    write_app(_endless())
    terminal = run_app("app.py")
    terminal.line(STARTING)
    terminal.stop()
    assert "Traceback" not in terminal.errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_one_signal_while_the_file_is_loaded_ends_in_order(
    number: signal.Signals, write_app: WriteApp, run_app: RunApp
) -> None:
    write_app(
        """
        import sys
        import time
        print("loading", file=sys.stderr, flush=True)
        time.sleep(600)
        """
    )
    terminal = run_app("app.py")
    terminal.line("loading", "err")
    terminal.send(number)
    terminal.end(0)
    assert "Traceback" not in terminal.errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_one_signal_while_the_flow_is_busy_ends_in_order(
    number: signal.Signals, write_app: WriteApp, run_app: RunApp
) -> None:
    write_app(
        """
        import time
        import lightning as L

        class Flow(L.LightningFlow):
            def run(self):
                print("the flow is busy")
                time.sleep(600)

        app = L.LightningApp(Flow())
        """
    )
    terminal = run_app("app.py")
    terminal.line("the flow is busy")
    terminal.send(number)
    terminal.end(0)
    assert "Traceback" not in terminal.errors


def test_ctrl_c_while_many_works_start_ends_in_order(write_app: WriteApp, run_app: RunApp) -> None:
    write_app(
        """
        import time
        import lightning as L
        from lightning.app.structures import List

        class Work(L.LightningWork):
            def run(self):
                print("work")
                time.sleep(600)

        class Flow(L.LightningFlow):
            def __init__(self) -> None:
                super().__init__()
                self.works_of_mine = List(*(Work(parallel=True) for _ in range(50)))

            def run(self):
                for work in self.works_of_mine:
                    work.run()

        app = L.LightningApp(Flow())
        """
    )
    terminal = run_app("app.py")
    terminal.line("work")
    terminal.stop()


STUBBORN = """
import signal
import time

import lightning as L

class Work(L.LightningWork):
    def run(self):
        signal.signal(signal.SIGTERM, lambda *_: print("work stays"))
        print("work is stubborn")
        while True:
            try:
                time.sleep(600)
            except BaseException:
                print("work stays")

app = L.LightningApp(Work())
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_an_app_at_once(
    number: signal.Signals, code: int, write_app: WriteApp, run_app: RunApp
) -> None:
    write_app(STUBBORN)
    terminal = run_app("app.py")
    terminal.line("work is stubborn")
    terminal.send(number)
    terminal.line("work stays")
    terminal.send(number)
    terminal.end(code)


# -- killed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("new_session", [False, True], ids=["same session", "own session"])
@pytest.mark.parametrize("whom", ["runtime", "supervisor"])
def test_who_survives_the_runtime_or_the_supervisor_is_ended(
    whom: str, new_session: bool, write_app: WriteApp, run_app: RunApp
) -> None:
    write_app(_endless(new_session))
    terminal = run_app("app.py")
    found = PIDS.match(terminal.line(PIDS).text)
    assert found
    if whom == "runtime":
        terminal.send(signal.SIGKILL)
        terminal.end(-signal.SIGKILL)
    else:
        os.kill(int(found[2]), signal.SIGKILL)
        terminal.end(1)
        assert "supervisor" in terminal.errors
        assert "SIGKILL" in terminal.errors


@pytest.mark.parametrize("new_session", [False, True], ids=["same session", "own session"])
def test_what_a_killed_work_had_started_is_ended(
    new_session: bool, write_app: WriteApp, run_app: RunApp
) -> None:
    write_app(_endless(new_session).replace("Work(parallel=True)", "Work(on_crash='fail')"))
    terminal = run_app("app.py")
    found = PIDS.match(terminal.line(PIDS).text)
    assert found
    os.kill(int(found[1]), signal.SIGKILL)
    terminal.end(1)
    assert "SIGKILL" in terminal.errors


def test_works_end_when_runtime_and_supervisor_are_killed_at_once(
    write_app: WriteApp, run_app: RunApp
) -> None:
    write_app(_endless().replace(STARTS_A_PROCESS, "pass"))
    terminal = run_app("app.py")
    found = PIDS.match(terminal.line(PIDS).text)
    assert found
    os.kill(int(found[2]), signal.SIGSTOP)  # it must not see the other go
    terminal.send(signal.SIGKILL)
    os.kill(int(found[2]), signal.SIGKILL)
    terminal.end(-signal.SIGKILL)


def test_what_survives_the_death_of_both_is_ended_by_the_next_command(
    write_app: WriteApp, run_app: RunApp, tmp_path: Path
) -> None:
    write_app(_endless(new_session=True))
    first = run_app("app.py")
    found = PIDS.match(first.line(PIDS).text)
    assert found
    for pid in (int(found[2]), first.process.pid):
        os.kill(pid, signal.SIGKILL)
    first.process.wait()
    (meta,) = (tmp_path / ".lightning" / "runs").glob("*/meta.json")
    meta.write_text(re.sub(r'"started_at": [\d.]+', '"started_at": 1.0', meta.read_text()))
    second = run_app("app.py")
    second.line(PIDS)
    assert all(ended(pid, 2.0) for pid in first.processes())
    second.stop()


DYING = """
import ctypes
import os
import signal
import sys
import time

import lightning as L

class Work(L.LightningWork):
    def run(self):
        with open("calls.txt", "a") as calls:
            print(self.call_id, file=calls)
        print("work begins")
        if len(open("calls.txt").readlines()) <= DEATHS:
            HOW
        print("work ends")

class Flow(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.work = Work(WITH)

    def run(self):
        self.work.run()
        print("flow:", self.work.status.stage, self.work.status.message)
        self.stop()

app = L.LightningApp(Flow())
"""
HOWS = {
    "os._exit": ("os._exit(3)", "exit code 3"),
    "a segmentation fault": ("ctypes.string_at(0)", "SIGSEGV"),
    "SIGKILL": ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
    "abort": ("os.abort()", "SIGABRT"),
}


def _dying(how: str, deaths: int, arguments: str = "") -> str:
    return DYING.replace("HOW", HOWS[how][0]).replace("DEATHS", str(deaths)).replace("WITH", arguments)


def _calls(folder: Path) -> list[str]:
    return (folder / "calls.txt").read_text().splitlines()


@pytest.mark.parametrize("how", HOWS)
def test_a_call_whose_process_dies_runs_again_under_its_call_id(
    how: str, write_app: WriteApp, run_app: RunApp
) -> None:
    folder = write_app(_dying(how, deaths=2)).parent
    terminal = run_app("app.py")
    terminal.end(0)
    assert terminal.printed[:-1] == ["work begins", "work begins", "work begins", "work ends"]
    assert terminal.printed[-1].startswith("flow: succeeded")
    calls = _calls(folder)
    assert len(calls) == 3
    assert len(set(calls)) == 1
    assert HOWS[how][1] in terminal.errors


@pytest.mark.parametrize("how", HOWS)
def test_the_third_death_fails_the_app_and_names_the_reason(
    how: str, write_app: WriteApp, run_app: RunApp
) -> None:
    folder = write_app(_dying(how, deaths=9)).parent
    terminal = run_app("app.py")
    terminal.end(1)
    assert terminal.printed == ["work begins"] * 3
    assert len(_calls(folder)) == 3
    reasons = [line for line in terminal.err if "work" in line and HOWS[how][1] in line]
    assert reasons, str(terminal)


def test_a_call_that_must_not_run_again_fails_at_the_first_death(
    write_app: WriteApp, run_app: RunApp
) -> None:
    folder = write_app(_dying("SIGKILL", deaths=9, arguments="on_crash='fail'")).parent
    terminal = run_app("app.py")
    terminal.end(1)
    assert len(_calls(folder)) == 1
    assert "SIGKILL" in terminal.errors


def test_a_flow_may_go_on_after_the_third_death(write_app: WriteApp, run_app: RunApp) -> None:
    write_app(_dying("os._exit", deaths=9, arguments="raise_exception=False"))
    terminal = run_app("app.py")
    terminal.end(0)
    assert terminal.printed[:3] == ["work begins"] * 3
    assert terminal.printed[3].startswith("flow: failed")
    assert "exit code 3" in terminal.printed[3]


def test_what_a_work_printed_right_before_sigkill_is_complete(write_app: WriteApp, run_app: RunApp) -> None:
    write_app(
        """
        import os
        import signal
        import lightning as L

        class Work(L.LightningWork):
            def run(self):
                for number in range(2000):
                    print("line", number)
                os.kill(os.getpid(), signal.SIGKILL)

        app = L.LightningApp(Work(on_crash="fail"))
        """
    )
    terminal = run_app("app.py")
    terminal.end(1)
    assert terminal.printed == [f"line {number}" for number in range(2000)]


# -- and taken up again ---------------------------------------------------------------------------

RESUMED = """
import time

import lightning as L
from lightning.app.structures import List

class Step(L.LightningWork):
    def __init__(self, number):
        super().__init__()
        self.number = number
        self.seen = []

    def run(self, x):
        self.seen.append(x)
        with open("calls.txt", "a") as calls:
            print(self.number, self.call_id, file=calls)
        print("step", self.number, "with", x)
        if self.number == 2 and not self.interrupted():
            time.sleep(600)
        return x + 1

    def interrupted(self):
        return len([line for line in open("calls.txt") if line.startswith("2 ")]) > 1

class Witness(L.LightningWork):
    def run(self):
        print("witness")  # its call is sent when what the flow has seen is durable

class Flow(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.steps = List()
        self.witness = Witness(parallel=True)
        self.done = 0

    def run(self):
        if len(self.steps) == 3 and self.steps[2].seen:
            self.witness.run()
        x = 10
        for number in range(4):
            if len(self.steps) == number:
                self.steps.append(Step(number))
            x = self.steps[number].run(x)
            self.done = number + 1
        print("flow:", x, self.done, [step.seen for step in self.steps])
        self.stop()

app = L.LightningApp(Flow())
"""


@pytest.mark.parametrize("whom", ["runtime", "everybody"])
def test_a_killed_run_is_resumed_and_no_finished_call_runs_again(
    whom: str, write_app: WriteApp, run_app: RunApp
) -> None:
    folder = write_app(RESUMED).parent
    first = run_app("app.py")
    first.line("witness")
    if whom == "runtime":
        first.send(signal.SIGKILL)
    else:
        first.kill()
    first.end(-signal.SIGKILL)

    second = run_app("app.py", "--resume")
    second.end(0)
    assert [line for line in second.printed if line != "witness"] == [
        "step 2 with 12",
        "step 3 with 13",
        "flow: 14 4 [[10], [11], [12, 12], [13]]",
    ]
    calls = [line.split() for line in _calls(folder)]
    assert [number for number, _ in calls] == ["0", "1", "2", "2", "3"]
    assert calls[2] == calls[3]
    assert len({call_id for _, call_id in calls}) == 4


def test_a_new_start_is_a_new_run(write_app: WriteApp, run_app: RunApp) -> None:
    folder = write_app(_dying("os._exit", deaths=0)).parent
    for _ in range(2):
        terminal = run_app("app.py")
        terminal.end(0)
        assert terminal.printed[:2] == ["work begins", "work ends"]
    first, second = _calls(folder)
    assert first != second
    assert len(list((folder / ".lightning" / "runs").iterdir())) == 2
