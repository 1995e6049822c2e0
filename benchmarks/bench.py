"""The bench itself: every program of every subject is launched here, on equal terms."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.environments import CACHE
from benchmarks.launch import Launch, ProgramFailed
from benchmarks.subjects import PROGRAMS, Subject

SCRATCH = CACHE / "scratch"
HOMES = CACHE / "homes"
KEPT = ("PATH", "LANG", "LC_ALL", "USER")


class Bench:
    """Launches programs on equal terms: a fresh scratch folder, the same environment, nothing left behind.

    A subject's home is kept from run to run, as a user's is: what is done once in a life is not a start.
    """

    def __init__(self, bins: dict[str, Path], quick: bool, temporary: Path) -> None:
        self.bins = bins
        self.temporary = temporary  # a short path: sockets live there
        self.quick = quick
        self.left_behind: Counter[str] = Counter()  # processes
        self.hung: Counter[str] = Counter()  # runs
        shutil.rmtree(SCRATCH, ignore_errors=True)

    def environment(self, subject: Subject, parameters: dict[str, int]) -> dict[str, str]:
        """Not the caller's, but for a few: a variable of a shell must not favour anybody."""
        home = HOMES / subject.name
        home.mkdir(parents=True, exist_ok=True)
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return {
            **kept,
            "HOME": str(home),
            "PATH": f"{self.bins[subject.name]}:{kept.get('PATH', os.defpath)}",
            "PYTHONPATH": ":".join(str(PROGRAMS / path) for path in subject.paths),
            "TMPDIR": str(self.temporary),
            "DO_NOT_TRACK": "1",
            "BENCH_PARAMETERS": json.dumps(parameters),
            **{name: value.format(temporary=self.temporary) for name, value in subject.environment.items()},
        }

    @contextmanager
    def launch(
        self, subject: Subject, name: str, durability: str = "full", **parameters: int
    ) -> Iterator[tuple[Launch, Path]]:
        """Run the subject's program of that name. Also gives its scratch folder, which is gone afterwards."""
        program = subject.program(name)
        if program is None:
            raise ProgramFailed(f"{subject.name} has no program {name!r}")
        scratch = SCRATCH / f"{name}-{subject.name}"
        scratch.mkdir(parents=True)
        try:
            command = subject.command(self.bins[subject.name], program, scratch, durability)
            environment = self.environment(subject, parameters)
            with Launch(f"{subject.name}: {program.name}", command, environment, scratch) as launch:
                yield launch, scratch
            if launch.hung:
                self.hung[subject.name] += 1
            elif launch.left_behind:
                self.left_behind[subject.name] += launch.left_behind
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
