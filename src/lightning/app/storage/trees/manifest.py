"""What is written down of a tree: its folders, files and links, and where the chunks of the files lie.

A manifest may come from anywhere. What it names is checked before anything is made of it: no path leaves the
tree, nothing lies below a link, no link points out, and the chunks of a file add up to it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

import msgspec

from lightning.app.errors import StorageError, UsageError
from lightning.app.storage.stores.store import DIGEST
from lightning.app.storage.trees.cutting import LARGEST

FORMAT = 1
FOLDER, FILE, LINK = "d", "f", "l"
INLINE = 1 << 16  # bytes of entries that are as well kept in the root itself


class Piece(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A part of a file: a chunk in a pack, or a hole."""

    length: int
    pack: bytes = b""  # none: a hole
    start: int = 0
    digest: bytes = b""


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A folder, file or link of a tree."""

    path: bytes  # relative; empty for the tree itself
    kind: str
    mode: int = 0  # permission bits
    size: int = 0
    pieces: list[Piece] = []
    target: bytes = b""  # of a link


class Root(msgspec.Struct, array_like=True, frozen=True):
    """What a tree's name stands for."""

    format: int
    size: int  # of all files together
    files: int
    content: bytes  # the same for the same content, however it came into the store
    entries: bytes  # themselves, if they are few
    pieces: list[Piece]  # else where they lie


def tree_key(name: str) -> str:
    if len(name) != 2 * DIGEST or not set(name) <= set("0123456789abcdef"):
        raise UsageError(f"{name!r} is not the name of a tree: those are {2 * DIGEST} digits of 0-9 and a-f")
    return f"trees/{name}"


def pack_key(name: bytes) -> str:
    return f"packs/{name.hex()[:2]}/{name.hex()}"


_encode = msgspec.msgpack.Encoder().encode
_entry = msgspec.msgpack.Decoder(Entry).decode
_root = msgspec.msgpack.Decoder(Root).decode


def packed(entry: Entry) -> bytes:
    body = _encode(entry)
    return len(body).to_bytes(4, "big") + body


def sealed(root: Root) -> bytes:
    return _encode(root)


def opened(body: bytes, where: str) -> Root:
    """The root in ``body``."""
    try:
        root = _root(body)
    except msgspec.DecodeError as err:
        raise _damaged(where, str(err)) from err
    if root.format != FORMAT:
        raise StorageError(
            f"{where}: it was written by a newer version: pip install --upgrade lightning-apps"
        )
    for piece in root.pieces:
        _check_piece(piece, where, hole=False)
    return root


def unpacked(stream: bytes, where: str) -> list[Entry]:
    """The entries in ``stream``, every one of them checked."""
    return list(_checked(_entries(stream, where), where))


def part_of(entries: Iterable[Entry], part: bytes) -> list[Entry]:
    """What is at and below ``part``, as the entries of a tree of its own; none if nothing is."""
    return [
        msgspec.structs.replace(entry, path=entry.path[len(part) + 1 :])
        for entry in entries
        if entry.path == part or entry.path.startswith(part + b"/")
    ]


def content(entry: Entry) -> bytes:
    """What an entry says, wherever its chunks lie."""
    pieces = [(piece.length, piece.digest) for piece in entry.pieces]
    return _encode((entry.path, entry.kind, entry.mode, entry.size, pieces, entry.target))


def inside(link: bytes, target: bytes) -> bool:
    """Whether a link at ``link`` that says ``target`` stays in its tree, whatever the other links say.

    It may go up first, out of real folders, and then down: after a name that could be a link itself, ``..`` could
    lead anywhere.
    """
    if not target or target.startswith(b"/") or b"\0" in target:
        return False
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    ups = next((at for at, part in enumerate(parts) if part != b".."), len(parts))
    return b".." not in parts[ups:] and ups <= link.count(b"/")


def shown(path: bytes) -> str:
    """For people, whatever bytes a name is made of."""
    return path.decode(errors="backslashreplace")


def _entries(stream: bytes, where: str) -> Iterator[Entry]:
    view, at = memoryview(stream), 0
    try:
        while at < len(view):
            end = at + 4 + int.from_bytes(view[at : at + 4], "big")
            if end > len(view):
                raise _damaged(where, "it breaks off")
            yield _entry(view[at + 4 : end])
            at = end
    except msgspec.DecodeError as err:
        raise _damaged(where, str(err)) from err


def _checked(entries: Iterable[Entry], where: str) -> Iterator[Entry]:
    seen: dict[bytes, str] = {}
    for entry in entries:
        path = entry.path
        if not seen:
            right = path == b"" and entry.kind in (FOLDER, FILE)
        else:
            parent = posixpath.dirname(path)
            right = (
                seen.get(parent) == FOLDER
                and path not in seen
                and posixpath.basename(path) not in (b"", b".", b"..")
                and b"\0" not in path
                and not path.startswith(b"/")
                and (entry.kind in (FOLDER, FILE) or (entry.kind == LINK and inside(path, entry.target)))
            )
        if not right:
            raise _damaged(where, f"the entry {shown(path)!r} would not stay in the tree")
        seen[path] = entry.kind
        if entry.mode & ~0o777 or entry.size < 0 or (entry.pieces and entry.kind != FILE):
            raise _damaged(where, f"the entry {shown(path)!r} is none that was ever put")
        total = 0
        for piece in entry.pieces:
            _check_piece(piece, where, hole=True)
            total += piece.length
        if total != entry.size:
            raise _damaged(where, f"the parts of {shown(path)!r} do not add up")
        yield entry
    if not seen:
        raise _damaged(where, "it is empty")


def _check_piece(piece: Piece, where: str, *, hole: bool) -> None:
    if piece.pack:
        right = (
            len(piece.pack) == len(piece.digest) == DIGEST
            and 0 < piece.length <= LARGEST
            and piece.start >= 0
        )
    else:
        right = hole and piece.length > 0
    if not right:
        raise _damaged(where, "a chunk is none that was ever put")


def _damaged(where: str, detail: str) -> StorageError:
    return StorageError(
        f"{where}: this is not a tree that was put here, or it is damaged ({detail}). Nothing was made of it: "
        "put it again"
    )
