"""A page: it follows what is published after each commit, and comes and goes."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Any

from lightning.app.kernel import facts as f
from lightning.app.kernel.delta import apply, apply_copy
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import unpack


class Page:
    """Everybody's state, as far as it has been published and heard."""

    def __init__(self) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self.published: deque[Sequence[f.Fact]] = deque()

    def hear(self, rng: random.Random) -> None:
        while self.published and rng.random() < 0.8:
            self._take(self.published.popleft())

    def hear_all(self) -> None:
        while self.published:
            self._take(self.published.popleft())

    def _take(self, facts: Sequence[f.Fact]) -> None:
        for fact in facts:
            match fact:
                case f.Made(path=path):
                    self.states[path] = {name: unpack(value) for name, value in fact.state.items()}
                case f.Deleted(path=path):
                    for each in [each for each in self.states if f"{each}.".startswith(f"{path}.")]:
                        del self.states[each]
                case f.Wrote(path=path):
                    self._apply(path, fact.delta)
                case f.Changed(path=path):
                    for delta in fact.deltas:
                        self._apply(path, delta)

    def _apply(self, path: str, delta: Delta) -> None:
        """In place or by copy: it must not matter."""
        (apply if len(delta.path) % 2 else apply_copy)(self.states[path], delta)
