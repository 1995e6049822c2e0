"""Payloads between real works: what the flow passes is a pointer, what a work opens is the value."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import lightning as L
from lightning.app.kernel.facts import Returned
from lightning.app.storage import Payload
from lightning.app.storage.home import shared_memory
from lightning.app.testing import Harness, Terminal

from .live import Stage

TWO = """
import numpy as np
from lightning.app.storage import Payload

def note(text):
    with open("notes.txt", "a") as notes:
        print(text, file=notes)

class Make(L.LightningWork):
    def __init__(self):
        super().__init__(OPTIONS)
        self.data = None

    def run(self, n):
        note(f"made {n}")
        source = np.arange(n)
        self.data = Payload(source, durable=DURABLE)
        source[:] = 0  # changes nothing of what was put away
        return len(source)

class Use(L.LightningWork):
    def run(self, payload):
        note(f"used {payload.value.sum()}")
        return int(payload.value.sum())

class Flow(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.make, self.use = Make(), Use()

    def run(self):
        self.make.run(100_000)
        found = self.use.run(self.make.data)
        print("found", found)
        END

app = L.LightningApp(Flow())
"""
SUM = 100_000 * 99_999 // 2


def two(*, options: str = "", durable: bool = False, wait: str = "", end: str = "self.stop()") -> str:
    words = {"OPTIONS": options, "DURABLE": str(durable), "END": end}
    source = TWO
    for word, given in words.items():
        source = source.replace(word, given)
    return source


def notes(stage: Stage) -> list[str]:
    return (stage.folder / "notes.txt").read_text().splitlines()


def run_folder(stage: Stage) -> Path:
    (folder,) = (stage.folder / ".lightning" / "runs").iterdir()
    return folder


def in_memory(stage: Stage) -> set[str]:
    """The payloads of the run that are in shared memory."""
    try:
        found = os.listdir(shared_memory() / run_folder(stage).name)
    except FileNotFoundError:
        return set()
    return {name for name in found if name.startswith("lp-")}


def on_disk(stage: Stage) -> set[str]:
    folder = run_folder(stage) / "payloads"
    return {name for name in os.listdir(folder) if name.startswith("lp-")} if folder.exists() else set()


def resume(stage: Stage) -> Terminal:
    return stage.start("", "--resume", run_folder(stage).name)


def test_a_work_opens_what_another_one_has_made_as_it_was_when_it_was_put_away(stage: Stage) -> None:
    assert stage.play(two()) == [f"found {SUM}"]
    assert notes(stage) == ["made 100000", f"used {SUM}"]


def test_after_an_orderly_end_nothing_is_in_shared_memory_and_the_disk_has_it(stage: Stage) -> None:
    stage.play(two())
    assert not (shared_memory() / run_folder(stage).name).exists()
    assert len(on_disk(stage)) == 1


def test_without_a_journal_nothing_is_left_at_all(stage: Stage) -> None:
    stage.play(two(), "--durability=off")
    assert not (shared_memory() / run_folder(stage).name).exists()
    assert on_disk(stage) == set()


def test_a_flow_is_told_to_pass_the_payload_to_a_work(stage: Stage) -> None:
    terminal = stage.start(two(end="self.make.data.value"))
    terminal.end(1)
    assert "the value of a Payload was asked for in a flow" in terminal.errors
    assert "Pass the Payload to a work's run" in terminal.errors


def killed(stage: Stage, source: str) -> None:
    """Run it until it is in the journal that the value was used, then kill every process of it."""
    terminal = stage.start(source)
    terminal.line(f"found {SUM}")
    while sum(type(fact) is Returned for fact in stage.facts()) < 2:
        pass
    terminal.kill()
    terminal.process.wait()


def cut_power(stage: Stage, *, whole: bool = True) -> None:
    """What was in shared memory is gone; and what was on its way to the disk did not arrive."""
    shutil.rmtree(shared_memory() / run_folder(stage).name)
    if whole:
        shutil.rmtree(run_folder(stage) / "payloads", ignore_errors=True)


def test_after_a_sigkill_of_everything_a_resume_finds_it(stage: Stage) -> None:
    killed(stage, two(end=""))
    assert len(in_memory(stage)) == 1
    terminal = resume(stage)
    terminal.line(f"found {SUM}")
    assert notes(stage) == ["made 100000", f"used {SUM}"]
    terminal.stop()
    assert in_memory(stage) == set()
    assert len(on_disk(stage)) == 1


def test_what_a_killed_run_left_in_memory_goes_with_the_next_command_once_the_run_is_deleted(
    stage: Stage,
) -> None:
    killed(stage, two(end=""))
    memory = shared_memory() / run_folder(stage).name
    with Terminal("list", "runs", folder=stage.folder) as terminal:
        terminal.end(0)
    assert memory.exists()
    shutil.rmtree(run_folder(stage))
    with Terminal("list", "runs", folder=stage.folder) as terminal:
        terminal.end(0)
    assert not memory.exists()


def test_a_payload_that_a_power_cut_took_is_made_again_by_its_call(stage: Stage) -> None:
    killed(stage, two(end=""))
    cut_power(stage)
    terminal = resume(stage)
    terminal.line(f"found {SUM}")
    assert notes(stage) == ["made 100000", f"used {SUM}"] * 2
    terminal.stop()


def test_where_the_call_may_run_at_most_once_the_loss_of_its_payload_fails_it(stage: Stage) -> None:
    killed(stage, two(options="on_crash='fail'", end=""))
    cut_power(stage)
    terminal = resume(stage)
    terminal.end(1)
    assert "that it had made is lost, and on_crash is 'fail'" in terminal.errors
    assert notes(stage) == ["made 100000", f"used {SUM}"]


def test_a_durable_payload_survives_the_power_cut(stage: Stage) -> None:
    killed(stage, two(durable=True, end=""))
    cut_power(stage, whole=False)
    terminal = resume(stage)
    terminal.line(f"found {SUM}")
    assert notes(stage) == ["made 100000", f"used {SUM}"]
    terminal.stop()


@pytest.mark.parametrize("lives", [True, False])
def test_a_fork_has_the_payloads_of_its_past_whether_the_first_run_lives_or_not(
    stage: Stage, lives: bool
) -> None:
    first = stage.start(two(end=""))
    first.line(f"found {SUM}")
    while sum(type(fact) is Returned for fact in stage.facts()) < 2:
        pass
    source = run_folder(stage)
    app = (stage.folder / "app.py").read_text()
    edited = app.replace("def run(self, payload)", "def run(self, payload, top=True)").replace(
        ".sum()", ".max()"
    )
    (stage.folder / "edited.py").write_text(edited)
    if not lives:
        first.stop()
    options = ("--open-ui=false", "--without-server")
    with Terminal("fork", source.name, "edited.py", *options, folder=stage.folder) as fork:
        fork.line("found 99999")
        fork.stop()
    assert notes(stage) == ["made 100000", f"used {SUM}", "used 99999"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_large_arguments_arrive_however_the_process_was_started(stage: Stage, method: str) -> None:
    assert stage.play(
        f"""
        import numpy as np

        class Sum(L.LightningWork):
            def run(self, array, rows, *, text):
                array += 1  # its own
                return [int(array.sum()), len(rows), len(text)]

        class Flow(L.LightningFlow):
            def __init__(self):
                super().__init__()
                self.sum = Sum(start_method="{method}")

            def run(self):
                found = self.sum.run(np.zeros(1_000_000), list(range(200_000)), text="x" * 70_000_000)
                print(found, self.sum.status.count)
                self.stop()

        app = L.LightningApp(Flow())
        """
    ) == ["[1000000, 200000, 70000000] 1"]


def test_a_payload_that_the_flow_has_made_reaches_a_work_and_replays() -> None:
    class Sum(L.LightningWork):
        def run(self, payload: Payload) -> int:
            return sum(payload.value)

    class Root(L.LightningFlow):
        def __init__(self) -> None:
            super().__init__()
            self.small: Payload | None = None
            self.large: Payload | None = None
            self.sum = Sum()
            self.found: list[int] = []

        def run(self) -> None:
            if self.small is None:
                self.small = Payload([1, 2, 3])
                self.large = Payload(list(range(20_000)))
            self.found = [self.sum.run(self.small), self.sum.run(self.large)]

    with Harness(Root()) as app:
        app.run_until_idle()
        assert app.root.found == [6, 199_990_000]
