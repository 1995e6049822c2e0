"""What differs when a person sits there: keys that are typed, and a debugger that asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .screen import Screen
from .terminal import STARTED, STARTING, assert_components

WriteApp = Callable[[str], Path]

CTRL_C = "\x03"


def test_ctrl_c_typed_at_a_terminal_ends_in_order(write_app: WriteApp) -> None:
    file = write_app(
        """
        import time
        import lightning as L

        class Work(L.LightningWork):
            def run(self):
                print("work begins")
                time.sleep(600)

            def on_exit(self):
                print("work leaves")

        app = L.LightningApp(Work())
        """
    )
    with Screen(file) as screen:
        screen.expect("work begins")
        screen.type(CTRL_C)
        screen.end(0)
        assert screen.lines[0] == STARTING
        assert STARTED.fullmatch(screen.lines[1])
        assert "work leaves" in screen.lines
        assert "Traceback" not in screen.shown


IN_A_WORK = """
import lightning as L

class Work(L.LightningWork):
    def run(self, x):
        BREAK
        print("work has", x)

class Flow(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.work = Work()

    def run(self):
        self.work.run(41)
        self.stop()

app = L.LightningApp(Flow())
"""
IN_A_FLOW = """
import lightning as L

class Flow(L.LightningFlow):
    def run(self):
        x = 41
        BREAK
        print("flow has", x)
        self.stop()

app = L.LightningApp(Flow())
"""


@pytest.mark.parametrize("way", ["breakpoint()", "import lightning.app.pdb as pdb; pdb.set_trace()"])
@pytest.mark.parametrize(("source", "who"), [(IN_A_WORK, "work"), (IN_A_FLOW, "flow")], ids=["work", "flow"])
def test_a_breakpoint_asks_at_the_terminal(source: str, who: str, way: str, write_app: WriteApp) -> None:
    with Screen(write_app(source.replace("BREAK", way))) as screen:
        screen.expect("(Pdb) ")
        screen.type("x = x + 1\n")
        screen.expect("x = x + 1\r\n(Pdb) ")
        screen.type("c\n")
        screen.end(0)
        assert f"{who} has 42" in screen.lines


def test_lines_are_whole_on_a_terminal(write_app: WriteApp) -> None:
    file = write_app(
        """
        import lightning as L

        class Work(L.LightningWork):
            def __init__(self, name):
                super().__init__(parallel=True)
                self.label = name

            def run(self):
                for number in range(300):
                    print(f"{self.label} " * 20, number)

        class Flow(L.LightningFlow):
            def __init__(self) -> None:
                super().__init__()
                self.first = Work("first")
                self.second = Work("second")

            def run(self):
                self.first.run()
                self.second.run()
                if self.first.has_succeeded and self.second.has_succeeded:
                    self.stop()

        app = L.LightningApp(Flow())
        """
    )
    with Screen(file) as screen:
        screen.end(0)
        expected = [
            [f"{label} " * 20 + f" {number}" for number in range(300)] for label in ("first", "second")
        ]
        assert_components([line for line in screen.lines[2:] if line], *expected)
