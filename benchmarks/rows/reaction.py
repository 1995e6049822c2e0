"""A work writes the time of the monotonic clock; the flow compares it with its own: the same clock."""

from benchmarks.audit import audit, require
from benchmarks.bench import Bench
from benchmarks.measure import Figure, Row, Sample, percentile
from benchmarks.subjects import OURS, Subject

RATES = (10, 100, 1000)


def measure(bench: Bench, subject: Subject) -> Sample:
    seconds = 2 if bench.quick else 5
    figures: dict[str, float] = {}
    raw = {}
    for rate in RATES:
        count = rate * seconds
        with bench.launch(subject, "reaction", rate=rate, count=count) as (launch, scratch):
            record = launch.record(timeout=60 + seconds * 3)
            launch.finish(timeout=20)
            if subject is OURS:
                require(audit(bench, scratch).changed.get("root.beater.beat", 0), count, "beats")
        lags = [lag * 1e3 for lag in record["lags"]]
        figures[f"p50_{rate}"] = percentile(lags, 50)
        figures[f"p99_{rate}"] = percentile(lags, 99)
        figures[f"seen_{rate}"] = 100 * len(lags) / count
        raw[str(rate)] = {"written": count, "seen": len(lags), "lags_ms": [round(lag, 4) for lag in lags]}
    return Sample(figures, raw)


def _figures(rate: int) -> tuple[Figure, ...]:
    return (
        Figure(f"p50_{rate}", f"p50 at {rate:,} writes/s", "ms", 0.2),
        Figure(f"p99_{rate}", f"p99 at {rate:,} writes/s", "ms", 2.0),
        Figure(f"seen_{rate}", f"values seen at {rate:,} writes/s", "%", 100.0, "higher"),
    )


ROW = Row(
    "reaction",
    "a work's write seen by the flow",
    tuple(figure for rate in RATES for figure in _figures(rate)),
    ("predecessor", "ray", "dask"),
    measure,
    rounds=3,
)
