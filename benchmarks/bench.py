"""The bench itself: every program of every subject is launched here, on equal terms."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.environments import CACHE
from benchmarks.launch import Launch, ProgramFailed
from benchmarks.subjects import PROGRAMS, Subject

SCRATCH = CACHE / "scratch"
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "USER")


class Bench:
    """Launches programs: a fresh scratch folder and home each, the same environment, nothing left behind."""

    def __init__(self, bins: dict[str, Path], quick: bool) -> None:
        self.bins = bins
        self.quick = quick
        self.left_behind: dict[str, int] = {}
        shutil.rmtree(SCRATCH, ignore_errors=True)

    def environment(self, subject: Subject, home: Path, parameters: dict[str, int]) -> dict[str, str]:
        """Not the caller's, but for a few: a variable of a shell must not favour anybody."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return {
            **kept,
            "HOME": str(home),
            "PATH": f"{self.bins[subject.name]}:{kept.get('PATH', os.defpath)}",
            "PYTHONPATH": ":".join(str(PROGRAMS / path) for path in subject.paths),
            "DO_NOT_TRACK": "1",
            "BENCH_PARAMETERS": json.dumps(parameters),
            **subject.environment,
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
            environment = self.environment(subject, scratch, parameters)
            with Launch(f"{subject.name}: {program.name}", command, environment, scratch) as launch:
                yield launch, scratch
            if launch.left_behind:
                self.left_behind[subject.name] = self.left_behind.get(subject.name, 0) + launch.left_behind
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
