"""Where the big things of a run are: told once by the runtime, known to every process of the run.

It is kept in the environment, so that a forked work, a new Python and whatever a work starts by itself all know
it. Outside an app there is a home too, for as long as the process lives, so that a component can be tried out by
calling its methods.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.app.errors import StorageDeniedError

if TYPE_CHECKING:
    from lightning.app.storage.stores.store import Store

VARIABLE = "LIGHTNING_HOME"
FLOW = "root"
"""The component whose code runs in the runtime."""

STORE = "store"
"""In a run's folder, the folder of its object store, where no other place is named."""

ORIGIN = "origin"
"""In each run's folder in shared memory, a link to its folder on the disk."""

_SHARED = Path("/dev/shm")
_BEGINS = 10.0  # seconds that a run has for this
_PROCESS = "process-"  # begins the name of a folder of a process that is no app's


@dataclass(frozen=True)
class Home:
    """The places of one run on this machine."""

    run: str
    folder: Path  # below the run's own folder: on the disk
    memory: Path  # in shared memory: gone with a power cut
    url: str | None = None  # of the app's object store; None: it is in ``folder``
    peers: tuple[str, ...] = ()  # ``host:port`` of those who give what the other machines of the run have

    @classmethod
    def of_run(cls, run: str, folder: Path, url: str | None = None) -> Home:
        """The home of the run whose own folder this is."""
        return cls(run, folder, shared_memory() / run, url)

    @cached_property
    def store(self) -> Store:
        """The app's object store, where all machines of the run find what one of them has put."""
        from lightning.app.storage.stores.opening import folder_at, open_store  # most runs need none

        store = open_store(
            f"{self.url.rstrip('/')}/runs/{self.run}" if self.url else None, self.folder / STORE
        )
        if self.url and folder_at(self.url) is None:
            from lightning.app.storage.cache import CachingStore

            return CachingStore(store, self.folder / "cache")
        return store

    def enter(self) -> None:
        """Be the home of this process, and of those that it starts."""
        while not self.memory.is_dir():
            with suppress(FileNotFoundError):  # another run has left just now, and the folder of all with it
                _own(self.memory.parent)
                _own(self.memory)
        _own(self.memory)
        with suppress(FileExistsError):
            (self.memory / ORIGIN).symlink_to(self.folder)
        told = [self.run, str(self.folder), str(self.memory), self.url, self.peers]
        os.environ[VARIABLE] = json.dumps(told)

    def leave(self) -> None:
        """Leave nothing in shared memory."""
        shutil.rmtree(self.memory, ignore_errors=True)
        with suppress(OSError):  # other runs have theirs in it
            self.memory.parent.rmdir()


_homes: dict[str, Home] = {}
_component = ""
_call = 0
_rests = False


def current() -> Home:
    """The home of this process."""
    told = os.environ.get(VARIABLE, "")
    home = _homes.get(told)
    if home is None:
        if told:
            run, folder, memory, url, peers = json.loads(told)
            home = Home(run, Path(folder), Path(memory), url, tuple(peers))
        else:
            home = _of_this_process()
        _homes[told] = home
    return home


def shared_memory() -> Path:
    """The folder in shared memory in which each run of this user has its own; the disk's where there is none."""
    above = _SHARED if os.access(_SHARED, os.W_OK) else Path(os.environ.get("TMPDIR", "/tmp"))
    return above / f"lightning-{os.getuid()}"


def _own(folder: Path) -> None:
    """Make a folder that nobody else can look into. Anybody may have made one of that name before."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        raise StorageDeniedError(
            f"{folder}: this belongs to somebody else (user {found.st_uid}), and is where the large values of your runs "
            "would be: have it removed"
        )


def component() -> str:
    """The path of the component whose code runs in this process; empty outside an app."""
    return _component


def context() -> tuple[str, str]:
    """What the places of a component's files depend on; another one means other places."""
    return os.environ.get(VARIABLE, ""), _component


def acts() -> bool:
    """Whether it is the component's own code that runs here, not the runtime beside a flow of its."""
    return not _rests


def rest(rests: bool) -> None:
    """Say that no pass of the flow is under way in this process, or that there is one."""
    global _rests
    _rests = rests


def call() -> int:
    """The number of the call whose code runs in this process; 0 outside of any."""
    return _call


def be(component: str, call: int = 0) -> None:
    """From here on this process runs the code of ``component``, and of this call of it."""
    global _component, _call
    _component, _call = component, call


def before() -> Home | None:
    """The home that this process had before its app had one, if it kept anything there."""
    return _homes.get("")


def sweep() -> None:
    """Free the shared memory of runs that are gone, and of processes that ended without an app."""
    try:
        entries = list(os.scandir(shared_memory()))
    except OSError:  # nothing was ever kept there
        return
    for entry in entries:
        if _is_left(entry):
            shutil.rmtree(entry.path, ignore_errors=True)


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Whether nobody has a use any more for what a run, or a process without one, has in shared memory."""
    if entry.name.startswith(_PROCESS):
        return not os.path.exists(f"/proc/{entry.name.removeprefix(_PROCESS)}")
    try:
        return not os.path.exists(os.readlink(os.path.join(entry.path, ORIGIN)))
    except OSError:  # a run is making its folder just now, and the link comes next; or it never came
        with suppress(OSError):
            return time.time() - entry.stat().st_mtime > _BEGINS
        return False


def _of_this_process() -> Home:
    import tempfile  # takes a moment, and an app has a home of its own

    folder, name = Path(tempfile.mkdtemp(prefix="lightning-")), f"{_PROCESS}{os.getpid()}"
    home = Home(name, folder, shared_memory() / name)
    _own(home.memory.parent)
    atexit.register(_leave, home, os.getpid())
    return home


def _leave(home: Home, process: int) -> None:
    if os.getpid() == process:  # not in a fork of it
        shutil.rmtree(home.folder, ignore_errors=True)
        home.leave()
