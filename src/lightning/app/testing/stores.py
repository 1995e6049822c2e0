"""What every store promises. Subclass ``StoreContract`` and say how one is opened."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lightning.app.errors import (
    BlobConflictError,
    BlobNotFoundError,
    StorageError,
    UsageError,
)
from lightning.app.storage.stores.arrival import WINDOW
from lightning.app.storage.stores.store import PRIVATE, Data, Store, checksum

OpenStore = Callable[[], Store]

WRONG_KEYS = (
    "", "/absolute", "../up", "a/../../up", "a/./b", "a//b", "a/", "nul\0", "line\nbreak", "back\\slash",
    "x" * 201, "a/" * 500 + "a", f"{PRIVATE}/x", "\udc80",
)  # fmt: skip


class StoreContract:
    """What every store promises.

    The fixture ``open_store`` gives a function that opens the same place, each time as another process would;
    on its first call the place is empty.
    """

    keeps_checksums = True
    large = 2 * WINDOW + 4321
    """A size that goes in several windows."""

    @pytest.fixture
    def store(self, open_store: OpenStore) -> Store:
        return open_store()

    @pytest.mark.parametrize("size", [0, 1, 100_000])
    def test_a_blob_is_read_as_it_was_put(self, store: Store, size: int, tmp_path: Path) -> None:
        content = noise(size)
        assert store.put("some/key", content).size == size
        assert store.read("some/key") == content
        store.get("some/key", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == content

    def test_a_blob_is_put_from_bytes_a_file_or_chunks(self, store: Store, tmp_path: Path) -> None:
        content = noise(70_000)
        (tmp_path / "source").write_bytes(content)
        chunks = (content[at : at + 1000] for at in range(0, len(content), 1000))
        forms: list[Data] = [content, bytearray(content), memoryview(content), tmp_path / "source", chunks]
        for number, data in enumerate(forms):
            store.put(f"form/{number}", data, checksum=checksum(content))
            assert store.read(f"form/{number}") == content

    def test_a_blob_of_several_windows_goes_through_a_file(self, store: Store, tmp_path: Path) -> None:
        content = noise(self.large)
        (tmp_path / "source").write_bytes(content)
        store.put("large", tmp_path / "source", checksum=checksum(content))
        store.get("large", tmp_path / "copy", checksum=checksum(content))
        assert (tmp_path / "copy").read_bytes() == content

    def test_a_blob_is_there_for_whoever_opens_the_store(self, store: Store, open_store: OpenStore) -> None:
        store.put("key", b"content")
        assert open_store().read("key") == b"content"

    def test_keys_may_look_like_anything_that_a_file_may_be_called(self, store: Store) -> None:
        keys = sorted(
            ["a b", "ä/ö", "x+y%20z", "x=1&y=2", ".hidden", "deep/er/and/deeper", "#?", "a.b", "a/b", "~"]
        )
        for key in keys:
            store.put(key, key.encode())
        assert [stat.key for stat in store.list()] == keys
        assert [store.read(key).decode() for key in keys] == keys

    @pytest.mark.parametrize("key", WRONG_KEYS)
    def test_a_key_that_cannot_be_one_is_refused_everywhere(
        self, store: Store, key: str, tmp_path: Path
    ) -> None:
        for use in (
            lambda: store.put(key, b""),
            lambda: store.get(key, tmp_path / "file"),
            lambda: store.read(key),
            lambda: store.stat(key),
            lambda: store.delete(key),
        ):
            with pytest.raises(UsageError, match="the key"):
                use()
        assert list(tmp_path.glob("file")) == []

    def test_a_range_is_read_without_the_rest(self, store: Store) -> None:
        content = noise(10_000)
        store.put("key", content)
        assert store.read("key", 10, 20) == content[10:30]
        assert store.read("key", 9_990) == content[9_990:]
        assert store.read("key", 9_990, 100) == content[9_990:]
        assert store.read("key", 10_000, 5) == store.read("key", 20_000, 5) == b""
        assert store.read("key", 20_000) == store.read("key", 5, 0) == b""

    def test_a_missing_key_names_itself(self, store: Store, tmp_path: Path) -> None:
        for use in (
            lambda: store.read("no/such"),
            lambda: store.read("no/such", 5, 5),
            lambda: store.stat("no/such"),
            lambda: store.get("no/such", tmp_path / "file"),
        ):
            with pytest.raises(FileNotFoundError, match="no/such: it is not there"):
                use()
        assert list(tmp_path.iterdir()) == []

    def test_a_blob_within_a_blob_is_missing(self, store: Store) -> None:
        store.put("key", b"content")
        with pytest.raises(BlobNotFoundError, match="key/within"):
            store.read("key/within")
        store.put("fold/er", b"")
        with pytest.raises(BlobNotFoundError, match="fold"):
            store.read("fold")

    def test_a_stat_tells_the_size_the_checksum_and_the_time(self, store: Store) -> None:
        stat = store.put("key", b"content", checksum=checksum(b"content"))
        assert (stat.key, stat.size) == ("key", 7)
        known = store.stat("key")
        assert (known.key, known.size) == ("key", 7)
        assert known.checksum == (checksum(b"content") if self.keeps_checksums else None)
        assert known.modified > 1_700_000_000
        assert store.put("none", b"content").checksum is store.stat("none").checksum is None

    def test_a_listing_begins_with_its_prefix_and_is_in_order(self, store: Store) -> None:
        assert list(store.list()) == []
        for key in ("b/2", "a", "b/1/x", "bb", "c", "b/1.x"):
            store.put(key, key.encode())
        assert [stat.key for stat in store.list()] == ["a", "b/1.x", "b/1/x", "b/2", "bb", "c"]
        assert [stat.key for stat in store.list("b")] == ["b/1.x", "b/1/x", "b/2", "bb"]
        assert [stat.key for stat in store.list("b/")] == ["b/1.x", "b/1/x", "b/2"]
        assert [stat.key for stat in store.list("b/1/")] == ["b/1/x"]
        assert [stat.key for stat in store.list("b/1")] == ["b/1.x", "b/1/x"]
        assert [stat.key for stat in store.list("none/such")] == [stat.key for stat in store.list("z")] == []
        assert [stat.size for stat in store.list()] == [1, 5, 5, 3, 2, 1]
        assert all(stat.modified for stat in store.list())

    def test_what_is_deleted_is_gone_and_deleting_it_again_is_no_error(self, store: Store) -> None:
        store.put("key/within", b"content")
        store.delete("key/within")
        store.delete("key/within")
        store.delete("never/was")
        assert list(store.list()) == []
        with pytest.raises(BlobNotFoundError):
            store.stat("key/within")
        store.put("key", b"where a folder was")
        assert store.read("key") == b"where a folder was"

    def test_a_blob_stays_when_the_same_is_put_again(self, store: Store) -> None:
        first = store.put("key", b"content", checksum=checksum(b"content"))
        again = store.put("key", iter([b"con", b"tent"]), checksum=checksum(b"content"))
        assert first.size == again.size == 7
        assert store.read("key") == b"content"

    def test_another_blob_does_not_take_the_place_of_one(self, store: Store) -> None:
        store.put("key", b"content")
        for other in (b"something else", iter([b"something", b"else"])):
            with pytest.raises(BlobConflictError, match="key: there is another blob"):
                store.put("key", other)
        assert store.read("key") == b"content"

    def test_a_known_checksum_tells_two_blobs_of_one_size_apart(self, store: Store) -> None:
        store.put("key", b"one", checksum=checksum(b"one"))
        if self.keeps_checksums:
            with pytest.raises(BlobConflictError, match="key"):
                store.put("key", b"two", checksum=checksum(b"two"))
        else:
            store.put("key", b"two", checksum=checksum(b"two"))
        assert store.read("key") == b"one"

    def test_a_blob_is_replaced_when_that_is_wanted(self, store: Store, tmp_path: Path) -> None:
        store.put("key", b"content", checksum=checksum(b"content"))
        store.put("key", b"other", replace=True)
        assert (store.read("key"), store.stat("key").checksum) == (b"other", None)
        store.get("key", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"other"

    def test_data_that_is_not_what_was_expected_does_not_arrive(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"wrong")
        for data in (b"wrong", iter([b"wrong"]), tmp_path / "source"):
            with pytest.raises(StorageError, match="key: its checksum is wrong"):
                store.put("key", data, checksum=checksum(b"right"))
        assert list(store.list()) == []

    def test_a_blob_that_is_not_what_is_expected_does_not_arrive(self, store: Store, tmp_path: Path) -> None:
        store.put("key", b"wrong")
        (tmp_path / "file").write_bytes(b"old")
        with pytest.raises(StorageError, match="key: its checksum is wrong"):
            store.get("key", tmp_path / "file", checksum=checksum(b"right"))
        assert (tmp_path / "file").read_bytes() == b"old"
        assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["file"]

    def test_chunks_that_break_off_leave_nothing(self, store: Store) -> None:
        def chunks() -> Iterator[bytes]:
            yield bytes(100_000)
            raise KeyError("the source broke")

        with pytest.raises(KeyError, match="the source broke"):
            store.put("key", chunks())
        assert list(store.list()) == []

    def test_a_source_that_is_not_there_is_named(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no-such-source"):
            store.put("key", tmp_path / "no-such-source")
        assert list(store.list()) == []

    def test_progress_is_told_up_to_the_end(self, store: Store, tmp_path: Path) -> None:
        content, told = noise(self.large), list[tuple[int, int | None]]()
        store.put("key", content, progress=lambda *at: told.append(at))
        assert told[-1] == (self.large, self.large)
        told.clear()
        store.get("key", tmp_path / "file", progress=lambda *at: told.append(at))
        assert told == sorted(told)
        assert len(told) > 1
        assert told[-1] == (self.large, self.large)

    def test_a_transfer_that_broke_off_goes_on_where_it_was(self, store: Store, tmp_path: Path) -> None:
        content, told = noise(self.large), list[int]()
        store.put("key", content, checksum=checksum(content))

        def break_off(done: int, total: int | None) -> None:
            if done > WINDOW:
                raise Enough

        with pytest.raises(Enough):
            store.get("key", tmp_path / "file", checksum=checksum(content), progress=break_off)
        assert not (tmp_path / "file").exists()
        store.get(
            "key", tmp_path / "file", checksum=checksum(content), progress=lambda done, _: told.append(done)
        )
        assert (tmp_path / "file").read_bytes() == content
        assert told[0] > WINDOW
        assert [each.name for each in tmp_path.iterdir()] == ["file"]

    def test_a_blob_replaced_meanwhile_is_not_mixed_with_the_old_one(
        self, store: Store, tmp_path: Path
    ) -> None:
        old, new = bytes(self.large), noise(self.large)

        def break_off(done: int, total: int | None) -> None:
            raise Enough

        store.put("key", old, checksum=checksum(old))
        with pytest.raises(Enough):
            store.get("key", tmp_path / "file", progress=break_off)
        store.put("key", new, checksum=checksum(new), replace=True)
        store.get("key", tmp_path / "file", checksum=checksum(new))
        assert (tmp_path / "file").read_bytes() == new

    def test_a_blob_replaced_while_it_is_fetched_is_one_of_the_two(
        self, store: Store, open_store: OpenStore, tmp_path: Path
    ) -> None:
        old, new = bytes(self.large), noise(self.large)
        store.put("key", old)

        def replace(done: int, total: int | None) -> None:
            if done == WINDOW and open_store().read("key", 0, 1) == b"\0":
                open_store().put("key", new, replace=True)

        store.get("key", tmp_path / "file", progress=replace)
        assert (tmp_path / "file").read_bytes() in (old, new)

    def test_a_blob_does_not_take_the_place_of_a_folder(self, store: Store, tmp_path: Path) -> None:
        store.put("key", b"content")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder/dear").write_bytes(b"dear")
        with pytest.raises(BlobConflictError, match="folder: there is something already"):
            store.get("key", tmp_path / "folder")
        assert (tmp_path / "folder/dear").read_bytes() == b"dear"

    def test_many_writers_of_one_key_leave_one_whole_blob(self, open_store: OpenStore) -> None:
        contents = [noise(100_000, seed) for seed in range(6)]
        start = threading.Barrier(len(contents))

        def put(content: bytes) -> str:
            store = open_store()
            start.wait()
            try:
                store.put("key", content)
            except BlobConflictError:
                return "conflict"
            return "put"

        with ThreadPoolExecutor(len(contents)) as pool:
            outcomes = list(pool.map(put, contents))
        assert "put" in outcomes
        assert open_store().read("key") in contents
        assert [stat.key for stat in open_store().list()] == ["key"]

    def test_a_reader_never_sees_half_a_blob(self, open_store: OpenStore) -> None:
        contents = {bytes([each]) * 300_000 for each in range(4)}
        store, over = open_store(), threading.Event()
        store.put("key", next(iter(contents)))

        def write() -> None:
            writer = open_store()
            for content in [*contents] * 4:
                writer.put("key", content, replace=True)
            over.set()

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not over.is_set() and not writing.done():
                assert store.read("key", 0, 300_000) in contents
            writing.result()

    def test_free_space_is_known_or_not(self, store: Store) -> None:
        free = store.free()
        assert free is None or free > 0

    def test_the_url_says_where_it_is(self, store: Store) -> None:
        assert "://" in store.url


class Enough(Exception):
    """Somebody ends a transfer."""


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes without a pattern, the same each time."""
    from random import Random

    return Random(seed).randbytes(size)
