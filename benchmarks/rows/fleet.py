"""Many works at once: started, run and seen by the flow, and what each then weighs while it waits."""

from benchmarks import processes
from benchmarks.bench import Bench
from benchmarks.measure import Figure, Row, Sample, median
from benchmarks.subjects import OURS, Subject


def measure(bench: Bench, subject: Subject) -> Sample:
    with bench.launch(subject, "fleet", count=40) as (launch, _):
        record = launch.record(timeout=120)
        weights = [processes.memory(pid) for pid in record["pids"]]
        launch.interrupt()
        launch.finish(timeout=20)
    figures = {
        "forty": record["seconds"],
        "private": median(weight["private"] for weight in weights),
        "pss": median(weight["pss"] for weight in weights),
    }
    raw = {"forty_s": record["seconds"], "memory_mb": weights}
    if subject is OURS and not bench.quick:
        with bench.launch(subject, "fleet", count=500) as (launch, _):
            figures["five_hundred"] = raw["five_hundred_s"] = launch.record(timeout=120)["seconds"]
            launch.interrupt()
            launch.finish(timeout=20)
    return Sample(figures, raw)


ROW = Row(
    "fleet",
    "works with numpy imported: started, run and seen",
    (
        Figure("forty", "40 works", "s", 0.20),
        Figure("five_hundred", "500 works", "s", 3.0),
        Figure("private", "own memory of an idle work", "MB", 10.0),
        Figure("pss", "its share of all memory", "MB"),
    ),
    ("predecessor", "ray"),
    measure,
    rounds=3,
)
