"""Which processes may be forked. Each is tried in a Python of its own, for threads do not leave."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASK = "\nfrom lightning.app.engines.forking import obstacle\nprint(obstacle(), end='')"


def ask(text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text + ASK], capture_output=True, text=True, timeout=50, check=True
    )
    return done.stdout


def test_a_plain_process_may_be_forked() -> None:
    assert ask("") == ""


def test_a_python_thread_is_named() -> None:
    text = """
import threading
threading.Thread(target=threading.Event().wait, name="poller", daemon=True).start()
"""
    assert ask(text) == "a thread lives: poller"


def test_a_thread_without_a_name_counts_too() -> None:
    text = """
import _thread, time
up = _thread.allocate_lock()
up.acquire()
_thread.start_new_thread(lambda: (up.release(), time.sleep(600)), ())
up.acquire()
"""
    assert ask(text) == "a thread lives: a nameless thread"


def test_idle_pools_of_linear_algebra_do_not_forbid_forking() -> None:
    pytest.importorskip("numpy")
    assert ask("import numpy; numpy.ones((600, 600)) @ numpy.ones((600, 600))") == ""


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that computes in parallel with libgomp."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    folder = tmp_path_factory.mktemp("loops")
    (folder / "loops.c").write_text(
        "int total(int n) { int t = 0;\n#pragma omp parallel for num_threads(2) reduction(+:t)\n"
        "for (int i = 0; i < n; i++) t += i; return t; }\n"
    )
    library = folder / "loops.so"
    built = subprocess.run(
        ["gcc", "-fopenmp", "-shared", "-fPIC", "-o", library, folder / "loops.c"], check=False
    )
    if built.returncode:
        pytest.skip("needs gcc with OpenMP")
    return library


def test_libgomp_that_is_only_mapped_does_not_forbid_forking(loops: Path) -> None:
    assert ask(f"import ctypes; ctypes.CDLL({str(loops)!r})") == ""


def test_libgomp_that_was_used_forbids_forking(loops: Path) -> None:
    assert "libgomp" in ask(f"import ctypes; ctypes.CDLL({str(loops)!r}).total(1000)")


def test_an_open_gpu_forbids_forking() -> None:
    assert ask("import os; os.readlink = lambda path: '/dev/nvidiactl'") == "a GPU is open: /dev/nvidiactl"
