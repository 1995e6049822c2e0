"""Sequential calls: the flow calls, a work in a process of its own answers with its pid, the flow goes on.

What a call may cost depends on the disk, so the budget under ``full`` is reckoned from a pipe's round trip
and a commit, measured on the same disk just before and just after. Then the journal is opened and its
turns are counted: a call that was fast because it was not written down would show.
"""

from typing import Any

from benchmarks import machine
from benchmarks.audit import audit, require
from benchmarks.bench import Bench
from benchmarks.environments import CACHE
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import OURS, Subject

COUNTS = {
    "ours": 4000,
    "predecessor": 12,
    "ray": 2000,
    "dask": 1500,
    "dbos": 1000,
    "prefect": 200,
}
DURABILITIES = ("full", "process", "off")


def measure(bench: Bench, subject: Subject) -> Sample:
    count = COUNTS[subject.name] // (4 if bench.quick and COUNTS[subject.name] > 100 else 1)
    if subject is not OURS:
        rate, raw = _run(bench, subject, count, "full")
        return Sample(dict.fromkeys(DURABILITIES, rate), raw)
    raw_of: dict[str, Any] = {}
    figures: dict[str, float] = {}
    before = machine.costs(CACHE)
    figures["full"], raw_of["full"] = _run(bench, subject, count, "full")
    costs = before.and_also(machine.costs(CACHE))
    for durability in ("process", "off"):
        figures[durability], raw_of[durability] = _run(bench, subject, count, durability)
    raw_of |= {"round_trips_s": costs.round_trips, "commits_s": costs.commits}
    allowed = 4 * costs.round_trip + 1.3 * costs.commit
    left = ", ".join(
        f"{durability} {raw_of[durability]['turns']:,} ({raw_of[durability]['returned']:,})"
        for durability in DURABILITIES
    )
    notes = (
        f"last round: a pipe's round trip {costs.round_trip * 1e6:.0f} us, "
        f"a FULL commit {costs.commit * 1e6:.0f} us: "
        f"4 and 1.3 of them are {allowed * 1e6:.0f} us, or {1 / allowed:,.0f} calls/s",
        f"last round: turns (answers) in the journal for {count:,} calls: {left}",
    )
    return Sample(figures, raw_of, budgets={"full": 1 / allowed}, notes=notes)


def _run(bench: Bench, subject: Subject, count: int, durability: str) -> tuple[float, dict[str, Any]]:
    with bench.launch(subject, "calls", durability, count=count) as (launch, scratch):
        record = launch.record(timeout=120)
        launch.finish(timeout=20)
        raw = {"calls": count, "seconds": record["seconds"], "pids": record["pids"]}
        if subject is OURS:
            written = audit(bench, scratch)
            raw |= {"turns": written.turns, "returned": written.returned}
    if subject is OURS and durability != "off":
        require(raw["turns"], count, f"calls under {durability!r}, a turn each,")
        require(raw["returned"], count, f"answers under {durability!r}")
    return count / record["seconds"], raw


ROW = Row(
    "calls",
    "sequential calls flow -> work -> flow",
    (
        Figure("full", "power-safe (full)", "/s", None, "higher"),
        Figure("process", "kill-safe (process)", "/s", 8000.0, "higher"),
        Figure("off", "in memory (off)", "/s", None, "higher"),
    ),
    ("predecessor", "ray", "dask", "dbos", "prefect"),
    measure,
)
