"""One key changes, in the flow's state and in the work's: what the turn costs, by the size of the state.

A step changes a key of a dictionary of the flow, calls a work that changes a key of a dictionary of its own,
and gets the answer. Under ``process``, so that a slow disk does not hide a cost that grows with the state.
"""

import itertools

from benchmarks.bench import Bench
from benchmarks.measure import Figure, Row, Sample, median
from benchmarks.subjects import OURS, Subject

SIZES = (100, 1_000, 10_000, 100_000)
STEPS = {"ours": 400, "predecessor": 4}
LARGEST = {"ours": 100_000, "predecessor": 10_000}  # which takes it a second a step


def measure(bench: Bench, subject: Subject) -> Sample:
    steps = STEPS[subject.name] // (4 if bench.quick and subject is OURS else 1)
    figures: dict[str, float] = {}
    raw = {}
    for size in SIZES:
        if size > LARGEST[subject.name]:
            continue
        with bench.launch(subject, "turns", "process", size=size, steps=steps) as (launch, _):
            stamps = launch.record(timeout=120)["stamps"]
            launch.finish(timeout=20)
        spent = [(later - earlier) * 1e6 for earlier, later in itertools.pairwise(stamps)]
        figures[f"keys_{size}"] = median(spent)
        raw[str(size)] = [round(value, 1) for value in spent]
    if LARGEST[subject.name] == SIZES[-1]:
        figures["growth"] = figures[f"keys_{SIZES[-1]}"] / figures[f"keys_{SIZES[0]}"]
    return Sample(figures, raw)


ROW = Row(
    "turns",
    "a turn after one key changed, by size of state",
    (
        *(Figure(f"keys_{size}", f"{size:,} keys", "us") for size in SIZES),
        Figure("growth", "100,000 keys over 100", "x", 1.3),
    ),
    ("predecessor",),
    measure,
    rounds=3,
)
