"""The command line before it does anything: its help, and the import that every app begins with."""

import subprocess
import time

from benchmarks.bench import SCRATCH, Bench
from benchmarks.launch import ProgramFailed
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import Subject


def measure(bench: Bench, subject: Subject) -> Sample:
    bin = bench.bins[subject.name]
    return Sample(
        {
            "help": _seconds(bench, subject, [str(bin / subject.help[0]), *subject.help[1:]]),
            "import": _seconds(bench, subject, [str(bin / "python"), "-c", f"import {subject.imports}"]),
            "python": _seconds(bench, subject, [str(bin / "python"), "-c", "pass"]),
        }
    )


def _seconds(bench: Bench, subject: Subject, command: list[str]) -> float:
    SCRATCH.mkdir(parents=True, exist_ok=True)
    environment = bench.environment(subject, {})
    del environment["PYTHONPATH"]
    began = time.monotonic()
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=SCRATCH)
    except OSError as error:
        raise ProgramFailed(f"{command[0]} could not be started: {error}") from error
    spent = time.monotonic() - began
    if done.returncode != 0:
        raise ProgramFailed(
            f"{' '.join(command)} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}"
        )
    return spent


ROW = Row(
    "commands",
    "the command line before it does anything",
    (
        Figure("help", "--help", "s", 0.10),
        Figure("import", "import, the interpreter's start included", "s", 0.10),
        Figure("python", "the interpreter's start alone", "s"),
    ),
    ("predecessor", "ray", "dask", "dbos", "metaflow", "prefect"),
    measure,
)
