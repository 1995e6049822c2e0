"""What the journal adds to a reaction: the same program with it and without, one after the other.

A difference of two noisy figures is noisier than either, so each round runs both ways several times, in turns.
"""

from benchmarks.audit import audit, require
from benchmarks.bench import Bench
from benchmarks.measure import Figure, Row, Sample, median, percentile
from benchmarks.subjects import Subject

RATE = 1000
TURNS = 3


def measure(bench: Bench, subject: Subject) -> Sample:
    count = RATE * (1 if bench.quick else 4)
    lags: dict[str, list[list[float]]] = {"full": [], "off": []}
    for _ in range(TURNS):
        for durability, runs in lags.items():
            with bench.launch(subject, "reaction", durability, rate=RATE, count=count) as (launch, scratch):
                record = launch.record(timeout=60)
                launch.finish(timeout=20)
                if durability == "full":
                    require(audit(bench, scratch).changed.get("root.beater.beat", 0), count, "beats")
            runs.append([lag * 1e3 for lag in record["lags"]])
    figures = {}
    for percent in (50, 99):
        full, off = (median(percentile(run, percent) for run in lags[each]) for each in ("full", "off"))
        figures[f"p{percent}"] = max(0.0, full - off)  # less with it than without is noise
    raw = {f"{name}_lags_ms": [[round(lag, 4) for lag in run] for run in runs] for name, runs in lags.items()}
    return Sample(figures, raw)


ROW = Row(
    "journal",
    "what the journal adds to a reaction",
    (
        Figure("p50", f"to p50 at {RATE:,} writes/s", "ms", 0.01),
        Figure("p99", f"to p99 at {RATE:,} writes/s", "ms", 1.0),
    ),
    (),
    measure,
    rounds=3,
)
