"""From the command to the first line of the first work: what everybody waits for, every time."""

from benchmarks.bench import Bench
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import Subject


def measure(bench: Bench, subject: Subject) -> Sample:
    with bench.launch(subject, "start") as (launch, _):
        record = launch.record(timeout=60)
        code = launch.finish(timeout=20)
    return Sample(
        {"first_line": record["arrived"] - launch.began},
        raw={"work_pid": record["pid"], "exit_code": code},
    )


ROW = Row(
    "start",
    "`run app` to the first work's first line",
    (Figure("first_line", "to the first line", "s", 0.20),),
    ("predecessor", "ray", "dask", "dbos", "metaflow", "prefect"),
    measure,
)
