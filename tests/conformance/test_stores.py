"""Every store keeps the same promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from lightning.app.storage.cache import CachingStore
from lightning.app.storage.stores.file import FileStore
from lightning.app.storage.stores.memory import MemoryStore
from lightning.app.storage.stores.remote import RemoteStore
from lightning.app.testing.stores import OpenStore, StoreContract
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


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    with places.s3() as port:
        places.make_bucket(port)
        yield port


@pytest.fixture(scope="module")
def gcs() -> Iterator[int]:
    with places.gcs() as port:
        yield port


def at_s3(port: int, place: str, **more: Any) -> RemoteStore:
    return RemoteStore(f"s3://{place}", endpoint_url=f"http://127.0.0.1:{port}", **more)


def at_gcs(port: int, place: str, **more: Any) -> RemoteStore:
    return RemoteStore(f"gs://{place}", endpoint_url=f"http://127.0.0.1:{port}", token="anon", **more)


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        store = MemoryStore()
        return lambda: store


class TestFileStore(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path_factory: pytest.TempPathFactory) -> OpenStore:
        folder = tmp_path_factory.mktemp("store")
        return lambda: FileStore(folder / "made when it is needed")


class TestCachingStore(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path_factory: pytest.TempPathFactory) -> OpenStore:
        folder = tmp_path_factory.mktemp("store")
        return lambda: CachingStore(FileStore(folder / "source"), folder / "cache")


class TestFsspecFile(StoreContract):
    keeps_checksums = False

    @pytest.fixture
    def open_store(self, tmp_path_factory: pytest.TempPathFactory) -> OpenStore:
        folder = tmp_path_factory.mktemp("store")
        return lambda: RemoteStore(f"file://{folder}")


class TestFsspecMemory(StoreContract):
    keeps_checksums = False

    @pytest.fixture
    def open_store(self) -> OpenStore:
        name = uuid4().hex
        return lambda: RemoteStore(f"memory://{name}")


class TestS3(StoreContract):
    @pytest.fixture
    def open_store(self, s3: int) -> OpenStore:
        place = f"bucket/{uuid4().hex}/and/a/prefix"
        return lambda: at_s3(s3, place)


# gcsfs sends bytes of any size in one piece; aiohttp finds that worth a warning from 1 MB on.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
class TestGcs(StoreContract):
    @pytest.fixture
    def open_store(self, gcs: int) -> OpenStore:
        place = f"bucket/{uuid4().hex}"
        return lambda: at_gcs(gcs, place)


class TestS3OverABadLine(StoreContract):
    @pytest.fixture
    def line(self, s3: int) -> Iterator[BadLine]:
        with BadLine(s3) as line:
            yield line

    @pytest.fixture
    def open_store(self, line: BadLine) -> OpenStore:
        place = f"bucket/{uuid4().hex}"
        return lambda: at_s3(line.port, place)

    def test_the_line_is_bad(self, line: BadLine, store: RemoteStore) -> None:
        line.share = 0.7
        for number in range(12):
            store.put(str(number), bytes(30_000))
            assert store.read(str(number)) == bytes(30_000)
        assert set(line.faults) == {"drop", "reset", "truncate", "delay"}
