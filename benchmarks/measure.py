"""What is measured: a row has figures; a measurement of one subject in one round is a sample."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.subjects import Subject


@dataclass(frozen=True)
class Figure:
    """One number of a row, and what it should be."""

    key: str
    label: str
    unit: str
    budget: float | None = None
    better: Literal["lower", "higher"] = "lower"

    def best(self, values: Iterable[float]) -> float:
        return min(values) if self.better == "lower" else max(values)

    def advantage(self, ours: float, theirs: float) -> float:
        """How many times better ours is; under 1 when theirs is better."""
        dividend, divisor = (theirs, ours) if self.better == "lower" else (ours, theirs)
        return dividend / divisor if divisor else math.inf


@dataclass(frozen=True)
class Sample:
    """What one round found for one subject. ``raw`` is kept as it was read: anyone can reckon again."""

    figures: dict[str, float]
    raw: dict[str, Any] = field(default_factory=dict)
    budgets: dict[str, float] = field(default_factory=dict)  # reckoned from the machine at that moment
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One row of the budget table. ``peers`` are those for which the row means something."""

    name: str
    title: str
    figures: tuple[Figure, ...]
    peers: tuple[str, ...]
    measure: Callable[[Bench, Subject], Sample]
    rounds: int = 9  # at most so many: some rows are long


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that really occurred."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)
