"""One command line on a terminal of its own: what it printed, line by line, and what it left behind.

Nothing here sleeps or knows how the product works inside. Waiting is for a line, for an exit or for the end
of a process; the processes of a run are those that inherited a mark in their environment, so that a work, a
grandchild and a forgotten server are all found.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

MARK = "LIGHTNING_ACCEPTANCE"
STARTING = "Your Lightning App is starting. This won't take long."
STARTED = re.compile(r"INFO: Your app has started\. View it in your browser: http://127\.0\.0\.1:(\d+)/view")
PATIENCE = 15.0
"""How long to wait for a line or an end before a test fails. Long: machines are shared."""

Expected = str | re.Pattern[str]


class Line(NamedTuple):
    text: str
    stream: str  # "out" or "err"
    at: float  # time.monotonic()


class Terminal:
    """A running command. ``with Terminal("run", "app", "app.py", folder=folder) as terminal: ...``"""

    def __init__(
        self,
        *words: str | Path,
        folder: Path,
        environment: dict[str, str] | None = None,
        out: Path | None = None,
        program: Sequence[str] = ("-m", "lightning.app"),
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.words = [sys.executable, *program, *map(str, words)]
        self._lines: list[Line] = []
        self._news = threading.Condition()
        self._open = 1 if out else 2
        with open(out or os.devnull, "wb") as sink:
            self.process = subprocess.Popen(
                self.words,
                cwd=folder,
                env=_environment() | (environment or {}) | {MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=sink if out else subprocess.PIPE,
                stderr=subprocess.PIPE,
                process_group=0,  # as a shell does, so that interrupt() reaches whom Ctrl-C would reach
            )
        streams = {"out": self.process.stdout, "err": self.process.stderr}
        self._readers = [
            threading.Thread(target=self._read, args=(pipe, name), daemon=True)
            for name, pipe in streams.items()
            if pipe
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    # -- what it printed --------------------------------------------------------------------------

    @property
    def out(self) -> list[str]:
        return self._texts("out")

    @property
    def err(self) -> list[str]:
        return self._texts("err")

    @property
    def errors(self) -> str:
        return "\n".join(self.err)

    def line(self, expected: Expected, stream: str = "out", times: int = 1) -> Line:
        """Wait for a line: all of it when given as text, a part of it when given as a pattern."""
        with self._news:
            self._news.wait_for(lambda: self._found(expected, stream, times) or not self._open, PATIENCE)
            found = self._found(expected, stream, times)
            if found:
                return found
            when = f"after {PATIENCE} s" if self._open else "when all output was in"
        raise AssertionError(f"no line {expected!r} on {stream} {when}; {self}")

    def started(self) -> int:
        """Wait for the two lines every app begins with; the port they name."""
        match = STARTED.fullmatch(self.line(STARTED).text)
        assert match, f"the second line has more than it should; {self}"
        assert [STARTING, match.group()] == self.out[:2], f"other lines came first; {self}"
        return int(match.group(1))

    @property
    def printed(self) -> list[str]:
        """What the components printed: stdout after the two lines every app begins with."""
        assert self.out[:1] == [STARTING], str(self)
        assert STARTED.fullmatch(self.out[1]), str(self)
        return self.out[2:]

    # -- how it ends ------------------------------------------------------------------------------

    def send(self, number: signal.Signals) -> None:
        """A signal to the command alone, as ``kill`` sends it."""
        self.process.send_signal(number)

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends SIGINT to the whole foreground process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to every process of the run, oldest first."""
        for pid in self.processes():
            with suppress(ProcessLookupError):  # the others end when the first are gone
                os.kill(pid, signal.SIGKILL)

    def end(self, code: int) -> None:
        """Wait for the end; the exit code is this, all output is in, and no process of the run is left."""
        try:
            found = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs after {PATIENCE} s; {self}") from None
        left = [pid for pid in self.processes() if not ended(pid, 2.0)]
        assert not left, f"left running: {[_command(pid) for pid in left]}; {self}"
        self.hear_out()
        assert found == code, f"exit code {found}, not {code}; {self}"

    def hear_out(self) -> None:
        """Wait until all output is in, of a command that has ended."""
        for reader in self._readers:
            reader.join(PATIENCE)

    def stop(self) -> None:
        """Ctrl-C, and an orderly end."""
        self.interrupt()
        self.end(0)

    def processes(self) -> list[int]:
        """The ids of all processes of this run, oldest first."""
        return sorted(_marked(self.mark))

    def __str__(self) -> str:
        with self._news:
            lines, dropped = self._lines[-200:], max(0, len(self._lines) - 200)
        shown = "\n".join(f"  {line.stream}| {line.text}" for line in lines)
        return f"{' '.join(self.words[1:])} printed ({dropped} earlier lines left out):\n{shown}"

    def _read(self, pipe: IO[bytes], stream: str) -> None:
        for raw in pipe:
            line = Line(raw.decode("utf-8", "backslashreplace").removesuffix("\n"), stream, time.monotonic())
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._open -= 1
            self._news.notify_all()

    def _found(self, expected: Expected, stream: str, times: int) -> Line | None:
        for line in self._lines:
            if line.stream == stream and fits(line.text, expected):
                times -= 1
                if not times:
                    return line
        return None

    def _texts(self, stream: str) -> list[str]:
        with self._news:
            return [line.text for line in self._lines if line.stream == stream]


def fits(text: str, expected: Expected) -> bool:
    return text == expected if isinstance(expected, str) else expected.search(text) is not None


def assert_components(lines: Sequence[str], *components: Sequence[Expected]) -> None:
    """Each component's lines are exactly these and in this order; the order between components is free."""
    for component in components:
        own = [line for line in lines if any(fits(line, expected) for expected in component)]
        matching = len(own) == len(component) and all(map(fits, own, component))
        assert matching, f"expected {list(component)}, got {own}"
    of_none = [
        line for line in lines if not any(fits(line, e) for component in components for e in component)
    ]
    assert not of_none, f"lines of no component: {of_none}"


def _environment() -> dict[str, str]:
    """This process's environment, with a PYTHONPATH that means the same from another folder."""
    environment = dict(os.environ)
    if path := environment.get("PYTHONPATH"):
        environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))
    return environment


def _marked(mark: str) -> Iterator[int]:
    wanted = f"{MARK}={mark}".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                block = Path("/proc", entry, "environ").read_bytes()  # empty for a zombie
            except OSError:
                continue  # gone meanwhile, or not ours to read
            if wanted in block.split(b"\0"):
                yield int(entry)


def ended(pid: int, within: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], within)[0])
    finally:
        os.close(descriptor)


def _command(pid: int) -> str:
    try:
        return f"{pid} {Path('/proc', str(pid), 'cmdline').read_bytes().replace(bytes(1), b' ').decode()}"
    except OSError:
        return f"{pid} (ended just now)"
