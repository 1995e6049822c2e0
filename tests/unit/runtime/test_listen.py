"""Binding the port."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lightning.app.errors import ConflictError, NotAllowedError, UsageError
from lightning.app.runtime import listen
from lightning.app.runtime.listen import bind


def test_a_bound_port_takes_connections_at_once() -> None:
    with (
        bind("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname(), timeout=5) as made,
    ):
        assert made.getpeername() == listener.getsockname()


def test_it_does_not_leak_into_programs_that_are_started() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert not os.get_inheritable(listener.fileno())


def test_a_taken_port_gives_the_next_free_one() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port) as second:
            assert port < second.getsockname()[1] <= port + 100


def test_a_port_taken_on_every_network_is_taken() -> None:
    with bind("0.0.0.0", 0) as first, bind("127.0.0.1", first.getsockname()[1]) as second:
        assert second.getsockname()[1] > first.getsockname()[1]


def test_a_port_is_free_again_while_old_connections_linger() -> None:
    with bind("127.0.0.1", 0) as first:
        address = first.getsockname()
        with socket.create_connection(address, timeout=5) as made:
            taken, _ = first.accept()
            taken.close()  # the side that closes first is the one that lingers
            assert made.recv(1) == b""
    with bind(*address) as second:
        assert second.getsockname() == address


def test_when_all_are_taken_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "TRIES", 1)
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(
            ConflictError, match=f"every port of 127.0.0.1 from {port} to {port} is taken"
        ) as no:
            bind("127.0.0.1", port)
    assert no.value.exit_code == 5


def test_the_name_localhost_means_the_address_that_is_printed() -> None:
    with bind("localhost", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_an_address_of_the_newer_kind_is_taken() -> None:
    interfaces = Path("/proc/net/if_inet6")
    if not interfaces.exists() or "0" * 31 + "1 " not in interfaces.read_text():
        pytest.skip("this machine has no IPv6")
    with bind("::1", 0) as listener:
        assert listener.getsockname()[0] == "::1"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "256.1.1.1", "a\0b", "x" * 300])
def test_a_host_that_is_not_here_names_itself(host: str) -> None:
    with pytest.raises(UsageError, match=r"use 127\.0\.0\.1 for this machine alone") as no:
        bind(host, 0)
    assert repr(host) in str(no.value)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(UsageError, match=f"--port {port} is no port"):
        bind("127.0.0.1", port)


def test_a_port_for_the_system_alone_is_not_allowed() -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 2:
        pytest.skip("this machine lets everybody have every port")
    bind("127.0.0.1", 0).close()  # loads what nobody might not be allowed to read
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(NotAllowedError, match=r"may not listen on port 1 of 127\.0\.0\.1") as no:
            bind("127.0.0.1", 1)
    finally:
        os.seteuid(user)
    assert no.value.exit_code == 4
