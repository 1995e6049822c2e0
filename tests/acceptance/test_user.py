"""What hurried users and hostile surroundings do: it works, or one message says what, where and what to do."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning.app.testing import Terminal

from .conftest import RunApp

WriteApp = Callable[[str], Path]
Refused = Callable[[str, str], Terminal]


@pytest.fixture
def refused(write_app: WriteApp, run_app: RunApp) -> Refused:
    """Run an app that is refused before anything of it runs, with one line that says this."""

    def run(source: str, words: str) -> Terminal:
        terminal = run_app(write_app(source).name)
        terminal.end(1)
        assert len(terminal.err) == 1, str(terminal)
        assert re.search(words, terminal.err[0]), str(terminal)
        return terminal

    return run


# -- code that cannot mean what it says -----------------------------------------------------------


def test_a_work_that_forgets_super_is_told_so(refused: Refused) -> None:
    refused(
        """
        import lightning as L

        class Train(L.LightningWork):
            def __init__(self):
                self.loss = 0

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.train = Train()

        app = L.LightningApp(Flow())
        """,
        r"root\.train: Train\.__init__ does not call super\(\)\.__init__\(\)",
    )


@pytest.mark.parametrize("kind", ["LightningFlow", "LightningWork"])
@pytest.mark.parametrize(
    ("head", "body", "words"),
    [("async def", "pass", "is async"), ("async def", "yield", "is async"), ("def", "yield", "has a yield")],
)
def test_a_run_that_would_do_nothing_is_refused(
    kind: str, head: str, body: str, words: str, refused: Refused
) -> None:
    refused(
        f"""
        import lightning as L

        class Root(L.{kind}):
            {head} run(self):
                {body}

        app = L.LightningApp(Root())
        """,
        rf"root: Root\.run {words}",
    )


# -- processes of the user's own ------------------------------------------------------------------


def test_a_forked_copy_that_comes_back_from_run_ends_as_a_script_would(
    write_app: WriteApp, run_app: RunApp
) -> None:
    file = write_app(
        """
        import os
        import sys

        import lightning as L

        class Forking(L.LightningWork):
            def run(self):
                for ending in (sys.exit, int, lambda code: 1 / 0):
                    copy = os.fork()
                    if copy == 0:
                        return ending(3)
                    print(os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]))

        app = L.LightningApp(Forking())
        """
    )
    terminal = run_app(file.name)
    terminal.end(0)
    assert terminal.printed == ["3", "0", "1"]
    assert terminal.err[-1] == "ZeroDivisionError: division by zero", str(terminal)
    assert terminal.errors.count("Traceback") == 1, str(terminal)
    assert "lightning/app/" not in terminal.errors, str(terminal)


# -- surroundings ---------------------------------------------------------------------------------

HELLO = """
    import lightning as L

    class Hello(L.LightningWork):
        def run(self):
            print("hello")
            self.said = True

    class Flow(L.LightningFlow):
        def __init__(self):
            super().__init__()
            self.hello = Hello()

        def run(self):
            self.hello.run()
            self.stop("all said")

    app = L.LightningApp(Flow())
"""


def _in_a_shell(file: str, folder: Path, *, before: str = "", behind: str = "", code: int = 0) -> None:
    """Run ``file``, with shell's words around the command: it ends with that code, and no traceback."""
    command = f"{before} {sys.executable} -m lightning.app run app {file} --open-ui=false --port 0 {behind}"
    words = ["bash", "-c", command]
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert ended.returncode == code, ended
    assert "Traceback" not in ended.stderr, ended


@pytest.mark.parametrize(
    "streams", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1"]
)
def test_an_app_runs_whatever_became_of_its_streams(streams: str, write_app: WriteApp) -> None:
    file = write_app(HELLO)
    _in_a_shell(file.name, file.parent, behind=streams)


@pytest.mark.parametrize("streams", [">/dev/full", "2>/dev/full", ">&- 2>&-"])
def test_a_refusal_keeps_its_exit_code_whatever_became_of_its_streams(streams: str, tmp_path: Path) -> None:
    _in_a_shell("missing.py", tmp_path, behind=streams, code=3)


def test_a_page_that_other_machines_reach_is_printed_with_the_token_that_opens_it(
    write_app: WriteApp, run_app: RunApp
) -> None:
    file = write_app(HELLO.replace('self.stop("all said")', "pass"))
    terminal = run_app(file.name, "--host", "0.0.0.0", "--port", "0")
    url = terminal.line(re.compile("View it in your browser: ")).text.rpartition(" ")[2]
    terminal.line("hello")
    with urllib.request.urlopen(url, timeout=20) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(url.partition("?")[0], timeout=20)
    terminal.stop()


def test_few_descriptors_are_enough_and_high_ones_do_no_harm(write_app: WriteApp) -> None:
    file = write_app(HELLO)
    _in_a_shell(file.name, file.parent, before="exec 60< <(true); ulimit -n 40; exec")


def test_a_breakpoint_in_a_flow_without_a_terminal_is_named_and_passed(
    write_app: WriteApp, run_app: RunApp
) -> None:
    file = write_app(HELLO.replace("self.hello.run()", "breakpoint(); self.hello.run()"))
    terminal = run_app(file.name)
    terminal.end(0)
    assert terminal.printed == ["hello"]
    assert re.search(r"app\.py:\d+: breakpoint\(\) found no terminal and goes on", terminal.errors)


def test_sys_exit_in_a_flow_ends_the_app_with_its_code_and_says_so(
    write_app: WriteApp, run_app: RunApp
) -> None:
    file = write_app(HELLO.replace('self.stop("all said")', "raise SystemExit(4)"))
    terminal = run_app(file.name)
    terminal.end(4)
    assert terminal.err == ["ERROR: root.run called sys.exit(4)"]
