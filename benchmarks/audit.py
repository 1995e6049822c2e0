"""What a run of this project left in its journal: a figure counts only if its claim is written there."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.launch import ProgramFailed
from benchmarks.subjects import OURS, PROGRAMS


@dataclass(frozen=True)
class Audit:
    """Rows of the journal, finished calls, and a work's writes by attribute (``root.writer.value``)."""

    turns: int
    returned: int
    changed: dict[str, int]


def audit(bench: Bench, scratch: Path) -> Audit:
    """Read, after the run's end and by another process, what is there for a restart to read."""
    reader = PROGRAMS / "shared" / "journalcount.py"
    done = subprocess.run(
        [str(bench.bins[OURS.name] / "python"), str(reader), str(scratch)],
        capture_output=True,
        text=True,
        env=bench.environment(OURS, {}),
    )
    if done.returncode != 0:
        raise ProgramFailed(f"the journal below {scratch.name} could not be read:\n{done.stderr[-2000:]}")
    return Audit(**json.loads(done.stdout))


def require(found: int, wanted: int, what: str) -> None:
    if found < wanted:
        raise ProgramFailed(f"of {wanted:,} {what} only {found:,} are in the journal")
