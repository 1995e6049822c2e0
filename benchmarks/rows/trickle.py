"""Many small payloads at a steady rate: whether memory and disk grow with them.

History is kept for the newest turns: the journal fills up first, and is then as large as it stays. So growth is what
the second half of the time adds. On a busy machine many payloads make one turn, and a minute may not fill it.
"""

import time
from pathlib import Path

from benchmarks import processes
from benchmarks.audit import audit
from benchmarks.bench import Bench
from benchmarks.measure import Figure, Row, Sample
from benchmarks.subjects import Subject

RATE = 10_000
SECONDS = 60
_MB = 1e6


def measure(bench: Bench, subject: Subject) -> Sample:
    seconds = SECONDS // (4 if bench.quick else 1)
    count = RATE * seconds
    with bench.launch(subject, "trickle", rate=RATE, count=count) as (launch, scratch):
        began = launch.record(timeout=60)["began"]
        looks = []
        for part in (0.5, 0.9):
            time.sleep(max(0.0, began + part * seconds - time.monotonic()))
            looks.append({"memory": _memory(), "disk": _on_disk(scratch), "shared": _shared(scratch)})
        took = launch.record(timeout=seconds + 60)["seconds"]
        launch.finish(timeout=60)
        turns = audit(bench, scratch).turns
    middle, late = looks
    return Sample(
        {
            "rate": count / took,
            "memory": (late["memory"] - middle["memory"]) / _MB,
            "shared": (late["shared"] - middle["shared"]) / _MB,
            "disk": (late["disk"] - middle["disk"]) / _MB,
        },
        {"looks": looks, "seconds": took, "turns": turns},
        notes=(f"{turns:,} turns are kept; the file grows until they are 100,000",),
    )


def _memory() -> float:
    """Private memory of all processes of the program."""
    return sum(processes.memory(pid)["private"] for pid in processes.descendants()) * _MB


def _on_disk(folder: Path) -> float:
    return sum(each.stat().st_blocks * 512.0 for each in folder.rglob("*") if each.is_file())


def _shared(folder: Path) -> float:
    runs = [each.name for each in (folder / "runs").iterdir()]
    found = [each for run in runs for each in Path("/dev/shm").glob(f"lightning-*/{run}/lp-*")]
    return sum(each.stat().st_blocks * 512.0 for each in found)


ROW = Row(
    "trickle",
    "10,000 payloads of 1 kB a second, for a minute",
    (
        Figure("rate", "made and sent", "/s", RATE * 0.99, "higher"),
        Figure("memory", "memory added by the second half", "MB", 20.0),
        Figure("shared", "shared memory added", "MB", 1.0),
        Figure("disk", "disk added", "MB", 50.0),
    ),
    (),
    measure,
    rounds=1,
)
