"""A large array by pointer: what it costs to put it away, to open it, and the whole way between two works.

Each figure of putting is held against one copy of the same array into fresh shared memory, made in turns with it by
the same process: how fast memory is differs from machine to machine, and from minute to minute. Ray keeps memory that
was freed and fills it anew, which is faster than memory that nobody has used: that is a figure of its own.
"""

from benchmarks.bench import Bench
from benchmarks.launch import ProgramFailed
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import Subject

SIZES = {"256": 256, "2048": 2048}  # MB
MOST = 1.3  # of one copy


def measure(bench: Bench, subject: Subject) -> Sample:
    figures: dict[str, float] = {}
    budgets: dict[str, float] = {}
    raw = {}
    for name, megabytes in SIZES.items():
        if megabytes > 256 and (bench.quick or subject.name == "predecessor"):
            continue
        with bench.launch(subject, "payload", megabytes=megabytes) as (launch, _):
            record = launch.record(timeout=180)
            launch.finish(timeout=60)
        if record["found"] != (megabytes << 17) / 2:
            raise ProgramFailed(f"{subject.name} found the sum {record['found']} of {megabytes} MB")
        figures[f"whole{name}"] = record["whole"] * 1e3
        if "putting" in record:
            figures[f"put{name}"] = record["putting"] / record["copying"]
            figures[f"ms{name}"] = record["putting"] * 1e3
            figures[f"again{name}"] = record["again"] * 1e3
            figures[f"open{name}"] = record["opening"] * 1e3
            budgets[f"whole{name}"] = MOST * record["copying"] * 1e3
        raw[name] = record
    return Sample(figures, raw, budgets)


ROW = Row(
    "payload",
    "an array made in one work and summed in another",
    (
        Figure("put256", "256 MB put away, in copies of it", "x", MOST),
        Figure("ms256", "the same", "ms"),
        Figure("again256", "once more, when that was freed", "ms"),
        Figure("open256", "opened", "ms", 5.0),
        Figure("whole256", "the whole way, sum and all", "ms"),
        Figure("put2048", "2 GB put away, in copies of it", "x", MOST),
        Figure("ms2048", "the same", "ms"),
        Figure("again2048", "once more, when that was freed", "ms"),
        Figure("open2048", "opened", "ms", 5.0),
        Figure("whole2048", "the whole way, sum and all", "ms"),
    ),
    ("predecessor", "ray"),
    measure,
    rounds=3,
)
