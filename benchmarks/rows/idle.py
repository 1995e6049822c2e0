"""Nothing to do: the processor time that an app with ten idle works takes, all its processes together."""

import time

from benchmarks import processes
from benchmarks.bench import Bench
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import Subject

SETTLE = 2.0  # what a start leaves to be done is not idleness


def measure(bench: Bench, subject: Subject) -> Sample:
    seconds = 5.0 if bench.quick else 20.0
    with bench.launch(subject, "fleet", count=10) as (launch, _):
        launch.record(timeout=60)
        launch.watch(SETTLE)
        pids = processes.descendants()
        began, before = time.monotonic(), processes.cpu_seconds(pids)
        launch.watch(seconds)
        spent, elapsed = processes.cpu_seconds(pids) - before, time.monotonic() - began
        launch.interrupt()
        launch.finish(timeout=20)
    return Sample(
        {"cpu": 100 * spent / elapsed},
        raw={"cpu_s": spent, "elapsed_s": elapsed, "processes": len(pids)},
    )


ROW = Row(
    "idle",
    "idle app with ten idle works",
    (Figure("cpu", "of one core", "%", 0.5),),
    ("predecessor", "ray", "dask"),
    measure,
    rounds=1,
)
