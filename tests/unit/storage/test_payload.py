"""A payload: a copy that never changes, opened where it is needed, gone when nobody can ask for it any more."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from lightning.app.errors import BlobNotFoundError, PickleError, ProtocolError, StorageError
from lightning.app.kernel.values import encode, pack, registered, unpack
from lightning.app.storage import Payload, home
from lightning.app.storage.home import Home, current
from lightning.app.storage.payload import INLINE, unshared
from lightning.app.storage.payloads.depot import Depot
from lightning.app.storage.payloads.names import names_in


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A run's home, with an object store."""
    above = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    memory = Path(mkdtemp(prefix="lightning-test-", dir=above))
    monkeypatch.setenv(home.VARIABLE, "")
    Home("run", tmp_path / "run", memory, f"file://{tmp_path}/store").enter()
    home.be("root.train", 7)
    yield current()
    home.be("")
    shutil.rmtree(memory)


@pytest.fixture
def depot(place: Home) -> Depot:
    return Depot(place.memory, place.folder / "payloads")


def plain(payload: Payload) -> list[Any]:
    """What is told of a payload."""
    (told,) = registered(pack(payload), "payload")
    assert isinstance(told, list)
    return told


class TestValues:
    @pytest.mark.parametrize("size", [0, 10, INLINE // 8, 100_000])
    def test_the_value_is_as_it_was_when_the_payload_was_made(self, size: int) -> None:
        array = np.arange(size)
        payload = Payload({"array": array, "list": [array.sum()]})
        array += 1
        assert (payload.value["array"] == np.arange(size)).all()

    def test_the_value_can_only_be_read_and_is_one_object(self) -> None:
        for size in (10, 100_000):
            payload = Payload(np.arange(size))
            with pytest.raises(ValueError, match="read-only"):
                payload.value[0] = 1
            assert payload.value is payload.value

    def test_threads_that_open_it_at_once_get_the_same_object(self) -> None:
        payload = unpack(pack(Payload(["x" * 10, np.arange(100_000)])))
        start, found = threading.Barrier(8), []

        def ask() -> None:
            start.wait()
            found.append(payload.value)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert all(value is found[0] for value in found)

    def test_a_large_value_is_copied_once_and_into_no_memory_of_the_process(self) -> None:
        array = np.ones(8_000_000)
        tracemalloc.start()
        try:
            payload = Payload({"array": array, "bytes": bytes(1)})
            assert payload.value["array"].sum() == 8_000_000
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()

    def test_a_value_of_its_own_may_be_changed_and_nobody_sees_it(self) -> None:
        for size in (10, 100_000):
            payload = Payload(np.arange(size))
            mine = unshared(payload)
            mine[:] = -1
            assert (payload.value == np.arange(size)).all()

    def test_a_flow_is_told_where_to_open_it(self) -> None:
        payload = Payload(1)
        home.be(home.FLOW)
        with pytest.raises(StorageError, match="Pass the Payload to a work's run"):
            _ = payload.value

    def test_what_cannot_be_pickled_is_named(self) -> None:
        with pytest.raises(PickleError, match="a generator cannot be put into a Payload"):
            Payload(n for n in range(3))


class TestPointers:
    def test_it_looks_as_in_the_seeds(self) -> None:
        assert re.fullmatch(
            r"<lightning\.app\.storage\.payload\.Payload object at 0x[0-9a-f]+>", repr(Payload(1))
        )

    @pytest.mark.parametrize("value", [1, np.arange(100_000)], ids=["small", "large"])
    def test_copies_of_it_are_pointers_to_the_same(self, value: Any) -> None:
        payload = Payload(value)
        copies = [
            unpack(pack(payload)),
            pickle.loads(pickle.dumps(payload)),
            copy.copy(payload),
            copy.deepcopy([payload])[0],
        ]
        assert {payload, *copies} == {payload}
        assert all(np.array_equal(each.value, value) for each in copies)
        assert payload != Payload(value)
        assert payload != 1

    def test_a_small_one_is_its_own_pointer(self, depot: Depot) -> None:
        for n in range(1000):
            assert unpack(pack(Payload(bytes([n % 256]) * 1000))).value == bytes([n % 256]) * 1000
        assert depot.names() == set()
        assert names_in(encode(pack(Payload(1)))) == set()

    def test_a_large_one_is_found_by_its_name(self, depot: Depot) -> None:
        payload = Payload(bytes(INLINE + 1))
        row = encode(pack({"deep": [payload]}))
        assert names_in(row) == depot.names()
        assert len(row) < 200

    def test_it_says_who_made_it(self) -> None:
        assert plain(Payload(1))[3:5] == ["root.train", 7]

    def test_one_that_holds_others_names_them(self, depot: Depot) -> None:
        inner = Payload(bytes(100_000))
        outer = Payload({"inner": inner, "more": bytes(100_000)})
        assert names_in(encode(pack(outer))) == depot.names()
        del inner
        gc.collect()
        assert len(unpack(pack(outer)).value["inner"].value) == 100_000
        assert names_in(encode(pack(Payload([Payload(bytes(100_000))])))) <= depot.names()

    @pytest.mark.parametrize(
        "told",
        [
            None,
            [],
            ["lp-" + "0" * 32],
            ["../../secret", 1, b"", "root.a", 1, ""],
            ["lp-" + "0" * 32, "1", b"", "root.a", 1, ""],
            ["lp-" + "0" * 32, 1, b"", "root.a", 1, None],
        ],
    )
    def test_what_is_no_pointer_is_refused(self, told: Any) -> None:
        packed = pack(Payload(1))
        spoiled = type(packed)(packed.code, encode(["payload", told]))
        with pytest.raises(ProtocolError, match="Payload"):
            unpack(spoiled)

    def test_a_damaged_small_one_is_an_error(self) -> None:
        told = plain(Payload([1, 2, 3]))
        told[2] = told[2][:-1]
        packed = pack(Payload(1))
        broken = unpack(type(packed)(packed.code, encode(["payload", told])))
        with pytest.raises(StorageError, match="shorter or longer"):
            _ = broken.value


class TestInFlows:
    @pytest.mark.parametrize("size", [10, 100_000])
    def test_each_pass_makes_the_same_payload_again(self, size: int, depot: Depot) -> None:
        home.be(home.FLOW)
        first, second, other = (Payload(np.full(size, n)) for n in (1, 1, 2))
        assert first == second != other
        assert encode(pack(first)) == encode(pack(second))
        del first, other
        gc.collect()
        home.be("root.use")
        assert second.value.sum() == size
        assert Payload(np.full(size, 1)) != second


class TestFiles:
    def test_one_that_was_never_sent_goes_with_its_object(self, depot: Depot) -> None:
        payload = Payload(bytes(100_000))
        assert len(depot.names()) == 1
        del payload
        gc.collect()
        assert depot.names() == set()

    def test_one_that_was_sent_stays(self, depot: Depot) -> None:
        for send in (pack, pickle.dumps):
            payload = Payload(bytes(100_000))
            send(payload)
            name = plain(payload)[0]
            del payload
            gc.collect()
            assert depot.has(name)

    def test_the_copy_of_its_maker_in_a_fork_takes_nothing_away(self, depot: Depot) -> None:
        payload = Payload(np.arange(100_000))
        child = os.fork()
        if child == 0:
            good = payload.value.sum() == np.arange(100_000).sum()
            del payload
            gc.collect()
            os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert payload.value[-1] == 99_999

    def test_a_new_python_of_the_run_opens_it(self) -> None:
        payload = Payload(np.arange(100_000))
        code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).value.sum())"
        done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(payload), capture_output=True)
        assert done.stdout.decode().strip() == str(np.arange(100_000).sum()), done.stderr.decode()

    def test_a_durable_one_is_on_the_disk_at_once(self, depot: Depot) -> None:
        for durable in (False, True):
            payload = Payload(bytes(100_000), durable=durable)
            assert depot.saved(plain(payload)[0]) is durable

    def test_one_that_is_not_here_comes_from_the_object_store(self, place: Home, depot: Depot) -> None:
        payload = Payload(np.arange(100_000))
        name = plain(payload)[0]
        place.store.put(f"payloads/{name}", depot.path(name))
        depot.drop([name])
        assert payload.value[-1] == 99_999

    def test_one_that_is_nowhere_is_named(self, depot: Depot) -> None:
        payload = Payload(bytes(100_000))
        name = plain(payload)[0]
        depot.drop([name])
        with pytest.raises(BlobNotFoundError, match=f"{name}: .*make it again"):
            _ = payload.value
