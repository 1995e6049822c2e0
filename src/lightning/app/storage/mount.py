"""A folder of a work's machine that shows what lies elsewhere: the value that a user writes.

What it does when the work starts is in ``mounts/``.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lightning.app.config import place
from lightning.app.errors import StorageError, UsageError
from lightning.app.kernel import values
from lightning.app.storage.stores.opening import check


@dataclass(frozen=True, repr=False)
class Mount:
    """Files of a bucket, to be read in a work as if they were on its machine.

    >>> CloudCompute(mounts=Mount(source="s3://bucket/images/", mount_path="./images"))

    ``source`` is any URL that fsspec reads, or a folder of this machine. The files are there before ``on_start``,
    and cannot be written to. What was fetched once is not fetched again unless it has changed at its source.
    """

    source: str
    mount_path: str | os.PathLike[str]

    def __post_init__(self) -> None:
        source = self.source if isinstance(self.source, str) else ""
        if not source.strip():
            raise UsageError(
                f"Mount(source={self.source!r}): it must be a URL such as 's3://bucket/', or a folder"
            )
        if source.startswith("lit://"):
            raise UsageError(
                f"Mount(source={source!r}): what components make is not mounted. Share files with a Drive, or pass a Path"
            )
        with suppress(StorageError):  # what is not installed here may be where it is mounted
            check(place(source, f"Mount(source={source!r})", Path.cwd()))
        path = os.fspath(self.mount_path) if isinstance(self.mount_path, str | os.PathLike) else None
        if not isinstance(path, str) or not path.strip() or "\0" in path or "://" in path:
            raise UsageError(
                f"Mount({source!r}, mount_path={self.mount_path!r}): it must be where the files are to be seen, such "
                "as './data'"
            )
        if os.path.normpath(path) in ("/", ".", "..") or ".." in Path(path).parts:
            raise UsageError(
                f"Mount({source!r}, mount_path={path!r}): it must be a folder of its own, such as './data', named "
                "without '..'"
            )
        object.__setattr__(self, "mount_path", path)

    def __repr__(self) -> str:
        return f"Mount(source={self.source!r}, mount_path={self.mount_path!r})"


values.register("mount", Mount, lambda mount: [mount.source, mount.mount_path], lambda plain: Mount(*plain))
