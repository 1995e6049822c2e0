"""What a journal comes to: its newest snapshot that can be read, and the turns behind it, folded.

A snapshot that is damaged is passed over for an older one, in the end for the first turn of all. Nothing is lost
by that, as long as the turns are there; what was passed over is said.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import NamedTuple

import msgspec

from lightning.app.errors import ProtocolError
from lightning.app.journal.journal import Reader, Trouble
from lightning.app.kernel.facts import decode_turn
from lightning.app.kernel.model import Model, evolve
from lightning.app.kernel.snapshot import load


class Recovery(NamedTuple):
    """The model after turn ``seq``, and what was passed over on the way to it."""

    model: Model
    seq: int
    passed_over: list[str]


def recover(journal: Reader, upto: int | None = None) -> Recovery:
    """The model after turn ``upto``, or after the last one committed.

    >>> from lightning.app.journal.memory import MemoryJournal
    >>> recover(MemoryJournal()).model.components
    {}
    """
    with _uncollected():
        return _recover(journal, upto)


def _recover(journal: Reader, upto: int | None) -> Recovery:
    known = len(journal.damage)
    model, seq, unread = _begin(journal, upto)
    if seq < journal.first - 1:
        if upto is not None and upto < journal.first - 1:
            raise Trouble.COMPACTED.of(
                journal.path, f"turn {upto} was asked for, history begins with turn {journal.first}"
            )
        raise Trouble.CORRUPT.of(journal.path, "; ".join([*journal.damage, *unread, "no other is left"]))
    turns = journal.read(seq)
    if upto is not None:
        turns = takewhile(lambda turn: turn.seq <= upto, turns)
    for turn in turns:
        try:
            facts = decode_turn(turn.facts)
        except msgspec.DecodeError as err:
            raise Trouble.NEWER.of(journal.path, f"turn {turn.seq}: {err}") from err
        for fact in facts:
            evolve(model, fact, turn.at)
        seq = turn.seq
    return Recovery(model, seq, journal.damage[known:] + unread)


@contextmanager
def _uncollected() -> Iterator[None]:
    """A model is made of many objects, all of them to stay: looking for garbage among them costs more than they do."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _begin(journal: Reader, upto: int | None) -> tuple[Model, int, list[str]]:
    """The newest snapshot that is whole and can be read; else nothing, before the first turn."""
    unread: list[str] = []
    while (snapshot := journal.newest(upto)) is not None:
        try:
            return load(snapshot.model), snapshot.seq, unread
        except ProtocolError as err:
            unread.append(f"the snapshot of turn {snapshot.seq} cannot be read ({err})")
            upto = snapshot.seq - 1
    return Model(), 0, unread
