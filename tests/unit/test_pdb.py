"""``breakpoint()`` on a real terminal: in a work, in a flow, and where there is none."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PATIENCE = 30.0

Start = Callable[..., "Terminal"]


class Terminal:
    """A program that was started on a terminal, and the hands and eyes before it."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.shown = ""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execv(sys.executable, [sys.executable, *command])

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def await_text(self, text: str) -> str:
        """Wait until it is shown; gives what was shown before it. Both are then seen."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was not shown, but {self.shown!r}"
            if select.select([self._fd], [], [], left)[0]:
                more = self._read()
                assert more, f"the app ended without {text!r}, and showed {self.shown!r}"
                self.shown += more
        before, _, self.shown = self.shown.partition(text)
        return before

    def await_end(self) -> int:
        """The exit code."""
        while more := self._read():
            self.shown += more
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def _read(self) -> str:
        try:
            return os.read(self._fd, 65536).decode()
        except OSError:  # nobody has the other end any more
            return ""

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            self.await_end()
        os.close(self._fd)


RUN_APP = ["-m", "lightning.app", "run", "app", "app.py"]
RUN_APP += ["--open-ui=false", "--without-server", "--durability=off"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts an app, or another program, from its source."""
    terminals: list[Terminal] = []

    def started(source: str, command: list[str] = RUN_APP) -> Terminal:
        (tmp_path / "app.py").write_text("import lightning.app as L\n" + textwrap.dedent(source))
        terminals.append(Terminal(tmp_path, command))
        return terminals[-1]

    yield started
    for terminal in terminals:
        terminal.close()


WORK = """
class Train(L.LightningWork):
    def __init__(self):
        super().__init__(raise_exception=False, parallel=True)
        self.loss = 0.25

    def run(self, name):
        answer = 42
        {stop}
        print(name, "goes on with", answer)

class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.one = Train()
        self.two = Train()

    def run(self):
        self.one.run("one")
        {second}
        if self.one.has_failed:
            self.stop(self.one.status.message)

app = L.LightningApp(Flow())
"""


@pytest.mark.parametrize("stop", ["breakpoint()", "import lightning.app.pdb; lightning.app.pdb.set_trace()"])
def test_a_work_can_be_looked_at_and_changed_at_the_prompt(start: Start, stop: str) -> None:
    terminal = start(WORK.format(stop=stop, second=""))
    assert 'print(name, "goes on with", answer)' in terminal.await_text("(Pdb) ")
    terminal.type("p self.loss + 1\n")
    assert "1.25" in terminal.await_text("(Pdb) ")
    terminal.type("answer = 43\n")
    terminal.await_text("(Pdb) ")
    terminal.type("c\n")
    terminal.await_text("one goes on with 43")
    terminal.type("\x03")
    assert terminal.await_end() == 0


def test_ctrl_c_at_the_prompt_ends_neither_the_work_nor_the_app(start: Start) -> None:
    terminal = start(WORK.format(stop="breakpoint()", second=""))
    terminal.await_text("(Pdb) ")
    terminal.type("\x03")
    terminal.await_text("KeyboardInterrupt")
    terminal.await_text("(Pdb) ")
    terminal.type("c\n")
    terminal.await_text("one goes on with 42")
    terminal.type("\x03")
    assert terminal.await_end() == 0


def test_quitting_fails_the_call(start: Start) -> None:
    terminal = start(
        WORK.format(stop="breakpoint()", second="").replace("self.stop(", "self.fail('BdbQuit:' + ")
    )
    terminal.await_text("(Pdb) ")
    terminal.type("q\n")
    assert terminal.await_end() == 1
    assert "BdbQuit" in terminal.shown


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_after_a_work_that_died_at_the_prompt_ctrl_c_reaches_the_app_again(start: Start, method: str) -> None:
    terminal = start(
        WORK.replace("parallel=True", f"parallel=True, on_crash='fail', start_method='{method}'")
        .replace("self.stop(self.one.status.message)", "print('it is gone')")
        .format(stop="breakpoint()", second="")
    )
    terminal.await_text("(Pdb) ")
    terminal.type("import os; os.kill(os.getpid(), 9)\n")
    terminal.await_text("it is gone")
    terminal.type("\x03")
    assert terminal.await_end() == 0


def test_after_one_of_two_that_wait_for_the_prompt_died_at_it_ctrl_c_reaches_the_app_again(
    start: Start,
) -> None:
    terminal = start(
        WORK.replace("parallel=True", "parallel=True, on_crash='fail'")
        .replace("self.stop(self.one.status.message)", "pass")
        .format(stop="breakpoint()", second="self.two.run('two')")
    )
    terminal.await_text("(Pdb) ")
    terminal.type("import os; os.kill(os.getpid(), 9)\n")
    terminal.await_text("(Pdb) ")
    terminal.type("c\n")
    terminal.await_text("goes on with")
    terminal.type("\x03")
    assert terminal.await_end() == 0


def test_two_works_that_stop_have_the_terminal_one_after_the_other(start: Start) -> None:
    terminal = start(WORK.format(stop="breakpoint()", second="self.two.run('two')"))
    terminal.await_text("(Pdb) ")
    terminal.type("p (answer, name)\n")
    terminal.await_text("(42, '")
    first = terminal.await_text("'")
    terminal.await_text("(Pdb) ")
    terminal.type("c\n")
    terminal.await_text("(Pdb) ")
    terminal.type("p (answer, name)\n")
    terminal.await_text("(42, '")
    second = terminal.await_text("'")
    assert {first, second} == {"one", "two"}
    terminal.await_text("(Pdb) ")
    terminal.type("c\n")
    terminal.await_text(f"{second} goes on with 42")  # the first one's word may come as late as this
    terminal.type("\x03")
    assert terminal.await_end() == 0


ASKING_IN_TURN = """
import os
from lightning.app import pdb

def ask():
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        pdb.set_trace()
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # nobody takes leave of it
    return child

pdb.remember_foreground()
first, second = ask(), ask()
print("it is", "ours" if os.tcgetpgrp(0) == os.getpgrp() else f"lost to {os.tcgetpgrp(0)} of {first, second}")
"""


def test_a_prompt_that_ends_does_not_give_the_terminal_to_one_that_died_before_it(start: Start) -> None:
    terminal = start(ASKING_IN_TURN, ["app.py"])
    terminal.await_text("(Pdb) ")
    terminal.type("os.kill(os.getpid(), 9)\n")
    terminal.await_text("(Pdb) ")
    terminal.type("c\n")
    terminal.await_text("it is ours")
    assert terminal.await_end() == 0


FLOW = """
class Flow(L.LightningFlow):
    def run(self):
        answer = 42
        {stop}
        self.stop(f"it is {{answer}}")

app = L.LightningApp(Flow())
"""


@pytest.mark.parametrize("stop", ["breakpoint()", "import lightning.app.pdb; lightning.app.pdb.set_trace()"])
def test_a_flow_can_be_looked_at_too(start: Start, stop: str) -> None:
    terminal = start(FLOW.format(stop=stop))
    terminal.await_text("(Pdb) ")
    terminal.type("p answer\n")
    assert "42" in terminal.await_text("(Pdb) ")
    terminal.type("c\n")
    assert terminal.await_end() == 0


def test_without_a_terminal_one_line_names_the_remedy_and_the_app_goes_on(tmp_path: Path) -> None:
    stop = "import lightning.app.pdb; [lightning.app.pdb.set_trace() for _ in range(3)]"
    (tmp_path / "app.py").write_text("import lightning.app as L\n" + FLOW.format(stop=stop))
    ended = subprocess.run(
        [sys.executable, *RUN_APP],
        cwd=tmp_path,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0
    (told,) = [line for line in ended.stderr.splitlines() if "breakpoint()" in line]
    assert f"{tmp_path}/app.py:6" in told
    assert "--debug" in told
