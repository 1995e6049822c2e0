"""``python app.py``: the same app without the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from lightning.app.runtime.serve import STARTING

APP = """
import signal
import sys
import lightning as L


class Flow(L.LightningFlow):
    def run(self):
        print("flow runs", flush=True)
        self.stop()


class WaitsWhenRunIsLoaded:
    def find_spec(self, name, path=None, target=None):
        if name == "lightning.app.runners":
            print("loading", flush=True)
            signal.pause()


app = L.LightningApp(Flow())
if "--wait" in sys.argv:
    sys.meta_path.insert(0, WaitsWhenRunIsLoaded())
app.run()
"""


def _start(folder: Path, *words: str) -> subprocess.Popen[str]:
    (folder / "app.py").write_text(textwrap.dedent(APP))
    return subprocess.Popen(
        [sys.executable, "app.py", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def test_its_run_records_the_arguments(tmp_path: Path) -> None:
    program = _start(tmp_path, "--lr", "0.1")
    out, err = program.communicate(timeout=60)
    assert program.returncode == 0, err
    assert "flow runs" in out
    (run,) = (tmp_path / ".lightning" / "runs").iterdir()
    assert json.loads((run / "meta.json").read_text())["arguments"] == ["--lr", "0.1"]


def test_ctrl_c_while_run_is_being_loaded_is_quiet(tmp_path: Path) -> None:
    program = _start(tmp_path, "--wait")
    assert program.stdout
    assert program.stdout.readline() == "loading\n"
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out, err) == (0, "", "")


def test_ctrl_c_while_it_starts_is_quiet(tmp_path: Path) -> None:
    program = _start(tmp_path)
    assert program.stdout
    assert program.stdout.readline() == f"{STARTING}\n"
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 0
    assert "Traceback" not in err
