"""One run of a program: started on a terminal, its lines stamped as they arrive, ended.

A terminal, because that is where users look: through a pipe, most programs would keep their lines to
themselves until a buffer is full, and the time of a line would be that of the buffer.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import selectors
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from re import Pattern
from types import TracebackType
from typing import Any

from benchmarks import processes

MARK = "BENCH "  # a program's line that the harness reads; a framework may put its own prefix before it
TAIL = 25
GRACE = 2.0  # a program's last process has ended by then, or counts as left behind


class ProgramFailed(Exception):
    """A measured program did not do what its row asks. The message ends with the program's last lines."""


class Launch:
    """A program in a process group of its own. Its output, stdout and stderr as on a terminal, is kept."""

    def __init__(self, what: str, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self.what = what
        self.lines: list[tuple[float, str]] = []
        self.left_behind = 0
        self.hung = False
        self._read = 0  # lines that record() and line() have passed
        self._partial = b""
        reader, writer = pty.openpty()
        termios.tcsetwinsize(writer, (50, 250))
        try:
            self.began = time.monotonic()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                cwd=folder,
                env=dict(environment),
                start_new_session=True,
            )
        except OSError as error:
            os.close(reader)
            raise ProgramFailed(f"{what} could not be started: {error}") from error
        finally:
            os.close(writer)
        self._output = open(reader, "rb", buffering=0)  # noqa: SIM115 - closed in __exit__
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)

    def __enter__(self) -> Launch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        grace = GRACE
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            grace = 0.0
        self.left_behind = processes.sweep(grace)
        self._selector.close()
        self._output.close()

    def record(self, timeout: float) -> dict[str, Any]:
        """The program's next record, with the time its line arrived as ``arrived``."""
        arrived, text = self._next(lambda line: MARK in line, "its record", timeout)
        fields: dict[str, Any] = json.JSONDecoder().raw_decode(text.partition(MARK)[2])[0]
        fields["arrived"] = arrived
        return fields

    def line(self, pattern: Pattern[str], timeout: float) -> tuple[float, str]:
        """The next line in which ``pattern`` is found, and when it arrived."""
        return self._next(
            lambda line: pattern.search(line) is not None, f"a line like {pattern.pattern!r}", timeout
        )

    def interrupt(self) -> None:
        """What Ctrl-C does: SIGINT to the foreground process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    def watch(self, seconds: float) -> None:
        """Let time pass and read what is printed, so that nobody has to wait to print."""
        deadline = time.monotonic() + seconds
        while (remaining := deadline - time.monotonic()) > 0:
            self._take(remaining)

    def finish(self, timeout: float) -> int | None:
        """Wait for the program to end by itself; its exit code, or None when it had not ended in time."""
        deadline = time.monotonic() + timeout
        while self._process.poll() is None and time.monotonic() < deadline:
            self._take(0.05)
        self.hung = self._process.poll() is None
        return self._process.returncode

    def _next(self, wanted: Callable[[str], bool], name: str, timeout: float) -> tuple[float, str]:
        deadline = time.monotonic() + timeout
        while True:
            while self._read < len(self.lines):
                self._read += 1
                if wanted(self.lines[self._read - 1][1]):
                    return self.lines[self._read - 1]
            if not self._take(max(0.0, deadline - time.monotonic())):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = self._process.wait(max(0.0, deadline - time.monotonic()))
                    raise self._failed(f"ended with exit code {code} before {name}")
                raise self._failed(f"printed within {timeout:g} s everything but {name}")

    def _take(self, timeout: float) -> bool:
        """Read what is there, waiting for it at most ``timeout``; False at the end of output or of time."""
        deadline = time.monotonic() + timeout
        if not self._selector.get_map():
            time.sleep(timeout)
            return False
        if not self._selector.select(max(0.0, deadline - time.monotonic())):
            return False
        try:
            data = os.read(self._output.fileno(), 1 << 20)
        except OSError:  # how a terminal says that nobody has it open any more
            data = b""
        now = time.monotonic()
        if not data:
            self._selector.unregister(self._output)
            return False
        *complete, self._partial = (self._partial + data).split(b"\n")
        self.lines.extend((now, line.decode(errors="replace").rstrip("\r")) for line in complete)
        return True

    def _failed(self, why: str) -> ProgramFailed:
        tail = "\n".join("    " + text for _, text in self.lines[-TAIL:])
        return ProgramFailed(f"{self.what} {why}. Its last lines:\n{tail}")
