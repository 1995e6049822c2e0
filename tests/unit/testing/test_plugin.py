"""The fixtures that a user's tests get by installing the package, used as a user would."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lightning as L
from lightning.app.errors import NotFoundError
from lightning.app.testing import Harness, Terminal


class Hourly(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def run(self) -> None:
        if self.schedule("hourly"):
            self.times += 1


@pytest.fixture(autouse=True)
def no_app_of_an_earlier_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app", raising=False)


def test_a_harness_runs_an_app_under_a_clock_of_the_tests(lightning_harness: Callable[..., Harness]) -> None:
    app = lightning_harness(Hourly(), timezone="Europe/Berlin")
    app.run_until_idle()
    for _ in range(3):
        app.advance(hours=1)
    assert app.state["vars"] == {"times": 4}


def test_an_app_runs_as_real_processes(lightning_app: Callable[..., Terminal], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import lightning as L, os\n"
        "class Work(L.LightningWork):\n"
        "    def run(self, pid):\n"
        "        print('apart:', pid != os.getpid())\n"
        "class Flow(L.LightningFlow):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.work = Work()\n"
        "    def run(self):\n"
        "        self.work.run(os.getpid())\n"
        "app = L.LightningApp(Flow())\n"
    )
    terminal: Any = lightning_app("app.py")
    terminal.line("apart: True")
    terminal.stop()


SUMS = """
import lightning as L

class Add(L.LightningWork):
    def run(self, a, b):
        return a + b

class Sums(L.LightningFlow):
    def __init__(self):
        super().__init__()
        self.add = Add()
        self.result = None

    def run(self):
        self.result = self.add.run(1, 2)
        self.stop()

app = L.LightningApp(Sums())
"""


def test_a_stored_run_is_a_regression_test(
    lightning_app: Callable[..., Terminal], lightning_replay: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(SUMS)
    lightning_app("app.py").end(0)
    (run,) = (tmp_path / ".lightning" / "runs").iterdir()
    files = sorted(each.name for each in run.iterdir())
    arguments, path, modules = list(sys.argv), list(sys.path), set(sys.modules)
    assert lightning_replay(run, tmp_path / "app.py").compared == 3
    assert lightning_replay(run / "journal.sqlite", tmp_path / "app.py").difference is None
    (tmp_path / "edited.py").write_text(SUMS.replace("run(1, 2)", "run(2, 2)"))
    with pytest.raises(pytest.fail.Exception, match=r"recorded: root.add.run\(1, 2\)\n  now: .*run\(2, 2\)"):
        lightning_replay(run, tmp_path / "edited.py")
    assert sorted(each.name for each in run.iterdir()) == files
    assert (arguments, path) != (sys.argv, sys.path)  # put back when the test is over
    assert "app" in set(sys.modules) - modules


def test_what_a_replay_has_imported_is_gone_in_the_next_test() -> None:
    assert "app" not in sys.modules
    assert "edited" not in sys.modules


def test_the_journal_of_a_harness_replays(
    lightning_harness: Callable[..., Harness], lightning_replay: Callable[..., Any]
) -> None:
    app = lightning_harness(Hourly(), timezone="Europe/Berlin")
    app.run_until_idle()
    app.advance(hours=3)
    assert lightning_replay(app.journal, Hourly, timezone="Europe/Berlin").difference is None
    assert lightning_replay(app.journal, lambda: L.LightningApp(Hourly())).difference is None


def test_a_record_that_is_not_there_is_named(lightning_replay: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no record of a run"):
        lightning_replay(tmp_path / "nothing", Hourly)
