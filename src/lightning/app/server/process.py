"""The web process from its first line to its last: it serves on a socket it inherits, and idles at no cost.

What it needs is imported in ``main``, in a process of its own, while the flow already runs.
"""

from __future__ import annotations

import os
import signal
import socket


def main(listener_fd: int, run_id: str, token: str | None = None) -> int:
    """Serve on the listening socket ``listener_fd`` until SIGTERM comes or the parent is gone.

    The terminal's signals are the runtime's to take: Ctrl-C is ignored here.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # until the loop runs; the parent may have had its own way
    parent = os.pidfd_open(os.getppid())

    import asyncio
    from collections.abc import Iterator
    from contextlib import contextmanager

    import uvicorn

    from lightning.app.server.connection import Connection
    from lightning.app.server.routes import routes
    from lightning.app.server.security import Guard

    class Server(uvicorn.Server):
        """uvicorn's, without its signal handlers and without waking ten times a second."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def main_loop(self) -> None:
            await self.on_tick(0)
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, stop.set)
            loop.add_reader(parent, stop.set)
            await stop.wait()
            loop.remove_reader(parent)

    listener = socket.socket(fileno=listener_fd)
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        Guard(routes(run_id), host, port, token),
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,  # would need the waking
        h11_max_incomplete_event_size=16 * 1024,
        timeout_graceful_shutdown=1,
    )
    Server(config).run(sockets=[listener])
    return 0
