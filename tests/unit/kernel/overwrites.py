"""Who overwrote what of whom, in the order of the runtime: books by which no conflict goes unseen."""

from __future__ import annotations

from dataclasses import dataclass

from lightning.app.kernel import facts as f
from lightning.app.kernel.delta import conflicts
from lightning.app.kernel.messages import Delta
from tests.unit.kernel.hosts import Host

NEVER = 2**63


@dataclass(eq=False)
class Foreign:
    """A write of the flow or the page to a work that has a process."""

    delta: Delta
    seq: int = NEVER  # of the message that carries it; it may never be sent
    overwritten: bool = False


class Overwrites:
    """Who overwrote what, in the order of the runtime: the books by which no conflict goes unseen."""

    def __init__(self) -> None:
        self.foreign: dict[int, list[Foreign]] = {}  # by incarnation, in order

    def wrote(self, incarnation: int, delta: Delta) -> None:
        self.foreign.setdefault(incarnation, []).append(Foreign(delta))

    def sent(self, incarnation: int, seq: int, deltas: list[Delta]) -> None:
        last = self.foreign[incarnation][-1]
        assert deltas == [last.delta]
        last.seq = seq

    def changed(self, host: Host, fact: f.Changed) -> None:
        """Marked must be what overwrites a foreign write that its writer had not read, and nothing else may be."""
        foreign = self.foreign.get(host.incarnation, [])
        for position, (delta, basis) in enumerate(zip(fact.deltas, host.bases[fact.seq], strict=True)):
            met = [each for each in foreign if conflicts(delta, each.delta)]
            unread = [each for each in met if each.seq > basis]
            told = f"{fact.path}: {delta} after looking at {basis}, over {unread}"
            if position in fact.conflicts:
                assert unread, f"{told}: marked, but all of it was in order"
            else:
                assert all(each.overwritten for each in unread), f"{told}: a conflict unseen"
            for each in met:
                each.overwritten = True
