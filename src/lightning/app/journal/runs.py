"""Runs on disk: ``.lightning/runs/ID/`` with a journal, a lock, and a few facts about start and end.

A run is *live* while a process holds its lock, which the kernel takes back when that process dies, however
it dies. It is *interrupted* when it is not live and did not end by itself: killed, or stopped by a signal.
IDs are the time of the start in UTC, down to the microsecond in the last four letters, so they sort by time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from lightning.app.errors import ConflictError, NotFoundError
from lightning.app.journal.journal import Trouble, named
from lightning.app.journal.mounts import network_file_system

RUNS_DIR = Path(".lightning/runs")
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # in the order of their codes, without those that look alike
_PROBES = 200  # a look at the lock takes microseconds; so many of them in a row are not looks


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What ``meta.json`` says. A run whose process was killed still says "running": only the lock knows."""

    name: str = ""
    app_file: str = ""
    arguments: tuple[str, ...] = ()
    started_at: float = 0.0
    state: Literal["running", "ended"] = "running"
    ended_at: float | None = None
    exit_code: int | None = None
    reason: str = ""  # "stopped", "failed", "signal", "killed"


class Run:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.id = folder.name
        self.folder = folder
        self.journal_path = folder / "journal.sqlite"
        self._lock: int | None = None

    def __repr__(self) -> str:
        return f"<Run {self.id}>"

    @property
    def meta(self) -> Meta:
        """What was noted at start and end. An unreadable note says what a missing end says: still running."""
        try:
            return msgspec.json.decode((self.folder / "meta.json").read_bytes(), type=Meta)
        except (OSError, ValueError):
            return Meta()

    @property
    def live(self) -> bool:
        """Whether a process holds the lock, be it this one."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _taken(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    @property
    def interrupted(self) -> bool:
        """Whether it is over without having ended by itself, and has a journal to go on from."""
        meta = self.meta
        unfinished = meta.state == "running" or meta.reason in ("signal", "killed")
        return unfinished and self.journal_path.exists() and not self.live

    def lock(self) -> None:
        """Hold the run until this process is gone; a run that had ended is noted as running again."""
        if self._lock is not None:
            return
        path = self.folder / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise named(path, err) from err
        try:
            if not _taken_for_good(descriptor):
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
                raise ConflictError(
                    f"run {self.id} is live: process {holder or '(unknown)'} holds {path}. "
                    "Stop that process, or start a new run (without --resume)"
                )
            os.pwrite(descriptor, f"{os.getpid():<19}\n".encode(), 0)
            meta = self.meta
            if meta.state == "ended":
                self._note(
                    msgspec.structs.replace(meta, state="running", ended_at=None, exit_code=None, reason="")
                )
        except OSError as err:
            os.close(descriptor)
            raise named(path, err) from err
        except BaseException:
            os.close(descriptor)
            raise
        self._lock = descriptor
        _HELD.add(self)

    def release(self) -> None:
        """Let go of the lock. What the run is then, ``meta`` says."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        _HELD.discard(self)

    def close_in_child(self) -> None:
        """In a forked child: do not keep the run live when the parent is gone.

        ``os.fork`` does this by itself; only forks made behind Python's back need to ask for it.
        """
        self.release()

    def end(self, code: int, reason: str) -> None:
        """Note how it ended ("stopped", "failed", "signal" or "killed"), then let go of the lock."""
        try:
            self._note(
                msgspec.structs.replace(
                    self.meta, state="ended", ended_at=time.time(), exit_code=code, reason=reason
                )
            )
        finally:
            self.release()

    def _note(self, meta: Meta) -> None:
        """Write ``meta.json``, whole or not at all, also when the power fails."""
        path = self.folder / "meta.json"
        fresh = self.folder / "meta.json.new"
        try:
            with open(fresh, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(meta), indent=2) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
            _sync_folder(self.folder)
        except OSError as err:
            raise named(path, err) from err


class Runs:
    """All runs below one folder.

    >>> from tempfile import mkdtemp
    >>> runs = Runs(mkdtemp() + "/runs")
    >>> run = runs.create("app.py")
    >>> run.lock()
    >>> run.end(0, "stopped")
    >>> runs.open(run.id).meta.reason
    'stopped'
    """

    def __init__(self, folder: Path | str = RUNS_DIR) -> None:
        self.folder = Path(folder).absolute()  # the app may go to another folder

    def create(self, app_file: str = "", arguments: Sequence[str] = (), name: str = "") -> Run:
        """A new run in a folder of its own, for this user's eyes only."""
        try:
            self._prepare()
            if kind := network_file_system(self.folder):
                raise Trouble.NETWORK.of(self.folder, kind)
            run = self._claim()
        except OSError as err:
            raise named(self.folder, err) from err
        try:
            named_so = name or Path(app_file).stem
            run._note(
                Meta(name=named_so, app_file=app_file, arguments=tuple(arguments), started_at=time.time())
            )
            _sync_folder(self.folder)
        except BaseException:
            shutil.rmtree(run.folder, ignore_errors=True)
            raise
        return run

    def open(self, run_id: str | None = None) -> Run:
        """The run of that ID; without one, the newest that was interrupted."""
        known = self.all()
        if run_id is None:
            run = next((run for run in known if run.interrupted), None)
            if run is None:
                raise NotFoundError(
                    f"{self.folder}: no run here was interrupted; start a new one (without --resume)"
                )
            return run
        for run in known:
            if run.id == run_id:
                return run
        names = ", ".join(run.id for run in known[:20]) or "none"
        more = f" and {len(known) - 20} older ones" if len(known) > 20 else ""
        raise NotFoundError(f"{self.folder} has no run {run_id!r}. Known, newest first: {names}{more}")

    def all(self) -> list[Run]:
        """Every run, newest first."""
        try:
            names = sorted(os.listdir(self.folder), reverse=True)
        except FileNotFoundError:
            return []
        except OSError as err:
            raise named(self.folder, err) from err
        return [Run(self.folder / name) for name in names if os.path.exists(self.folder / name / "meta.json")]

    def interrupted(self) -> list[Run]:
        """Runs that did not end by themselves and can go on, newest first."""
        return [run for run in self.all() if run.interrupted]

    def _prepare(self) -> None:
        """The folder of runs, durable by name, and out of the sight of git."""
        if self.folder.is_dir():
            return
        home = self.folder.parent
        home.mkdir(parents=True, exist_ok=True)
        if home.name == ".lightning":
            with contextlib.suppress(FileExistsError), open(home / ".gitignore", "x") as file:
                file.write("*\n")
        self.folder.mkdir(exist_ok=True)
        _sync_folder(home)
        _sync_folder(home.parent)

    def _claim(self) -> Run:
        """A folder that nobody else has: its making decides between two starts in one microsecond."""
        while True:
            run = Run(self.folder / _id_at(time.time_ns()))
            with contextlib.suppress(FileExistsError):
                run.folder.mkdir(mode=0o700)
                return run


def _id_at(nanoseconds: int) -> str:
    """A run's ID, for example 20261121-061530-k7q2."""
    seconds, rest = divmod(nanoseconds, 10**9)
    share = rest * len(_LETTERS) ** 4 // 10**9
    tail = ""
    for _ in range(4):
        share, letter = divmod(share, len(_LETTERS))
        tail = _LETTERS[letter] + tail
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(seconds))}-{tail}"


def _taken(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _taken_for_good(descriptor: int) -> bool:
    """Take the lock unless somebody has it. Who only looks (``Run.live``) has it for a moment, shared."""
    for _ in range(_PROBES):
        if _taken(descriptor, fcntl.LOCK_EX):
            return True
        if not _taken(descriptor, fcntl.LOCK_SH):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(0.0005)
    return False


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Some file systems cannot, and say EINVAL."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as err:
        if err.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


_HELD: weakref.WeakSet[Run] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """A lock is shared over fork: a child that lives on would keep a dead run live."""
    for run in list(_HELD):
        run.close_in_child()


os.register_at_fork(after_in_child=_let_go_in_child)
