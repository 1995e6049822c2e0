"""What was found, as one table for people and one JSON file for programs."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Figure, Row, Sample, median

RESULTS = Path(__file__).parent / "results"
OURS = "ours"


@dataclass
class Results:
    """Every sample of every row and subject, in the order taken; and whatever failed, with its reason."""

    samples: dict[str, dict[str, list[Sample]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    failures: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    left_behind: dict[str, int] = field(default_factory=dict)
    hung: dict[str, int] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)

    def values(self, row: Row, subject: str, figure: Figure) -> list[float]:
        return [
            sample.figures[figure.key]
            for sample in self.samples[row.name][subject]
            if figure.key in sample.figures
        ]

    def budget(self, row: Row, figure: Figure) -> float | None:
        reckoned = [
            sample.budgets[figure.key]
            for sample in self.samples[row.name][OURS]
            if figure.key in sample.budgets
        ]
        return median(reckoned) if reckoned else figure.budget

    def margins(self, row: Row, figure: Figure) -> list[float]:
        """Round by round, how far our figure is within its budget: a reckoned one holds for its round only."""
        return [
            figure.advantage(sample.figures[figure.key], budget)
            for sample in self.samples[row.name][OURS]
            if figure.key in sample.figures
            and (budget := sample.budgets.get(figure.key, figure.budget)) is not None
        ]


def table(results: Results, rows: list[Row], subjects: list[str]) -> str:
    """Median (best) of the rounds; for a peer also how many times better our median is."""
    peers = [name for name in subjects if name != OURS]
    lines = [["", "ours", "budget", "", *peers]]
    for row in rows:
        lines.append([row.title, *[""] * (len(lines[0]) - 1)])
        lines.extend(_line(results, row, figure, peers) for figure in row.figures)
    widths = [
        max(len(line[column]) for line in lines if any(line[1:]) or column) for column in range(len(lines[0]))
    ]
    text = []
    for line in lines:
        if any(line[1:]):
            cells = [
                cell.ljust(width) if not at else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            text.append("  ".join(cells).rstrip())
        else:
            text.append("\n" + line[0])
    return "\n".join(text)


def notes(results: Results, rows: list[Row]) -> list[str]:
    """What the last round of each row had to say, what failed, and what was left running."""
    said: list[str] = []
    for row in rows:
        for samples in results.samples[row.name].values():
            said.extend(f"{row.name}: {note}" for sample in samples[-1:] for note in sample.notes)
        said.extend(
            f"{row.name}: {subject} failed: {_brief(why)}"
            for subject, why in results.failures[row.name].items()
        )
    for name, count in results.left_behind.items():
        said.append(f"{name} left {count} processes running after its end; they were ended")
    for name, count in results.hung.items():
        said.append(
            f"{name} had not ended 20 s after it was done or interrupted, in {count} runs; it was ended"
        )
    return said


def write(results: Results, path: Path) -> None:
    document = {
        **results.context,
        "left_behind": results.left_behind,
        "hung": results.hung,
        "failures": results.failures,
        "samples": {
            row: {subject: [asdict(sample) for sample in samples] for subject, samples in subjects.items()}
            for row, subjects in results.samples.items()
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, separators=(",", ":")) + "\n")


def _line(results: Results, row: Row, figure: Figure, peers: list[str]) -> list[str]:
    ours = results.values(row, OURS, figure)
    budget = results.budget(row, figure)
    cells = ["  " + figure.label, "-", "", ""]
    if ours:
        middle = median(ours)
        cells[1] = f"{number(middle)} ({number(figure.best(ours))}) {figure.unit}"
        if budget is not None:
            margin = median(results.margins(row, figure))
            cells[3] = "met" if margin >= 1 else f"{1 / margin:.3g}x over"
    elif OURS in results.failures[row.name]:
        cells[1] = "failed"
    if budget is not None:
        cells[2] = f"{number(budget)} {figure.unit}"
    for peer in peers:
        theirs = results.values(row, peer, figure)
        if not theirs:
            cells.append("failed" if peer in results.failures[row.name] else "-")
        else:
            ratio = f" {figure.advantage(median(ours), median(theirs)):.3g}x" if ours else ""
            cells.append(f"{number(median(theirs))} ({number(figure.best(theirs))}){ratio}")
    return cells


def _brief(why: str) -> str:
    """The reason and the program's last word; the JSON has all of it."""
    first, *rest = why.strip().splitlines()
    return f"{first} {rest[-1].strip()}" if rest else first


def number(value: float) -> str:
    """Three digits are all that such measurements carry."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
