"""Keeps a work's ``url`` true: set while its port answers, empty otherwise.

Who asks for ``port`` in ``run`` means to serve there, by a server of any kind: so the kernel's table of
listening sockets is looked at, and nothing is sent that a server might take for a customer.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.app.core.work import LightningWork

_FIRST_WAIT = 0.01
_LONGEST_WAIT = 0.25
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENING = "0A"


class Answering:
    """For the calls of one work. ``armed`` while somebody looks."""

    def __init__(self, work: LightningWork) -> None:
        self._work = work
        self._over = threading.Event()
        self._watch: threading.Thread | None = None

    @property
    def armed(self) -> bool:
        return self._watch is not None

    def arm(self) -> None:
        """The port was asked for: look, beside the call, whether it answers."""
        if self._watch is None:
            self._over.clear()
            self._watch = threading.Thread(target=self._look, name="lightning-url", daemon=True)
            self._watch.start()

    def end(self) -> None:
        """The call is over."""
        watch, self._watch = self._watch, None
        self._over.set()
        if watch is not None:
            watch.join()
        if self._work.url:
            self._work.url = ""

    def _look(self) -> None:
        wait = _FIRST_WAIT
        while not self._over.wait(wait):
            host, port = self._work._state.get("host"), self._work._state.get("port")
            if isinstance(host, str) and isinstance(port, int) and answers(host, port):
                shown = f"[{host}]" if ":" in host else host
                self._work.url = f"http://{shown}:{port}"
                return
            wait = min(wait * 1.5, _LONGEST_WAIT)


def answers(host: str, port: int) -> bool:
    """Whether connections to this port of this machine are accepted."""
    told = False
    for table in _TABLES:
        with suppress(OSError), open(table) as lines:
            told = True
            if any(_listens(line, port) for line in lines):
                return True
    if told:
        return False
    with suppress(OSError), socket.create_connection((host, port), timeout=_LONGEST_WAIT):
        return True  # no such table on this system
    return False


def _listens(line: str, port: int) -> bool:
    fields = line.split(None, 4)
    return len(fields) > 3 and fields[3] == _LISTENING and fields[1].endswith(f":{port:04X}")
