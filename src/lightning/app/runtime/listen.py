"""The port: bound by the runtime before it says where the app is, and handed to the web process."""

from __future__ import annotations

import errno
import socket

from lightning.app.errors import ConflictError, NotAllowedError, UsageError

TRIES = 101
"""The port that was asked for, and a hundred after it."""


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host`` at ``port``, or at the next port that is free.

    >>> listener = bind("127.0.0.1", 7501)
    >>> listener.getsockname()
    ('127.0.0.1', 7501)
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port} is no port; use one from 1024 to 65535, or 0 for any free one")
    family, address = _resolve(host)
    last = min(port + TRIES - 1, 65535)
    for candidate in range(port, last + 1):
        listener = _listen(family, address, candidate, host)
        if listener is not None:
            return listener
    raise ConflictError(
        f"every port of {host} from {port} to {last} is taken; free one, or choose another with --port"
    )


def _resolve(host: str) -> tuple[socket.AddressFamily, str]:
    """IPv4 where the name has both: the addresses that we print are 127.0.0.1's."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as err:
        reason = err.strerror if isinstance(err, OSError) else "it is no name"
        raise UsageError(
            f"--host {host!r} is no address here ({reason}); use 127.0.0.1 for this machine alone, "
            "0.0.0.0 for all its networks"
        ) from err
    family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, str(address[0])


def _listen(family: socket.AddressFamily, address: str, port: int, host: str) -> socket.socket | None:
    """None where somebody else has the port."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # On Linux this disregards old connections that linger, never somebody who listens.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1024)
    except OSError as err:
        listener.close()
        if err.errno == errno.EADDRINUSE:
            return None
        if err.errno in (errno.EACCES, errno.EPERM):
            raise NotAllowedError(
                f"this user may not listen on port {port} of {host}; use --port with a number above 1023"
            ) from err
        raise UsageError(
            f"cannot listen on --host {host!r}: {err.strerror}; use 127.0.0.1 for this machine alone, "
            "0.0.0.0 for all its networks"
        ) from err
    return listener
