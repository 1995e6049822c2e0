"""A work's ``url``: set once its port really answers, taken back when its call ends.

Nothing tells when somebody begins to listen, so it is tried: from the first time ``run`` asks for its port,
until it answers or the call is over.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning.app.engines.live import Host

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.25


class Answering:
    """Watches over the port of one work."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._over: threading.Event | None = None

    def expect(self) -> None:
        """The running call asked for its port: it will listen there before long."""
        if self._host.running and self._over is None:
            self._over = threading.Event()
            threading.Thread(target=self._watch, args=(self._over,), name="lightning-url", daemon=True).start()

    def over(self) -> None:
        """The call is over, and whatever listened with it."""
        if self._over is not None:
            self._over.set()
            self._over = None
            if self._host.work.url:
                self._host.work.url = ""

    def _watch(self, over: threading.Event) -> None:
        pause = _FIRST_PAUSE
        work = self._host.work
        while not over.wait(pause):
            host, port = work._state["host"], work._state["port"]
            pause = min(pause * 1.5, _LONGEST_PAUSE)
            if port is None:
                continue
            reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
            try:
                socket.create_connection((reached, port), timeout=1.0).close()
            except OSError:
                continue
            with self._host.lock:
                if not over.is_set():
                    work.url = f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
            return
