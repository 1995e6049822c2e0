"""Which store a word of the configuration means."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lightning.app.errors import UsageError
from lightning.app.storage.stores.file import FileStore
from lightning.app.storage.stores.store import Store


def open_store(url: str | None, default_folder: Path) -> Store:
    """The store at ``url``: a folder, or anything that fsspec reads; without one, ``default_folder``.

    Nothing is asked of it yet: a store that does not answer says so when it is used.

    >>> open_store(None, Path("/data/store")).url
    'file:///data/store'
    >>> open_store("s3://bucket/prefix", Path("/data/store")).url
    's3://bucket/prefix'
    """
    if not url:
        return FileStore(default_folder)
    folder = folder_at(url)
    if folder is not None:
        return FileStore(folder)
    if "://" not in url:
        raise UsageError(f"{url!r} is no URL of a store; write one as 's3://bucket/prefix', or name a folder")
    from lightning.app.storage.stores.remote import RemoteStore  # only those who have one pay for it

    return RemoteStore(url)


def folder_at(url: str) -> Path | None:
    """The folder of this machine that a URL or a path names, if it names one."""
    if url.startswith("file:"):
        return Path(unquote(urlsplit(url).path))
    return None if re.match(r"[A-Za-z][\w+.-]+:", url) else Path(url)


def check(url: str) -> None:
    """An error if there is no such kind of store, or if it needs what is not installed. Asks nothing of the store."""
    if folder_at(url) is None:
        from lightning.app.storage.stores import remote

        remote.check(url)
