"""What a run that was killed goes on with, sentence by sentence."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress

import pytest

from lightning.app.kernel import facts as f
from lightning.app.testing import Terminal

from .live import Stage, printed

APP = """
from lightning.app.structures import Dict, List

def note(*words):
    with open("notes.txt", "a") as notes:
        print(*words, file=notes)

class Step(L.LightningWork):
    def __init__(self, name, **options):
        super().__init__(**options)
        self.label = name
        self.seen = []

    def run(self, x):
        note(self.label, x, self.call_id)
        self.seen.append(x)
        if self.label == "long" and x == 1:
            print("work", os.getpid(), os.getppid())
            until(exists("go on"))
        return x * 10

class Branch(L.LightningFlow):
    def __init__(self, name):
        super().__init__()
        self.label = name

    def run(self):
        if not hasattr(self, "leaf"):
            self.leaf = Step(self.label + "/leaf")
        return self.leaf.run(5)

class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.tree = Dict()
        self.rows = List()
        self.first = Step("first")
        self.long = Step("long", parallel=True)
        self.yearly = Step("yearly")
        self.items = []

    def run(self):
        self.first.run(1)
        if self.schedule("@yearly"):
            self.yearly.run(0)
        if "a" not in self.tree:
            self.tree["a"] = Branch("a")
            self.rows.append(Step("row 0"))
            del self.first
            self.first = Step("another")
        leaf = self.tree["a"].run()
        row = self.rows[0].run(7)
        for item in self.experimental_iterate(range(4)):
            if item == 2:
                for x in (1, 2, 3):  # the first waits, the others are queued
                    self.long.run(x)
                if not self.long.num_successes == 3:
                    return
            self.items.append(self.first.run(item))
        print("flow", leaf, row, self.items, self.long.seen[-3:], self.tree["a"].leaf.seen, self.rows[0].seen)
        self.stop()

app = L.LightningApp(Flow())
"""


def _kill(first: Terminal, whom: str) -> int:
    """Kill one of a run, or all; the exit code to expect of the command."""

    line = first.line(re.compile(r"^work \d+ \d+$")).text
    _, supervisor = map(int, line.split()[1:])
    if whom == "supervisor":
        os.kill(supervisor, signal.SIGKILL)
        return 1
    for pid in first.processes() if whom == "everybody" else [first.process.pid]:
        with suppress(ProcessLookupError):  # it has followed another already
            os.kill(pid, signal.SIGKILL)
    return -signal.SIGKILL


@pytest.mark.parametrize("whom", ["runtime", "supervisor", "everybody"])
def test_dynamic_components_schedules_queued_calls_and_iterations_survive_a_kill(
    whom: str, stage: Stage
) -> None:
    first = stage.start(APP)
    first.end(_kill(first, whom))
    stage.touch("go on")
    second = stage.start("", "--resume")
    second.end(0)
    lines = [line for line in printed(second) if line.startswith("flow")]
    assert lines == ["flow 50 70 [0, 10, 20, 30] [1, 2, 3] [5] [7]"]
    notes = [line.rsplit(" ", 1) for line in (stage.folder / "notes.txt").read_text().splitlines()]
    ran = [what for what, _ in notes]
    assert sorted(what for what in ran if what != "long 1") == sorted(
        [
            "first 1",
            "yearly 0",
            "another 1",
            "a/leaf 5",
            "row 0 7",
            "another 0",
            "long 2",
            "long 3",
            "another 2",
            "another 3",
        ]
    )
    interrupted = [call_id for what, call_id in notes if what == "long 1"]
    assert len(interrupted) == 2
    assert len(set(interrupted)) == 1
    ticks = [fact for fact in stage.facts() if type(fact) is f.Ticked and fact.active]
    assert len(ticks) == 1


def test_with_durability_process_a_killed_run_is_resumed_too(stage: Stage) -> None:
    first = stage.start(APP, "--durability", "process")
    first.end(_kill(first, "everybody"))
    stage.touch("go on")
    second = stage.start("", "--resume", "--durability", "process")
    second.end(0)
    assert printed(second)[-1] == "flow 50 70 [0, 10, 20, 30] [1, 2, 3] [5] [7]"


def test_a_run_can_be_killed_and_resumed_again_and_again(stage: Stage) -> None:
    options: list[str] = []
    source = """
        class Work(L.LightningWork):
            def __init__(self):
                super().__init__()
                self.epoch = 0

            def run(self):
                print("work", os.getpid(), os.getppid())
                until(exists(f"go on {self.epoch}"))
                while self.epoch < 5:
                    self.epoch += 1
                    self.seen = True
                    until(exists(f"go on {self.epoch}"))

        class Witness(L.LightningWork):
            def run(self, epoch):
                print("epoch", epoch, "is durable")

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work()
                self.work._parallel = True
                self.witness = Witness()

            def run(self):
                self.work.run()
                self.witness.run(self.work.epoch)
                if self.work.has_succeeded:
                    print("flow", self.work.epoch)
                    self.stop()

        app = L.LightningApp(Flow())
        """
    for epoch in range(4):
        terminal = stage.start(source, *options)
        source, options = "", ["--resume"]
        stage.touch(f"go on {epoch}")
        terminal.line(f"epoch {epoch + 1} is durable")
        terminal.end(_kill(terminal, "everybody"))
    for epoch in (4, 5):
        stage.touch(f"go on {epoch}")
    last = stage.start("", "--resume")
    last.end(0)
    assert printed(last)[-1] == "flow 5"


def test_a_call_that_must_not_run_again_fails_when_the_run_was_killed(stage: Stage) -> None:
    source = """
        class Work(L.LightningWork):
            def run(self):
                print("work", os.getpid(), os.getppid())
                time.sleep(600)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.work = Work(on_crash="fail", raise_exception=False)

            def run(self):
                self.work.run()
                print(self.work.status.stage, self.work.status.message)
                self.stop()

        app = L.LightningApp(Flow())
        """
    first = stage.start(source)
    first.end(_kill(first, "everybody"))
    second = stage.start("", "--resume")
    second.end(0)
    assert printed(second) == ["failed the run was interrupted while this call ran, and on_crash is 'fail'"]


def test_a_run_stopped_by_a_signal_goes_on_where_it_was(stage: Stage) -> None:
    first = stage.start(APP)

    first.line(re.compile(r"^work \d+ \d+$"))
    first.stop()
    stage.touch("go on")
    second = stage.start("", "--resume")
    second.end(0)
    assert printed(second)[-1] == "flow 50 70 [0, 10, 20, 30] [1, 2, 3] [5] [7]"


def test_code_that_no_longer_fits_is_refused_and_the_run_can_still_go_on_either_way(stage: Stage) -> None:
    source = """
        from glob import glob

        class Work(L.LightningWork):
            def run(self):
                until(lambda: glob(".lightning/runs/*/environment.json"))  # written a moment after the start
                print("work", os.getpid(), os.getppid())
                time.sleep(600)

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.part = Work()
                self.n = 5

            def run(self):
                self.part.run()

        app = L.LightningApp(Flow())
        """
    first = stage.start(source)
    first.end(_kill(first, "everybody"))
    changed = source.replace("self.part = Work()", "self.part = L.LightningFlow()").replace(
        "self.part.run()", "print('n is', self.n); self.stop()"
    )
    refused = stage.start(changed, "--resume")
    refused.end(5)
    told = refused.errors
    assert "app.py changed since" in told
    assert "root.part: the run has a work (app:Work), the code has a flow" in told
    assert "--drop-unfit" in told
    going_on = stage.start("", "--resume", "--drop-unfit")
    going_on.end(0)
    assert printed(going_on) == ["n is 5"]


EDITED = """
class Work(L.LightningWork):
    def run(self, x{parameters}):
        with open("notes.txt", "a") as notes:
            print("ran", x, file=notes)
        if x == "long":
            print("work", os.getpid(), os.getppid())
            until(exists("go on"))
        return f"done {{x}}"

class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.{name} = Work()
        self.mode = "first"
        {more}

    def run(self):
        print(self.{name}.run("short"), self.{name}.run("long"), self.mode)
        self.stop()

app = L.LightningApp(Flow())
"""


def _edited(parameters: str = "", name: str = "work", more: str = "pass") -> str:
    return EDITED.format(parameters=parameters, name=name, more=more)


def test_a_killed_run_goes_on_with_edited_code(stage: Stage) -> None:
    first = stage.start(_edited())
    first.end(_kill(first, "everybody"))
    stage.touch("go on")
    second = stage.start(_edited(more="self.more = L.structures.List(Work())"), "--resume")
    second.end(0)
    assert printed(second)[-1] == "done short done long first"
    assert (stage.folder / "notes.txt").read_text().split("\n")[:-1] == ["ran short", "ran long", "ran long"]


def test_an_interrupted_call_is_still_the_same_call_when_run_has_a_new_parameter(stage: Stage) -> None:
    first = stage.start(_edited().replace('self.work.run("short"), ', ""))
    first.end(_kill(first, "everybody"))
    stage.touch("go on")
    second = stage.start(_edited(", rate=0.1").replace('self.work.run("short"), ', ""), "--resume")
    second.end(0)
    assert (stage.folder / "notes.txt").read_text().split("\n")[:-1] == ["ran long", "ran long"]


def test_a_run_that_no_longer_fits_is_refused_and_goes_on_without_what_does_not_fit(stage: Stage) -> None:
    first = stage.start(_edited())
    first.end(_kill(first, "everybody"))
    stage.touch("go on")
    unfit = _edited(more="self.mode = Work()").replace("self.mode)", "type(self.mode).__name__)")
    for _ in range(2):  # refused as often as it is tried, and changed by none of it
        refused = stage.start(unfit, "--resume")
        refused.end(5)
        told = " ".join(line for line in refused.err)
        assert "root.mode: the run has the value 'first', the code has a work (Work)" in told
        assert "--drop-unfit" in told
    second = stage.start("", "--resume", "--drop-unfit")
    second.end(0)
    assert printed(second)[-1] == "done short done long Work"
    assert "dropped: root.mode" in " ".join(second.err)
