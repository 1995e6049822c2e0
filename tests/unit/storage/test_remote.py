"""Stores at a URL: what is said when one is away, closed or confused, and what a bad line cannot do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest

from lightning.app.errors import (
    BlobNotFoundError,
    NotAllowedError,
    StorageDeniedError,
    StorageError,
    StoreUnreachableError,
    TryAgainError,
)
from lightning.app.storage.stores import arrival
from lightning.app.storage.stores.arrival import WINDOW
from lightning.app.storage.stores.remote import RemoteStore
from lightning.app.storage.stores.store import checksum
from lightning.app.storage.trees.trees import Trees
from lightning.app.testing.stores import noise
from tests.conformance import places
from tests.conformance.places import BadLine


@pytest.fixture(autouse=True)
def cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in places.CLOUD.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True, scope="module")
def threads() -> Iterator[None]:
    yield
    places.end_threads()


class Ranges(SimpleHTTPRequestHandler):
    """Python's file server, which knows of ranges here."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "").removeprefix("bytes=")
        file = Path(self.translate_path(self.path))
        if not asked or not file.is_file():
            super().do_GET()
            return
        start, _, end = asked.partition("-")
        body = file.read_bytes()[int(start) : int(end) + 1 if end else None]
        self.send_response(206 if body else 416)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Range", f"bytes {start}-{int(start) + len(body) - 1}/{file.stat().st_size}")
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """The test's output is its own."""


class NoRanges(SimpleHTTPRequestHandler):
    """Python's file server as it is: it sends all, whatever was asked for."""

    def log_message(self, *_: object) -> None:
        """The test's output is its own."""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


@pytest.fixture(params=[Ranges, NoRanges])
def web(site: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(request.param, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


class TestTheWeb:
    def test_a_file_of_the_web_is_fetched_and_read(self, web: int, site: Path, tmp_path: Path) -> None:
        content = noise(2 * WINDOW + 999)
        (site / "data.bin").write_bytes(content)
        store = RemoteStore(f"http://127.0.0.1:{web}")
        assert store.stat("data.bin").size == len(content)
        assert store.read("data.bin", 1000, 50) == content[1000:1050]
        store.get("data.bin", tmp_path / "copy", checksum=checksum(content))
        assert (tmp_path / "copy").read_bytes() == content

    def test_a_name_is_quoted_on_its_way(self, web: int, site: Path) -> None:
        (site / "a b#1?x=%20.bin").write_bytes(b"content")
        assert RemoteStore(f"http://127.0.0.1:{web}").read("a b#1?x=%20.bin") == b"content"

    def test_it_goes_on_over_a_bad_line(self, web: int, site: Path, tmp_path: Path) -> None:
        content = noise(WINDOW + 999)
        (site / "data.bin").write_bytes(content)
        with BadLine(web, kinds=("drop", "reset", "delay"), share=0.5) as line:
            line.after = 2 * WINDOW  # a connection may break off in the middle of the file
            for _ in range(10):
                store = RemoteStore(f"http://127.0.0.1:{line.port}")
                store.get("data.bin", tmp_path / "copy", checksum=checksum(content))
                assert (tmp_path / "copy").read_bytes() == content
        assert line.faults

    def test_what_is_not_there_names_itself(self, web: int, tmp_path: Path) -> None:
        store = RemoteStore(f"http://127.0.0.1:{web}/place")
        with pytest.raises(
            BlobNotFoundError, match=rf"http://127.0.0.1:{web}/place/no/such: it is not there"
        ):
            store.get("no/such", tmp_path / "copy")

    def test_it_can_only_be_read(self, web: int) -> None:
        store = RemoteStore(f"http://127.0.0.1:{web}")
        for use in (lambda: store.put("key", b"content"), lambda: store.delete("key")):
            with pytest.raises(StorageDeniedError, match="it can only be read"):
                use()


class Refusing(BaseHTTPRequestHandler):
    """A server that answers everything with one status."""

    protocol_version = "HTTP/1.1"  # who puts asks first whether he may go on
    status = 403

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_PUT = do_DELETE = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """The test's output is its own."""


class Secretive(Refusing):
    """S3 to somebody who may put and get, but not list: what is missing is forbidden."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def refusing(request: pytest.FixtureRequest) -> Iterator[int]:
    handler = getattr(request, "param", Refusing)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def s3_at(port: int, **more: object) -> RemoteStore:
    return RemoteStore("s3://bucket/prefix", endpoint_url=f"http://127.0.0.1:{port}", **more)  # type: ignore[arg-type]


class TestTroubles:
    def test_a_store_that_does_not_answer_is_named(self, tmp_path: Path) -> None:
        port = places.free_port()
        for store in (s3_at(port, patience=0.5), RemoteStore(f"http://127.0.0.1:{port}", patience=0.5)):
            with pytest.raises(
                StoreUnreachableError, match=r"key: the store does not answer.*look at the network"
            ) as it:
                store.get("key", tmp_path / "copy")
            assert isinstance(it.value, TryAgainError)
            assert str(it.value).startswith(store.url)

    def test_a_store_that_refuses_is_named_and_not_asked_again(self, refusing: int) -> None:
        for store in (s3_at(refusing), RemoteStore(f"http://127.0.0.1:{refusing}")):
            with pytest.raises(StorageDeniedError, match="key: permission denied") as it:
                store.read("key", 0, 5)
            assert isinstance(it.value, NotAllowedError)
        with pytest.raises(StorageDeniedError, match=r"s3://bucket/prefix/key: permission denied"):
            s3_at(refusing).put("key", b"content")

    @pytest.mark.parametrize("refusing", [Secretive], indirect=True)
    def test_who_may_not_list_can_put_all_the_same(self, refusing: int, tmp_path: Path) -> None:
        store = s3_at(refusing)
        assert store.put("key", b"content").size == 7
        (tmp_path / "file").write_bytes(b"content")
        assert Trees(store).put(tmp_path / "file").files == 1

    def test_missing_credentials_are_told(self, monkeypatch: pytest.MonkeyPatch, refusing: int) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            monkeypatch.delenv(name)
        with pytest.raises(StorageDeniedError, match="s3://bucket/prefix/key: there are no credentials"):
            s3_at(refusing).stat("key")

    def test_a_server_that_accepts_and_says_nothing_is_given_up(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            timeouts = {"connect_timeout": 0.3, "read_timeout": 0.3, "retries": {"max_attempts": 0}}
            store = s3_at(silent.getsockname()[1], patience=0.5, config_kwargs=timeouts)
            with pytest.raises(StoreUnreachableError, match="the store does not answer"):
                store.stat("key")


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    with places.s3() as port:
        yield port


class TestS3:
    def test_a_missing_bucket_is_told_apart_from_a_missing_blob(self, s3: int) -> None:
        store = RemoteStore(f"s3://no-such-{uuid4().hex}/x", endpoint_url=f"http://127.0.0.1:{s3}")
        with pytest.raises(BlobNotFoundError, match=r"the store itself is not there.+Create the bucket"):
            store.put("key", b"content")
        with pytest.raises(BlobNotFoundError, match="key: it is not there"):
            store.stat("key")
        assert list(store.list()) == []

    def test_a_tree_goes_both_ways_over_a_bad_line(self, s3: int, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.mkdir()
        for number in range(5):
            (source / str(number)).write_bytes(noise(7_000_000, number))
        with BadLine(s3, share=0.4, after=5_000_000, seed=3) as line:
            store = RemoteStore(f"s3://bucket/{uuid4().hex}", endpoint_url=f"http://127.0.0.1:{line.port}")
            places.make_bucket(s3)
            trees = Trees(store, threads=4)
            trees.get(trees.put(source).id, tmp_path / "copy")
        assert {"drop", "truncate", "reset", "delay"} & set(line.faults)
        for number in range(5):
            assert (tmp_path / f"copy/{number}").read_bytes() == noise(7_000_000, number)

    def test_a_transfer_that_is_cut_off_for_good_goes_on_later(
        self, s3: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(arrival, "WINDOW", 1 << 18)  # more windows than lanes
        places.make_bucket(s3)
        content, place = noise(40 << 18), f"s3://bucket/{uuid4().hex}"
        whole = RemoteStore(place, endpoint_url=f"http://127.0.0.1:{s3}")
        whole.put("key", content, checksum=checksum(content))

        with BadLine(s3) as line:
            line.share = 0.0
            store = RemoteStore(place, endpoint_url=f"http://127.0.0.1:{line.port}", patience=0.5)

            def cut(done: int, total: int | None) -> None:
                line.cut()

            with pytest.raises(StoreUnreachableError, match=r"What has arrived is kept"):
                store.get("key", tmp_path / "copy", progress=cut)
        told: list[int] = []
        whole.get("key", tmp_path / "copy", progress=lambda done, _: told.append(done))
        assert told[0] > 1 << 18
        assert (tmp_path / "copy").read_bytes() == content

    def test_a_store_is_used_after_a_fork(self, s3: int) -> None:
        places.make_bucket(s3)
        program = (
            "import os, sys\n"
            "from lightning.app.storage.stores.remote import RemoteStore\n"
            "store = RemoteStore(sys.argv[1], endpoint_url=sys.argv[2])\n"
            "store.put('before', b'content')\n"
            "child = os.fork()\n"
            "if not child:\n"
            "    store.put('after', store.read('before'))\n"
            "    os._exit(0)\n"
            "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) or store.read('after') != b'content')\n"
        )
        place, endpoint = f"s3://bucket/{uuid4().hex}", f"http://127.0.0.1:{s3}"
        ended = subprocess.run(
            [sys.executable, "-c", program, place, endpoint], env={**os.environ}, timeout=60
        )
        assert ended.returncode == 0


class TestAnyPlace:
    def test_a_place_without_whole_objects_gets_them_by_a_rename(self, tmp_path: Path) -> None:
        store = RemoteStore(f"file://{tmp_path}/store")

        def chunks() -> Iterator[bytes]:
            yield bytes(50_000_000)
            assert [each.name for each in tmp_path.iterdir()] == []
            yield b"end"

        store.put("key", chunks())
        assert [each.name for each in (tmp_path / "store").iterdir() if each.is_file()] == ["key"]

    def test_what_killed_writers_left_is_swept_when_it_is_old(self, tmp_path: Path) -> None:
        left = tmp_path / "store/.arriving"
        left.mkdir(parents=True)
        for name, age in (("old", 100_000), ("new", 10)):
            (left / name).write_bytes(b"")
            at = (tmp_path.stat().st_mtime - age,) * 2
            os.utime(left / name, at)
        RemoteStore(f"file://{tmp_path}/store").put("key", b"content")
        assert [each.name for each in left.iterdir()] == ["new"]

    def test_deleting_and_putting_side_by_side_loses_nothing(self, tmp_path: Path) -> None:
        store = RemoteStore(f"file://{tmp_path}/store")

        def work(number: int) -> None:
            for turn in range(20):
                store.put(f"folder/{number}", b"%d" % turn)
                assert store.read(f"folder/{number}") == b"%d" % turn
                store.delete(f"folder/{number}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert list(store.list()) == []

    def test_something_in_the_way_is_named(self, tmp_path: Path) -> None:
        store = RemoteStore(f"file://{tmp_path}/store")
        store.put("one", b"")
        store.put("two/within", b"")
        for key in ("one/within", "two"):
            with pytest.raises(StorageError, match=f"store/{key}: there is something already"):
                store.put(key, b"")
