"""Who may ask for what: one middleware before everything, which denies what it does not know.

A page in the user's browser may send requests to ports of the user's machine. So a request must name one
of this server's own addresses (else a foreign name was pointed here), and if it comes from a page, one of
this server's. ``judge`` decides on the raw scope, without reading anything; ``Guard`` carries it out.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = ("GET", "HEAD")
OPEN_PATHS = frozenset({"/healthz"})
"""Answered without a token, compared exactly."""

HEAD_BYTES = 16 * 1024
HEAD_LINES = 100

HEADERS = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Refusal(NamedTuple):
    status: int
    reason: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Guard:
    """Passes to ``app`` what ``judge`` has nothing against, and adds ``HEADERS`` to every answer."""

    def __init__(self, app: Application, host: str, port: int, token: str | None = None) -> None:
        """``host`` and ``port`` are what the server is bound to; with a ``token`` every request needs it."""
        self._app = app
        self._hosts = {"127.0.0.1", "localhost", "[::1]", _bracketed(host)}
        self._port = port
        self._token = token
        self._needs_token = token is not None or not _is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            refusal = self.judge(scope)
            if refusal is None:
                await self._app(scope, receive, _with_headers(send))
            else:
                await answer(
                    _with_headers(send), refusal.status, f"{refusal.reason}\n", headers=refusal.headers
                )

    def judge(self, scope: Scope) -> Refusal | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size = sum(len(name) + len(value) for name, value in headers) + len(scope["query_string"])
        if size + len(scope["path"]) > HEAD_BYTES or len(headers) > HEAD_LINES:
            return _closing(431, "that head is too large")
        hosts, origins = _values(headers, b"host"), _values(headers, b"origin")
        if len(hosts) != 1 or not self._is_own(hosts[0], scope.get("server")):
            return _closing(403, "this server does not answer to that host")
        if origins and origins != [f"{scope['scheme']}://{hosts[0]}"]:
            return _closing(403, "requests from other pages are not answered")
        if scope["method"] not in METHODS:
            return _closing(405, "this server is only read from", (b"allow", ", ".join(METHODS).encode()))
        if _values(headers, b"upgrade"):
            return _closing(403, "no WebSocket here")
        if _values(headers, b"transfer-encoding") or _values(headers, b"content-length") not in ([], ["0"]):
            return _closing(413, "no body is read here")
        if self._needs_token and scope["path"] not in OPEN_PATHS and not self._has_token(scope, headers):
            return _closing(
                401, "this needs the token that the app printed", (b"www-authenticate", b"Bearer")
            )
        return None

    def _is_own(self, host: str, server: tuple[str, int | None] | None) -> bool:
        """Whether ``host``, as the request gives it, is an address of this server.

        ``server`` is the address the connection came in on. Bound to every network, that is how this
        machine is reached; a name that was pointed here never looks like it.
        """
        name, port = _split(host.lower())
        own = name in self._hosts or (server is not None and name == _bracketed(server[0]))
        return own and port in ("", f":{self._port}")

    def _has_token(self, scope: Scope, headers: list[tuple[bytes, bytes]]) -> bool:
        if self._token is None:
            return False  # other machines reach us, and nobody made a token
        given = [
            value.removeprefix("Bearer ")
            for value in _values(headers, b"authorization")
            if value.startswith("Bearer ")
        ]
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        given += [value for name, value in query if name == "token"]
        return any(hmac.compare_digest(value.encode(), self._token.encode()) for value in given)


async def answer(
    send: Send,
    status: int,
    text: str,
    kind: bytes = b"text/plain; charset=utf-8",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """One whole answer."""
    body = text.encode()
    length = (b"content-length", str(len(body)).encode())
    started = {"type": "http.response.start", "status": status}
    await send({**started, "headers": [(b"content-type", kind), length, *headers]})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def with_headers(event: Event) -> None:
        if event["type"] == "http.response.start":
            event = {**event, "headers": [*event.get("headers", ()), *HEADERS]}
        await send(event)

    return with_headers


def _closing(status: int, reason: str, *headers: tuple[bytes, bytes]) -> Refusal:
    """What was refused may have a body on its way; nobody waits for it."""
    return Refusal(status, reason, (*headers, (b"connection", b"close")))


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name]


def _split(host: str) -> tuple[str, str]:
    """``"[::1]:80"`` is ``("[::1]", ":80")``."""
    end = host.find(":", host.rfind("]") + 1)
    return (host, "") if end < 0 else (host[:end], host[end:])


def _bracketed(address: str) -> str:
    """The address as a Host header writes it; a socket for both kinds of IP shows IPv4 as IPv6."""
    address = address.removeprefix("::ffff:")
    return f"[{address}]" if ":" in address else address.lower()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a socket's own address is a number; whatever else this is, it is not known to be safe
