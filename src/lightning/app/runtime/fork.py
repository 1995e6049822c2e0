"""A new run that begins at a point of another one's past: a copy of the journal up to there, in which the app's
classes have the names that they have now. It then goes on as a resumed run does.
"""

from __future__ import annotations

import os
import shutil
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec

from lightning.app.journal.journal import Reader
from lightning.app.journal.runs import Run, Runs
from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel.facts import Fact, Made, Renamed, decode_turn, encode_turn
from lightning.app.kernel.model import Model
from lightning.app.kernel.snapshot import dump, load
from lightning.app.runtime.keeper import depot_of, mentions
from lightning.app.runtime.past import journal_of
from lightning.app.storage.home import STORE, Home
from lightning.app.storage.stores.store import PRIVATE

COPIED_AT_ONCE = 1000


def fork(
    runs: Runs,
    source: Run,
    turn: int,
    *,
    app_file: str,
    module: str,
    arguments: tuple[str, ...] = (),
    name: str = "",
    folder: str = "",
) -> Run:
    """A new run of ``app_file``, held by this process, whose past is that of ``source`` up to the turn.

    ``module`` is what the file is imported as now: classes of the app are known by it.
    """
    with closing(journal_of(source)) as journal:
        run = runs.create(app_file, arguments, name or source.meta.name, folder)
        run.lock()
        try:
            run.note_fork(source.id, turn)
            stem = Path(source.meta.app_file).stem
            _copy(journal, run.journal_path, turn, Renaming(stem, module))
            _share(source, run)
        except BaseException:
            run.release()
            run.delete()
            raise
    return run


def _copy(journal: Reader, path: Path, turn: int, renaming: Renaming) -> None:
    """The turns up to that one, with the times and epochs that they had. The file is there whole, or not at all."""
    fresh = path.with_name(path.name + ".new")
    first = journal.first
    target: SqliteJournal | None = None
    if first > 1 and (base := journal.newest(first - 1)) is not None:
        target = SqliteJournal.begin(fresh, base._replace(model=renaming.snapshot(base.model)))
    for each in journal.read(first - 1):
        if each.seq > turn:
            break
        if target is None or target.epoch != each.epoch:
            if target is not None:
                target.close()
            target = SqliteJournal.open(fresh, "process", each.epoch)
        target.append(each.at, renaming.row(each.facts))
        if each.seq % COPIED_AT_ONCE == 0:
            target.commit()
    if target is not None:
        target.close()
    os.replace(fresh, path)


def _share(source: Run, run: Run) -> None:
    """What the past of the new run points to, it has too. Nothing is copied where the disk can do without."""
    with closing(SqliteJournal.reader(run.journal_path)) as journal:
        mentioned = mentions(journal)
    if mentioned:
        theirs = depot_of(Home.of_run(source.id, source.folder))
        depot_of(Home.of_run(run.id, run.folder)).adopt(theirs, filter(theirs.has, mentioned))
    if (source.folder / STORE).exists():  # whose files never change
        shutil.copytree(source.folder / STORE, run.folder / STORE, copy_function=_link, ignore=_unfinished)


def _link(file: str, place: str) -> None:
    with suppress(FileNotFoundError):  # a live run has just replaced it
        try:
            os.link(file, place)
        except OSError:  # a disk that knows no such links
            shutil.copy2(file, place)


_unfinished = shutil.ignore_patterns(PRIVATE)


class Renaming:
    """Classes of an app's file, recorded when it had another name, or was started as ``python app.py``."""

    def __init__(self, stem: str, now: str) -> None:
        self._stem = stem
        self._now = now
        self._before = ""  # the root's module, when that is the app's file

    def row(self, facts: bytes) -> bytes:
        if self._before and f"{self._before}:".encode() not in facts:
            return facts
        before = decode_turn(facts)
        after = [self.fact(fact) for fact in before]
        return facts if after == before else encode_turn(after)

    def snapshot(self, model: bytes) -> bytes:
        return dump(self.model(load(model)))

    def model(self, model: Model) -> Model:
        self._learn(model.components["root"].cls)
        if self._before and self._before != self._now:
            for each in model.components.values():
                each.cls = self._name(each.cls)
                if each.origin is not None:
                    each.origin = self._origin(each.origin, each.kind)
        return model

    def _learn(self, root: str) -> None:
        module = root.partition(":")[0]
        own = module == "__main__" or module.removesuffix("_app") == self._stem
        self._before = module if own else ""

    def fact(self, fact: Fact) -> Fact:
        if isinstance(fact, Renamed):
            if fact.path == "root":
                self._before = fact.cls.partition(":")[0]
            return msgspec.structs.replace(fact, cls=self._name(fact.cls))
        if not isinstance(fact, Made):
            return fact
        if fact.path == "root":
            self._learn(fact.cls)
        if not self._before or self._before == self._now:
            return fact
        origin = None if fact.origin is None else self._origin(fact.origin, fact.kind)
        return msgspec.structs.replace(fact, cls=self._name(fact.cls), origin=origin)

    def _name(self, name: str) -> str:
        module, colon, cls = name.partition(":")
        return f"{self._now}:{cls}" if colon and module == self._before else name

    def _origin(self, origin: list[Any], kind: str) -> list[Any]:
        cls, args, kwargs = origin
        if kind == "structure":  # whose arguments are the origins of its members
            args = [self._origin(each, "") if isinstance(each, list) else each for each in args]
        return [self._name(cls), args, kwargs]
