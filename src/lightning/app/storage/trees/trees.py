"""Files and folders in a store, by content: what two versions have in common is sent and kept once.

A tree is a file or a folder with all that is in it. Its chunks (``cutting.py``) lie side by side in *packs* of
some megabytes, so that a hundred thousand small files are a few dozen blobs; its *root* tells what lies where
(``manifest.py``). Both are named by what they hold. The root is put last: a tree is there as a whole or not at all.

A tree arrives at its target by one rename. Killed on either side, the next attempt goes on: packs that are there
are not sent again, chunks that are there are not fetched again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lightning.app.errors import StorageError
from lightning.app.storage.stores.arrival import Arrival
from lightning.app.storage.stores.store import Progress, Store, Trouble, checksum
from lightning.app.storage.trees.getting import Getting, chunk
from lightning.app.storage.trees.manifest import (
    FOLDER,
    LINK,
    Entry,
    Root,
    inside,
    opened,
    pack_key,
    shown,
    tree_key,
    unpacked,
)
from lightning.app.storage.trees.putting import OLD, Putting

THREADS = 8


class Tree(NamedTuple):
    """A tree in a store."""

    id: str  # by which it is fetched
    content: str  # the same for the same content, also in another store
    size: int  # bytes of all files
    files: int
    sent: int = 0  # bytes that went to the store when it was put


class Trees:
    """The trees of a store.

    >>> trees = Trees(FileStore("/data/store"))
    >>> first = trees.put(Path("checkpoints"))
    >>> second = trees.put(Path("checkpoints"), base=[first.id])    # sends what has changed
    >>> trees.get(second.id, Path("copy"))
    """

    def __init__(self, store: Store, *, threads: int = THREADS) -> None:
        self.store = store
        self._threads = threads

    def put(self, source: Path, *, base: Iterable[str] = (), progress: Progress | None = None) -> Tree:
        """Put a file or folder. Chunks that the trees in ``base`` have are not sent; a ``base`` that is gone is
        no error. What ``source`` links to is put if ``source`` itself is a link.
        """
        with Putting(self.store, self._threads) as putting:
            for name in base:
                try:
                    root, entries = self._open(name)
                except FileNotFoundError:
                    continue
                putting.learn(root.pieces)
                for entry in entries:
                    putting.learn(entry.pieces)
            name, root = putting.put(Path(os.path.realpath(source)), progress)
            return _tree(name, root, putting.sent)

    def get(
        self, name: str, target: Path, *, overwrite: bool = False, progress: Progress | None = None
    ) -> Tree:
        """Make ``target`` the tree: all of it appears at once, or none. ``overwrite``: in place of what is there."""
        root, entries = self._open(name)
        self.make(entries, name, target, overwrite=overwrite, progress=progress)
        return _tree(name, root)

    def make(
        self,
        entries: Sequence[Entry],
        identity: str,
        target: Path,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Make ``target`` of these entries, of one tree or of several, as `get` does.

        ``identity`` tells what comes of them: who makes the same again goes on where it broke off.
        """
        target = target.absolute()
        if not overwrite and os.path.lexists(target):
            raise Trouble.OCCUPIED.of(target)
        for entry in entries:
            if entry.kind == LINK and not (entry.path and inside(entry.path, entry.target)):
                raise StorageError(
                    f"{target / shown(entry.path)} would be a link to {shown(entry.target)}, which is not in {target}: "
                    "get the folder that has both"
                )
        with Arrival(target, f"{self.store.url} {identity}", folder=entries[0].kind == FOLDER) as coming:
            Getting(self.store, self._threads, coming, entries, progress).get()
            coming.land(overwrite=overwrite)

    def stat(self, name: str) -> Tree:
        """What is known of a tree without fetching it."""
        return _tree(name, self._root(name))

    def entries(self, name: str) -> list[Entry]:
        """What is in a tree, folders before what is in them."""
        return self._open(name)[1]

    def delete(self, name: str) -> None:
        """Forget a tree, for everybody: who has put the very same one holds the same id. Its packs stay until
        `sweep`: other trees may have chunks in them.
        """
        self.store.delete(tree_key(name))

    def sweep(self, *, age: float = OLD) -> int:
        """Delete the packs that no tree refers to; how many. One younger than ``age`` may belong to a tree that
        is being put just now.
        """
        packs = [stat for stat in self.store.list("packs/") if 0 < stat.modified < time.time() - age]
        if not packs:
            return 0
        used = set[str]()
        for stat in self.store.list("trees/"):
            try:
                root, entries = self._open(stat.key.rpartition("/")[2])
            except FileNotFoundError:  # deleted just now
                continue
            for pieces in (root.pieces, *(entry.pieces for entry in entries)):
                used.update(pack_key(piece.pack) for piece in pieces if piece.pack)
        unused = [stat.key for stat in packs if stat.key not in used]
        for key in unused:
            self.store.delete(key)
        return len(unused)

    def _root(self, name: str) -> Root:
        where = self._where(name)
        body = self.store.read(tree_key(name))
        if checksum(body) != name:
            raise Trouble.CHECKSUM.of(where)
        return opened(body, where)

    def _open(self, name: str) -> tuple[Root, list[Entry]]:
        root = self._root(name)
        stream = root.entries or b"".join(chunk(self.store, piece, tree_key(name)) for piece in root.pieces)
        return root, unpacked(stream, self._where(name))

    def _where(self, name: str) -> str:
        return f"{self.store.url}: {tree_key(name)}"


def _tree(name: str, root: Root, sent: int = 0) -> Tree:
    return Tree(name, root.content.hex(), root.size, root.files, sent)
