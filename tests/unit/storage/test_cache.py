"""What was read once of a store far away is not asked for again."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightning.app.errors import BlobNotFoundError
from lightning.app.storage import cache
from lightning.app.storage.cache import CachingStore
from lightning.app.storage.home import Home
from lightning.app.storage.stores.file import FileStore
from lightning.app.storage.stores.memory import MemoryStore
from lightning.app.storage.trees.trees import Trees


class Counted(MemoryStore):
    """A store that knows what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.moved = 0
        self._counting = threading.Lock()

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        body = super().read(key, start, length)
        with self._counting:
            self.asked[key] += 1
            self.moved += len(body)
        return body


@pytest.fixture
def source() -> Counted:
    return Counted()


@pytest.fixture
def store(source: Counted, tmp_path: Path) -> CachingStore:
    return CachingStore(source, tmp_path / "cache")


def test_what_never_changes_is_asked_for_once_and_as_a_whole(source: Counted, store: CachingStore) -> None:
    source.put("packs/3f/3fa9", b"0123456789")
    assert store.read("packs/3f/3fa9", 2, 3) == b"234"
    assert store.read("packs/3f/3fa9", 8, 10) == b"89"
    assert store.read("packs/3f/3fa9") == b"0123456789"
    assert store.read("packs/3f/3fa9", 20) == b""
    assert source.asked == {"packs/3f/3fa9": 1}


def test_another_process_of_the_run_does_not_ask_again(source: Counted, tmp_path: Path) -> None:
    source.put("trees/1", b"tree")
    for _ in range(2):
        assert CachingStore(source, tmp_path / "cache").read("trees/1") == b"tree"
    assert source.asked == {"trees/1": 1}


def test_many_at_once_ask_once(source: Counted, store: CachingStore) -> None:
    source.put("packs/a", bytes(100_000))
    begin = threading.Barrier(8)

    def read(number: int) -> int:
        begin.wait()
        return len(store.read("packs/a", number, 10))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [10] * 8
    assert source.asked == {"packs/a": 1}


def test_what_may_change_is_asked_for_each_time(source: Counted, store: CachingStore) -> None:
    source.put("names/root/x", b"one")
    assert store.read("names/root/x") == b"one"
    source.put("names/root/x", b"two", replace=True)
    assert store.read("names/root/x") == b"two"


def test_a_blob_that_is_gone_is_so_here_too(source: Counted, store: CachingStore) -> None:
    source.put("packs/a", b"a")
    store.read("packs/a")
    store.delete("packs/a")
    with pytest.raises(BlobNotFoundError, match="packs/a"):
        store.read("packs/a")
    assert source.asked["packs/a"] == 1


def test_a_file_comes_from_what_is_kept(source: Counted, store: CachingStore, tmp_path: Path) -> None:
    source.put("packs/a", b"content")
    store.read("packs/a", 0, 1)
    store.get("packs/a", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert source.asked == {"packs/a": 1}


def test_where_the_disk_is_nearly_full_parts_are_asked_for_as_they_are_needed(
    source: Counted, store: CachingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "RESERVE", 1 << 62)
    source.put("packs/a", b"0123456789")
    assert store.read("packs/a", 2, 3) == b"234"
    store.get("packs/a", tmp_path / "file")
    assert source.moved == 3
    assert not (tmp_path / "cache" / "packs").exists()


def test_of_a_second_version_little_comes_over_the_line(
    source: Counted, store: CachingStore, tmp_path: Path
) -> None:
    content = bytearray(random.Random(1).randbytes(30_000_000))
    file = tmp_path / "model"
    file.write_bytes(content)
    first = Trees(source).put(file)
    Trees(store).get(first.id, tmp_path / "one")
    content[5_000_000:5_300_000] = random.Random(2).randbytes(300_000)
    file.write_bytes(content)
    second = Trees(source).put(file, base=[first.id])
    source.moved = 0
    Trees(store).get(second.id, tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == content
    assert source.moved < 0.03 * len(content)


def test_a_home_keeps_what_it_reads_of_a_store_elsewhere_but_not_of_a_folder(tmp_path: Path) -> None:
    assert type(Home("one", tmp_path, tmp_path, "memory://bucket").store) is CachingStore
    assert type(Home("one", tmp_path, tmp_path, str(tmp_path)).store) is FileStore
    assert type(Home("one", tmp_path, tmp_path).store) is FileStore
