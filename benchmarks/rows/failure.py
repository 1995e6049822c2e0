"""A work raises: how long until its traceback is on the terminal."""

import re

from benchmarks.bench import Bench
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import Subject

TRACEBACK = re.compile("Traceback")
RAISED = re.compile(r"raised at (\d+\.\d+)")  # the message of the exception, the traceback's last line


def measure(bench: Bench, subject: Subject) -> Sample:
    with bench.launch(subject, "failure") as (launch, _):
        launch.line(TRACEBACK, timeout=60)
        arrived, text = launch.line(RAISED, timeout=60)
        code = launch.finish(timeout=20)
    found = RAISED.search(text)
    assert found is not None
    return Sample({"latency": arrived - float(found[1])}, raw={"exit_code": code})


ROW = Row(
    "failure",
    "from a raise in a work to its traceback on the terminal",
    (Figure("latency", "to the traceback's last line", "s", 0.20),),
    ("predecessor", "ray", "dask", "dbos", "metaflow"),
    measure,
)
