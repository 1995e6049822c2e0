"""Much at once: works, output, and a disk that takes no more."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import RunApp

WriteApp = Callable[[str], Path]

LINES = 1_000_000
MEGABYTE = 1 << 20


@pytest.mark.timeout(300)
def test_five_hundred_works_run_at_once(write_app: WriteApp, run_app: RunApp) -> None:
    write_app(
        """
        import time
        import lightning as L
        from lightning.app.structures import List

        class Work(L.LightningWork):
            def __init__(self, number):
                super().__init__(parallel=True)
                self.number = number
                self.up = False
                self.go = False

            def run(self):
                self.up = True
                while not self.go:
                    time.sleep(0.2)
                print("work", self.number)

        class Flow(L.LightningFlow):
            def __init__(self) -> None:
                super().__init__()
                self.many = List(*(Work(number) for number in range(500)))
                self.all_up = False

            def run(self):
                for work in self.many:
                    work.run()
                if not self.all_up and all(work.up for work in self.many):
                    self.all_up = True
                    print("all are up")
                    for work in self.many:
                        work.go = True
                if all(work.has_succeeded for work in self.many):
                    self.stop()

        app = L.LightningApp(Flow())
        """
    )
    terminal = run_app("app.py")
    terminal.line("all are up")
    terminal.end(0)
    assert terminal.printed[0] == "all are up"
    assert sorted(terminal.printed[1:]) == sorted(f"work {number}" for number in range(500))


def test_a_hundred_megabytes_of_prints_arrive_complete_and_in_order(
    write_app: WriteApp, run_app: RunApp, tmp_path: Path
) -> None:
    write_app(
        f"""
        import lightning as L

        class Work(L.LightningWork):
            def run(self):
                for number in range({LINES}):
                    print(f"{{number:0100}}")

        app = L.LightningApp(Work())
        """
    )
    file = tmp_path / "out.txt"
    terminal = run_app("app.py", out=file)
    terminal.end(0)
    expected = hashlib.sha256()
    for number in range(LINES):
        expected.update(b"%0100d\n" % number)
    with open(file, "rb") as printed:
        assert b"is starting" in printed.readline()
        assert b"has started" in printed.readline()
        found = hashlib.sha256()
        while part := printed.read(MEGABYTE):
            found.update(part)
    assert found.hexdigest() == expected.hexdigest()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command: a small disk cannot be made")
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be made without root: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_app_with_its_reason(
    write_app: WriteApp, run_app: RunApp, small_disk: Path
) -> None:
    write_app(
        """
        import lightning as L

        class Work(L.LightningWork):
            def run(self):
                number = 0
                while True:
                    number += 1
                    self.noise = number.to_bytes(4) * 5000

        app = L.LightningApp(Work())
        """
    )
    terminal = run_app("app.py", f"--runs-dir={small_disk}")
    terminal.end(1)
    assert str(small_disk) in terminal.errors
    assert "full" in terminal.errors
    assert "--runs-dir" in terminal.errors
    assert terminal.errors.count("Traceback") == 0
