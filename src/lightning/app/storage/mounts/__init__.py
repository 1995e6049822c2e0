"""What a ``Mount`` does on this machine: a cache of its source, and a link to that from where a work wants it.

All runs in a folder share what is in ``.lightning/mounts``. Nothing in there is needed: it can be deleted while no
app runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.app.storage.home import Home, current

if TYPE_CHECKING:
    from lightning.app.storage.mount import Mount


def folder_of(home: Home) -> Path:
    """Where the runs beside that of ``home`` keep what they mount."""
    runs = home.folder.parent
    return (runs.parent if runs.name == "runs" else runs) / "mounts"


@contextmanager
def shown(mounts: Iterable[Mount]) -> Iterator[None]:
    """See to it that the files of each source are where its mount says, for as long as somebody needs them."""
    from lightning.app.storage.mounts.cache import filled  # most works mount nothing
    from lightning.app.storage.mounts.links import linked

    folder = folder_of(current())
    with ExitStack() as held:
        for mount in mounts:
            held.enter_context(linked(mount, filled(mount, folder), folder))
        yield


def sweep(home: Home) -> None:
    """Take away the links that works left when they were killed. Those of live runs stay."""
    folder = folder_of(home)
    if folder.exists():
        from lightning.app.storage.mounts.links import sweep

        sweep(folder)
