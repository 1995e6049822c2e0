"""``run app --like RUN`` in a real environment: other versions come and go, the app finds those of the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lightning.app.journal.runs import Runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROJECT = Path(__file__).parents[2]
APP = """
import os
import sys

import lightning as L
import six

class Work(L.LightningWork):
    def run(self):
        print("six", six.__version__, os.environ["MODEL"], sys.argv[1:], sys.prefix)

app = L.LightningApp(Work())
"""


def run(*command: str | Path, folder: Path, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture
def uv() -> str:
    from uv import find_uv_bin

    return os.fspath(find_uv_bin())


@pytest.fixture
def environment(tmp_path: Path, uv: str) -> Path:
    """An environment with this package, built, and a small one from the index."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    build = (
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        tmp_path / "dist",
        PROJECT,
    )
    run(*pip, *build, folder=tmp_path)
    (wheel,) = (tmp_path / "dist").iterdir()
    home = tmp_path / "environment"
    run(uv, "venv", "--quiet", "--python", sys.executable, home, folder=tmp_path)
    install = (uv, "pip", "install", "--quiet", "--python", home / "bin" / "python")
    reach = subprocess.run([*install, "six==1.16.0"], cwd=tmp_path, capture_output=True, text=True)
    if reach.returncode:
        pytest.skip(f"no package index can be reached: {reach.stderr.strip()[-200:]}")
    run(*install, wheel, folder=tmp_path)
    return home


def test_an_app_finds_the_versions_of_an_earlier_run(tmp_path: Path, environment: Path, uv: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    lightning = (environment / "bin" / "python", "-m", "lightning.app")
    start = (*lightning, "run", "app", "app.py", "--open-ui=false")
    path = f"{Path(uv).parent}{os.pathsep}{os.environ['PATH']}"

    first = run(*start, "--env", "MODEL=small", folder=folder)
    assert first.stdout.splitlines()[-1] == f"six 1.16.0 small [] {environment}"
    past = Runs(folder / ".lightning" / "runs").find().id
    replace = (uv, "pip", "install", "--quiet", "--python", environment / "bin" / "python", "six==1.17.0")
    run(*replace, folder=folder)
    assert "six 1.17.0 small" in run(*start, "--env", "MODEL=small", folder=folder).stdout

    again = run(
        *start, "--env", "MODEL=big", "--like", past, "--app_args", "--like", "x", folder=folder, PATH=path
    )
    made = folder / ".lightning" / "environments"
    (python,) = made.glob("*/bin/python")
    assert again.stdout.splitlines()[-1] == f"six 1.16.0 big ['--like', 'x'] {python.parents[1]}"
    assert "INFO: making the environment of that run: Python" in again.stderr
    assert (made / ".gitignore").read_text() == "*\n"

    once_more = run(*start, "--env", "MODEL=big", f"--like={past}", folder=folder, PATH=path)
    assert once_more.stdout.splitlines()[-1] == f"six 1.16.0 big [] {python.parents[1]}"
    assert "making" not in once_more.stderr

    (python.parents[1] / "ready").unlink()  # as when its making was cut short
    shutil.rmtree(python.parents[1] / "lib")
    assert "making" in run(*start, "--env", "MODEL=big", "--like", past, folder=folder, PATH=path).stderr

    refused = run(*start, "--like", past, folder=folder, code=5, PATH=path)
    assert "it was given MODEL, which this command does not pass" in refused.stderr
    assert refused.stdout == ""
