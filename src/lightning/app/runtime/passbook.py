"""What the turns of the journal tell of passes, so that a replay runs the same ones at the same points.

A turn with facts says how many passes came to their end in it. Passes that change nothing write no turn: the next
turn there is tells of them. A pass that lets changes in goes on in a turn which says so.
"""

from __future__ import annotations

from lightning.app.kernel import facts as f


class Passbook:
    """Counts the passes of the turn under way. One of its steps is taken in every turn: it has to be quick."""

    __slots__ = ("at", "cut", "idled", "idled_at", "idled_since", "ran", "took", "went_on")

    def __init__(self) -> None:
        self.ran = 0  # passes that came to their end in this turn
        self.took = 0.0  # seconds that they took
        self.cut = False  # the last of them was broken off, the app ending
        self.at = 0.0  # when the pass under way began; 0 once the journal tells
        self.idled = 0  # passes since the last turn in the journal, which had changed nothing
        self.idled_since = self.idled_at = 0.0
        self.went_on: f.PassWentOn | None = None  # how this turn began, not yet told

    def note(self, facts: list[f.Fact], at: float, place: int | None = None) -> None:
        """Say how many there were, at that place, behind what they asked for; by itself at the end."""
        if facts or (self.went_on is not None and self.ran):
            ran = f.PassesRan(self.ran, int(self.took * 1e6), self.cut)
            if place is None:
                facts.append(ran)
            else:
                facts.insert(place, ran)
        elif idle := self.ran - self.cut:  # one that was broken off might have waited for ever
            if not self.idled:
                self.idled_since = at
            self.idled += idle
            self.idled_at = at
        self.ran = 0

    def head(self, facts: list[f.Fact]) -> None:
        """Say, before all else in a turn that will be written, what came before it."""
        if self.went_on is not None:
            facts.insert(0, self.went_on)
            self.went_on = None
        if self.idled:
            facts.insert(0, f.PassesIdled(self.idled, self.idled_since, self.idled_at))
            self.idled = 0

    def go_on(self, rereads: int, written: bool) -> None:
        """The pass under way is in a new turn. ``written``: the one before is in the journal."""
        began, self.at = 0.0 if written else self.at, 0.0
        self.went_on = f.PassWentOn(rereads, began)
