"""Attribute writes: what each costs the work, and how many a second reach the journal.

The end is proved from inside: a call is dispatched only after everything before it was committed, so the time
at which a second call begins in the work is a time at which the journal had all writes. After the run
they are counted there.
"""

from benchmarks.audit import audit, require
from benchmarks.bench import Bench
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import OURS, Subject

COUNTS = {"ours": 100_000, "predecessor": 2_000, "ray": 5_000, "dask": 5_000}


def measure(bench: Bench, subject: Subject) -> Sample:
    count = COUNTS[subject.name] // (4 if bench.quick else 1)
    with bench.launch(subject, "writes", count=count) as (launch, scratch):
        record = launch.record(timeout=120)
        launch.finish(timeout=20)
        raw = {"writes": count, "writing_s": record["writing"], "arriving_s": record["arriving"]}
        if subject is OURS:
            written = audit(bench, scratch)
            raw |= {"turns": written.turns, "journaled": written.changed.get("root.writer.value", 0)}
            require(raw["journaled"], count, "writes")
    return Sample(
        {"each": record["writing"] / count * 1e6, "rate": count / record["arriving"]},
        raw,
    )


ROW = Row(
    "writes",
    "attribute writes in a work",
    (
        Figure("each", "each, in the work", "us", 10.0),
        Figure("rate", "until the journal has all", "/s", 67_000.0, "higher"),
    ),
    ("predecessor", "ray", "dask"),
    measure,
)
