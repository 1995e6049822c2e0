"""Which payloads, and which versions of files, a run still has a use for.

The journal counts the references, by their names alone: a payload or a version is *alive* while the model (state, and
calls that are remembered) mentions it, and *past* while only turns of the history do. What nothing mentions is freed.
Payloads are copied to the disk. Those that are past leave shared memory, and the disk too when that is nearly full,
the oldest first.

The loop notes what it writes anyhow. Files are copied and freed in a thread of their own, which begins with the
first payload.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lightning.app.errors import LightningError
from lightning.app.journal.journal import Reader
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel.lifecycle import Phase
from lightning.app.kernel.model import Model
from lightning.app.kernel.snapshot import dump
from lightning.app.kernel.values import pack, registered
from lightning.app.kernel.works import Lost
from lightning.app.runtime.log import Log
from lightning.app.storage.home import STORE, Home, before, current
from lightning.app.storage.payloads.names import VERSION, names_in
from lightning.app.storage.stores.store import checksum_of

if TYPE_CHECKING:
    from lightning.app.storage.payloads.depot import Depot

LOOK_EVERY = 256 << 20
"""Bytes of new payloads after which it is looked which are alive; or as many as are alive, if that is more."""

RESERVE = 0.1
"""The part of the disk that payloads of the past do not fill."""

PAYLOADS = "payloads"
"""In a run's folder, the folder of the copies on the disk; in the object store, what their keys begin with."""


def depot_of(home: Home) -> Depot:
    """Where the payloads of a run are on this machine."""
    from lightning.app.storage.payloads.depot import Depot  # most runs have none

    return Depot(home.memory, home.folder / PAYLOADS)


class Keeper:
    """The payloads of one run. Its methods are called by the loop's thread."""

    def __init__(self, log: Log, home: Home | None = None, *, history: bool = True) -> None:
        """``history``: whether there is a journal, by which the run can be resumed and its past be looked at."""
        self.due = False  # whether it is time to look which are alive
        self._given = home
        self._log = log
        self._history = history
        self._mentioned: dict[str, int] = {}  # the last turn that did
        self._recalled: dict[str, int] = {}  # the same, of turns before this epoch
        self._sizes: dict[str, int] = {}
        self._alive: set[str] = set()
        self._later: set[str] = set()  # versions that could not be forgotten yet
        self._new = 0  # bytes since it was last looked
        self._enough = LOOK_EVERY
        self._thread: ThreadPoolExecutor | None = None
        self._said: set[str] = set()

    @cached_property
    def _home(self) -> Home:
        return self._given or current()

    @cached_property
    def depot(self) -> Depot:
        return depot_of(self._home)

    def take_over(self) -> None:
        """Have what was made before there was a run: while the app was imported."""
        made = before()
        if made is not None:
            self.depot.adopt(depot_of(made))

    def lost(self, model: Model) -> list[Lost]:
        """The calls that made what is mentioned and is nowhere any more: the power failed before it was on the disk."""
        if not model.epoch:
            return []
        known = (name for name in names_in(dump(model)) if not name.startswith(VERSION))
        missing = {name for name in known if not self._is_somewhere(name)}
        if not missing:
            return []
        made = dict(_makers(model, missing))
        for name in missing - {*made.values()}:
            self._log.warning(
                f"payload {name} is lost, and no call is known that made it: whoever opens it will fail"
            )
        return [
            Lost(path, call, f"the payload {made[call.number]} that it had made is lost")
            for path, life in model.works.items()
            for call in life.latest.values()
            if call.number in made and call.phase is Phase.SUCCEEDED
        ]

    def resume(self, journal: Path) -> None:
        """Learn what the history of a run mentions. What it does not mention was made in vain, and goes."""
        there = {*self.depot.names()}
        if there or self._home.url or (self._home.folder / STORE).exists():
            self._do(self._recall, journal, there)

    def note(self, turn: int, row: bytes) -> None:
        """A turn that may mention payloads was written."""
        for name in names_in(row):
            if name not in self._mentioned:
                self._enter(name)
            self._mentioned[name] = turn

    def look(self, turn: int, model: bytes, first: int) -> None:
        """What the turns up to ``turn`` come to, and with which turn history now begins."""
        self.due, self._new = False, 0
        recalled, self._recalled = self._recalled, {}
        later, self._later = self._later, set()
        for name, last in (*recalled.items(), *dict.fromkeys(later, 0).items()):
            self._mentioned.setdefault(name, last)
        if not self._mentioned:
            return
        self._alive = names_in(model)
        self._mentioned.update(dict.fromkeys(self._alive, turn))
        # What was alive where history begins is mentioned by the snapshot behind which it does.
        dead = [
            name
            for name, last in self._mentioned.items()
            if name not in self._alive and (last < first - 1 or not self._history)
        ]
        for name in dead:
            del self._mentioned[name]
            self._sizes.pop(name, None)
        self._enough = max(LOOK_EVERY, sum(self._sizes.get(name, 0) for name in self._alive))
        self._do(self._free, dead)
        self._do(self._retire, self._past())

    def finish(self) -> None:
        """The run has ended in order: nothing is left in shared memory."""
        if self._thread is not None:
            self._thread.shutdown(wait=self._history, cancel_futures=not self._history)
        if not self._mentioned:
            pass
        elif not self._history:
            shutil.rmtree(self._home.folder / PAYLOADS, ignore_errors=True)
        elif unsaved := [
            name for name in self._mentioned if self.depot.has(name) and not self.depot.saved(name)
        ]:
            self._log.warning(
                f"{len(unsaved)} payloads could not be copied to the disk and stay in {self._home.memory} until this "
                "machine is switched off or the run is deleted"
            )
            return
        if self._given is not None:
            self._given.leave()

    def _enter(self, name: str) -> None:
        if name.startswith(VERSION):
            return
        with suppress(OSError):  # it is on another machine, or its maker has dropped it again
            size = self.depot.path(name).stat().st_size
            self._sizes[name] = size
            self._new += size
            self.due = self._new > self._enough
            if self._history:
                self._do(self._save, name)

    def _is_somewhere(self, name: str) -> bool:
        if self.depot.has(name):
            return True
        if not self._home.url:
            return False
        with suppress(FileNotFoundError):
            self._home.store.stat(f"{PAYLOADS}/{name}")
            return True
        return False

    def _past(self) -> list[str]:
        """What only the past mentions, the oldest first."""
        return sorted(self._mentioned.keys() - self._alive, key=self._mentioned.__getitem__)

    # -- in the thread ------------------------------------------------------------------------------

    def _do(self, step: Callable[..., None], *given: object) -> None:
        """Let the thread do it. What goes wrong there is said, and stops nobody."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="lightning-keeper")
        self._thread.submit(self._surely, step, *given)

    def _surely(self, step: Callable[..., None], *given: object) -> None:
        try:
            step(*given)
        except (LightningError, OSError) as err:
            if str(err) not in self._said:
                self._said.add(str(err))
                self._log.warning(f"payloads: {err}")

    def _save(self, name: str) -> None:
        if self.depot.has(name) and not self.depot.saved(name):
            self._make_room(self._sizes.get(name, 0))
            self.depot.save(name)
        if self._home.url:
            path = self.depot.path(name)
            self._home.store.put(f"{PAYLOADS}/{name}", path, checksum=checksum_of(path))

    def _make_room(self, size: int) -> None:
        """Where the disk is nearly full, what only the past mentions gives way."""
        disk = shutil.disk_usage(self._home.folder)
        missing = size + int(RESERVE * disk.total) - disk.free
        if missing <= 0:
            return
        given = []
        for name in self._past():
            if missing <= 0:
                break
            if name in self._sizes:
                missing -= self._sizes[name]
                given.append(name)
        if given:
            self._free(given)
            self._log.info(
                f"{self._home.folder}: the disk is nearly full, so {len(given)} payloads went that only the past of "
                "this run refers to"
            )

    def _free(self, names: Collection[str]) -> None:
        versions = {name for name in names if name.startswith(VERSION)}
        for name in names:
            if name in versions:
                continue
            self.depot.drop([name])
            if self._home.url:
                self._home.store.delete(f"{PAYLOADS}/{name}")
        if versions:
            from lightning.app.storage.upkeep import forget  # most runs have no files

            left = forget(self._home.store, [name.removeprefix(VERSION) for name in versions])
            self._later = {VERSION + name for name in left}

    def _retire(self, names: Iterable[str]) -> None:
        """Out of shared memory, where there is a copy on the disk."""
        for name in names:
            if not name.startswith(VERSION):
                self.depot.release(name)

    def _recall(self, journal: Path, there: set[str]) -> None:
        with closing(SqliteJournal.reader(journal)) as reader:
            recalled = mentions(reader)
        self._recalled = recalled
        self._free(there - recalled.keys() - set(self._mentioned))
        for name in there & recalled.keys():
            self._save(name)


def _makers(model: Model, names: set[str]) -> Iterator[tuple[int, str]]:
    """The numbers of the calls in which these payloads were made, where the model still has their pointers."""
    values = [pack(value) for component in model.components.values() for value in component.state.values()]
    for life in model.works.values():
        for call in (*life.latest.values(), *life.unfinished()):
            values += [call.value, call.args, call.kwargs]
    for name, _, _, _, call, _ in registered(values, "payload"):
        if name in names:
            yield call, name


def mentions(journal: Reader) -> dict[str, int]:
    """Every payload that is mentioned by what is left of a history, and by which turn last."""
    found: dict[str, int] = {}
    first = journal.first
    before = journal.newest(first - 1) if first > 1 else None
    if before is not None:
        found.update(dict.fromkeys(names_in(before.model), before.seq))
    for turn in journal.read(first - 1):
        found.update(dict.fromkeys(names_in(turn.facts), turn.seq))
    return found
