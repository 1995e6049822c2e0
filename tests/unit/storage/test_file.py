"""A folder as a store: what killed writers, full disks and other programs do to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from lightning.app.errors import BlobConflictError, StorageError
from lightning.app.storage.stores.file import FileStore
from lightning.app.storage.stores.store import checksum

DYING = """
import os, signal, sys
from pathlib import Path
from threading import Barrier
from lightning.app.storage.stores.file import FileStore
def chunks():
    yield bytes(1_000_000)
    os.kill(os.getpid(), signal.SIGKILL)
FileStore(sys.argv[1]).put("key", chunks())
"""

FILLED = """
import resource, sys
from pathlib import Path
from threading import Barrier
from lightning.app.errors import StorageError
from lightning.app.storage.stores.file import FileStore
store = FileStore(sys.argv[1])
store.put("large", bytes(3_000_000))
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
def chunks():
    for _ in range(30): yield bytes(100_000)
for attempt in (
    lambda: store.put("key", chunks()),
    lambda: store.put("key", bytes(3_000_000)),
    lambda: store.get("large", Path(sys.argv[1]).parent / "copy"),
):
    try:
        attempt()
    except StorageError as err:
        print(err)
"""


STRANGER = """
import os, sys
from lightning.app.errors import StorageDeniedError
from lightning.app.storage.stores.file import FileStore
if os.geteuid() == 0:  # to whom everything is allowed
    os.setuid(65534)
try:
    FileStore(sys.argv[1]).put("key", b"content")
except StorageDeniedError as err:
    print(err)
"""

WRITING = """
import sys
from lightning.app.storage.stores.file import FileStore
store = FileStore(sys.argv[1])
for turn in range(20):
    store.put("key", sys.argv[2].encode() * 300_000, replace=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_nothing_is_made_until_something_is_put(folder: Path) -> None:
    store = FileStore(folder)
    assert list(store.list()) == []
    assert store.free()
    assert not folder.exists()


def test_a_blob_is_a_file_by_the_name_of_its_key(folder: Path) -> None:
    FileStore(folder).put("packs/3f/3fa9", b"content")
    assert (folder / "packs/3f/3fa9").read_bytes() == b"content"
    assert sorted(each.name for each in folder.iterdir()) == ["packs"]


def test_what_a_killed_writer_left_is_swept_by_the_next(folder: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", DYING, folder])
    assert ended.returncode == -signal.SIGKILL
    store = FileStore(folder)
    assert len(list((folder / ".arriving").iterdir())) == 1
    assert list(store.list()) == []
    store.put("other", b"content")
    assert sorted(each.name for each in folder.iterdir()) == ["other"]


def test_processes_that_write_one_key_leave_it_whole_at_every_moment(folder: Path) -> None:
    store = FileStore(folder)
    store.put("key", b"0" * 300_000)
    writers = [subprocess.Popen([sys.executable, "-c", WRITING, folder, letter]) for letter in "123"]
    while any(writer.poll() is None for writer in writers):
        content = store.read("key")
        assert len(content) == 300_000
        assert content.strip(content[:1]) == b""
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sorted(each.name for each in folder.iterdir()) == ["key"]


def test_what_somebody_still_writes_is_not_swept(folder: Path) -> None:
    store = FileStore(folder)

    def chunks() -> object:
        yield b"one"
        FileStore(folder).put("other", b"content")
        yield b"two"

    store.put("key", chunks())  # type: ignore[arg-type]
    assert store.read("key") == b"onetwo"
    assert sorted(each.name for each in folder.iterdir()) == ["key", "other"]


def test_a_disk_that_fills_midway_leaves_nothing_and_is_named(folder: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", FILLED, folder], capture_output=True, text=True, check=True)
    lines = ended.stdout.splitlines()
    assert len(lines) == 3
    assert all("there is no space. Nothing was left behind" in line for line in lines)
    assert [str(each) in line for each, line in zip((folder / "key",) * 2, lines, strict=False)] == [
        True,
        True,
    ]
    assert str(folder.parent / "copy") in lines[2]
    assert [stat.key for stat in FileStore(folder).list()] == ["large"]
    assert sorted(each.name for each in folder.iterdir()) == ["large"]


def test_a_blob_that_cannot_fit_is_refused_before_it_is_begun(folder: Path, tmp_path: Path) -> None:
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(10 << 40)  # of holes
    with pytest.raises(StorageError, match=r"key: there is no space.* \(10995\.1 GB to go, .* free\)"):
        FileStore(folder).put("key", tmp_path / "huge")
    assert not folder.exists()


def test_a_folder_that_may_not_be_written_is_named(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o555)
    for each in (folder.parent, *(up for up in folder.parents if up.name.startswith(("pytest-", "popen-")))):
        each.chmod(0o755)
    said = subprocess.run(
        [sys.executable, "-c", STRANGER, folder], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith(f"{folder}/key: permission denied. Give this user the right to it")


def test_a_file_in_the_place_of_the_folder_is_named(folder: Path) -> None:
    folder.write_bytes(b"")
    with pytest.raises(BlobConflictError, match="there is something already"):
        FileStore(folder).put("key", b"")


def test_a_key_that_is_a_folder_of_others_is_refused(folder: Path) -> None:
    store = FileStore(folder)
    store.put("key/within", b"")
    with pytest.raises(BlobConflictError, match="store/key"):
        store.put("key", b"")
    store.put("other", b"")
    with pytest.raises(BlobConflictError, match="store/other"):
        store.put("other/within", b"")


def test_a_blob_that_rotted_is_told_by_its_checksum(folder: Path, tmp_path: Path) -> None:
    store = FileStore(folder)
    store.put("key", b"content", checksum=checksum(b"content"))
    with open(folder / "key", "r+b") as file:
        file.write(b"C")
    with pytest.raises(StorageError, match="store/key: its checksum is wrong"):
        store.get("key", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_deleting_and_putting_side_by_side_loses_nothing(folder: Path) -> None:
    store = FileStore(folder)

    def work(number: int) -> None:
        for turn in range(30):
            store.put(f"folder/{number}", b"%d" % turn)
            assert store.read(f"folder/{number}") == b"%d" % turn
            store.delete(f"folder/{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert list(store.list()) == []


def test_a_link_or_device_in_the_folder_does_not_hang_a_reader(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    with pytest.raises(FileNotFoundError, match="pipe: it is not there"):
        FileStore(folder).read("pipe")


def test_of_writers_at_the_same_moment_one_is_first_and_the_others_are_refused(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    for turn in range(20):
        start = Barrier(4)

        def put(number: int, key: str = str(turn), start: Barrier = start) -> int | None:
            start.wait()
            try:
                store.put(key, bytes(number))
            except BlobConflictError:
                return None
            return number

        with ThreadPoolExecutor(4) as pool:
            first = [number for number in pool.map(put, range(1, 5)) if number is not None]
        assert first == [len(store.read(str(turn)))]
