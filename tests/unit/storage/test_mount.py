"""Mounts: the files of a source in a folder, fetched once, and gone when nobody needs them."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lightning.app.core.compute import CloudCompute
from lightning.app.errors import (
    BlobConflictError,
    BlobNotFoundError,
    StorageDeniedError,
    StorageError,
    StoreUnreachableError,
    UsageError,
)
from lightning.app.kernel import values
from lightning.app.storage import mounts
from lightning.app.storage.home import Home
from lightning.app.storage.mount import Mount
from lightning.app.storage.mounts import cache
from lightning.app.storage.stores import arrival
from lightning.app.storage.stores.remote import RemoteStore
from tests.conformance import places
from tests.conformance.places import BadLine

Bucket = tuple[str, RemoteStore]


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    with places.s3() as port:
        places.make_bucket(port)
        yield port


@pytest.fixture(autouse=True, scope="module")
def threads() -> Iterator[None]:
    yield
    places.end_threads()


@pytest.fixture
def line(s3: int) -> Iterator[BadLine]:
    with BadLine(s3, share=0.0) as line:
        yield line


@pytest.fixture
def bucket(line: BadLine, s3: int, monkeypatch: pytest.MonkeyPatch, run_home: Home) -> Bucket:
    """A place in a bucket to mount, as a URL, and as a store by which to put something there."""
    for name, value in {**places.CLOUD, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{line.port}"}.items():
        monkeypatch.setenv(name, value)
    url = f"s3://bucket/{uuid4().hex}"
    return f"{url}/", RemoteStore(url, endpoint_url=f"http://127.0.0.1:{s3}")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The objects that were fetched, in order."""
    fetched: list[str] = []
    get = RemoteStore.get

    def noted(store: RemoteStore, key: str, file: Path, **more: Any) -> Any:
        fetched.append(key)
        return get(store, key, file, **more)

    monkeypatch.setattr(RemoteStore, "get", noted)
    return fetched


def seen(mount: Mount) -> dict[str, str]:
    """What a work sees in its mount."""
    with mounts.shown([mount]):
        top = Path(mount.mount_path)
        return {str(each.relative_to(top)): each.read_text() for each in _files(top)}


def _files(top: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(top):
        for name in names:
            yield Path(folder, name)


class TestValue:
    def test_it_is_a_value_equal_by_what_it_says(self) -> None:
        mount = Mount(source="s3://bucket/", mount_path="/foo")
        assert mount == Mount("s3://bucket/", Path("/foo"))
        assert repr(mount) == "Mount(source='s3://bucket/', mount_path='/foo')"
        assert values.unpack(values.pack(mount)) == mount
        assert pickle.loads(pickle.dumps(mount)) == mount

    def test_a_machine_takes_one_or_several(self) -> None:
        one, other = Mount("s3://bucket/", "/foo"), Mount("gs://bucket/a", "./b")
        assert CloudCompute(mounts=one).mounts == (one,)
        compute = CloudCompute(mounts=[one, other])
        assert values.unpack(values.pack(compute)) == compute

    def test_two_mounts_of_one_path_are_refused(self) -> None:
        with pytest.raises(UsageError, match="mounts must be mounts of different mount_paths"):
            CloudCompute(mounts=[Mount("s3://bucket/", "foo"), Mount("s3://other/", "./foo/")])

    @pytest.mark.parametrize(
        ("source", "path", "said"),
        [
            ("", "/foo", r"Mount\(source=''\): it must be a URL such as 's3://bucket/'"),
            (3, "/foo", "it must be a URL"),
            ("lit://drive", "/foo", "Share files with a Drive"),
            ("s3:/bucket", "/foo", "is no URL"),
            ("s3://key:secret@bucket/", "/foo", "has a name or a password in it"),
            ("s4://bucket/", "/foo", "there is no kind of storage 's4'"),
            ("s3://bucket/", "", "it must be where the files are to be seen"),
            ("s3://bucket/", None, "it must be where the files are to be seen"),
            ("s3://bucket/", "s3://other/", "it must be where the files are to be seen"),
            ("s3://bucket/", ".", "a folder of its own"),
            ("s3://bucket/", "/", "a folder of its own"),
            ("s3://bucket/", "../foo", "named without '..'"),
        ],
    )
    def test_what_makes_no_sense_is_refused_at_once(self, source: Any, path: Any, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            Mount(source, path)


class TestBucket:
    def test_its_files_are_seen_and_can_only_be_read(self, bucket: Bucket) -> None:
        url, store = bucket
        store.put("a", b"1")
        store.put("deep/in/b c", b"2")
        mount = Mount(url, "./data")
        with mounts.shown([mount]):
            assert Path("data/a").read_text() == "1"
            assert Path("data/deep/in/b c").read_text() == "2"
            assert os.stat("data/a").st_mode & 0o777 == 0o444
            assert sorted(os.listdir("data")) == ["a", "deep"]
        assert not os.path.lexists("data")

    def test_nothing_is_fetched_twice(self, bucket: Bucket, asked: list[str]) -> None:
        url, store = bucket
        for name in "abc":
            store.put(name, name.encode())
        mount = Mount(url, "data")
        assert seen(mount) == {"a": "a", "b": "b", "c": "c"}
        assert sorted(asked) == ["a", "b", "c"]
        store.put("b", b"B", replace=True)  # as long as it was
        store.put("d", b"d")
        store.delete("c")
        assert seen(mount) == {"a": "a", "b": "B", "d": "d"}
        assert sorted(asked[3:]) == ["b", "d"]
        assert seen(mount) == {"a": "a", "b": "B", "d": "d"}
        assert len(asked) == 5

    def test_what_was_removed_here_is_fetched_anew(self, bucket: Bucket, asked: list[str]) -> None:
        url, store = bucket
        store.put("a/b", b"x")
        mount = Mount(url, "data")
        seen(mount)
        (file,) = Path(".lightning/mounts").rglob("a/b")
        file.unlink()
        assert seen(mount) == {"a/b": "x"}
        assert len(asked) == 2

    def test_a_fetch_that_broke_off_goes_on_where_it_was(
        self, bucket: Bucket, line: BadLine, asked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url, store = bucket
        for name in "abcdefgh":
            store.put(name, name.encode())
        monkeypatch.setattr(cache, "_THREADS", 1)
        rename = os.replace

        def full(source: Any, target: Any) -> None:
            if str(target).endswith("/e"):
                raise OSError(28, "No space left on device")
            rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(cache.os, "replace", full)
            with pytest.raises(StorageError, match="/e: there is no space"):
                seen(Mount(url, "data"))
        assert not os.path.lexists("data")
        first = len(asked)
        assert seen(Mount(url, "data")) == {name: name for name in "abcdefgh"}
        assert "a" not in asked[first:]

    def test_over_a_bad_line_everything_arrives(self, bucket: Bucket, line: BadLine) -> None:
        url, store = bucket
        for number in range(20):
            store.put(f"n/{number}", b"%d" % number * 10_000)
        line.share = 0.5
        assert seen(Mount(url, "data")) == {f"n/{number}": f"{number}" * 10_000 for number in range(20)}
        assert line.faults

    def test_a_source_that_cannot_be_reached_is_named(
        self, bucket: Bucket, line: BadLine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url, store = bucket
        store.put("a", b"1")
        line.cut()
        monkeypatch.setattr("lightning.app.storage.stores.remote._TRIES", 2)
        with pytest.raises(StoreUnreachableError, match=f"{url}.*does not answer"):
            seen(Mount(url, "data"))
        assert not os.path.lexists("data")

    def test_where_nothing_is_it_says_so(self, bucket: Bucket) -> None:
        for url in (bucket[0], "s3://no-such-bucket/"):
            with pytest.raises(
                BlobNotFoundError, match=r"there is nothing at s3://.*Look at the name of the bucket"
            ):
                seen(Mount(url, "data"))

    def test_a_file_is_no_source(self, bucket: Bucket) -> None:
        url, store = bucket
        store.put("a", b"1")
        with pytest.raises(UsageError, match=r"the source is a file. Mount the folder that it is in"):
            seen(Mount(f"{url}a", "data"))

    def test_objects_that_no_file_can_be_called_are_left_out_and_named(
        self, bucket: Bucket, capsys: pytest.CaptureFixture[str]
    ) -> None:
        url, store = bucket
        store.put("a", b"1")
        store.put("both", b"a file")
        store.put("both/and", b"in a folder of that name")
        filesystem, root = store._fs, url.removeprefix("s3://").rstrip("/")
        filesystem.pipe_file(f"{root}/up/../../../out", b"!")
        filesystem.pipe_file(f"{root}/empty/", b"")
        assert seen(Mount(url, "data")) == {"a": "1", "both/and": "in a folder of that name"}
        told = capsys.readouterr().err
        assert "2 of 4 objects are left out" in told
        assert "'both', 'up/../../../out'" in told

    def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(
        self, bucket: Bucket, asked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url, store = bucket
        store.put("a", b"1" * 1000)
        monkeypatch.setattr(arrival, "free_at", lambda place: 10)
        with pytest.raises(StorageError, match=r"there is no space.*1\.0 kB to go, 10 bytes free"):
            seen(Mount(url, "data"))
        assert asked == []

    def test_of_two_works_one_fetches_and_the_other_waits(self, bucket: Bucket) -> None:
        url, store = bucket
        for number in range(30):
            store.put(f"{number}", b"x" * 1000)
        code = f"""
import sys
from pathlib import Path
from lightning.app.storage import mounts
from lightning.app.storage.mount import Mount
from lightning.app.storage.stores.remote import RemoteStore
get, fetched = RemoteStore.get, []
RemoteStore.get = lambda store, key, file, **more: (fetched.append(key), get(store, key, file, **more))[1]
with mounts.shown([Mount({url!r}, sys.argv[1])]):
    assert len(list(Path(sys.argv[1]).iterdir())) == 30
print(len(fetched))
"""
        started = [
            subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
            for path in ("one", "same", "same")
        ]
        counts = [int(each.communicate()[0]) for each in started]
        assert sorted(counts) == [0, 0, 30]
        assert not os.path.lexists("same")


class TestFolder:
    def test_a_folder_of_this_machine_is_seen_without_a_copy(self, run_home: Home) -> None:
        os.makedirs("source")
        for source in ("source", "./source/", os.path.abspath("source"), f"file://{os.getcwd()}/source"):
            with mounts.shown([Mount(source, "data")]):
                Path("source/a").write_text(source)
                assert Path("data/a").read_text() == source

    def test_a_folder_that_is_not_there_is_named(self, run_home: Home) -> None:
        with pytest.raises(BlobNotFoundError, match=r"there is no folder .*/source. Correct the source"):
            seen(Mount("source", "data"))


class TestLink:
    @pytest.fixture(autouse=True)
    def _sources(self, run_home: Home) -> None:
        for name in ("one", "two"):
            os.makedirs(name)
            Path(name, "name").write_text(name)

    @pytest.fixture
    def hold(self) -> Callable[[Mount], ExitStack]:
        def hold(mount: Mount) -> ExitStack:
            held = ExitStack()
            held.enter_context(mounts.shown([mount]))
            return held

        return hold

    def test_it_stays_until_the_last_is_through(self, hold: Callable[[Mount], ExitStack]) -> None:
        first, second = hold(Mount("one", "a/b/data")), hold(Mount("one", "a/b/data"))
        first.close()
        assert Path("a/b/data/name").read_text() == "one"
        second.close()
        assert not os.path.lexists("a/b/data")

    def test_one_path_shows_one_source(self, hold: Callable[[Mount], ExitStack]) -> None:
        with hold(Mount("one", "data")):
            with pytest.raises(
                BlobConflictError, match=r"another work that runs has .* there.*choose another mount_path"
            ):
                hold(Mount("two", "data"))
            assert Path("data/name").read_text() == "one"
        assert seen(Mount("two", "data")) == {"name": "two"}

    @pytest.mark.parametrize("there", ["folder", "file", "link"])
    def test_what_is_there_already_is_left_alone(self, there: str) -> None:
        if there == "folder":
            os.makedirs("data")
        elif there == "file":
            Path("data").write_text("mine")
        else:
            os.symlink("one", "data")
        before = os.lstat("data")
        with pytest.raises(
            BlobConflictError, match=r"something already at .*/data, which is not ours.*such as './data'"
        ):
            seen(Mount("two", "data"))
        assert os.path.samestat(os.lstat("data"), before)

    def test_a_place_that_this_user_may_not_write_to_is_named(self) -> None:
        with pytest.raises(StorageDeniedError, match=r"/proc/foo cannot be made: .*such as './foo'"):
            seen(Mount("one", "/proc/foo"))

    def test_links_that_the_killed_have_left_are_taken_away(self, run_home: Home) -> None:
        code = """
import os, signal
from lightning.app.storage import mounts
from lightning.app.storage.mount import Mount
with mounts.shown([Mount("one", "data")]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
        subprocess.run([sys.executable, "-c", code], check=False)
        assert os.readlink("data").endswith("/files")
        with mounts.shown([Mount("two", "other")]):
            mounts.sweep(run_home)
            assert not os.path.lexists("data")
            assert Path("other/name").read_text() == "two"

    def test_a_link_that_the_killed_have_left_is_made_anew(self) -> None:
        code = """
import os, signal
from lightning.app.storage import mounts
from lightning.app.storage.mount import Mount
with mounts.shown([Mount("one", "data")]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
        subprocess.run([sys.executable, "-c", code], check=False)
        assert seen(Mount("two", "data")) == {"name": "two"}
        assert not os.path.lexists("data")

    def test_the_link_of_an_app_in_another_folder_is_its_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hold: Callable[[Mount], ExitStack]
    ) -> None:
        place = str(tmp_path / "shared place")
        other = Home("two", tmp_path / "elsewhere/.lightning/runs/two", tmp_path / "memory")
        with hold(Mount("one", place)):
            other.folder.mkdir(parents=True)
            with monkeypatch.context() as patch:
                patch.setattr(mounts, "current", lambda: other)
                with pytest.raises(BlobConflictError, match="another work that runs has"):
                    hold(Mount("two", place))
        with monkeypatch.context() as patch:
            patch.setattr(mounts, "current", lambda: other)
            assert seen(Mount("two", place)) == {"name": "two"}
