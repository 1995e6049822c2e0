"""The machine under the measurements: what it is, how busy, and what its pipe and its disk cost right now."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import median

MESSAGE = b"x" * 64
ROW = b"x" * 300  # about what one turn of a call writes


@dataclass(frozen=True)
class Costs:
    """Seconds, each time: a round trip through two pipes to another process, and a power-safe commit."""

    round_trips: list[float]
    commits: list[float]

    @property
    def round_trip(self) -> float:
        return median(self.round_trips)

    @property
    def commit(self) -> float:
        return median(self.commits)

    def and_also(self, others: Costs) -> Costs:
        """Both measurements as one: a disk that stalled during either is outvoted."""
        return Costs(self.round_trips + others.round_trips, self.commits + others.commits)


def describe() -> dict[str, object]:
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
    }


def load() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def costs(folder: Path, times: int = 500) -> Costs:
    """Measured where the runs are written, at the moment of asking: both change with the neighbours."""
    return Costs(_round_trips(times * 4), _commits(folder, times))


def _round_trips(times: int) -> list[float]:
    there_reader, there = os.pipe()
    back, back_writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(there)
        os.close(back)
        while message := os.read(there_reader, 4096):
            os.write(back_writer, message)
        os._exit(0)
    os.close(there_reader)
    os.close(back_writer)
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        os.write(there, MESSAGE)
        os.read(back, 4096)
        spent.append(time.perf_counter() - began)
    os.close(there)
    os.close(back)
    os.waitpid(child, 0)
    return spent


def _commits(folder: Path, times: int) -> list[float]:
    path = folder / "commits.sqlite"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE turns (seq INTEGER PRIMARY KEY, body BLOB)")
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO turns (body) VALUES (?)", (ROW,))
        database.execute("COMMIT")
        spent.append(time.perf_counter() - began)
    database.close()
    for leftover in folder.glob("commits.sqlite*"):
        leftover.unlink()
    return spent


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
