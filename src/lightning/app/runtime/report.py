"""What a replay came to: how far the flow asked for the same, and where it parted from the record."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lightning.app.runtime.past import moment


@dataclass(frozen=True)
class Difference:
    """Where the flow parted from the record."""

    turn: int
    at: float
    where: str  # "/some/app.py:12", the user's line; empty where it is no line of run
    line: str  # what it says
    recorded: str
    replayed: str


@dataclass(frozen=True)
class Report:
    """What a replay came to."""

    turns: int
    passes: int
    compared: int  # requests of the flow that were the same
    difference: Difference | None = None
    first: int = 1  # the first turn that is kept, when the history before it was compacted

    def told(self, record: str) -> str:
        """In words. ``record`` names what was replayed."""
        differs = self.difference
        if differs is None:
            return (
                f"{record}: no difference in {self.turns} turns, {self.passes} passes, {self.compared} requests "
                "of the flow" + (f", from turn {self.first} on" if self.first > 1 else "")
            )
        lines = [
            f"{record} differs at turn {differs.turn}, {moment(differs.at)}",
            f"  recorded: {differs.recorded}",
            f"  now:      {differs.replayed}",
        ]
        if differs.where:
            near = os.path.relpath(differs.where)
            where = differs.where if near.startswith("..") else near
            lines.append(f"  at:       {where}: {differs.line}")
        lines.append(f"Before that, {self.compared} requests of the flow were the same")
        if self.first > 1:
            lines.append(
                f"(The history before turn {self.first} is compacted: what attributes with an underscore held then "
                "is not known, and may be the reason)"
            )
        return "\n".join(lines)
