"""Runs on disk: ``.lightning/runs/ID/`` with a journal, a lock, and a few facts about start and end.

A run is *live* while a process holds its lock, which the kernel takes back when that process dies, however
it dies. It is *interrupted* when it is not live and did not end by itself: killed, or stopped by a signal.
IDs are the time of the start in UTC, down to the microsecond in the last four letters, so they sort by time.

Who deletes a run holds its lock, so that nobody resumes it meanwhile, and first gives its folder a name that is
no run's. Killed halfway, it leaves such a folder, which the next deletion removes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import shutil
import time
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from lightning.app.errors import ConflictError, JournalError, NotFoundError
from lightning.app.journal.journal import Trouble, named
from lightning.app.journal.mounts import network_file_system

RUNS_DIR = Path(".lightning/runs")
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # in the order of their codes, without those that look alike
_DELETED = ".deleted-"
_DAY = 86400.0
JUST_BEGUN = 10.0
"""Seconds in which a run without a lock is one that somebody is about to lock."""
State = Literal["running", "ended", "failed", "interrupted", "killed"]
_PROBES = 200  # a look at the lock takes microseconds; so many of them in a row are not looks


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What ``meta.json`` says. A run whose process was killed still says "running": only the lock knows."""

    name: str = ""
    app_file: str = ""
    arguments: tuple[str, ...] = ()
    folder: str = ""  # where the command was typed, from which app_file is seen
    started_at: float = 0.0
    state: Literal["running", "ended"] = "running"
    ended_at: float | None = None
    exit_code: int | None = None
    reason: str = ""  # "stopped", "failed", "signal", "killed"
    forked_from: str = ""  # the run of whose past this one began
    forked_at: int = 0  # and the last turn that they share
    storage: str = ""  # the URL of the store of its files and payloads, if they are not in its own folder


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
    def holder(self) -> int:
        """The process that holds or held the lock last; 0 where that cannot be told."""
        try:
            return int((self.folder / "lock").read_text())
        except (OSError, ValueError):
            return 0

    @property
    def state(self) -> State:
        """What it is now: "interrupted" ended by a signal, "killed" never said how it ended."""
        if self.live:
            return "running"
        meta = self.meta  # read after the look at the lock: who lets go of it has noted the end before
        if meta.state == "running":
            begins = not (self.folder / "lock").exists() and time.time() - meta.started_at < JUST_BEGUN
            return "running" if begins else "killed"
        match meta.reason:
            case "failed" | "killed":
                return meta.reason
            case "signal":
                return "interrupted"
        return "ended"

    @property
    def last_seen(self) -> float:
        """When it last gave a sign of life: its end, or what it wrote last."""
        meta = self.meta
        if meta.ended_at is not None:
            return meta.ended_at
        written = [meta.started_at]
        for name in ("journal.sqlite", "journal.sqlite-wal", "meta.json"):
            with contextlib.suppress(OSError):
                written.append((self.folder / name).stat().st_mtime)
        return max(written)

    @property
    def size(self) -> int:
        """Bytes in its folder."""
        return sum(_sizes(self.folder))

    @property
    def interrupted(self) -> bool:
        """Whether it is over without having ended by itself, and has a journal to go on from."""
        if self.live:
            return False
        meta = self.meta
        unfinished = meta.state == "running" or meta.reason in ("signal", "killed")
        return unfinished and self.journal_path.exists()

    def resuming(self, app_file: str = "") -> str:
        """The command that goes on with it, as typed from here."""
        meta = self.meta
        file = app_file or os.path.join(meta.folder, meta.app_file)
        near = os.path.relpath(file)
        words = ["lightning", "run", "app", file if near.startswith("..") else near, "--resume", self.id]
        if self.folder.parent != RUNS_DIR.absolute():
            words += ["--runs-dir", str(self.folder.parent)]
        if meta.arguments:
            words += ["--app_args", *meta.arguments]
        return shlex.join(words)

    def lock(self) -> None:
        """Hold the run until this process is gone; a run that had ended is noted as running again."""
        if self._lock is not None:
            return
        self._hold("Stop that process, or start a new run (without --resume)")
        try:
            meta = self.meta
            if meta.state == "ended":
                self._note(
                    msgspec.structs.replace(meta, state="running", ended_at=None, exit_code=None, reason="")
                )
        except BaseException:
            self.release()
            raise

    def _hold(self, remedy: str) -> None:
        path = self.folder / "lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError as err:
            raise self._gone() from err
        except OSError as err:
            raise named(path, err) from err
        try:
            if not _taken_for_good(descriptor):
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
                raise ConflictError(
                    f"run {self.id} is live: process {holder or '(unknown)'} holds {path}. {remedy}"
                )
            if not _same_file(descriptor, path):
                raise self._gone()
            os.pwrite(descriptor, f"{os.getpid():<19}\n".encode(), 0)
        except OSError as err:
            os.close(descriptor)
            raise named(path, err) from err
        except BaseException:
            os.close(descriptor)
            raise
        self._lock = descriptor
        _HELD.add(self)

    def _gone(self) -> NotFoundError:
        return NotFoundError(
            f"{self.folder}: there is no such run any more: it has been deleted\n"
            f"What there is: lightning list runs"
        )

    def delete(self) -> int:
        """Remove it, with all that it has recorded; a live run is refused. Gives the bytes that it had."""
        self._hold("Stop it first: a live run is not deleted")
        try:
            away = self.folder.with_name(_DELETED + self.id)
            size = self.size
            os.rename(self.folder, away)
            _sync_folder(self.folder.parent)
        except OSError as err:
            raise named(self.folder, err) from err
        finally:
            self.release()
        shutil.rmtree(away, ignore_errors=True)
        return size

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

    def note_fork(self, source: str, turn: int) -> None:
        """Note that its past, up to that turn, is that of another run."""
        self._note(msgspec.structs.replace(self.meta, forked_from=source, forked_at=turn))

    def note_storage(self, url: str) -> None:
        """Note where its files and payloads are kept."""
        self._note(msgspec.structs.replace(self.meta, storage=url))

    def note_end(self, code: int, reason: str) -> None:
        """Note how it ended: "stopped", "failed", "signal" or "killed"."""
        self._note(
            msgspec.structs.replace(
                self.meta, state="ended", ended_at=time.time(), exit_code=code, reason=reason
            )
        )

    def end(self, code: int, reason: str) -> None:
        """Note how it ended, then let go of the lock."""
        try:
            self.note_end(code, reason)
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

    def create(
        self, app_file: str = "", arguments: Sequence[str] = (), name: str = "", seen_from: str = ""
    ) -> Run:
        """A new run in a folder of its own, for this user's eyes only. ``app_file`` is ``seen_from`` a folder,
        which is the current one if it is not given."""
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
                Meta(
                    name=named_so,
                    app_file=app_file,
                    arguments=tuple(arguments),
                    folder=seen_from or os.getcwd(),
                    started_at=time.time(),
                )
            )
            _sync_folder(self.folder)
        except BaseException:
            shutil.rmtree(run.folder, ignore_errors=True)
            raise
        return run

    def open(self, run_id: str | None = None) -> Run:
        """The run of that ID, or of the only one that begins so; without, the newest that was interrupted."""
        if run_id is not None:
            return self.find(run_id)
        run = next((run for run in self.all() if run.interrupted), None)
        if run is None:
            raise NotFoundError(
                f"{self.folder}: no run here was interrupted; start a new one (without --resume)"
            )
        return run

    def find(self, run_id: str | None = None) -> Run:
        """The run of that ID, or of the only one that begins so; without, the newest."""
        known = self.all()
        if run_id is None:
            if not known:
                raise NotFoundError(f"{self.folder} has no runs yet\nStart one: lightning run app app.py")
            return known[0]
        meant = [run for run in known if run.id == run_id]
        meant = meant or [run for run in known if run_id and run.id.startswith(run_id)]
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise NotFoundError(
                f"{self.folder}: {len(meant)} runs begin with {run_id!r}; write more of the ID: {_listed(meant)}"
            )
        raise NotFoundError(f"{self.folder} has no run {run_id!r}. Known, newest first: {_listed(known)}")

    def all(self) -> list[Run]:
        """Every run, newest first."""
        try:
            names = sorted(os.listdir(self.folder), reverse=True)
        except FileNotFoundError:
            return []
        except OSError as err:
            raise named(self.folder, err) from err
        return [
            Run(self.folder / name)
            for name in names
            if name[0] != "." and os.path.exists(self.folder / name / "meta.json")
        ]

    def interrupted(self) -> list[Run]:
        """Runs that did not end by themselves and can go on, newest first."""
        return [run for run in self.all() if run.interrupted]

    def older(self, keep: int | None, days: float | None, now: float | None = None) -> list[Run]:
        """The runs beyond the newest ``keep`` and those older than ``days``, without the live ones.

        An interrupted one, which somebody may want to go on with, is only ever too old.
        """
        now = time.time() if now is None else now
        found = []
        for place, run in enumerate(self.all()):
            aged = days is not None and now - run.last_seen > days * _DAY
            beyond = keep is not None and place >= keep
            if (aged or (beyond and not run.interrupted)) and run.state != "running":
                found.append(run)
        return found

    def prune(self, keep: int | None, days: float | None) -> None:
        """Delete what ``older`` names, and what deletions that were cut short have left."""
        for run in self.older(keep, days):
            with contextlib.suppress(ConflictError, NotFoundError, JournalError):  # resumed at this moment
                run.delete()
        self.clear()

    def clear(self) -> None:
        """Remove what deletions that were cut short have left."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self.folder):
                if name.startswith(_DELETED):
                    shutil.rmtree(self.folder / name, ignore_errors=True)

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


def _listed(runs: Sequence[Run]) -> str:
    names = ", ".join(run.id for run in runs[:20]) or "none"
    return f"{names} and {len(runs) - 20} older ones" if len(runs) > 20 else names


def _sizes(folder: Path) -> Iterator[int]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _sizes(Path(entry.path))
            else:
                yield entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue  # gone meanwhile


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


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
