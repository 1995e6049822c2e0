"""How large a run's file becomes in a year that never ends, hour by hour, by a clock turned by hand."""

from benchmarks.bench import Bench
from benchmarks.launch import Launch, ProgramFailed
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import Subject

STEPS = 24  # calls an hour; so the usual history of 100,000 turns is full before half a year is over


def measure(bench: Bench, subject: Subject) -> Sample:
    program = subject.program("year")
    assert program is not None
    scratch = bench.temporary / "year"
    scratch.mkdir()
    try:
        command = [str(bench.bins[subject.name] / "python"), str(program), str(scratch)]
        share = 5 if bench.quick else 1
        parameters = {"steps": STEPS // share, "history": 100_000 // share}
        environment = bench.environment(subject, parameters)
        with Launch(f"{subject.name}: year.py", command, environment, scratch) as launch:
            record = launch.record(timeout=600)
            launch.finish(timeout=20)
    finally:
        for each in scratch.iterdir():
            each.unlink()
        scratch.rmdir()
    if record["firsts"][5] == 1:
        raise ProgramFailed("half a year did not fill the history: nothing is shown of what comes then")
    figures = {
        "size": record["sizes"][-1] / 1e6,
        "growth": max(record["sizes"]) / max(record["sizes"][:6]),
        "recovery": record["recovered"],
    }
    return Sample(figures, record)


ROW = Row(
    "year",
    "a simulated year: an hourly schedule, 24 calls an hour",
    (
        Figure("size", "the journal's file at its end", "MB"),
        Figure("growth", "largest of all months over largest of six", "x", 1.05),
        Figure("recovery", "to read it again", "s", 2.0),
    ),
    (),
    measure,
    rounds=1,
)
