"""Real disks that are too small or cannot be written: the app stops with the reason, and goes on when there is room.

Each is mounted in a namespace of its own, which is gone with the process that made it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .campaign import APP, Case
from .extent import HOURS, either

GO_ON = """
set -e
mount -t tmpfs -o size=$1 none disk
set +e
"$2" -m lightning.app run app "$3" --open-ui=false --without-server --runs-dir disk/runs; echo $? > first
mount -o remount,size=64m disk
"$2" -m lightning.app run app "$3" --open-ui=false --without-server --runs-dir disk/runs --resume; echo $? > second
mkdir -p .lightning && cp -r disk/runs .lightning/
"""
READ_ONLY = """
set -e
mkdir -p runs
mount --bind runs runs
mount -o remount,ro,bind runs
set +e
"$2" -m lightning.app run app "$3" --open-ui=false --without-server --runs-dir runs; echo $? > first
"""


def _in_a_namespace(script: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        allowed = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare command: a disk of our own cannot be mounted")
    if allowed.returncode:
        pytest.skip(f"a disk of our own cannot be mounted: {allowed.stderr.strip()}")
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *words, sys.executable, str(APP)],
        cwd=folder,
        env={**os.environ, "CHAOS_SEED": "3", "CHAOS_FILL": "400000"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(either(120, HOURS))
@pytest.mark.parametrize("size", either(["1m", "300k"], ["1m", "100k", "200k", "300k", "400k", "700k"]))
def test_on_a_disk_that_is_full_the_app_stops_and_goes_on_when_there_is_room(
    size: str, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    done = _in_a_namespace(GO_ON, tmp_path, size)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "first").read_text() == "1\n", done.stderr
    assert "the disk is full" in done.stderr
    assert "--resume" in done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "second").read_text() == "0\n", done.stderr
    case = Case(3, tmp_path, kills=False)
    case.look()
    case.judge()


@pytest.mark.timeout(either(120, HOURS))
def test_a_read_only_folder_is_named_before_anything_runs(tmp_path: Path) -> None:
    done = _in_a_namespace(READ_ONLY, tmp_path, "")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "first").read_text() != "0\n"
    assert "read-only" in done.stderr
    assert "--runs-dir" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "effects.log").exists()
