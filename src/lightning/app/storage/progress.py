"""Telling how far a transfer is, where it takes longer than a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.app.storage.stores.store import Progress

QUIET = 1.0
"""Seconds that a transfer may take without a word."""

EVERY = 2.0


@contextmanager
def reported(what: str) -> Iterator[Progress]:
    """Give a transfer somebody to tell: ``with reported("lit://data from root.train") as progress``."""
    began = said = time.monotonic()

    def progress(done: int, total: int | None) -> None:
        nonlocal said
        now = time.monotonic()
        if now - began < QUIET or (now - said < EVERY and said != began):
            return
        said = now
        share = f"{done / total:.0%} of {total / 1e6:,.0f} MB" if total else f"{done / 1e6:,.0f} MB"
        print(f"{what}: {share}, {done / (now - began) / 1e6:,.0f} MB/s", file=sys.stderr)

    yield progress
