"""Apps that really run, for the sentences of the contract which only real processes can show."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from lightning.app.journal.sqlite import SqliteJournal
from lightning.app.kernel.facts import AnyFact, Changed, decode_turn
from lightning.app.kernel.model import Model, fold
from lightning.app.testing import Terminal

PRELUDE = """
import os, signal, sys, time
import lightning as L


def until(condition):
    while not condition():
        time.sleep(0.002)


def exists(name):
    return lambda: os.path.exists(name)


def touch(name):
    open(name, "w").close()


def gone(pid):
    return not os.path.exists(f"/proc/{pid}")

"""


class Stage:
    """A folder with one app in it, and the terminals in which it runs."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack

    def start(self, source: str = "", *options: str) -> Terminal:
        """``lightning run app``, without a page; the same file again when no source is given."""
        if source:
            (self.folder / "app.py").write_text(PRELUDE + textwrap.dedent(source))
        words = ("run", "app", "app.py", "--open-ui=false", "--without-server", *options)
        return self._stack.enter_context(Terminal(*words, folder=self.folder))

    def play(self, source: str, *options: str, code: int = 0) -> list[str]:
        """Run it to its end; what the components printed."""
        terminal = self.start(source, *options)
        terminal.end(code)
        return printed(terminal)

    def touch(self, name: str) -> None:
        (self.folder / name).touch()

    # -- the journal of the newest run ------------------------------------------------------------

    def turns(self) -> list[tuple[float, list[AnyFact]]]:
        newest = max(
            (self.folder / ".lightning" / "runs").iterdir(), key=lambda each: each.stat().st_ctime_ns
        )
        journal = SqliteJournal.reader(newest / "journal.sqlite")
        try:
            return [(turn.at, decode_turn(turn.facts)) for turn in journal.read()]
        finally:
            journal.close()

    def facts(self) -> Iterator[AnyFact]:
        return (fact for _, facts in self.turns() for fact in facts)

    def conflicts(self) -> list[tuple[object, ...]]:
        """The paths whose changes by a work overwrote what it had not seen, in order."""
        return [
            fact.deltas[position].path
            for fact in self.facts()
            if type(fact) is Changed
            for position in fact.conflicts
        ]

    def model(self) -> Model:
        return fold(self.turns())


def printed(terminal: Terminal) -> list[str]:
    """What the components printed: all but the two lines every app begins with."""
    return terminal.out[2:]
