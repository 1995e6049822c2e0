"""Trees: what comes out is what went in, little is sent twice, and nothing leaves its place."""

from __future__ import annotations

import os
import signal
import socket
import stat as modes
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning.app.errors import BlobConflictError, BlobNotFoundError, StorageError, UsageError
from lightning.app.storage.stores.file import FileStore
from lightning.app.storage.stores.memory import MemoryStore
from lightning.app.storage.stores.store import checksum
from lightning.app.storage.trees import putting
from lightning.app.storage.trees.manifest import (
    FILE,
    FOLDER,
    FORMAT,
    LINK,
    Entry,
    Piece,
    Root,
    packed,
    sealed,
)
from lightning.app.storage.trees.trees import Trees
from lightning.app.testing.stores import Enough, noise


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def trees(store: MemoryStore) -> Trees:
    return Trees(store, threads=3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def seen(top: Path) -> dict[str, tuple[object, ...]]:
    """What is at a place: modes, contents, links."""
    found: dict[str, tuple[object, ...]] = {}
    for place in [top, *sorted(top.rglob("*"))]:
        name = os.fsencode(place.relative_to(top)).decode("latin-1")
        there = place.lstat()
        if modes.S_ISLNK(there.st_mode):
            found[name] = ("link", os.readlink(place))
        elif modes.S_ISDIR(there.st_mode):
            found[name] = ("folder", modes.S_IMODE(there.st_mode))
        else:
            found[name] = ("file", modes.S_IMODE(there.st_mode), place.read_bytes())
    return found


class TestRoundTrips:
    @pytest.mark.parametrize("size", [0, 1, 5_000, 70_000, 9_000_000])
    def test_a_file_comes_back_as_it_was(self, trees: Trees, source: Path, tmp_path: Path, size: int) -> None:
        file = source / "model.bin"
        file.write_bytes(noise(size))
        file.chmod(0o640)
        tree = trees.put(file)
        assert (tree.size, tree.files) == (size, 1)
        assert trees.get(tree.id, tmp_path / "copy").id == tree.id
        assert seen(tmp_path / "copy") == seen(file)

    def test_a_folder_comes_back_with_modes_links_and_empty_folders(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (source / "sub/empty").mkdir(parents=True)
        (source / "sub/run.sh").write_bytes(b"#!/bin/sh\n")
        (source / "sub/run.sh").chmod(0o755)
        (source / "secret").write_bytes(noise(300_000))
        (source / "secret").chmod(0o400)
        (source / "latest").symlink_to("sub/run.sh")
        (source / "sub/up").symlink_to("../secret")
        (source / "sub/all").symlink_to("..")
        (source / "dangling").symlink_to("sub/not-yet")
        (source / "sub").chmod(0o550)
        tree = trees.put(source)
        trees.get(tree.id, tmp_path / "copy")
        assert seen(tmp_path / "copy") == seen(source)
        assert trees.stat(tree.id) == trees.put(source)._replace(sent=0)

    def test_an_absolute_link_within_becomes_one_that_holds_anywhere(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (source / "sub").mkdir()
        (source / "file").write_bytes(b"here")
        (source / "sub/link").symlink_to(source / "file")
        (source / "sub/winding").symlink_to("../sub/../file")
        trees.get(trees.put(source).id, tmp_path / "copy")
        for link in ("link", "winding"):
            assert os.readlink(tmp_path / "copy/sub" / link) == "../file"
            assert (tmp_path / "copy/sub" / link).read_bytes() == b"here"

    def test_a_link_to_what_is_put_is_followed(self, trees: Trees, source: Path, tmp_path: Path) -> None:
        (source / "file").write_bytes(b"content")
        (tmp_path / "link").symlink_to(source)
        trees.get(trees.put(tmp_path / "link").id, tmp_path / "copy")
        assert seen(tmp_path / "copy") == seen(source)

    def test_names_of_any_bytes_come_back(self, trees: Trees, source: Path, tmp_path: Path) -> None:
        for name in (b"\xff\xfe", b"line\nbreak", "ä".encode(), b" ", b"...", b"-rf", b"x" * 255):
            (source / os.fsdecode(name)).write_bytes(name)
        trees.get(trees.put(source).id, tmp_path / "copy")
        assert seen(tmp_path / "copy") == seen(source)

    @settings(max_examples=60)
    @given(data=st.data())
    def test_any_tree_comes_back(self, data: st.DataObject) -> None:
        names = st.binary(min_size=1, max_size=8).filter(lambda name: name not in (b".", b".."))
        names = names.filter(lambda name: not {0, 47} & set(name))
        parts = st.tuples(st.sampled_from([0, 1, 2, 3]), st.integers(0, 400_000))
        trees = Trees(MemoryStore(), threads=2)
        with TemporaryDirectory() as place:
            top = Path(place) / "top"
            top.mkdir()
            folders = [top]
            for _ in range(data.draw(st.integers(0, 12))):
                path = data.draw(st.sampled_from(folders)) / os.fsdecode(data.draw(names))
                if os.path.lexists(path):
                    continue
                kind = data.draw(st.sampled_from(["folder", "file", "file", "link"]))
                if kind == "folder":
                    path.mkdir(data.draw(st.sampled_from([0o700, 0o755, 0o777])))
                    folders.append(path)
                elif kind == "link":
                    path.symlink_to(os.path.relpath(data.draw(st.sampled_from(folders)), path.parent))
                else:
                    with open(path, "wb") as file:
                        for seed, size in data.draw(st.lists(parts, max_size=4)):
                            if seed == 0:
                                file.seek(size, os.SEEK_CUR)
                            else:
                                file.write(bytes(size) if seed == 1 else noise(size, seed))
                        file.truncate(file.tell())
            first = trees.put(top)
            trees.get(first.id, Path(place) / "copy")
            assert seen(Path(place) / "copy") == seen(top)
            assert trees.put(Path(place) / "copy").content == first.content

    def test_a_hundred_thousand_names_are_few_blobs(
        self, trees: Trees, store: MemoryStore, source: Path, tmp_path: Path
    ) -> None:
        for number in range(3000):  # a size that a test can wait for; benchmarks put the hundred thousand
            (source / str(number)).write_bytes(b"%d" % number * 100)
        tree = trees.put(source)
        assert len(list(store.list())) <= 3
        trees.get(tree.id, tmp_path / "copy")
        assert seen(tmp_path / "copy") == seen(source)
        (source / "1500").write_bytes(b"changed")
        second = trees.put(source, base=[tree.id])
        assert second.sent < tree.sent / 20
        trees.get(second.id, tmp_path / "copy", overwrite=True)
        assert seen(tmp_path / "copy") == seen(source)

    def test_ten_gigabytes_of_holes_stay_holes(self, trees: Trees, source: Path, tmp_path: Path) -> None:
        with open(source / "sparse", "wb") as file:
            file.truncate(10 << 30)
            file.seek(7 << 30)
            file.write(noise(100_000))
        tree = trees.put(source)
        assert tree.size == 10 << 30
        assert tree.sent < 200_000
        trees.get(tree.id, tmp_path / "copy")
        there = (tmp_path / "copy/sparse").stat()
        assert (there.st_size, there.st_blocks * 512 < 1_000_000) == (10 << 30, True)
        with open(tmp_path / "copy/sparse", "rb") as file:
            file.seek(7 << 30)
            assert file.read(100_000) == noise(100_000)

    def test_zeros_that_were_written_are_not_stored_either(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (source / "file").write_bytes(noise(50_000) + bytes(20_000_000) + noise(50_000, 1))
        tree = trees.put(source / "file")
        assert tree.sent < 1_000_000
        trees.get(tree.id, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == (source / "file").read_bytes()


class TestWhatIsSent:
    def test_an_insertion_sends_what_is_around_it(self, trees: Trees, source: Path) -> None:
        content = noise(20_000_000)
        (source / "file").write_bytes(content)
        first = trees.put(source / "file")
        (source / "file").write_bytes(content[:5_000_000] + b"inserted" + content[5_000_000:])
        second = trees.put(source / "file", base=[first.id])
        assert second.sent < 600_000

    def test_a_change_of_one_percent_sends_less_than_three(self, trees: Trees, source: Path) -> None:
        content = bytearray(noise(64_000_000))
        (source / "file").write_bytes(content)
        first = trees.put(source / "file")
        for at in range(5):
            content[at * 12_000_000 : at * 12_000_000 + 128_000] = noise(128_000, at + 1)
        (source / "file").write_bytes(content)
        second = trees.put(source / "file", base=[first.id])
        assert second.sent < len(content) * 0.03

    def test_the_same_again_sends_nothing_but_its_root(
        self, trees: Trees, store: MemoryStore, source: Path
    ) -> None:
        (source / "file").write_bytes(noise(3_000_000))
        first = trees.put(source)
        before = [stat.key for stat in store.list()]
        again = trees.put(source)
        assert (again.id, again.sent < 10_000) == (first.id, True)
        assert trees.put(source, base=[first.id]).content == first.content
        assert [stat.key for stat in store.list("packs/")] == [
            key for key in before if key.startswith("packs/")
        ]

    def test_a_file_twice_is_stored_once(self, trees: Trees, source: Path, tmp_path: Path) -> None:
        for name in "abc":
            (source / name).write_bytes(noise(500_000))
        tree = trees.put(source)
        assert tree.sent < 600_000
        trees.get(tree.id, tmp_path / "copy")
        assert seen(tmp_path / "copy") == seen(source)

    def test_a_base_that_is_gone_is_no_error(self, trees: Trees, source: Path) -> None:
        (source / "file").write_bytes(b"content")
        assert trees.put(source, base=["0" * 40]).files == 1

    def test_a_killed_put_goes_on_where_it_was(self, source: Path, tmp_path: Path) -> None:
        (source / "file").write_bytes(noise(60_000_000))
        program = (
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from lightning.app.storage.stores.file import FileStore\n"
            "from lightning.app.storage.trees.trees import Trees\n"
            "def die(done, total):\n"
            "    if done > 50_000_000: os.kill(os.getpid(), signal.SIGKILL)\n"
            "Trees(FileStore(sys.argv[1]), threads=1).put(Path(sys.argv[2]), progress=die)\n"
        )
        ended = subprocess.run([sys.executable, "-c", program, tmp_path / "store", source])
        assert ended.returncode == -signal.SIGKILL
        store = FileStore(tmp_path / "store")
        assert list(store.list("trees/")) == []
        there = sum(stat.size for stat in store.list("packs/"))
        assert there > 16_000_000
        tree = Trees(store).put(source)
        assert tree.sent < 60_000_000 - there + 1_000_000
        Trees(store).get(tree.id, tmp_path / "copy")
        assert seen(tmp_path / "copy") == seen(source)


class TestArrival:
    def test_what_is_there_is_not_overwritten_unless_that_is_wanted(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (source / "file").write_bytes(b"new")
        tree = trees.put(source)
        target = tmp_path / "target"
        target.mkdir()
        (target / "old").write_bytes(b"old")
        with pytest.raises(BlobConflictError, match="target: there is something already"):
            trees.get(tree.id, target)
        assert [each.name for each in target.iterdir()] == ["old"]
        trees.get(tree.id, target, overwrite=True)
        assert seen(target) == seen(source)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["source", "target"]

    def test_a_file_takes_the_place_of_a_folder_and_back(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (source / "file").write_bytes(b"content")
        folder, file = trees.put(source), trees.put(source / "file")
        for tree in (folder, file, folder, file):
            trees.get(tree.id, tmp_path / "target", overwrite=True)
        assert (tmp_path / "target").read_bytes() == b"content"
        assert sorted(each.name for each in tmp_path.iterdir()) == ["source", "target"]

    def test_a_get_that_broke_off_goes_on_where_it_was(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        for number in range(3):
            (source / str(number)).write_bytes(noise(10_000_000, number))
        (source / "sub").mkdir()
        (source / "sub/read-only").write_bytes(b"x")
        (source / "sub/read-only").chmod(0o400)
        (source / "sub").chmod(0o500)
        tree = trees.put(source)

        def break_off(done: int, total: int | None) -> None:
            if done > 20_000_000:
                raise Enough

        with pytest.raises(Enough):
            trees.get(tree.id, tmp_path / "copy", progress=break_off)
        assert not (tmp_path / "copy").exists()
        read: list[int] = []

        class Counting(MemoryStore):
            def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
                read.append(length or 0)
                return trees.store.read(key, start, length)

        Trees(Counting()).get(tree.id, tmp_path / "copy")
        assert sum(read) < 15_000_000
        assert seen(tmp_path / "copy") == seen(source)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["copy", "source"]

    def test_what_an_earlier_attempt_damaged_is_fetched_again(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (source / "file").write_bytes(noise(20_000_000))
        tree = trees.put(source)

        def break_off(done: int, total: int | None) -> None:
            raise Enough

        with pytest.raises(Enough):
            trees.get(tree.id, tmp_path / "copy", progress=break_off)
        (damaged,) = (tmp_path / ".arriving").glob("*/file")
        with open(damaged, "r+b") as file:
            file.write(bytes(1_000_000))
        trees.get(tree.id, tmp_path / "copy")
        assert seen(tmp_path / "copy") == seen(source)

    def test_two_that_fetch_the_same_at_once_both_get_it(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (source / "file").write_bytes(noise(5_000_000))
        tree = trees.put(source)
        start = threading.Barrier(4)
        failed: list[BaseException] = []

        def fetch() -> None:
            start.wait()
            try:
                Trees(trees.store).get(tree.id, tmp_path / "copy", overwrite=True)
            except BaseException as err:
                failed.append(err)

        threads = [threading.Thread(target=fetch) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert seen(tmp_path / "copy") == seen(source)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["copy", "source"]

    def test_progress_ends_with_everything(self, trees: Trees, source: Path, tmp_path: Path) -> None:
        (source / "file").write_bytes(noise(20_000_000))
        told: list[tuple[int, int | None]] = []
        tree = trees.put(source / "file", progress=lambda *at: told.append(at))
        assert told[-1] == (20_000_000, 20_000_000)
        told.clear()
        trees.get(tree.id, tmp_path / "copy", progress=lambda *at: told.append(at))
        assert told[-1] == (20_000_000, 20_000_000)


class TestRefusals:
    def test_a_link_that_points_out_is_refused_by_name(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "outside").write_bytes(b"")
        for target in (tmp_path / "outside", "../outside", "/etc/passwd", "sub/../../outside"):
            (source / "sub").mkdir(exist_ok=True)
            (source / "link").symlink_to(target)
            with pytest.raises(StorageError, match=r"source/link is a link to .*, which is outside of"):
                trees.put(source)
            (source / "link").unlink()

    def test_what_is_no_file_is_refused_by_name(
        self, trees: Trees, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os.mkfifo(source / "a-pipe")
        with pytest.raises(StorageError, match="source/a-pipe is a pipe: only files"):
            trees.put(source)
        (source / "a-pipe").unlink()
        with socket.socket(socket.AF_UNIX) as listening:
            monkeypatch.chdir(source)  # a socket's path is short
            listening.bind("a-socket")
            with pytest.raises(StorageError, match="source/a-socket is a socket"):
                trees.put(source)

    def test_what_is_not_there_is_named(self, trees: Trees, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="nothing-here: there is no such file"):
            trees.put(tmp_path / "nothing-here")
        with pytest.raises(BlobNotFoundError, match="trees/0000"):
            trees.get("0" * 40, tmp_path / "copy")
        with pytest.raises(UsageError, match=r"'../../etc' is not the name of a tree"):
            trees.get("../../etc", tmp_path / "copy")

    def test_a_file_that_changes_while_it_is_read_is_refused(self, trees: Trees, source: Path) -> None:
        (source / "log").write_bytes(noise(20_000_000))

        def write(done: int, total: int | None) -> None:
            with open(source / "log", "ab") as file:
                file.write(b"more")

        with pytest.raises(StorageError, match="source/log was changed while it was read"):
            trees.put(source, progress=write)

    def test_what_is_arriving_in_a_folder_is_not_part_of_it(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (source / ".arriving").mkdir()
        (source / ".arriving/half").write_bytes(b"half")
        (source / "whole").write_bytes(b"whole")
        assert [entry.path for entry in trees.entries(trees.put(source).id)] == [b"", b"whole"]

    def test_a_damaged_chunk_is_named_with_its_file_and_nothing_arrives(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (source / "weights").write_bytes(noise(500_000))
        tree = trees.put(source)
        (pack,) = trees.store.list("packs/")
        body = bytearray(trees.store.read(pack.key))
        body[1000] ^= 1
        trees.store.put(pack.key, bytes(body), replace=True)
        with pytest.raises(
            StorageError, match=rf"weights \(in memory://, {pack.key}\): its checksum is wrong"
        ):
            trees.get(tree.id, tmp_path / "copy")
        trees.store.put(pack.key, bytes(body[:1000]), replace=True)
        with pytest.raises(StorageError, match=r"weights .*: it is shorter or longer"):
            trees.get(tree.id, tmp_path / "copy")
        trees.store.delete(pack.key)
        with pytest.raises(BlobNotFoundError, match=pack.key):
            trees.get(tree.id, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()

    def test_a_damaged_root_is_told(self, trees: Trees, source: Path, tmp_path: Path) -> None:
        (source / "file").write_bytes(b"content")
        tree = trees.put(source)
        trees.store.put(f"trees/{tree.id}", b"something else", replace=True)
        with pytest.raises(StorageError, match=f"trees/{tree.id}: its checksum is wrong"):
            trees.stat(tree.id)


def crafted(store: MemoryStore, entries: list[Entry] | bytes, **root: object) -> str:
    """The name of a root as an attacker could write it."""
    stream = entries if isinstance(entries, bytes) else b"".join(packed(entry) for entry in entries)
    fields = {
        "format": FORMAT,
        "size": 0,
        "files": 0,
        "content": b"",
        "entries": stream,
        "pieces": [],
        **root,
    }
    body = sealed(Root(**fields))  # type: ignore[arg-type]
    store.put(f"trees/{checksum(body)}", body, replace=True)
    return checksum(body)


TOP = Entry(b"", FOLDER, 0o755)
HOSTILE = {
    "nothing": [],
    "no top": [Entry(b"file", FILE)],
    "a link as the top": [Entry(b"", LINK, target=b"x")],
    "up": [TOP, Entry(b"..", FOLDER)],
    "up below": [TOP, Entry(b"a", FOLDER), Entry(b"a/..", FOLDER)],
    "further up": [TOP, Entry(b"../x", FILE)],
    "absolute": [TOP, Entry(b"/etc/x", FILE)],
    "a dot": [TOP, Entry(b".", FILE)],
    "empty": [TOP, Entry(b"", FILE)],
    "a slash at the end": [TOP, Entry(b"a", FOLDER), Entry(b"a/", FILE)],
    "a zero": [TOP, Entry(b"a\0b", FILE)],
    "no parent": [TOP, Entry(b"a/b", FILE)],
    "a file as parent": [TOP, Entry(b"a", FILE), Entry(b"a/b", FILE)],
    "a link as parent": [TOP, Entry(b"a", LINK, target=b"."), Entry(b"a/b", FILE)],
    "twice": [TOP, Entry(b"a", LINK, target=b"."), Entry(b"a", FILE)],
    "a link up": [TOP, Entry(b"a", LINK, target=b"../x")],
    "an absolute link": [TOP, Entry(b"a", LINK, target=b"/etc")],
    "a link through a link": [
        TOP,
        Entry(b"s", FOLDER),
        Entry(b"s/d", LINK, target=b".."),
        Entry(b"s/a", LINK, target=b"d/../x"),
    ],
    "an empty link": [TOP, Entry(b"a", LINK)],
    "an unknown kind": [TOP, Entry(b"a", "device")],
    "a set-user-ID bit": [TOP, Entry(b"a", FILE, 0o4755)],
    "a wrong size": [TOP, Entry(b"a", FILE, 0, 5)],
    "a negative size": [TOP, Entry(b"a", FILE, 0, -5)],
    "a negative hole": [TOP, Entry(b"a", FILE, 0, 0, [Piece(5), Piece(-5)])],
    "a negative start": [TOP, Entry(b"a", FILE, 0, 5, [Piece(5, bytes(20), -5, bytes(20))])],
    "a huge chunk": [TOP, Entry(b"a", FILE, 0, 1 << 30, [Piece(1 << 30, bytes(20), 0, bytes(20))])],
    "a short name of a pack": [TOP, Entry(b"a", FILE, 0, 5, [Piece(5, b"../../x", 0, bytes(20))])],
    "a folder with contents": [TOP, Entry(b"a", FOLDER, 0, 5, [Piece(5)])],
}


class TestHostileManifests:
    @pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
    def test_it_is_refused_before_anything_is_made(
        self, trees: Trees, store: MemoryStore, tmp_path: Path, entries: list[Entry]
    ) -> None:
        name = crafted(store, entries)
        with pytest.raises(StorageError, match=f"trees/{name}: this is not a tree that was put here"):
            trees.get(name, tmp_path / "copy")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("body", [b"", b"\xc1", b"\x90", b"\x01", b"\x96" + b"\xff" * 10])
    def test_bytes_that_are_no_root_are_refused(
        self, trees: Trees, store: MemoryStore, tmp_path: Path, body: bytes
    ) -> None:
        store.put(f"trees/{checksum(body)}", body)
        with pytest.raises(StorageError, match="this is not a tree"):
            trees.get(checksum(body), tmp_path / "copy")

    def test_entries_that_break_off_are_refused(
        self, trees: Trees, store: MemoryStore, tmp_path: Path
    ) -> None:
        for stream in (packed(TOP)[:-1], packed(TOP) + b"\0", b"\xff" * 8):
            name = crafted(store, stream)
            with pytest.raises(StorageError, match="this is not a tree"):
                trees.get(name, tmp_path / "copy")

    def test_a_newer_format_says_so(self, trees: Trees, store: MemoryStore, tmp_path: Path) -> None:
        name = crafted(store, [TOP], format=FORMAT + 1)
        with pytest.raises(StorageError, match="newer version: pip install --upgrade"):
            trees.get(name, tmp_path / "copy")


class TestSweeping:
    def test_what_no_tree_refers_to_goes_and_the_rest_stays(
        self, trees: Trees, source: Path, tmp_path: Path
    ) -> None:
        (source / "file").write_bytes(noise(3_000_000))
        first = trees.put(source)
        (source / "file").write_bytes(noise(3_000_000) + b"more")
        second = trees.put(source, base=[first.id])
        (source / "file").write_bytes(noise(1_000_000, 9))
        third = trees.put(source)
        trees.delete(first.id)
        trees.delete(third.id)
        assert trees.sweep() == 0  # all of them could belong to somebody who is putting just now
        assert trees.sweep(age=-1) == 1
        with pytest.raises(BlobNotFoundError):
            trees.stat(first.id)
        trees.get(second.id, tmp_path / "copy")
        assert (tmp_path / "copy/file").read_bytes() == noise(3_000_000) + b"more"

    def test_a_pack_that_is_nearly_old_is_sent_again(
        self, trees: Trees, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (source / "file").write_bytes(noise(100_000))
        trees.put(source)
        assert trees.put(source).sent < 10_000
        monkeypatch.setattr(putting, "OLD", -10.0)
        assert trees.put(source).sent > 100_000
