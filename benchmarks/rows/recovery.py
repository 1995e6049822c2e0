"""From `--resume` to the first pass of a run that was killed, with a hundred works and a hundred thousand rows.

Once as the kill left it, and once with its snapshots taken out, so that every row is read and folded.
"""

import json
import subprocess

from benchmarks.bench import Bench
from benchmarks.launch import Launch, ProgramFailed
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import PROGRAMS, Subject

WORKS = 100
ROWS = 100_000
CALLS = 100_000  # a row each, and some more; not so many that the oldest are compacted


def measure(bench: Bench, subject: Subject) -> Sample:
    share = 10 if bench.quick else 1
    works, count = WORKS, CALLS // share
    program = subject.program("recovery")
    assert program is not None
    with bench.launch(subject, "recovery", "process", works=works, count=count) as (launch, scratch):
        launch.finish(timeout=180)
        done = subprocess.run(
            [
                str(bench.bins[subject.name] / "python"),
                str(PROGRAMS / "shared" / "recoveries.py"),
                str(scratch),
            ],
            capture_output=True,
            text=True,
            env=bench.environment(subject, {}),
        )
        if done.returncode != 0:
            raise ProgramFailed(f"the killed run could not be copied:\n{done.stderr[-2000:]}")
        raw = json.loads(done.stdout)
        if raw["first"] != 1 or raw["rows"] < ROWS // share:
            raise ProgramFailed(f"{ROWS // share:,} rows were wanted, and all of them there: {raw}")
        figures = {}
        for name in ("with", "without"):
            folder = scratch / name
            command = [*subject.command(bench.bins[subject.name], program, folder, "full"), "--resume"]
            environment = bench.environment(subject, {"works": works, "count": count})
            with Launch(f"{subject.name}: resumed {name} snapshots", command, environment, folder) as resumed:
                record = resumed.record(timeout=60)
                resumed.finish(timeout=20)
            # the pass that was killed had taken the last result: its call runs again
            if record["made"] != count - 1 or record["works"] < works - 1:
                raise ProgramFailed(f"resumed {name} snapshots, the app was not where it had been: {record}")
            figures[name] = record["arrived"] - resumed.began
    return Sample(figures, raw)


ROW = Row(
    "recovery",
    f"recovery of {WORKS} works and {ROWS:,} rows",
    (
        Figure("with", "`--resume` to the first pass", "s", 2.0),
        Figure("without", "the same without snapshots", "s", 2.0),
    ),
    (),
    measure,
    rounds=3,
)
