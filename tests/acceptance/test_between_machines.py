"""Machines that share nothing: processes with folders of their own, in networks of their own where root runs this."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from random import Random

import pytest

from lightning.app.storage.payloads import peers, wire
from lightning.app.storage.payloads.coming import Coming
from lightning.app.storage.payloads.depot import Depot

SIZE = 24 * wire.PIECE
PROGRAM = Path(__file__).with_name("machine.py")


class Machine:
    """A process that is told what to do. ``host`` is its address in the network."""

    def __init__(
        self, prefix: list[str], host: str, folder: Path, url: str, addresses: tuple[str, ...]
    ) -> None:
        self.host = host
        self.depot = Depot(folder / "memory" / "run", folder / "payloads")
        command = [*prefix, sys.executable, str(PROGRAM), str(folder), url, *addresses]
        environment = {**os.environ, peers.VARIABLE: "known to all machines of this run"}
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def tell(self, *words: object) -> None:
        assert self._process.stdin
        print(*words, file=self._process.stdin, flush=True)

    def hear(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        assert line, "the machine is gone"
        return line

    def ask(self, *words: object) -> str:
        self.tell(*words)
        return self.hear()

    def serve(self) -> str:
        return self.ask("serve", self.host)

    def fetch(self, name: str, size: str) -> str:
        heard = self.ask("fetch", name, size)
        while not heard.startswith("came"):
            heard = self.hear()
        return heard

    def missing(self, name: str, size: str) -> int:
        """The bytes that have not come yet. Only while nobody fetches them."""
        with Coming(self.depot, name, int(size)) as coming:
            return sum(coming.extent(index)[1] for index in coming.missing())

    def interrupt(self) -> int:
        """What Ctrl-C does; the exit code."""
        self._process.send_signal(signal.SIGINT)
        self._process.communicate()
        return self._process.returncode

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


Start = Callable[..., Machine]


@pytest.fixture(params=["loopback", "namespaces"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Start machine ``number`` (0 or 1): both on loopback, or each in a network namespace of its own."""
    machines: list[Machine] = []
    names = [f"lightning-{os.getpid()}-{number}" for number in (0, 1)]
    apart = request.param == "namespaces"
    if apart:
        _join(names)

    def started(number: int, *addresses: str, url: str = "") -> Machine:
        prefix = ["ip", "netns", "exec", names[number]] if apart else []
        host = f"10.201.7.{number + 1}" if apart else "127.0.0.1"
        machines.append(Machine(prefix, host, tmp_path / f"machine-{len(machines)}", url, addresses))
        return machines[-1]

    yield started
    for machine in machines:
        machine.kill()
    if apart:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=True)


def _join(names: list[str]) -> None:
    """Make two network namespaces, and a cable between them."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root, and the program ip")
    made = subprocess.run(["ip", "netns", "add", names[0]], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this system lets nobody make network namespaces: {made.stderr.strip()}")
    _ip("netns", "add", names[1])
    ends = [f"lt{number}" for number in (0, 1)]
    _ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
    for number, (name, end) in enumerate(zip(names, ends, strict=True)):
        _ip("-n", name, "address", "add", f"10.201.7.{number + 1}/24", "dev", end)
        _ip("-n", name, "link", "set", end, "up")
        _ip("-n", name, "link", "set", "lo", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _value() -> str:
    return blake2b(Random(1).randbytes(SIZE)).hexdigest()


def test_a_payload_of_another_machine_is_opened_as_if_it_were_here(start: Start) -> None:
    maker = start(0)
    _, _, pointer = maker.ask("make", SIZE).split()
    other = start(1, maker.serve())
    assert other.ask("open", pointer) == _value()
    maker.kill()
    assert other.ask("open", pointer) == _value()


def test_a_fetching_process_that_is_killed_has_not_worked_in_vain(start: Start) -> None:
    maker = start(0)
    name, size, _ = maker.ask("make", SIZE).split()
    address = maker.serve()
    killed = start(1, address)
    done = int(killed.ask("fetch", name, size))
    while done < 5 * wire.PIECE:
        done = int(killed.hear())
    killed.kill()

    missing = killed.missing(name, size)
    assert missing <= int(size) - done
    sent = int(maker.ask("sent"))
    again = start(1, address)
    assert again.ask("sent") == "0"  # it has begun, and so has its folder
    [begun] = killed.depot.memory.glob(".*")
    begun.rename(again.depot.memory / begun.name)
    assert again.fetch(name, size) == "came True"
    assert int(maker.ask("sent")) - sent == missing


def test_when_a_machine_is_killed_another_one_gives_the_rest(start: Start) -> None:
    maker = start(0)
    name, size, pointer = maker.ask("make", SIZE).split()
    second = start(0, maker.serve())
    assert second.fetch(name, size) == "came True"
    third = start(1, maker.serve(), second.serve())
    third.tell("fetch", name, size)
    third.hear()
    maker.kill()
    while not (heard := third.hear()).startswith("came"):
        pass
    assert heard == "came True"
    assert third.ask("open", pointer) == _value()


def test_when_its_machine_is_gone_a_payload_comes_from_the_object_store(start: Start, tmp_path: Path) -> None:
    url = (tmp_path / "store").as_uri()
    maker = start(0, url=url)
    name, _, pointer = maker.ask("make", SIZE).split()
    address = maker.serve()
    assert maker.ask("put", name) == "put"
    maker.kill()
    assert start(1, address, url=url).ask("open", pointer) == _value()


def test_when_nobody_has_it_any_more_the_error_says_which_and_from_where(start: Start) -> None:
    maker = start(0)
    name, _, pointer = maker.ask("make", SIZE).split()
    address = maker.serve()
    maker.kill()
    said = start(1, address).ask("open", pointer)
    assert name in said
    assert f"{address}: Connection refused" in said
    assert "ask again" in said


def test_ctrl_c_does_not_wait_for_a_machine_that_says_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        machine = Machine([], "127.0.0.1", tmp_path, "", (address,))
        try:
            machine.tell("fetch", f"lp-{'0' * 32}", SIZE)
            with silent.accept()[0]:
                assert machine.interrupt() == -signal.SIGINT
        finally:
            machine.kill()
