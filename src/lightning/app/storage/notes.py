"""What a drive holds: a note of each `put`, and what several of them come to when they lie within one another.

A note is a blob below ``drives/NAME/``, named by its path in the drive and by who has the place there: the component
that put it, where each may have its own, or else whoever comes first. That a store keeps one of two such blobs is
all that decides between writers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import quote

import msgspec

from lightning.app.errors import BlobConflictError
from lightning.app.storage.stores.store import Store, Trouble
from lightning.app.storage.trees.manifest import FOLDER, Entry, part_of, shown
from lightning.app.storage.trees.trees import Trees

WHOLE = "."
"""The path of all that a drive holds."""

FORMAT = 1

_PREFIX = "drives/"
_MARK = "="  # begins the last part of a note's key, and no other part
_LONGEST_PATH, _LONGEST_PART = 600, 200
_FEW = 4  # notes are read one after another
_THREADS = 8


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What one `put` has brought."""

    format: int
    component: str
    path: str  # in the drive
    tree: str
    size: int
    files: int
    folder: bool
    time: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Note).decode


class Notes:
    """The notes of one drive in a store."""

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._trees = Trees(store)
        self._name = name

    def at(self, place: str, component: str | None = None) -> list[tuple[str, Note]]:
        """Those at, above and below ``place`` with their keys, the oldest first; one component's, if it is named."""
        store = self._store
        keys = [stat.key for each in above(place) for stat in store.list(f"{self._prefix(each)}{_MARK}")]
        keys += [stat.key for stat in store.list(self._prefix(place))]
        if len(keys) <= _FEW:
            read: Iterable[Note | None] = (_read(store, key) for key in keys)
        else:
            with ThreadPoolExecutor(_THREADS, thread_name_prefix="storage") as pool:
                read = list(pool.map(lambda key: _read(store, key), keys))
        found = [(key, note) for key, note in zip(keys, read, strict=True) if note is not None]
        found = [each for each in found if component is None or each[1].component == component]
        return sorted(found, key=lambda each: (each[1].time, each[0]))

    def view(self, place: str, component: str | None = None) -> tuple[list[Note], list[Entry]]:
        """The notes that have to do with ``place``, and what they come to there, as the entries of one tree."""
        before = None
        while True:
            notes = [note for _, note in self.at(place, component)]
            try:
                return notes, self._laid(notes, place)
            except FileNotFoundError:
                if notes == before:  # so it was not replaced or deleted just now
                    raise
                before = notes

    def files(self, place: str, component: str | None = None) -> list[str]:
        entries = self.view(place, component)[1]
        return sorted(_joined(place, shown(entry.path)) for entry in entries if entry.kind != FOLDER)

    def key(self, place: str, owner: str | None) -> str:
        """Of the note of ``owner`` at ``place``; None is whoever comes first."""
        return self._prefix(place) + (f"{_MARK}one" if owner is None else f"{_MARK}of {owner}")

    def write(self, key: str, note: Note) -> Note:
        """Write a note, in place of an older one by the same component. Gives the one that is there now."""
        store = self._store
        while (known := _read(store, key)) is None:
            with suppress(BlobConflictError):
                store.put(key, _encode(note))
            if _read(store, key) == note:
                return note
        if known.component != note.component:
            return known
        store.put(key, _encode(note), replace=True)
        return note

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def _prefix(self, place: str) -> str:
        """What the keys of all notes at and below ``place`` begin with."""
        parts = [] if place == WHOLE else [_quoted(part) for part in place.split("/")]
        return "/".join([f"{_PREFIX}{self._name}", *parts, ""])

    def _laid(self, notes: Iterable[Note], place: str) -> list[Entry]:
        """What each note has brought, laid over what those before it have."""
        view: dict[bytes, Entry] = {}
        for note in notes:
            entries = self._trees.entries(note.tree)
            top = b""
            if note.path != place and covers(note.path, place):
                entries = part_of(entries, os.fsencode(os.path.relpath(place, note.path)))
            elif note.path != place:
                top = os.fsencode(os.path.relpath(note.path, place))
            if not entries:
                continue
            _clear(view, top)
            for entry in entries:
                path = b"/".join(each for each in (top, entry.path) if each)
                view[path] = msgspec.structs.replace(entry, path=path) if top else entry
        return [view[path] for path in sorted(view)]


def trees_in_use(store: Store) -> Iterator[str]:
    """The ids of the trees that drives refer to: whoever frees trees leaves these."""
    for stat in store.list(_PREFIX):
        note = _read(store, stat.key)
        if note is not None:
            yield note.tree


def covers(one: str, other: str) -> bool:
    """Whether the path ``other`` is ``one``, or below it."""
    return one in (WHOLE, other) or other.startswith(f"{one}/")


def above(place: str) -> list[str]:
    """The folders that ``place`` is in, the outermost first."""
    parts = place.split("/")
    return [] if place == WHOLE else [WHOLE, *("/".join(parts[:end]) for end in range(1, len(parts)))]


def unfit(place: str) -> str:
    """Why there can be no note at ``place``; empty if there can."""
    try:
        longest = max(len(_quoted(part).encode()) for part in place.split("/"))
        whole = len(place.encode())
    except UnicodeEncodeError:
        return "its name is no text"
    if longest > _LONGEST_PART or whole > _LONGEST_PATH:
        return f"a path in a drive has at most {_LONGEST_PATH} letters, and each name in it {_LONGEST_PART}"
    return ""


def _clear(view: dict[bytes, Entry], top: bytes) -> None:
    """Make room for what comes to ``top``: nothing is there, and all above are folders."""
    for path in [path for path in view if not top or path == top or path.startswith(top + b"/")]:
        del view[path]
    while top:
        top = top.rpartition(b"/")[0]
        if top not in view or view[top].kind != FOLDER:
            view[top] = Entry(top, FOLDER, 0o755)


def _read(store: Store, key: str) -> Note | None:
    try:
        body = store.read(key)
    except FileNotFoundError:
        return None
    try:
        return _decode(body)
    except msgspec.DecodeError as err:
        raise Trouble.CHECKSUM.of(f"{store.url}: {key}", err) from err


def _joined(place: str, inner: str) -> str:
    return "/".join(each for each in (place, inner) if each not in ("", WHOLE))


def _quoted(part: str) -> str:
    """A file's name as a part of a key."""
    text = "".join(each if each.isprintable() and each not in "\\%" else quote(each) for each in part)
    return f"%3D{text[1:]}" if text.startswith(_MARK) else text
