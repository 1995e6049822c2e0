"""Which store a word of the configuration means, and what is said when it means none."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from lightning.app.errors import StorageError, UsageError
from lightning.app.storage.stores import remote
from lightning.app.storage.stores.file import FileStore
from lightning.app.storage.stores.opening import check, open_store
from lightning.app.storage.stores.remote import RemoteStore


def test_without_a_word_it_is_the_default(tmp_path: Path) -> None:
    for nothing in (None, ""):
        store = open_store(nothing, tmp_path)
        assert isinstance(store, FileStore)
        assert store.url == f"file://{tmp_path}"


def test_a_folder_may_be_a_path_or_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    words = ("/data/store", "file:///data/store", "file:///data/a%20store", "store", "./a b:c", "~/store")
    assert [open_store(word, tmp_path).url for word in words] == [
        "file:///data/store",
        "file:///data/store",
        "file:///data/a store",
        f"file://{tmp_path}/store",
        f"file://{tmp_path}/a b:c",
        "file:///home/somebody/store",
    ]


def test_a_url_is_fsspecs(tmp_path: Path) -> None:
    store = open_store("memory://place", tmp_path)
    assert isinstance(store, RemoteStore)
    store.put("key", b"content")
    again = pickle.loads(pickle.dumps(store))
    assert (again.url, again.read("key")) == ("memory://place", b"content")


def test_an_unknown_kind_of_storage_says_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"abffs://box: there is no kind of storage 'abffs' \(did you mean 'abfs'\?\)"
    ):
        open_store("abffs://box", tmp_path)


def test_a_url_without_slashes_is_not_taken_for_one(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="'s3:bucket' is no URL of a store; write one as 's3://bucket/prefix'"
    ):
        open_store("s3:bucket", tmp_path)


def test_a_missing_package_names_its_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = import_module("fsspec.registry")._registry  # what other tests have loaded
    for protocol in list(known):
        monkeypatch.delitem(known, protocol)
    for url, extra in (
        ("s3://bucket/x", "aws"),
        ("gs://b", "gcs"),
        ("abfs://b", "azure"),
        ("https://h/x", "http"),
    ):
        for package in ("s3fs", "gcsfs", "adlfs", "fsspec.implementations.http"):
            monkeypatch.setitem(sys.modules, package, None)
        said = rf"needs a package that is not installed: pip install 'lightning-apps\[{extra}\]'"
        with pytest.raises(StorageError, match=said):
            open_store(url, tmp_path)


def test_what_a_store_needs_is_checked_without_asking_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for there in (
        str(tmp_path / "gone"),
        f"file://{tmp_path}",
        "s3://no-such-bucket",
        "gs://bucket",
        "memory://",
    ):
        check(there)
    with pytest.raises(UsageError, match="there is no kind of storage 's4'"):
        check("s4://bucket")
    monkeypatch.setattr(remote, "find_spec", lambda package: None)
    for url, extra in (
        ("s3://bucket", "aws"),
        ("gcs://bucket", "gcs"),
        ("az://bucket", "azure"),
        ("https://a/b", "http"),
    ):
        with pytest.raises(
            StorageError, match=rf"{url} needs a package.*pip install 'lightning-apps\[{extra}\]'"
        ):
            check(url)


def test_a_password_in_a_url_is_not_shown(tmp_path: Path) -> None:
    assert RemoteStore("https://user:secret@host/path").url == "https://host/path"


def test_a_store_in_a_folder_costs_no_import_of_a_cloud() -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lightning.app.storage.stores.opening import open_store\n"
        "from lightning.app.storage.trees.trees import Trees\n"
        "Trees(open_store(None, Path('x')))\n"
        "print([name for name in ('fsspec', 'pyfastcdc', 'aiohttp', 's3fs', 'asyncio') if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
