"""Payloads on their way between machines: real servers and depots of their own, and lines that break."""

from __future__ import annotations

import os
import resource
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from struct import pack
from zlib import crc32

import pytest

from lightning.app.errors import StorageError, StoreUnreachableError, UsageError
from lightning.app.storage.home import Home
from lightning.app.storage.payloads import peers, wire
from lightning.app.storage.payloads.coming import Coming
from lightning.app.storage.payloads.depot import Depot
from lightning.app.storage.payloads.names import new_name
from lightning.app.storage.payloads.serving import PeerServer
from lightning.app.storage.stores.store import checksum
from tests.conformance.places import BadLine, free_port

TOKEN = b"known to all machines of the run"
PIECE = 1 << 16


@pytest.fixture(autouse=True)
def _small_pieces_and_short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "PIECE", PIECE)
    monkeypatch.setattr(wire, "PATIENCE", 2.0)
    monkeypatch.setattr(peers, "_PAUSES", (0.0, 0.01))
    monkeypatch.setenv(peers.VARIABLE, TOKEN.decode())


class Machine:
    """A depot that shares nothing with the others."""

    def __init__(self, folder: Path) -> None:
        self.depot = Depot(folder / "memory", folder / "disk")
        self.depot.memory.mkdir(parents=True)
        self.home = Home("run", folder, self.depot.memory)

    def keep(self, name: str, data: bytes) -> None:
        (self.depot.memory / name).write_bytes(data)

    def files(self) -> list[str]:
        return [
            each.name
            for folder in (self.depot.memory, self.depot.disk)
            if folder.exists()
            for each in folder.iterdir()
        ]

    def fetch(
        self, name: str, size: int, *servers: str, progress: Callable[[int, int | None], None] | None = None
    ) -> bool:
        return peers.fetch(name, size, self.depot, servers, progress, here=self.home)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[[], Machine]]:
    made = iter(range(9))
    return lambda: Machine(tmp_path / f"machine-{next(made)}")


@pytest.fixture
def name() -> str:
    return new_name()


@pytest.fixture
def data() -> bytes:
    return Random(4).randbytes(20 * PIECE + 17)


@pytest.fixture
def there(machine: Callable[[], Machine], name: str, data: bytes) -> Machine:
    made = machine()
    made.keep(name, data)
    return made


@pytest.fixture
def here(machine: Callable[[], Machine]) -> Machine:
    return machine()


def test_a_payload_comes_whole_and_leaves_nothing_else(
    there: Machine, here: Machine, name: str, data: bytes
) -> None:
    told: list[tuple[int, int | None]] = []
    with PeerServer(there.depot, TOKEN) as server:
        assert here.fetch(name, len(data), server.address, progress=lambda *each: told.append(each))
        assert server.sent == len(data)
    assert here.files() == [name]
    assert here.depot.path(name).read_bytes() == data
    assert stat.S_IMODE(here.depot.path(name).stat().st_mode) == 0o400
    assert max(told) == (len(data), len(data))
    assert not [thread for thread in threading.enumerate() if thread.name in ("storage", "payloads")]


@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, PIECE + 1])
def test_any_size_comes_whole(machine: Callable[[], Machine], name: str, size: int) -> None:
    there, here = machine(), machine()
    there.keep(name, os.urandom(size))
    with PeerServer(there.depot, TOKEN) as server:
        assert here.fetch(name, size, server.address)
    assert here.depot.path(name).read_bytes() == there.depot.path(name).read_bytes()


def test_what_is_on_the_disk_of_the_other_machine_comes_too(
    there: Machine, here: Machine, name: str, data: bytes
) -> None:
    there.depot.save(name)
    there.depot.release(name)
    with PeerServer(there.depot, TOKEN) as server:
        assert here.fetch(name, len(data), server.address)


def test_what_nobody_has_is_not_there_and_leaves_nothing(machine: Callable[[], Machine], name: str) -> None:
    there, here = machine(), machine()
    with PeerServer(there.depot, TOKEN) as one, PeerServer(there.depot, TOKEN) as other:
        assert not here.fetch(name, 100, one.address, other.address)
    assert here.files() == []
    assert not here.fetch(name, 100)


def test_a_machine_that_does_not_have_it_is_passed_over(
    there: Machine, here: Machine, machine: Callable[[], Machine], name: str, data: bytes
) -> None:
    with PeerServer(machine().depot, TOKEN) as empty, PeerServer(there.depot, TOKEN) as server:
        assert here.fetch(name, len(data), empty.address, server.address)
        assert empty.sent == 0


def test_what_has_come_is_not_fetched_again(there: Machine, here: Machine, name: str, data: bytes) -> None:
    with PeerServer(there.depot, TOKEN) as server, pytest.raises(KeyboardInterrupt):
        here.fetch(name, len(data), server.address, progress=_interrupt_at(5 * PIECE))
    missing = _missing(here, name, len(data))
    assert 0 < missing < len(data) - 5 * PIECE
    with PeerServer(there.depot, TOKEN) as server:
        assert here.fetch(name, len(data), server.address)
        assert server.sent == missing
    assert here.depot.path(name).read_bytes() == data


def test_what_a_power_cut_has_taken_from_the_pieces_comes_again(
    there: Machine, here: Machine, name: str, data: bytes
) -> None:
    with PeerServer(there.depot, TOKEN) as server, pytest.raises(KeyboardInterrupt):
        here.fetch(name, len(data), server.address, progress=_interrupt_at(10 * PIECE))
    before = _missing(here, name, len(data))
    [private] = here.files()
    with open(here.depot.memory / private, "r+b") as file, Coming(here.depot, new_name(), 1):
        file.write(bytes(len(data)))  # the marks behind it are still there
    assert before < _missing(here, name, len(data)) == len(data)
    with PeerServer(there.depot, TOKEN) as server:
        assert here.fetch(name, len(data), server.address)
    assert here.depot.path(name).read_bytes() == data


def test_what_was_whole_when_its_fetcher_died_needs_nobody(
    here: Machine, machine: Callable[[], Machine], name: str, data: bytes
) -> None:
    (here.depot.memory / f".{name}.coming").write_bytes(data)  # its marks are gone, its name has not come
    with PeerServer(machine().depot, TOKEN) as server:
        assert here.fetch(name, len(data), server.address)
    assert here.depot.path(name).read_bytes() == data


def test_a_machine_that_dies_in_the_middle_is_replaced_by_another(
    there: Machine, here: Machine, machine: Callable[[], Machine], name: str, data: bytes
) -> None:
    other = machine()
    with PeerServer(there.depot, TOKEN) as dying, PeerServer(other.depot, TOKEN) as server:
        die = _once_at(5 * PIECE, dying.close)
        with pytest.raises(StoreUnreachableError, match=f"payload {name}.*{dying.address}"):
            here.fetch(name, len(data), dying.address, progress=die)
        missing = _missing(here, name, len(data))
        other.keep(name, data)
        assert here.fetch(name, len(data), dying.address, server.address)
        assert server.sent == missing < len(data)
    assert here.depot.path(name).read_bytes() == data


def test_what_nobody_has_any_more_is_not_kept_half(
    there: Machine, here: Machine, name: str, data: bytes
) -> None:
    with PeerServer(there.depot, TOKEN) as server:
        with pytest.raises(KeyboardInterrupt):
            here.fetch(name, len(data), server.address, progress=_interrupt_at(5 * PIECE))
        there.depot.drop([name])
        assert not here.fetch(name, len(data), server.address)
    assert here.files() == []


@pytest.mark.parametrize("kind", ["drop", "reset", "truncate", "delay", "flip"])
def test_it_arrives_whole_over_a_bad_line(
    there: Machine, here: Machine, name: str, data: bytes, kind: str
) -> None:
    with (
        PeerServer(there.depot, TOKEN) as server,
        BadLine(_port(server), seed=7, share=0.5, kinds=(kind,), after=6 * PIECE) as line,
    ):
        assert here.fetch(name, len(data), f"127.0.0.1:{line.port}")
        assert line.faults
    assert here.depot.path(name).read_bytes() == data
    assert here.files() == [name]


@pytest.mark.parametrize("seed", range(4))
def test_it_arrives_whole_over_lines_with_every_fault(
    there: Machine, here: Machine, name: str, data: bytes, seed: int
) -> None:
    kinds = ("drop", "reset", "truncate", "flip")
    with (
        PeerServer(there.depot, TOKEN) as server,
        BadLine(_port(server), seed=seed, share=0.6, kinds=kinds, after=6 * PIECE) as one,
        BadLine(_port(server), seed=seed + 50, share=0.6, kinds=kinds, after=6 * PIECE) as other,
    ):
        assert here.fetch(name, len(data), f"127.0.0.1:{one.port}", f"127.0.0.1:{other.port}")
    assert here.depot.path(name).read_bytes() == data


def test_a_line_that_always_flips_bits_is_given_up_and_says_so(
    there: Machine, here: Machine, name: str, data: bytes
) -> None:
    with (
        PeerServer(there.depot, TOKEN) as server,
        BadLine(_port(server), share=1.0, kinds=("flip",), after=PIECE) as line,
        pytest.raises(
            StoreUnreachableError, match=f"payload {name}: .*{line.port}: .*wrong checksum.*ask again"
        ),
    ):
        here.fetch(name, len(data), f"127.0.0.1:{line.port}")
    assert not here.depot.has(name)


def test_a_machine_that_cannot_be_reached_is_named(here: Machine, name: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(StoreUnreachableError, match=f"payload {name}.*{address}: Connection refused"):
        here.fetch(name, 100, address)
    assert here.files() == []


@pytest.mark.parametrize("address", ["", "nowhere", "127.0.0.1:http!"])
def test_what_is_no_address_is_named(here: Machine, name: str, address: str) -> None:
    with pytest.raises(StoreUnreachableError, match="there is no such address"):
        here.fetch(name, 100, address)


def test_a_machine_with_another_token_gives_nothing(
    there: Machine, here: Machine, name: str, data: bytes
) -> None:
    with (
        PeerServer(there.depot, b"that of quite another run") as server,
        pytest.raises(StoreUnreachableError, match=f"{server.address}: it has another token"),
    ):
        here.fetch(name, len(data), server.address)
    assert server.sent == 0


def test_a_payload_of_another_size_is_refused(there: Machine, here: Machine, name: str, data: bytes) -> None:
    with (
        PeerServer(there.depot, TOKEN) as server,
        pytest.raises(StoreUnreachableError, match=f"{len(data):,} bytes, and not 100: it is damaged"),
    ):
        here.fetch(name, 100, server.address)
    assert here.files() == []


def test_two_who_want_the_same_fetch_it_once(there: Machine, here: Machine, name: str, data: bytes) -> None:
    with PeerServer(there.depot, TOKEN) as server:
        came: list[bool] = []
        threads = [
            threading.Thread(target=lambda: came.append(here.fetch(name, len(data), server.address)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert came == [True] * 3
        assert server.sent == len(data)
    assert here.files() == [name]


def test_no_space_leaves_nothing_and_says_so(there: Machine, here: Machine, name: str, data: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with PeerServer(there.depot, TOKEN) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * PIECE, hard))
        try:
            with pytest.raises(StorageError, match=f"payload {name}.*there is no space"):
                here.fetch(name, len(data), server.address)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert here.files() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_what_no_longer_fits_into_memory_goes_to_the_disk(
    there: Machine, here: Machine, name: str, data: bytes
) -> None:
    memory = str(here.depot.memory)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", memory]).returncode:
        pytest.skip("this system lets nobody mount a file system")
    try:
        fill = _once_at(5 * PIECE, lambda: _fill(here.depot.memory / "filling"))
        with PeerServer(there.depot, TOKEN) as server:
            assert here.fetch(name, len(data), server.address, progress=fill)
        assert here.depot.path(name) == here.depot.disk / name
        assert here.depot.path(name).read_bytes() == data
        assert os.listdir(memory) == ["filling"]
    finally:
        subprocess.run(["umount", memory], check=True)


class TestStore:
    """The object store is asked when no machine has it."""

    @pytest.fixture
    def here(self, machine: Callable[[], Machine], tmp_path: Path) -> Machine:
        made = machine()
        made.home = Home("run", tmp_path, made.depot.memory, str(tmp_path / "store"))
        return made

    def test_a_payload_comes_from_the_store_when_its_machine_is_gone(
        self, here: Machine, name: str, data: bytes
    ) -> None:
        here.home.store.put(f"payloads/{name}", data, checksum=checksum(data))
        assert here.fetch(name, len(data), f"127.0.0.1:{free_port()}")
        assert here.depot.path(name).read_bytes() == data

    def test_what_had_come_from_the_machine_is_not_asked_of_the_store(
        self, there: Machine, here: Machine, name: str, data: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here.home.store.put(f"payloads/{name}", data, checksum=checksum(data))
        read = here.home.store.read
        asked: list[int] = []
        monkeypatch.setattr(
            here.home.store,
            "read",
            lambda key, start, length: (asked.append(length), read(key, start, length))[1],
        )
        with PeerServer(there.depot, TOKEN) as server:
            die = _once_at(5 * PIECE, server.close)
            assert here.fetch(name, len(data), server.address, progress=die)
        assert 0 < sum(asked) < len(data) - 5 * PIECE
        assert here.depot.path(name).read_bytes() == data

    def test_ctrl_c_does_not_wait_for_a_store_that_does_not_answer(
        self, here: Machine, name: str, data: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here.home.store.put(f"payloads/{name}", data)
        answers = threading.Event()
        interrupt = _once_at(
            0, lambda: os.kill(os.getpid(), signal.SIGINT)
        )  # a second one would be for the test

        def read(key: str, start: int, length: int) -> bytes:
            interrupt(length, None)
            answers.wait()
            return data[start : start + length]

        monkeypatch.setattr(here.home.store, "read", read)
        monkeypatch.setattr(peers, "_PARTING", 0.01)
        with pytest.raises(KeyboardInterrupt):
            here.fetch(name, len(data))
        late = [thread for thread in threading.enumerate() if thread.name == "storage"]
        with open(here.depot.memory / "other", "w+b") as file:  # may have the descriptor that the payload had
            answers.set()
            for thread in late:
                thread.join()
            assert os.fstat(file.fileno()).st_size == 0
        assert late

    def test_a_store_without_it_says_that_it_is_not_there(self, here: Machine, name: str) -> None:
        assert not here.fetch(name, 100)
        assert here.files() == []

    def test_what_is_damaged_in_the_store_does_not_arrive(
        self, here: Machine, name: str, data: bytes, tmp_path: Path
    ) -> None:
        here.home.store.put(f"payloads/{name}", data, checksum=checksum(data))
        stored = next(each for each in (tmp_path / "store").rglob(name))
        stored.chmod(0o600)
        with open(stored, "r+b") as file:
            file.write(bytes(100))
        with pytest.raises(StorageError, match=f"payload {name} from .*checksum"):
            here.fetch(name, len(data))
        assert here.files() == []

    def test_another_size_in_the_store_is_refused(self, here: Machine, name: str, data: bytes) -> None:
        here.home.store.put(f"payloads/{name}", data[:-1])
        with pytest.raises(StoreUnreachableError, match="it is damaged"):
            here.fetch(name, len(data))


class TestToken:
    def test_it_is_made_once_and_nobody_else_can_read_it(
        self, here: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(peers.VARIABLE)
        made = peers.make_token(here.home)
        assert peers.make_token(here.home) == made == peers.token_of(here.home)
        assert stat.S_IMODE((here.home.folder / peers.TOKEN).stat().st_mode) == 0o600
        assert [each.name for each in here.home.folder.glob("*token*")] == [peers.TOKEN]

    def test_without_one_it_is_said_where_it_should_be(
        self, here: Machine, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(peers.VARIABLE)
        with pytest.raises(StorageError, match=f"{peers.TOKEN}.*{peers.VARIABLE}"):
            here.fetch(name, 100, "127.0.0.1:1")

    def test_one_that_can_be_guessed_is_refused(self, here: Machine) -> None:
        with pytest.raises(UsageError, match="can be guessed"):
            PeerServer(here.depot, b"1234")


class TestHostileClients:
    """Whatever they send, they get nothing, and the others are served as before."""

    @pytest.fixture
    def server(self, there: Machine) -> Iterator[PeerServer]:
        with PeerServer(there.depot, TOKEN, introduction=0.5) as made:
            yield made

    @pytest.fixture(autouse=True)
    def _still_serves(self, server: PeerServer, here: Machine, name: str, data: bytes) -> Iterator[None]:
        yield
        assert here.fetch(name, len(data), server.address)

    @pytest.mark.parametrize("said", [b"", b"\0" * 64, b"GET / HTTP/1.1\r\n\r\n" * 9, b"\xff" * 100_000])
    def test_who_does_not_know_the_token_gets_nothing(self, server: PeerServer, said: bytes) -> None:
        with _dialed(server) as client:
            _send(client, said)
            answer = _all(client)
        assert answer[:6] == b"LPEER1"
        assert len(answer) <= 39 + 33

    @pytest.mark.parametrize(
        "wanted", ["../../../../../../etc/passwd", "/etc/passwd", ".", "", "lp-", "lp-" + "g" * 32]
    )
    def test_nothing_is_opened_but_payloads(self, server: PeerServer, wanted: str) -> None:
        with _introduced(server) as client:
            wire.ask(client, wanted, 0, 100)
            assert wire.answered(client) == (wire.Word.WRONG, 0, 0)
            assert _all(client) == b""

    def test_a_link_is_not_followed(self, server: PeerServer, there: Machine, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_text("of this machine")
        linked = new_name()
        (there.depot.memory / linked).symlink_to(secret)
        with _introduced(server) as client:
            wire.ask(client, linked, 0, 15)
            assert wire.answered(client)[0] == wire.Word.GONE

    def test_too_much_at_once_is_refused(self, server: PeerServer, name: str) -> None:
        with _introduced(server) as client:
            wire.ask(client, name, 0, 0xFFFF_FFFF)
            assert wire.answered(client)[0] == wire.Word.WRONG

    def test_what_is_behind_the_end_is_empty(self, server: PeerServer, name: str, data: bytes) -> None:
        with _introduced(server) as client:
            wire.ask(client, name, (1 << 64) - 1, 100)
            assert wire.answered(client) == (wire.Word.HERE, len(data), 0)

    def test_garbage_ends_the_conversation(self, server: PeerServer, name: str) -> None:
        message = pack("!35sQI", name.encode(), 0, 100)
        with _introduced(server) as client:
            _send(client, message + pack("!I", crc32(message) ^ 1))
            assert _all(client) == b""

    def test_who_stops_in_the_middle_is_let_go(self, server: PeerServer, name: str) -> None:
        with _dialed(server) as silent:
            silent.sendall(b"x")
            assert len(_all(silent)) == 39  # the greeting, and then the end


def test_an_answer_that_nobody_reads_does_not_keep_a_server_from_closing(
    there: Machine, name: str, data: bytes
) -> None:
    with PeerServer(there.depot, TOKEN) as server, _introduced(server) as client:
        for _ in range(1000):
            wire.ask(client, name, 0, PIECE)
        server.close()
    assert server.sent < 1000 * PIECE


def test_strangers_do_not_keep_others_out(there: Machine, here: Machine, name: str, data: bytes) -> None:
    with PeerServer(there.depot, TOKEN, most=4, introduction=60) as server:
        strangers = [_dialed(server) for _ in range(8)]
        for each in strangers:
            wire.receive(each, 39)
        assert here.fetch(name, len(data), server.address)
        for each in strangers:
            each.close()


def test_more_clients_than_it_serves_are_told_that_it_is_busy(
    there: Machine, here: Machine, name: str
) -> None:
    with PeerServer(there.depot, TOKEN, most=2) as server:
        known = [_introduced(server) for _ in range(2)]
        with pytest.raises(StoreUnreachableError, match="busy with others"):
            here.fetch(name, 100, server.address)
        for each in known:
            each.close()


def test_an_address_that_is_taken_is_named(there: Machine) -> None:
    with PeerServer(there.depot, TOKEN) as server:
        host, _, port = server.address.rpartition(":")
        with pytest.raises(StorageError, match=f"{server.address}.*free port"):
            PeerServer(there.depot, TOKEN, (host, int(port)))


def test_an_address_of_the_sixth_version_works(there: Machine, here: Machine, name: str, data: bytes) -> None:
    try:
        server = PeerServer(there.depot, TOKEN, ("::1", 0))
    except StorageError:
        pytest.skip("this machine has no such addresses")
    with server:
        assert here.fetch(name, len(data), server.address)


class TestHostileServers:
    """Whatever answers, nothing wrong arrives, and nobody waits for ever."""

    @pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 3, b"\0" * 1000])
    def test_what_is_no_server_of_payloads_is_named(self, here: Machine, name: str, said: bytes) -> None:
        with (
            _listening(lambda client: _send(client, said)) as address,
            pytest.raises(StoreUnreachableError, match=f"{address}: (it broke off|what listens there|Conn)"),
        ):
            here.fetch(name, 100, address)

    def test_one_that_says_nothing_is_given_up(
        self, here: Machine, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wire, "PATIENCE", 0.1)
        with (
            _listening(_all) as address,
            pytest.raises(StoreUnreachableError, match=f"{address}: it has not said anything"),
        ):
            here.fetch(name, 100, address)

    def test_more_than_was_asked_for_is_not_taken(self, here: Machine, name: str) -> None:
        def answer(client: socket.socket) -> None:
            if wire.welcome(client, TOKEN, 5) and wire.asked(client):
                wire.answer(client, wire.Word.HERE, 100, 0xFFFF_FFFF)
                _all(client)

        with (
            _listening(answer) as address,
            pytest.raises(StoreUnreachableError, match="does not answer what was asked"),
        ):
            here.fetch(name, 100, address)
        assert here.files() == []


def _interrupt_at(enough: int) -> Callable[[int, int | None], None]:
    def progress(done: int, total: int | None) -> None:
        if done > enough:
            raise KeyboardInterrupt

    return progress


def _once_at(enough: int, what: Callable[[], None]) -> Callable[[int, int | None], None]:
    """Do it when enough has come. Nothing more is taken while it is done."""
    lock, done_it = threading.Lock(), threading.Event()

    def progress(done: int, total: int | None) -> None:
        with lock:
            if done > enough and not done_it.is_set():
                done_it.set()
                what()

    return progress


def _fill(file: Path) -> None:
    """Leave no room where it is."""
    with suppress(OSError), open(file, "wb", buffering=0) as filling:
        while True:
            filling.write(bytes(1 << 12))


def _missing(machine: Machine, name: str, size: int) -> int:
    with Coming(machine.depot, name, size) as coming:
        return sum(coming.extent(index)[1] for index in coming.missing())


def _port(server: PeerServer) -> int:
    return int(server.address.rpartition(":")[2])


def _dialed(server: PeerServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", _port(server)), timeout=30)


def _introduced(server: PeerServer) -> socket.socket:
    return wire.dial(server.address, TOKEN, lambda sock: None)


def _send(client: socket.socket, said: bytes) -> None:
    with suppress(OSError):  # the other end has heard enough
        client.sendall(said)


def _all(client: socket.socket) -> bytes:
    heard = b""
    with suppress(OSError):  # it broke off
        while more := client.recv(1 << 16):
            heard += more
    return heard


class _listening:
    """Something at an address that does ``what`` to whoever dials it."""

    def __init__(self, what: Callable[[socket.socket], object]) -> None:
        self._what = what

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                self._what(client)

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
