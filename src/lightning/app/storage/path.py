"""Files and folders between components: ``self.model = Path("lit://model.pt")``.

Each component has a working copy of its own. What ``lit://model.pt`` leads to in the component that made it is its
own file, to which it writes as it likes. When the path is set as an attribute, put into a container or returned,
and at the end of each call, the content goes into the app's store as a *version*, and the path's value says which.
Whoever is given the path and opens it has that version fetched, into a folder that only ever holds that one. So
nobody sees half a file, or a file change under his hands, and a new version is a new argument: the same call
with it runs again.

A path is a ``pathlib.Path`` in every way. It equals the plain path of the place where it is here, and so one
version fetched from another component never equals another; an own path stays the same while its content
changes.
"""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, Self
from urllib.parse import quote

from lightning.app.errors import UsageError
from lightning.app.kernel.values import SCALARS, SCHEME, register
from lightning.app.storage import home, versions
from lightning.app.storage.trees.manifest import tree_key

MARK = "lt-"
"""Begins the name of a version wherever one is written down."""

FILES = "files"
RECEIVED = ".received"
"""In a component's folder, the folder of what came from others."""

_NEWEST = "newest"  # in the place of a version that is not known yet
_OUTSIDE = "outside"  # the component where there is none: outside an app

_Plain = type(pathlib.Path())


class Path(_Plain):  # type: ignore[misc, valid-type]
    """A file or folder made by one component, for others to open.

    In a work that makes one:

    >>> self.model = Path("lit://model.pt")
    >>> torch.save(model, self.model)

    And in another one, to whose ``run`` the flow has passed it:

    >>> torch.load(path)

    ``os.fspath``, and so ``open`` and all that opens files by their paths, fetches it first; ``str`` does not. A path
    whose file is not made yet waits for it. What was fetched is there to be read: write to a path of your own.
    Permission bits and links within a folder arrive as they were; owners and times do not.
    """

    _text: str  # as it was written: "lit://model.pt"
    _origin: str  # the component that makes it; empty: whichever uses it
    _version: str  # empty: none yet, or none known
    _pinned: str  # the version that was fetched where none was told
    _found: str  # and its place

    def __new__(cls, *parts: str | os.PathLike[str]) -> Self:
        first = parts[0] if parts else "."
        if type(first) is Path:
            text, origin = os.path.join(first._text, *[os.fspath(part) for part in parts[1:]]), first._origin
            version = first._version if len(parts) == 1 else ""
        else:
            told = [part if isinstance(part, str) else os.fspath(part) for part in parts]
            text, origin, version = os.path.join(*told) if told else ".", "", ""
        if not origin and home.component() != home.FLOW:
            origin = home.component()
        return cls._made(_named(text), origin, version)

    def __init__(self, *parts: str | os.PathLike[str]) -> None:
        pass  # whole since __new__

    @classmethod
    def _made(cls, text: str, origin: str, version: str) -> Self:
        global _any_own
        context = home.context()
        elsewhere = origin and context == (
            "",
            "",
        )  # a command looks at an app's state, and needs no place for it
        place = text.removeprefix(SCHEME) if elsewhere else _place(text, origin, version)
        _any_own = _any_own or origin in ("", home.component())
        self: Self
        if sys.version_info >= (3, 12):
            self = object.__new__(cls)
            super(Path, self).__init__(place)
        else:
            self = super().__new__(cls, place)
        self._text, self._origin, self._version = text, origin, version
        self._pinned = ""
        self._context = None if elsewhere else context
        self._ready = False  # whether it was seen to that there is something to open
        return self

    # -- whose it is ------------------------------------------------------------------------------

    @property
    def origin_name(self) -> str:
        """The component that makes it: "root.train". Empty while no component has it."""
        return self._origin

    @property
    def consumer_name(self) -> str:
        """The component whose code looks at it here."""
        return home.component()

    @property
    def _own(self) -> bool:
        return self._origin in ("", home.component())

    @property
    def _what(self) -> str:
        return f"{self._text} from {self._origin}" if self._origin else self._text

    # -- where it is ------------------------------------------------------------------------------

    def __str__(self) -> str:
        if self._context != home.context():  # made before there was an app, or by another component
            return _place(self._text, self._origin, self._version)
        return str(super().__str__())

    def __fspath__(self) -> str:
        if not self._ready or self._context != home.context():
            return self._fetched(None)
        return self._found if self._pinned else str(self)

    def __repr__(self) -> str:
        return f"Path({self._text!r})" if self._own else f"Path({self._text!r}) from {self._origin}"

    def __reduce__(self) -> Any:
        return _pointed, ([self._text, self._origin, self._version and MARK + self._version],)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def get(self, overwrite: bool = False, timeout: float | None = None) -> None:
        """Have it here: fetch it, and wait for it if it is not made yet, for at most so many seconds.

        ``overwrite``: fetch it also if it is here.
        """
        self._fetched(timeout, overwrite=overwrite)

    def exists(self, *, follow_symlinks: bool = True) -> bool:
        """Whether there is something to open: here, or where it comes from. Does not wait, and fetches nothing."""
        return self.exists_local() or (not (self._own and self._ready) and self.exists_remote())

    def exists_local(self) -> bool:
        """Whether it is here."""
        return os.path.exists(self._found if self._pinned else str(self))

    def exists_remote(self) -> bool:
        """Whether the app's store has it."""
        version, maker = self._version or self._pinned, self._origin or home.component()
        if not version and maker:
            version = versions.newest(maker, self._text)
        return bool(version) and versions.is_there(version)

    def _fetched(self, timeout: float | None, *, overwrite: bool = False) -> str:
        """The place, with everything there that can be."""
        self._found = place = str(self)
        if self._own:
            if self._version and (
                overwrite or not os.path.lexists(place)
            ):  # a fork of a run, or another machine
                versions.bring(self._version, pathlib.Path(place), self._what, overwrite=overwrite)
            elif self._text.startswith(SCHEME):
                os.makedirs(os.path.dirname(place), exist_ok=True)
        else:
            version = self._version
            if not version:
                newer = overwrite or not self._pinned
                version = versions.awaited(self._origin, self._text, timeout) if newer else self._pinned
                self._pinned = version
                self._found = _place(self._text, self._origin, version)
            versions.bring(version, pathlib.Path(self._found), self._what, overwrite=overwrite)
            if not self._version:
                versions.link(pathlib.Path(place), pathlib.Path(self._found))
        if self._context == home.context():
            self._ready = True
        return self._found

    # -- as pathlib has it ------------------------------------------------------------------------

    @property
    def _here(self) -> pathlib.Path:
        return pathlib.Path(str(self))

    @property
    def _opened(self) -> pathlib.Path:
        return pathlib.Path(os.fspath(self))

    def _like(self, path: pathlib.Path) -> Any:
        """A path that comes of this one: the component's own again, where it lies among its files."""
        if not self._text.startswith(SCHEME):
            return Path._made(str(path), self._origin, "") if self._own else path
        folder = _folder(home.component())
        if not self._own or path == folder or not path.is_relative_to(folder):
            return path
        name = str(path.relative_to(folder))
        return path if name.split("/")[0] == RECEIVED else Path._made(SCHEME + name, self._origin, "")

    def with_segments(self, *parts: str | os.PathLike[str]) -> Any:
        return self._like(pathlib.Path(*map(str, parts)))

    def __truediv__(self, key: Any) -> Any:
        if not isinstance(key, str | os.PathLike):
            return NotImplemented
        return self.joinpath(key)

    def __rtruediv__(self, key: Any) -> Any:
        return pathlib.Path(key, str(self))

    def joinpath(self, *others: Any) -> Any:
        """A path in this folder. Of one that another component has made, this fetches the folder."""
        return self._like((self._here if self._own else self._opened).joinpath(*others))

    @property
    def parent(self) -> Any:
        return self._like(self._here.parent)

    @property
    def parents(self) -> Any:
        return tuple(map(self._like, self._here.parents))

    def with_name(self, name: str) -> Any:
        return self._like(self._here.with_name(name))

    def with_stem(self, stem: str) -> Any:
        return self._like(self._here.with_stem(stem))

    def with_suffix(self, suffix: str) -> Any:
        return self._like(self._here.with_suffix(suffix))

    def relative_to(self, *other: Any, **options: Any) -> pathlib.Path:
        return self._here.relative_to(*map(_text, other), **options)

    def is_relative_to(self, *other: Any) -> bool:
        return self._here.is_relative_to(*map(_text, other))

    def absolute(self) -> Any:
        return self._like(self._here.absolute())

    def resolve(self, strict: bool = False) -> Any:
        return self._like((self._here if self._own else self._opened).resolve(strict))

    def expanduser(self) -> Any:
        return self._like(self._here.expanduser())

    def readlink(self) -> Any:
        return self._opened.readlink()

    def rename(self, target: Any) -> Any:
        return self._like(self._opened.rename(target))

    def replace(self, target: Any) -> Any:
        return self._like(self._opened.replace(target))

    def iterdir(self) -> Generator[Any, None, None]:
        yield from map(self._like, self._opened.iterdir())

    def glob(self, *pattern: Any, **options: Any) -> Iterator[Any]:
        return map(self._like, self._opened.glob(*pattern, **options))

    def rglob(self, *pattern: Any, **options: Any) -> Iterator[Any]:
        return map(self._like, self._opened.rglob(*pattern, **options))

    def walk(self, *args: Any, **options: Any) -> Iterator[Any]:
        for folder, folders, files in self._opened.walk(*args, **options):  # type: ignore[attr-defined, unused-ignore]
            yield self._like(folder), folders, files

    def samefile(self, other: Any) -> bool:
        return self._opened.samefile(os.fspath(other))


# -- state ----------------------------------------------------------------------------------------


_any_own = False  # whether this process has ever had a path whose file it may make


def renew(component: Any, state: dict[str, Any]) -> None:
    """A call has ended: let the component's state tell the versions that its own files have now."""
    if not _any_own:
        return
    for name, value in list(state.items()):
        _renew(value, partial(setattr, component, name))


def _renew(value: Any, put: Callable[[Any], None]) -> None:
    if type(value) is Path:
        if (now := _renewed(value)) is not None:
            put(now)
    elif type(value) in SCALARS or _plain(value):
        return
    elif isinstance(value, list):
        for position, each in enumerate(list(value)):
            _renew(each, partial(value.__setitem__, position))
    elif isinstance(value, dict):
        for key, each in list(value.items()):
            _renew(each, partial(value.__setitem__, key))
    elif any(_renewed(each) is not None for each in _paths(value)):
        put(set(value) if isinstance(value, set) else value)


def _plain(value: Any) -> bool:
    """Whether it is a long container of nothing that could be a path."""
    if isinstance(value, dict):
        return set(map(type, value.values())) <= SCALARS and set(map(type, value)) <= SCALARS
    return isinstance(value, list | tuple | set | frozenset) and set(map(type, value)) <= SCALARS


def _paths(value: Any) -> Iterator[Path]:
    """All of them, however deep."""
    if type(value) is Path:
        yield value
    elif type(value) in SCALARS or _plain(value):
        return
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _paths(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _paths(key)
            yield from _paths(each)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _paths(getattr(value, field.name, None))


def _renewed(path: Path) -> Path | None:
    """The same with the version that it has now; None if that is the one it tells."""
    text, origin, version = _pointer(path)
    version = version.removeprefix(MARK)
    return None if version == path._version else Path._made(text, origin, version)


def unclaimed(value: Any) -> bool:
    """Whether there is a path in it that has no component yet."""
    return any(not path._origin for path in _paths(value))


_claimant = ""


@contextmanager
def claiming(component: str) -> Iterator[None]:
    """What is packed meanwhile and has no component yet is this one's."""
    global _claimant
    _claimant = component
    try:
        yield
    finally:
        _claimant = ""


def of_text(text: str, owner: str) -> Path:
    """The path that a text set as an attribute of the component ``owner`` is."""
    path = Path(text)
    return path if path._origin or not owner else Path._made(path._text, owner, "")


def _pointer(path: Path) -> list[str]:
    """What is told of a path: its newest version, where this is the component that makes it."""
    me = home.component()
    origin, version = path._origin or _claimant, path._version
    if path._own and me and not _claimant and (home.acts() or me != home.FLOW):
        version = versions.publish(str(path), me, path._text, version)
        if version or path._version:
            origin = me
    return [path._text, origin, version and MARK + version]


def _pointed(told: list[str]) -> Path:
    text, origin, version = told
    if version:
        if not version.startswith(MARK):
            raise UsageError(f"{version!r} is no version of a path")
        version = version.removeprefix(MARK)
        tree_key(version)
    return Path._made(_named(text), origin, version)


# -- places ---------------------------------------------------------------------------------------


def _named(text: str) -> str:
    """The text of a path, if it may be one."""
    if "\0" in text:
        raise UsageError(f"Path({text!r}): a path has no NUL in it")
    if not text.startswith(SCHEME):
        return text
    name = text.removeprefix(SCHEME)
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or name.startswith("/") or ".." in parts or parts[0] == RECEIVED:
        raise UsageError(
            f"Path({text!r}): behind 'lit://' comes a name, as in 'lit://model.pt', or several with '/' between them. "
            "It leads to a place among the component's own files: it does not begin with '/', and has no '..' in it"
        )
    return SCHEME + "/".join(parts)


def _folder(component: str) -> pathlib.Path:
    return home.current().folder / FILES / (quote(component, safe=" ") or _OUTSIDE)


def _place(text: str, origin: str, version: str) -> str:
    """Where it is for the component whose code runs here."""
    me = home.component()
    own, lit = origin in ("", me), text.startswith(SCHEME)
    if own and not lit:
        return text
    folder = str(_folder(me))
    name = text.removeprefix(SCHEME) if lit else os.path.basename(os.path.abspath(text)) or "root"
    if own:
        return f"{folder}/{name}"
    return f"{folder}/{RECEIVED}/{quote(origin, safe=' ')}/{version or _NEWEST}/{name}"


def _text(path: Any) -> Any:
    return str(path) if isinstance(path, Path) else path


register("path", Path, _pointer, _pointed)
