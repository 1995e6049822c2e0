"""Where payloads are on one machine: whole or not there, in memory while there is room, safe on the disk."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from lightning.app.errors import BlobNotFoundError, StorageDeniedError, StorageError
from lightning.app.storage.payloads.depot import Depot
from lightning.app.storage.payloads.names import new_name, valid
from lightning.app.storage.payloads.pickling import Buffer, Parts, parts, whole
from lightning.app.storage.payloads.space import SMALL, free_memory

SHARED = Path("/dev/shm")


@pytest.fixture
def memory() -> Iterator[Path]:
    if not os.access(SHARED, os.W_OK):
        pytest.skip("there is no shared memory that may be written to")
    folder = Path(mkdtemp(prefix="lightning-test-", dir=SHARED))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def depot(memory: Path, tmp_path: Path) -> Depot:
    return Depot(memory, tmp_path / "payloads")


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Small file systems of their own."""
    mounted: list[Path] = []

    def mount(name: str, options: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"a file system of its own cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def everything_in(*folders: Path) -> list[str]:
    return [name for folder in folders if folder.exists() for name in os.listdir(folder)]


def value_of(depot: Depot, name: str) -> Any:
    return whole(*depot.open(name))


def address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def in_a_fork(run: Callable[[], None]) -> int:
    """How a fork of this process ended that ran this: its exit code, or the signal as a negative number."""
    child = os.fork()
    if child == 0:
        try:
            run()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class TestMaking:
    def test_what_is_opened_is_what_was_made_and_is_mapped(self, depot: Depot) -> None:
        array = np.arange(500_000.0)
        name, size = depot.make(parts({"array": array, "text": "x"}))
        assert valid(name)
        assert depot.path(name) == depot.memory / name
        assert size == depot.path(name).stat().st_size
        found = value_of(depot, name)
        assert found["text"] == "x"
        assert (found["array"] == array).all()
        lines = Path("/proc/self/maps").read_text().splitlines()
        (mapped,) = [line for line in lines if name in line]
        begin, end = (int(each, 16) for each in mapped.split()[0].split("-"))
        assert begin < address(found["array"]) < end

    def test_it_is_of_nobody_else(self, depot: Depot) -> None:
        name, _ = depot.make(parts(bytes(10_000)))
        assert depot.path(name).stat().st_mode & 0o377 == 0

    def test_many_buffers_and_large_ones_are_written_whole(self, depot: Depot) -> None:
        arrays = [np.full(n % 70, n) for n in range(3000)]
        arrays += [np.arange(9_000_000), np.ones((3000, 3000)).T[::2]]
        name, _ = depot.make(parts(arrays))
        assert all((a == b).all() for a, b in zip(value_of(depot, name), arrays, strict=True))

    @pytest.mark.parametrize("place", ["memory", "disk"])
    def test_nothing_is_left_of_one_whose_maker_is_killed(self, depot: Depot, place: str) -> None:
        def pieces() -> Iterator[memoryview]:
            yield memoryview(bytes(40 << 20))
            os.kill(os.getpid(), signal.SIGKILL)

        def make() -> None:
            if place == "disk":
                depot.memory = depot.disk
            depot.make(Parts([], [Buffer(80 << 20, pieces)]))

        assert in_a_fork(make) == -signal.SIGKILL
        assert everything_in(depot.memory, depot.disk) == []

    def test_nothing_is_left_of_one_that_cannot_be_made(self, depot: Depot) -> None:
        def pieces() -> Iterator[memoryview]:
            yield memoryview(bytes(100))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            depot.make(Parts([], [Buffer(200, pieces)]))
        assert everything_in(depot.memory, depot.disk) == []

    def test_where_files_need_a_name_it_is_a_private_one(
        self, depot: Depot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lightning.app.storage.payloads.depot._NAMELESS", 0)
        seen: list[str] = []

        def pieces() -> Iterator[memoryview]:
            seen.extend(everything_in(depot.memory))
            yield memoryview(b"abc")

        name, _ = depot.make(Parts([], [Buffer(3, pieces)]))
        assert len(seen) == 1
        assert not valid(seen[0])
        assert everything_in(depot.memory) == [name]
        depot.save(name)
        assert everything_in(depot.disk) == [name]

    def test_threads_make_them_side_by_side(self, depot: Depot) -> None:
        made: dict[int, str] = {}

        def make(n: int) -> None:
            made[n] = depot.make(parts(np.full(300_000, n)))[0]

        threads = [threading.Thread(target=make, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all((value_of(depot, name) == n).all() for n, name in made.items())


class TestRoom:
    def test_what_does_not_fit_into_memory_goes_to_the_disk(
        self, disk_of: Callable[[str, str], Path], tmp_path: Path
    ) -> None:
        depot = Depot(disk_of("memory", "size=8m"), tmp_path / "disk")
        small, _ = depot.make(parts(bytes(2 << 20)))
        large, size = depot.make(parts(bytes(20 << 20)))
        assert depot.path(small).parent == depot.memory
        assert depot.path(large).parent == depot.disk == depot.place(size)
        assert value_of(depot, large) == bytes(20 << 20)

    def test_memory_that_is_full_all_at_once_is_survived(
        self, disk_of: Callable[[str, str], Path], tmp_path: Path
    ) -> None:
        depot = Depot(disk_of("memory", "size=256k"), tmp_path / "disk")
        name, _ = depot.make(parts(bytes(SMALL // 2)))  # so small that nobody asks before
        assert depot.path(name).parent == depot.disk
        assert everything_in(depot.memory) == []
        assert value_of(depot, name) == bytes(SMALL // 2)

    @pytest.mark.parametrize("size", [SMALL // 2, 20 << 20])
    def test_no_space_anywhere_is_an_error_that_says_so(
        self, disk_of: Callable[[str, str], Path], size: int
    ) -> None:
        depot = Depot(disk_of("memory", "size=256k"), disk_of("disk", "size=256k"))
        with pytest.raises(StorageError, match=r"payload lp-\w+ of .*: there is no space for it") as raised:
            depot.make(parts(bytes(size)))
        assert all(word in str(raised.value) for word in (str(depot.memory), str(depot.disk), "--runs-dir"))
        assert everything_in(depot.memory, depot.disk) == []

    def test_a_copy_that_does_not_fit_leaves_the_original(
        self, disk_of: Callable[[str, str], Path], memory: Path
    ) -> None:
        depot = Depot(memory, disk_of("disk", "size=256k"))
        name, _ = depot.make(parts(bytes(1 << 20)))
        with pytest.raises(StorageError, match=f"payload {name} .*no space"):
            depot.save(name)
        assert everything_in(depot.disk) == []
        assert value_of(depot, name) == bytes(1 << 20)

    def test_a_folder_that_cannot_be_written_to_is_named(
        self, disk_of: Callable[[str, str], Path], tmp_path: Path
    ) -> None:
        depot = Depot(disk_of("memory", "ro"), tmp_path)
        with pytest.raises(StorageDeniedError, match=f"{depot.memory}/lp-"):
            depot.make(parts(b"x"))

    def test_some_memory_is_left_to_others(self, memory: Path) -> None:
        there = os.statvfs(memory)
        assert free_memory(memory) < there.f_bavail * there.f_frsize


class TestKeeping:
    def test_a_saved_one_is_on_the_disk_and_stays_when_memory_is_freed(self, depot: Depot) -> None:
        name, size = depot.make(parts(np.arange(9_000_000)))
        told: list[tuple[int, int | None]] = []
        assert not depot.saved(name)
        depot.release(name)  # nothing else has it
        assert depot.path(name).parent == depot.memory
        depot.save(name, lambda done, total: told.append((done, total)))
        depot.save(name)
        assert told[-1] == (size, size)
        assert depot.saved(name)
        depot.release(name)
        assert everything_in(depot.memory) == []
        assert (value_of(depot, name) == np.arange(9_000_000)).all()

    def test_several_may_save_the_same(self, depot: Depot) -> None:
        name, _ = depot.make(parts(bytes(30 << 20)))
        failures: list[BaseException] = []

        def save() -> None:
            try:
                depot.save(name)
            except BaseException as err:
                failures.append(err)

        threads = [threading.Thread(target=save) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert everything_in(depot.disk) == [name]

    def test_whoever_has_it_open_keeps_it_when_it_is_dropped(self, depot: Depot) -> None:
        name, _ = depot.make(parts(np.arange(100_000)))
        found = value_of(depot, name)
        depot.drop([name, new_name()])
        assert not depot.has(name)
        assert found.sum() == np.arange(100_000).sum()

    def test_a_depot_takes_over_what_another_has(self, depot: Depot, memory: Path, tmp_path: Path) -> None:
        other = Depot(memory / "other", tmp_path / "other")
        kept, _ = other.make(parts("kept" * 9999))
        saved, _ = other.make(parts("saved" * 9999))
        other.save(saved)
        other.release(saved)
        depot.adopt(other)
        shutil.rmtree(memory / "other")
        shutil.rmtree(tmp_path / "other")
        assert depot.names() == {kept, saved}
        assert value_of(depot, kept) == "kept" * 9999
        assert value_of(depot, saved) == "saved" * 9999

    def test_other_files_are_not_payloads(self, depot: Depot) -> None:
        name, _ = depot.make(parts(b"x"))
        (depot.memory / "origin").touch()
        assert depot.names() == {name}


class TestOpening:
    def test_one_that_is_gone_is_named(self, depot: Depot) -> None:
        name = new_name()
        for ask in (depot.open, depot.path, depot.save):
            with pytest.raises(BlobNotFoundError, match=f"{name}: this payload is not there any more"):
                ask(name)

    @pytest.mark.parametrize("name", ["", "../../etc/passwd", "lp-x", "lp-" + "0" * 32 + "/.."])
    def test_nothing_else_is_ever_opened(self, depot: Depot, name: str) -> None:
        for ask in (depot.open, depot.path):
            with pytest.raises(StorageError, match="is not the name of a payload"):
                ask(name)
        assert not depot.has(name)

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda data: data[:-1], "shorter or longer"),
            (lambda data: data[:10], "shorter or longer"),
            (lambda data: b"", "shorter or longer"),
            (lambda data: data + b"x", "shorter or longer"),
            (lambda data: b"x" + data[1:], "checksum"),
            (lambda data: data[:34] + bytes([data[34] ^ 1]) + data[35:], "checksum"),
            (lambda data: data[:4] + b"\x02" + data[5:], "pip install --upgrade"),
        ],
    )
    def test_a_damaged_file_is_named_before_it_is_believed(
        self, depot: Depot, spoil: Callable[[bytes], bytes], said: str
    ) -> None:
        name, _ = depot.make(parts(np.arange(5000)))
        data = depot.path(name).read_bytes()
        depot.drop([name])
        (depot.memory / name).write_bytes(spoil(data))
        with pytest.raises(StorageError, match=f"{depot.memory}/{name}: .*{said}"):
            depot.open(name)

    def test_what_is_written_to_a_private_one_stays_private(self, depot: Depot) -> None:
        name, _ = depot.make(parts(np.arange(100_000)))
        mine = whole(*depot.open(name, own=True))
        mine[:] = 7
        assert (value_of(depot, name) == np.arange(100_000)).all()

    def test_open_ones_take_no_descriptors(self, depot: Depot) -> None:
        names = [depot.make(parts(np.full(20_000, n)))[0] for n in range(200)]
        before = len(os.listdir("/proc/self/fd"))
        opened = [value_of(depot, name) for name in names]
        assert len(os.listdir("/proc/self/fd")) == before
        assert [int(array[-1]) for array in opened] == list(range(200))

    def test_a_mapping_ends_with_the_last_who_looks_at_it(self, depot: Depot) -> None:
        name, _ = depot.make(parts([np.arange(100_000), np.arange(50_000)]))
        one, other = value_of(depot, name)
        for array in (one, other):
            assert name in Path("/proc/self/maps").read_text()
            assert array.sum() > 0
        del one, array
        assert name in Path("/proc/self/maps").read_text()
        del other
        assert name not in Path("/proc/self/maps").read_text()

    def test_a_mapping_outlives_the_cycles_it_is_in(self, depot: Depot) -> None:
        name, _ = depot.make(parts(np.arange(100_000)))
        sums: list[int] = []

        class Last:
            """Looks at its array while it is collected."""

            def __init__(self) -> None:
                self.view = memoryview(value_of(depot, name))
                self.array = np.frombuffer(self.view, dtype=np.int64)
                self.itself = self

            def __del__(self) -> None:
                sums.append(int(self.array.sum()))

        def collect() -> None:
            for _ in range(20):
                Last()
            gc.collect()
            assert sums == [np.arange(100_000).sum()] * 20

        assert in_a_fork(collect) == 0
