"""Whether a place already has what a tree would bring: then nothing needs to be fetched, or put in its place."""

from __future__ import annotations

import os
import stat as modes
from collections.abc import Iterable
from pathlib import Path

from lightning.app.storage.trees.cutting import LARGEST, digest
from lightning.app.storage.trees.manifest import FILE, FOLDER, Entry

_KINDS = {modes.S_IFREG: FILE, modes.S_IFDIR: FOLDER}


def is_same(entries: Iterable[Entry], place: Path) -> bool:
    """Whether the same files, folders and links are at ``place``, with the same contents, and no others."""
    top = os.fsencode(place)
    told = {entry.path: entry for entry in entries}
    try:
        if any(not _is(os.path.join(top, path) if path else top, entry) for path, entry in told.items()):
            return False
        return all(
            os.path.relpath(os.path.join(folder, name), top) in told
            for folder, folders, files in os.walk(top)
            for name in (*folders, *files)
        )
    except OSError:  # it changes, or cannot be read
        return False


def _is(place: bytes, entry: Entry) -> bool:
    there = os.lstat(place)
    if modes.S_ISLNK(there.st_mode):
        return os.readlink(place) == entry.target
    if _KINDS.get(modes.S_IFMT(there.st_mode)) != entry.kind:
        return False
    if entry.kind != FILE:
        return True
    if there.st_size != entry.size:
        return False
    at = 0
    with open(place, "rb", buffering=0) as file:
        for piece in entry.pieces:
            if piece.pack:
                if digest(os.pread(file.fileno(), piece.length, at)) != piece.digest:
                    return False
            elif any(
                any(os.pread(file.fileno(), min(LARGEST, at + piece.length - start), start))
                for start in range(at, at + piece.length, LARGEST)
            ):
                return False
            at += piece.length
    return True
