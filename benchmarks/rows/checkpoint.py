"""A second checkpoint of 256 MB with one percent changed: what of it moves, and how long that takes."""

import json
import subprocess

from benchmarks.bench import SCRATCH, Bench
from benchmarks.launch import MARK, ProgramFailed
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import Subject

MOST = 3.0  # percent of the checkpoint


def measure(bench: Bench, subject: Subject) -> Sample:
    program = subject.program("checkpoint")
    assert program is not None
    SCRATCH.mkdir(parents=True, exist_ok=True)
    environment = bench.environment(subject, {"megabytes": 64 if bench.quick else 256})
    done = subprocess.run(
        [str(bench.bins[subject.name] / "python"), str(program)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=SCRATCH,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if not told:
        raise ProgramFailed(f"{program} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    found = json.loads(told[0].removeprefix(MARK))
    return Sample({each.key: found[each.key] for each in ROW.figures}, raw=found)


_PLACES = {"one": "in one place", "tensors": "in four tensors", "scattered": "in forty places"}
_WAYS = {
    "s3_put": "to S3, all that the line carries",
    "s3_get": "from S3 to a consumer",
    "folder_put": "to a folder",
}

ROW = Row(
    "checkpoint",
    "a second checkpoint of 256 MB, 1 % of it changed",
    (
        *(
            Figure(f"{place}_{way}", f"{where}: {what}", "%", MOST)
            for place, where in _PLACES.items()
            for way, what in _WAYS.items()
        ),
        Figure("scattered_s3_put_s", "in forty places: seconds to put", "s"),
        Figure("scattered_s3_get_s", "in forty places: seconds to get", "s"),
    ),
    (),
    measure,
    rounds=3,
)
