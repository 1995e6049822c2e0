"""A folder that all components of an app share by its id.

What one `put` brings is a tree in the app's store, and a note that says whose it is and where in the drive it lies.
The note is written last: a file or folder is in the drive as a whole or not at all. Notes are blobs below
``drives/ID/``, each named by its path in the drive and by who has the place: the component that put it, where each
may have its own (``allow_duplicates``), or else whoever comes first. That the store keeps one of two such blobs is
all that decides between writers.

What was put may lie within one another: a folder that was put as one, and files that were put into it later. The
newest that covers a path counts, with what was put below it since.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec

from lightning.app.config import guess
from lightning.app.errors import BlobConflictError, BlobNotFoundError, UsageError
from lightning.app.kernel import values
from lightning.app.storage.home import component, current
from lightning.app.storage.progress import reported, waiting
from lightning.app.storage.stores.arrival import make_folder
from lightning.app.storage.stores.store import Store, Trouble, named
from lightning.app.storage.trees.comparing import is_same
from lightning.app.storage.trees.manifest import FOLDER, Entry, part_of, shown
from lightning.app.storage.trees.trees import Trees

SCHEME = "lit://"
WHOLE = "."
"""The path of all that a drive holds."""

_PREFIX = "drives/"
_FORMAT = 1
_MARK = "="  # begins the last part of a note's key, and no other part
_RESERVED = set("/\\%=")
_LONGEST_NAME = 100
_FEW = 4  # notes are read one after another
_THREADS = 8
_LISTED = 8  # names in an error
_SHORTEST, _LONGEST = 0.02, 1.0  # seconds between two looks for what is not there yet
_REMEDY = "A drive takes and gives what is in its root_folder: name a path in there, or give it another one"


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


@dataclass(frozen=True, repr=False)
class Drive:
    """A folder that the components of an app share, whichever machines they run on.

    >>> drive = Drive("lit://checkpoints")
    >>> drive.put("model.pt")            # in one work
    >>> drive.list()                     # in any other, or in a flow
    ['model.pt']
    >>> drive.get("model.pt")

    Paths are relative: here to ``root_folder``, by default the process's current folder, and the same in the drive.
    A name belongs to the component that put it first, until it is deleted. With ``allow_duplicates`` each component
    may put its own file of the same name, and `get` brings the newest, or that of ``component_name``.
    """

    id: str
    allow_duplicates: bool = False
    root_folder: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id.startswith(SCHEME):
            bucket = isinstance(self.id, str) and "://" in self.id
            hint = ". To read what is in a bucket, mount it: Mount(source=...)" if bucket else ""
            raise UsageError(
                f"Drive({self.id!r}): the id of a drive begins with 'lit://', as in 'lit://data'{hint}"
            )
        name = self.name
        wrong = name in ("", ".", "..") or not name.isprintable() or _RESERVED & set(name)
        if wrong or len(name.encode()) > _LONGEST_NAME:
            raise UsageError(
                f"Drive({self.id!r}): behind 'lit://' comes one name, as in 'lit://data', of at most "
                f"{_LONGEST_NAME} letters and without any of / \\ % ="
            )
        if not isinstance(self.allow_duplicates, bool):
            raise UsageError(
                f"Drive({self.id!r}, allow_duplicates={self.allow_duplicates!r}): it must be True or False"
            )
        if self.root_folder is not None:
            root = _text(self.root_folder)
            if not root:
                raise UsageError(
                    f"Drive({self.id!r}, root_folder={self.root_folder!r}): it must be the path of a folder, or None"
                )
            object.__setattr__(self, "root_folder", root)

    def __repr__(self) -> str:
        more = ", allow_duplicates=True" if self.allow_duplicates else ""
        more += f", root_folder={self.root_folder!r}" if self.root_folder is not None else ""
        return f"Drive({self.id!r}{more})"

    @property
    def name(self) -> str:
        return self.id.removeprefix(SCHEME)

    @property
    def component_name(self) -> str:
        """In whose name files are put from here: "root" in a flow, empty outside an app."""
        return component()

    def put(self, path: str | os.PathLike[str]) -> None:
        """Bring a file or a folder to the drive, where it is as a whole when this returns.

        Of what is put again only what has changed is sent. It takes the place of what this component had put there.
        Links within a folder stay links; one that points out of it is refused.
        """
        source, place = self._here(path, "put")
        real, home = os.path.realpath(source), os.path.realpath(current().folder)
        if _is_in(real, home):
            raise UsageError(
                f"{self}.put({os.fspath(path)!r}): {source} holds the files that the app itself keeps. Put what is "
                "wanted of it, or give the drive a root_folder of its own"
            )
        store, me = current().store, component()
        known = self._notes(store, place)
        self._refuse_others(place, known)
        mine = [(key, note) for key, note in known if note.component == me]
        with reported(f"{self.id} {place}") as progress:
            tree = Trees(store).put(
                source, base=[note.tree for _, note in mine if _covers(note.path, place)], progress=progress
            )
        now = max(
            [time.time(), *(note.time + 1e-6 for _, note in known)]
        )  # clocks differ: newer is what comes later
        note = Note(_FORMAT, me, place, tree.id, tree.size, tree.files, os.path.isdir(real), now)
        new = self._prefix(place) + (f"{_MARK}of {me}" if self.allow_duplicates else f"{_MARK}one")
        self._write(store, new, note)
        for key, old in mine:
            if key != new and _covers(place, old.path):
                store.delete(key)

    def list(self, path: str | os.PathLike[str] = WHOLE, component_name: str | None = None) -> list[str]:
        """The files at and below ``path``, by the paths that `get` takes; one component's, if it is named."""
        place = self._place(path, "list")
        return self._files(current().store, place, component_name)

    def get(
        self,
        path: str | os.PathLike[str],
        component_name: str | None = None,
        timeout: float | None = None,
        overwrite: bool = False,
    ) -> None:
        """Bring a file or a folder from the drive to the same path here, where it appears as a whole.

        With a ``timeout`` what is not there yet is waited for, so many seconds. What is here already stays, which is
        an error if it is not the same, unless ``overwrite`` says that it is to be replaced.
        """
        target, place = self._here(path, "get")
        timed = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout >= 0
        if timeout is not None and not timed:
            raise UsageError(
                f"{self}.get({os.fspath(path)!r}, timeout={timeout!r}): it must be a number of seconds, or None"
            )
        store, until = current().store, time.monotonic() + (timeout or 0)
        before, pause = None, _SHORTEST
        with waiting(f"{self.id}: waiting for {place}{_of(component_name)}") as still:
            while True:
                notes = self._layers(store, place, component_name)
                try:
                    if entries := _laid(store, notes, place):
                        break
                except FileNotFoundError:  # replaced or deleted just now
                    if notes == before:
                        raise
                    before = notes
                    continue
                left = until - time.monotonic()
                if left <= 0:
                    raise self._missing(store, place, component_name, timeout)
                still()
                time.sleep(min(left, pause))
                pause = min(_LONGEST, pause * 1.3)
        self._bring(store, notes, entries, place, target, overwrite)

    def delete(self, path: str | os.PathLike[str]) -> None:
        """Take a file or a folder out of the drive, whoever has put it; with ``allow_duplicates``, one's own.

        What others have fetched stays with them.
        """
        place = self._place(path, "delete")
        store, mine = current().store, component() if self.allow_duplicates else None
        known = [each for each in self._notes(store, place) if mine is None or each[1].component == mine]
        gone = [key for key, note in known if _covers(place, note.path)]
        for key in gone:
            store.delete(key)
        if gone:
            return
        notes = [note for _, note in known]
        if _laid(store, notes, place):
            raise BlobConflictError(
                f"{self.id}: {place} was put as a part of {notes[-1].path}. Nothing was deleted: delete "
                f"{notes[-1].path!r}, or put that folder again without it"
            )
        raise self._missing(store, place, mine, None)

    # -- paths ------------------------------------------------------------------------------------

    def _place(self, path: str | os.PathLike[str], what: str) -> str:
        """``path`` as the drive knows it."""
        called = f"{self}.{what}({path!r})"
        given = _text(path)
        if not given or "\0" in given:
            raise UsageError(f"{called}: write the path of a file or a folder")
        root = self._root()
        if os.path.isabs(given):
            above = next((each for each in (root, os.path.realpath(root)) if _is_in(each, given)), None)
            if above is None:
                raise UsageError(f"{called}: it is not in {root}. {_REMEDY}")
            given = given[len(above) :]
        parts = [part for part in given.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise UsageError(f"{called}: by '..' it could leave {root}. {_REMEDY}")
        return "/".join(parts) or WHOLE

    def _here(self, path: str | os.PathLike[str], what: str) -> tuple[Path, str]:
        """Where ``path`` is on this machine, and in the drive."""
        place = self._place(path, what)
        root = self._root()
        if place == WHOLE and self.root_folder is None:
            raise UsageError(
                f"{self}.{what}({path!r}): that is all of {root}. Name what is wanted of it, or give the drive a "
                "folder of its own: Drive(..., root_folder='data')"
            )
        local = Path(root, place)
        real = os.path.realpath(local if what == "put" else local.parent)
        if place != WHOLE and not _is_in(os.path.realpath(root), real):
            raise UsageError(
                f"{self}.{what}({os.fspath(path)!r}): a link leads from there to {real}, which is not in {root}. {_REMEDY}"
            )
        return local, place

    def _root(self) -> str:
        return os.path.abspath(self.root_folder or os.curdir)

    def _prefix(self, place: str) -> str:
        """What the keys of all notes at and below ``place`` begin with."""
        parts = [] if place == WHOLE else [_quoted(part) for part in place.split("/")]
        return "/".join([f"{_PREFIX}{self.name}", *parts, ""])

    # -- notes ------------------------------------------------------------------------------------

    def _notes(self, store: Store, place: str) -> list[tuple[str, Note]]:
        """The notes at, above and below ``place``, with their keys, the oldest first."""
        keys = [stat.key for each in _above(place) for stat in store.list(f"{self._prefix(each)}{_MARK}")]
        keys += [stat.key for stat in store.list(self._prefix(place))]
        if len(keys) <= _FEW:
            read: Iterable[Note | None] = (_read(store, key) for key in keys)
        else:
            with ThreadPoolExecutor(_THREADS, thread_name_prefix="storage") as pool:
                read = list(pool.map(lambda key: _read(store, key), keys))
        found = [(key, note) for key, note in zip(keys, read, strict=True) if note is not None]
        return sorted(found, key=lambda each: (each[1].time, each[0]))

    def _layers(self, store: Store, place: str, component_name: str | None) -> list[Note]:
        """What was put at, above and below ``place``, the oldest first; by one component, if it is named."""
        return [
            note
            for _, note in self._notes(store, place)
            if component_name is None or note.component == component_name
        ]

    def _files(self, store: Store, place: str, component_name: str | None) -> list[str]:
        while True:
            notes = self._layers(store, place, component_name)
            try:
                entries = _laid(store, notes, place)
            except FileNotFoundError:  # replaced or deleted just now
                if notes == self._layers(store, place, component_name):
                    raise
                continue
            return sorted(_joined(place, shown(entry.path)) for entry in entries if entry.kind != FOLDER)

    def _refuse_others(self, place: str, known: Iterable[tuple[str, Note]]) -> None:
        """An error if somebody else has the place, or a part of it, where there can be but one."""
        for _, note in known:
            if not self.allow_duplicates and note.component != component():
                raise self._taken(place, note)

    def _write(self, store: Store, key: str, note: Note) -> None:
        while (known := _read(store, key)) is None:
            with suppress(BlobConflictError):
                store.put(key, _encode(note))
            if _read(store, key) == note:
                return
        if known.component != note.component:
            raise self._taken(note.path, known)
        store.put(key, _encode(note), replace=True)

    def _taken(self, place: str, note: Note) -> BlobConflictError:
        what = (
            "it"
            if note.path == place
            else f"{note.path}, which is {'above' if _covers(note.path, place) else 'in'} it,"
        )
        return BlobConflictError(
            f"{self.id}: {_who()} cannot put {place}: {_who(note.component)} has put {what} already. Nothing was "
            "changed: choose another name, delete the old one first, or let each component have its own with "
            "Drive(..., allow_duplicates=True)"
        )

    def _missing(
        self, store: Store, place: str, component_name: str | None, timeout: float | None
    ) -> BlobNotFoundError:
        """The error, with what there is."""
        said = f"{self.id}: {place}{_of(component_name)} "
        said += f"has not come within {timeout:g} seconds" if timeout else "is not there"
        files = self._files(store, WHOLE, component_name)
        if files:
            folders = {above for file in files for above in _above(file)} - {WHOLE}
            more = f" and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
            return BlobNotFoundError(
                f"{said}{guess(place, [*files, *sorted(folders)])}. What is there: {', '.join(files[:_LISTED])}{more}"
            )
        names = sorted({note.component for _, note in self._notes(store, WHOLE)})
        if component_name is None or not names:
            return BlobNotFoundError(
                f"{said}: the drive is empty. Put it first, or wait for it with timeout=..."
            )
        return BlobNotFoundError(
            f"{said}: {component_name} has put nothing{guess(component_name, names)}. Those who have: "
            f"{', '.join(_who(each) for each in names)}"
        )

    # -- what arrives -----------------------------------------------------------------------------

    def _bring(
        self, store: Store, notes: list[Note], entries: list[Entry], place: str, target: Path, overwrite: bool
    ) -> None:
        if not overwrite and os.path.lexists(target):
            if is_same(entries, target):
                return
            raise BlobConflictError(
                f"{self.id}: {place} cannot come to {target}: there is something else already. Nothing was changed: "
                "remove it, give the drive another root_folder, or let it be replaced with overwrite=True"
            )
        try:
            make_folder(target.parent)
        except OSError as err:
            raise named(target.parent, err) from err
        makers = ", ".join(dict.fromkeys(_who(note.component) for note in notes))
        identity = " ".join([place, *(f"{note.path} {note.tree}" for note in notes)])
        with reported(f"{self.id} {place} from {makers}") as progress:
            Trees(store).make(entries, identity, target, overwrite=overwrite, progress=progress)


def trees_in_use(store: Store) -> Iterator[str]:
    """The ids of the trees that drives refer to: whoever frees trees leaves these."""
    for stat in store.list(_PREFIX):
        note = _read(store, stat.key)
        if note is not None:
            yield note.tree


def _laid(store: Store, notes: Iterable[Note], place: str) -> list[Entry]:
    """What is at ``place``, as the entries of one tree: what the notes brought, each laid over those before."""
    view: dict[bytes, Entry] = {}
    trees = Trees(store)
    for note in notes:
        entries = trees.entries(note.tree)
        top = b""
        if note.path != place and _covers(note.path, place):
            inner = os.path.relpath(place, note.path)
            entries = part_of(entries, os.fsencode(inner), note.path)
        elif note.path != place:
            top = os.fsencode(os.path.relpath(note.path, place))
        if not entries:
            continue
        _clear(view, top)
        for entry in entries:
            path = b"/".join(each for each in (top, entry.path) if each)
            view[path] = msgspec.structs.replace(entry, path=path) if top else entry
    return [view[path] for path in sorted(view)]


def _clear(view: dict[bytes, Entry], top: bytes) -> None:
    """Make room for what comes to ``top``: nothing is there, and all above are folders."""
    for path in [path for path in view if not top or path == top or path.startswith(top + b"/")]:
        del view[path]
    above = top
    while above:
        above = above.rpartition(b"/")[0]
        if above not in view or view[above].kind != FOLDER:
            view[above] = Entry(above, FOLDER, 0o755)


def _read(store: Store, key: str) -> Note | None:
    try:
        body = store.read(key)
    except FileNotFoundError:
        return None
    try:
        return _decode(body)
    except msgspec.DecodeError as err:
        raise Trouble.CHECKSUM.of(f"{store.url}: {key}", err) from err


def _covers(one: str, other: str) -> bool:
    """Whether the path ``other`` is ``one``, or below it."""
    return one == WHOLE or one == other or other.startswith(f"{one}/")


def _above(place: str) -> list[str]:
    """The folders that ``place`` is in, the outermost first."""
    parts = place.split("/")
    return [] if place == WHOLE else [WHOLE, *("/".join(parts[:end]) for end in range(1, len(parts)))]


def _joined(place: str, inner: str) -> str:
    return "/".join(each for each in (place, inner) if each not in ("", WHOLE))


def _is_in(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _quoted(part: str) -> str:
    """A file's name as a part of a key."""
    text = "".join(
        each if each.isprintable() and each not in "\\%" else quote(os.fsencode(each)) for each in part
    )
    return f"%3D{text[1:]}" if text.startswith(_MARK) else text


def _text(path: object) -> str:
    given = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    return given if isinstance(given, str) else ""


def _who(name: str | None = None) -> str:
    name = component() if name is None else name
    return name or "a program outside the app"


def _of(component_name: str | None) -> str:
    return "" if component_name is None else f" of {component_name}"


values.register(
    "drive",
    Drive,
    lambda drive: [drive.id, drive.allow_duplicates, drive.root_folder],
    lambda plain: Drive(*plain),
)
