"""Forgetting trees that nobody has a use for any more, and what they alone had in the store."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

from lightning.app.storage.notes import trees_in_use
from lightning.app.storage.stores.store import Store
from lightning.app.storage.trees.manifest import tree_key
from lightning.app.storage.trees.putting import OLD
from lightning.app.storage.trees.trees import Trees
from lightning.app.storage.versions import newest_of_all

YOUNG = 3600.0
"""Seconds after which a tree that nobody refers to is forgotten: one that was put again may be told of soon."""


def forget(store: Store, trees: Iterable[str], *, young: float = YOUNG, old: float = OLD) -> set[str]:
    """Delete these trees, but those that a name or a drive of the store refers to, and those put lately.

    Those are given back: ask again. Then packs are deleted that no tree has a part in.
    """
    asked = {*trees}
    kept = asked & {*trees_in_use(store), *newest_of_all(store)}
    for name in asked - kept:
        with suppress(FileNotFoundError):
            if store.stat(tree_key(name)).modified > time.time() - young:
                kept.add(name)
            else:
                Trees(store).delete(name)
    if asked - kept:
        Trees(store).sweep(age=old)
    return kept
