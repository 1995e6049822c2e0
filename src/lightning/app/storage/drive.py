"""A folder that all components of an app share by its id.

What one `put` brings is a tree in the app's store, and a note (``notes.py``) that says whose it is and where in the
drive it lies. The note is written last: a file or folder is in the drive as a whole or not at all.

What was put may lie within one another: a folder that was put as one, and files that were put into it later. The
newest that covers a path counts, with what was put below it since.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning.app.config import guess
from lightning.app.errors import BlobConflictError, BlobNotFoundError, UsageError
from lightning.app.kernel import values
from lightning.app.storage.home import component, current
from lightning.app.storage.notes import FORMAT, WHOLE, Note, Notes, above, covers, unfit
from lightning.app.storage.progress import reported, waiting
from lightning.app.storage.trees.comparing import is_same
from lightning.app.storage.trees.manifest import Entry
from lightning.app.storage.trees.trees import Trees

SCHEME = "lit://"

_RESERVED = set("/\\%=")
_LONGEST_NAME = 100
_LISTED = 8  # names in an error
_SHORTEST, _LONGEST = 0.02, 1.0  # seconds between two looks for what is not there yet
_REMEDY = "A drive takes and gives what is in its root_folder: name a path in there, or give it another one"


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
        if not os.path.exists(source):
            beside = os.listdir(source.parent) if source.parent.is_dir() else []
            raise BlobNotFoundError(
                f"{self.id}: {place} cannot be put: there is no {source}{guess(source.name, beside)}"
            )
        real, home = os.path.realpath(source), os.path.realpath(current().folder)
        if _is_in(real, home):
            raise UsageError(
                f"{self}.put({os.fspath(path)!r}): {source} holds the files that the app itself keeps. Put what is "
                "wanted of it, or give the drive a root_folder of its own"
            )
        me, notes, store = component(), self._notes(), current().store
        known = notes.at(place)
        self._refuse_others(place, (note for _, note in known))
        mine = [(key, note) for key, note in known if note.component == me]
        base = [note.tree for _, note in mine if covers(note.path, place)]
        with reported(f"{self.id} {place}") as progress:
            tree = Trees(store).put(source, base=base, progress=progress)
        now = max(
            [time.time(), *(note.time + 1e-6 for _, note in known)]
        )  # clocks differ: what comes later is newer
        note = Note(FORMAT, me, place, tree.id, tree.size, tree.files, os.path.isdir(real), now)
        key = notes.key(place, me if self.allow_duplicates else None)
        self._refuse_others(place, [notes.write(key, note)])
        for old, covered in mine:
            if old != key and covers(place, covered.path):
                notes.delete(old)

    def list(self, path: str | os.PathLike[str] = WHOLE, component_name: str | None = None) -> list[str]:
        """The files at and below ``path``, by the paths that `get` takes; one component's, if it is named."""
        place = self._place(path, "list")
        return self._notes().files(place, component_name)

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
        until, pause, contents = time.monotonic() + (timeout or 0), _SHORTEST, self._notes()
        with waiting(f"{self.id}: waiting for {place}{_of(component_name)}") as still:
            while True:
                notes, entries = contents.view(place, component_name)
                left = until - time.monotonic()
                if entries:
                    break
                if left <= 0:
                    raise self._missing(place, component_name, timeout)
                still()
                time.sleep(min(left, pause))
                pause = min(_LONGEST, pause * 1.3)
        self._bring(notes, entries, place, target, overwrite)

    def delete(self, path: str | os.PathLike[str]) -> None:
        """Take a file or a folder out of the drive, whoever has put it; with ``allow_duplicates``, one's own.

        What others have fetched stays with them.
        """
        place = self._place(path, "delete")
        contents, whose = self._notes(), component() if self.allow_duplicates else None
        gone = [key for key, note in contents.at(place, whose) if covers(place, note.path)]
        for key in gone:
            contents.delete(key)
        if gone:
            return
        notes, entries = contents.view(place, whose)
        if entries:
            raise BlobConflictError(
                f"{self.id}: {place} was put as a part of {notes[-1].path}. Nothing was deleted: delete "
                f"{notes[-1].path!r}, or put that folder again without it"
            )
        raise self._missing(place, whose, None)

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
        place = "/".join(parts) or WHOLE
        if wrong := unfit(place):
            raise UsageError(f"{called}: {wrong}. Choose another name, or take the folder that it is in")
        return place

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

    # -- what is there ----------------------------------------------------------------------------

    def _notes(self) -> Notes:
        return Notes(current().store, self.name)

    def _refuse_others(self, place: str, notes: Iterable[Note]) -> None:
        """An error if somebody else has the place, or a part of it, where there can be but one."""
        for note in notes:
            if not self.allow_duplicates and note.component != component():
                raise self._taken(place, note)

    def _taken(self, place: str, note: Note) -> BlobConflictError:
        what = (
            "it"
            if note.path == place
            else f"{note.path}, which is {'above' if covers(note.path, place) else 'in'} it,"
        )
        return BlobConflictError(
            f"{self.id}: {_who()} cannot put {place}: {_who(note.component)} has put {what} already. Nothing was "
            "changed: choose another name, delete the old one first, or let each component have its own with "
            "Drive(..., allow_duplicates=True)"
        )

    def _missing(self, place: str, component_name: str | None, timeout: float | None) -> BlobNotFoundError:
        """The error, with what there is."""
        notes = self._notes()
        said = f"{self.id}: {place}{_of(component_name)} "
        said += f"has not come within {timeout:g} seconds" if timeout else "is not there"
        files = notes.files(WHOLE, component_name)
        if files:
            folders = {folder for file in files for folder in above(file)} - {WHOLE}
            more = f" and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
            return BlobNotFoundError(
                f"{said}{guess(place, [*files, *sorted(folders)])}. What is there: {', '.join(files[:_LISTED])}{more}"
            )
        names = sorted({note.component for _, note in notes.at(WHOLE)})
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
        self, notes: Sequence[Note], entries: Sequence[Entry], place: str, target: Path, overwrite: bool
    ) -> None:
        if not overwrite and os.path.lexists(target):
            if is_same(entries, target):
                return
            raise BlobConflictError(
                f"{self.id}: {place} cannot come to {target}: there is something else already. Nothing was changed: "
                "remove it, give the drive another root_folder, or let it be replaced with overwrite=True"
            )
        makers = ", ".join(dict.fromkeys(_who(note.component) for note in notes))
        identity = " ".join([place, *(f"{note.path} {note.tree}" for note in notes)])
        with reported(f"{self.id} {place} from {makers}") as progress:
            Trees(current().store).make(entries, identity, target, overwrite=overwrite, progress=progress)


def _is_in(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


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
