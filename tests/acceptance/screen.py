"""A pseudo-terminal: what a person would see on it, and the keys that person types."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from lightning.app.testing import terminal

_TAKE_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Screen:
    """``lightning run app FILE`` as the foreground of a terminal of its own."""

    def __init__(self, file: Path) -> None:
        self.shown = ""
        self._master, inside = os.openpty()
        command = [sys.executable, "-m", "lightning.app", "run", "app", str(file), "--open-ui=false"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *command],
            cwd=file.parent,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    @property
    def lines(self) -> list[str]:
        return self.shown.replace("\r\n", "\n").split("\n")

    def expect(self, text: str) -> None:
        """Wait until this is shown."""
        until = time.monotonic() + terminal.PATIENCE
        while text not in self.shown:
            assert self._read(until), f"{text!r} was not shown, but:\n{self.shown}"

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def end(self, code: int) -> None:
        """Wait for the end, with all that is shown until then."""
        until = time.monotonic() + terminal.PATIENCE
        while self._read(until):
            pass
        assert self.process.wait(max(0.0, until - time.monotonic())) == code, self.shown

    def _read(self, until: float) -> bool:
        """Take in what is shown next. False at the end, or when it took too long."""
        if not select.select([self._master], [], [], max(0.0, until - time.monotonic()))[0]:
            return False
        try:
            part = os.read(self._master, 65536)
        except OSError:  # so a terminal says that nobody is left on its other side
            return False
        self.shown += part.decode("utf-8", "backslashreplace")
        return bool(part)
