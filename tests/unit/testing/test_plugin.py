"""The fixtures that a user's tests get by installing the package, used as a user would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.app.testing import Harness, Terminal


class Hourly(L.LightningFlow):
    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def run(self) -> None:
        if self.schedule("hourly"):
            self.times += 1


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
