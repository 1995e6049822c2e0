"""Runs on disk: ``.lightning/runs/ID/`` with a journal, a lock, and a few facts about the start.

A run is *live* while a process holds its lock, *interrupted* when it did not end by itself (killed, or
stopped by a signal), else *ended*.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from lightning.app.errors import ConflictError, JournalError, NotFoundError

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
ENDED_BY_ITSELF = ("stopped", "failed")


class Run:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = folder.name
        self.journal_path = folder / "journal.sqlite"
        self._lock: int | None = None

    @property
    def meta(self) -> dict[str, Any]:
        """What was noted at the start and at the end."""
        try:
            found = json.loads((self.folder / "meta.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def interrupted(self) -> bool:
        return self.meta.get("reason") not in ENDED_BY_ITSELF and not self.live

    @property
    def live(self) -> bool:
        """Whether a process has the lock."""
        try:
            descriptor = os.open(self.folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def lock(self) -> None:
        """Hold the run until this process ends, however it ends."""
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "?"
            os.close(descriptor)
            raise ConflictError(
                f"run {self.id} is live: process {holder} has it; stop that one first, or start a new run "
                "(without --resume)"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._lock = descriptor

    def note(self, **facts: Any) -> None:
        """Add to ``meta.json``: whole or not at all."""
        noted = self.meta | facts
        fresh = self.folder / f"meta.{os.getpid()}.new"
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(noted, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.folder / "meta.json")

    def end(self, code: int, reason: str) -> None:
        """Note how it ended, and let go of the lock."""
        self.note(ended_at=time.time(), exit_code=code, reason=reason)
        self.release()

    def release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class Runs:
    """All runs below one folder."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def create(self, **facts: Any) -> Run:
        """A new run with a folder of its own. Its ID sorts by time."""
        tail = "".join(secrets.choice(_ALPHABET) for _ in range(4))
        run = Run(self.folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{tail}")
        try:
            run.folder.mkdir(mode=0o700, parents=True)
            if self.folder.parent.name == ".lightning":
                ignore = self.folder.parent / ".gitignore"
                if not ignore.exists():
                    ignore.write_text("*\n", "utf-8")
            run.note(started_at=time.time(), **facts)
        except OSError as err:
            raise JournalError(
                f"{run.folder}: a folder for this run cannot be made ({err.strerror}); "
                "choose another place with --runs-dir"
            ) from err
        return run

    def open(self, run_id: str | None = None) -> Run:
        """The run of that ID; without one, the newest that was interrupted."""
        known = self.all()
        if run_id is None:
            for run in known:
                if run.interrupted:
                    return run
            raise NotFoundError(f"{self.folder}: no run here was interrupted; start a new one (without --resume)")
        for run in known:
            if run.id == run_id:
                return run
        names = ", ".join(run.id for run in known[:5]) or "none"
        raise NotFoundError(f"{self.folder} has no run {run_id!r}; the newest are: {names}")

    def all(self) -> list[Run]:
        """Every run, newest first."""
        try:
            folders = [each for each in self.folder.iterdir() if (each / "meta.json").exists()]
        except FileNotFoundError:
            return []
        return [Run(each) for each in sorted(folders, key=lambda each: each.name, reverse=True)]

    def interrupted(self) -> list[Run]:
        return [run for run in self.all() if run.interrupted]
