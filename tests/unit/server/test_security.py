"""Who may ask for what."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.app.server.routes import routes
from lightning.app.server.security import HEADERS, Event, Guard, Scope


def scope(path: str = "/view", method: str = "GET", query: str = "", **headers: str | list[str]) -> Scope:
    """A request as the web server hands it on; ``None`` drops a header, a list repeats it."""
    given: dict[str, Any] = {"host": "127.0.0.1:7501", **headers}
    pairs = [
        (name.replace("_", "-").encode(), value.encode("latin-1"))
        for name, values in given.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return {
        "type": "http",
        "scheme": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": pairs,
        "server": ("127.0.0.1", 7501),
    }


def status(guard: Guard, asked: Scope) -> int:
    refusal = guard.judge(asked)
    return 200 if refusal is None else refusal.status


def ask(guard: Guard, asked: Scope) -> list[Event]:
    sent: list[Event] = []

    async def send(event: Event) -> None:
        sent.append(event)

    async def receive() -> Event:
        raise AssertionError("nothing may be read")

    async def asking() -> None:
        await guard(asked, receive, send)

    asyncio.run(asking())
    return sent


guard = Guard(routes("r1"), "127.0.0.1", 7501)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:7501", "127.0.0.1", "localhost:7501", "LOCALHOST", "[::1]:7501", "[::1]"],
)
def test_its_own_names_are_answered(host: str) -> None:
    assert status(guard, scope(host=host)) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7501",
        "127.0.0.1:7502",
        "127.0.0.1:",
        "127.0.0.1:7501:7501",
        "127.0.0.1.evil.example",
        "localhost.",
        "localhost:07501",
        "user@localhost:7501",
        "::1",
        "[::1",
        "[::1]x:7501",
        "",
        " ",
        "\xff",
        "0.0.0.0:7501",
        [],
        ["127.0.0.1:7501", "127.0.0.1:7501"],
        "127.0.0.1:7501,evil.example",
    ],
)
def test_other_names_are_not(host: str | list[str]) -> None:
    assert status(guard, scope(host=host)) == 403


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_no_name_gets_in_by_its_spelling(host: str) -> None:
    own = {f"{name}{port}" for name in ("127.0.0.1", "localhost", "[::1]") for port in ("", ":7501")}
    assert (status(guard, scope(host=host)) == 200) == (host.lower() in own)


def test_bound_to_every_network_it_answers_to_the_address_it_was_reached_at() -> None:
    wide = Guard(routes("r1"), "0.0.0.0", 7501, "secret")
    asked = scope(host="192.168.1.5:7501", authorization="Bearer secret")
    assert status(wide, {**asked, "server": ("192.168.1.5", 7501)}) == 200
    assert status(wide, {**asked, "server": ("::ffff:192.168.1.5", 7501)}) == 200
    assert status(wide, {**asked, "server": ("10.0.0.1", 7501)}) == 403
    assert status(wide, {**asked, "server": None}) == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:7501"])
def test_its_own_page_is_answered(origin: str) -> None:
    assert status(guard, scope(origin=origin)) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "",
        "https://127.0.0.1:7501",
        "http://127.0.0.1",
        "http://127.0.0.1:7501/",
        "http://localhost:7501",
        "http://127.0.0.1:7501.evil.example",
        ["http://127.0.0.1:7501", "http://evil.example"],
    ],
)
def test_other_pages_are_not(origin: str | list[str]) -> None:
    assert status(guard, scope(origin=origin)) == 403


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "PROPFIND", ""]
)
def test_only_reading_is_allowed(method: str) -> None:
    refusal = guard.judge(scope(method=method))
    assert refusal is not None
    assert refusal.status == 405
    assert (b"allow", b"GET, HEAD") in refusal.headers


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("content_length", "1"),
        ("content_length", "-1"),
        ("content_length", "x"),
        ("transfer_encoding", "chunked"),
    ],
)
def test_a_body_is_refused_and_the_connection_closed(header: str, value: str) -> None:
    refusal = guard.judge(scope(**{header: value}))
    assert refusal is not None
    assert refusal.status == 413
    assert (b"connection", b"close") in refusal.headers


@pytest.mark.parametrize(
    "asked",
    [
        scope(x="y" * 20_000),
        scope(x=["y"] * 101),
        scope("/" + "y" * 20_000),
        scope(query="y" * 20_000),
    ],
)
def test_an_absurd_head_is_refused(asked: Scope) -> None:
    assert status(guard, asked) == 431


def test_a_websocket_is_refused() -> None:
    assert status(guard, scope(upgrade="websocket", connection="upgrade")) == 403
    assert ask(guard, {**scope(), "type": "websocket"}) == [{"type": "websocket.close", "code": 1008}]


def test_what_is_neither_is_not_answered() -> None:
    assert ask(guard, {"type": "lifespan"}) == []


class TestToken:
    guard = Guard(routes("r1"), "127.0.0.1", 7501, "secret")

    def test_without_it_there_is_no_answer(self) -> None:
        assert status(self.guard, scope()) == 401

    @pytest.mark.parametrize("given", ["Bearer wrong", "Bearer ", "secret", "Basic secret", "Bearer secret "])
    def test_a_wrong_one_is_none(self, given: str) -> None:
        assert status(self.guard, scope(authorization=given)) == 401

    def test_it_is_taken_from_the_header_or_the_address(self) -> None:
        assert status(self.guard, scope(authorization="Bearer secret")) == 200
        assert status(self.guard, scope(query="a=b&token=secret")) == 200
        assert status(self.guard, scope(query="token=\xff&token=s%C3%A9cret")) == 401

    def test_health_needs_none_but_only_at_its_exact_path(self) -> None:
        assert status(self.guard, scope("/healthz")) == 200
        for path in ("/healthz/", "//healthz", "/healthz/../view", "/HEALTHZ"):
            assert status(self.guard, scope(path)) == 401

    def test_it_opens_nothing_to_other_pages(self) -> None:
        asked = scope(authorization="Bearer secret", origin="http://evil.example")
        assert status(self.guard, asked) == 403

    @pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "somewhere"])
    def test_open_to_other_machines_without_one_only_health_is_answered(self, host: str) -> None:
        bare = Guard(routes("r1"), host, 7501)
        assert status(bare, scope()) == 401
        assert status(bare, scope(authorization="Bearer ")) == 401
        assert status(bare, scope("/healthz")) == 200


@pytest.mark.parametrize("path", ["/view", "/healthz", "/nothing", "/", ""])
def test_every_answer_has_the_headers(path: str) -> None:
    started = ask(guard, scope(path))[0]
    assert set(HEADERS) <= set(started["headers"])


def test_every_refusal_has_the_headers() -> None:
    started, body = ask(guard, scope(host="evil.example"))
    assert started["status"] == 403
    assert set(HEADERS) <= set(started["headers"])
    assert body["body"] == b"this server does not answer to that host\n"
