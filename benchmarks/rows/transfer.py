"""A payload from one machine to another that shares nothing with it, beside what iperf3 carries there.

Two network namespaces with a cable between them, which is as fast as this machine can copy: a transfer that wastes
no copies comes near it. iperf3 throws away what comes, a payload needs fresh pages of shared memory: what iperf3
carries into a file there is measured, too. Both ends and both programs share the machine's cores. The best of each
counts: what else the machine does falls on some transfers and not on others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.launch import Launch, ProgramFailed
from benchmarks.measure import Figure, Row, Sample
from benchmarks.network import Place, pair
from benchmarks.subjects import Subject

STREAMS = (1, 2, 4)
TURNS = 3
MEGABYTES = 1024
SECONDS = 1
SHARED = "/dev/shm"


def measure(bench: Bench, subject: Subject) -> Sample:
    missing = [program for program in ("ip", "iperf3") if not shutil.which(program)]
    if os.geteuid() != 0 or missing:
        return Sample({}, notes=(f"not measured: needs root, and the programs ip and iperf3 {missing}",))
    with pair() as (one, other), tempfile.TemporaryDirectory(prefix="bench", dir=SHARED) as folder:
        return _between(bench, subject, one, other, Path(folder))


def _between(bench: Bench, subject: Subject, one: Place, other: Place, folder: Path) -> Sample:
    programs = subject.program("giving"), subject.program("transfer")
    python = str(bench.bins[subject.name] / "python")
    megabytes = MEGABYTES // (4 if bench.quick else 1)
    environment = {
        **bench.environment(subject, {"megabytes": megabytes}),
        "LIGHTNING_PEER_TOKEN": "known to both machines of the bench",
    }
    ours: list[float] = []
    kept: list[float] = []
    theirs: dict[int, list[float]] = {streams: [] for streams in STREAMS}
    giving = [*one.prefix, python, str(programs[0]), str(folder / "one"), one.host]
    with Launch(f"{subject.name}: giving.py", giving, environment, folder) as giver:
        told = giver.record(timeout=60)
        for _ in range(TURNS):
            for streams in STREAMS:
                taking = [*other.prefix, python, str(programs[1]), str(folder / "other")]
                taking += [told["address"], told["name"], str(told["size"])]
                ours.append(told["size"] / 1e9 / _seconds(taking, environment))
                theirs[streams].append(_iperf(one, other, streams))
            kept.append(_iperf(one, other, 1, folder / "kept"))
        giver.interrupt()
        giver.finish(timeout=20)
    best = max(max(rates) for rates in theirs.values())
    figures = {"rate": max(ours), "iperf": best, "kept": max(kept), "share": max(ours) / best}
    return Sample(figures, {"ours": ours, "iperf": theirs, "kept": kept})


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    record = done.stdout.partition("BENCH ")[2]
    if done.returncode or not record or not json.loads(record)["came"]:
        raise ProgramFailed(f"{' '.join(command)}:\n{done.stdout}{done.stderr[-2000:]}")
    seconds: float = json.loads(record)["seconds"]
    return seconds


def _iperf(one: Place, other: Place, streams: int, file: Path | None = None) -> float:
    """GB a second, in the same direction as the payload. ``file``: where to keep what comes."""
    serving = [*one.prefix, "iperf3", "--server", "--bind", one.host, "--one-off", "--forceflush"]
    asking = [*other.prefix, "iperf3", "--client", one.host, "--reverse", "--json"]
    # By time: what it reckons of a number of bytes that are sent within a moment is now and then beyond belief.
    asking += ["--parallel", str(streams), "--time", str(SECONDS)]
    asking += ["--file", str(file)] if file else []
    with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        while "listening" not in (line := server.stdout.readline()):
            if not line:
                raise ProgramFailed("iperf3 does not listen")
        done = subprocess.run(asking, capture_output=True, text=True, timeout=120)
        if done.returncode:
            server.kill()
            raise ProgramFailed(f"{' '.join(asking)}:\n{done.stdout[-2000:]}")
        server.communicate()
    if file:
        file.unlink()
    rate: float = json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]
    return rate / 8e9


ROW = Row(
    "transfer",
    f"a payload of {MEGABYTES / 1024:g} GB between two networks",
    (
        Figure("rate", "bytes a second, with checksums", "GB/s", better="higher"),
        Figure("iperf", "what iperf3 carries there", "GB/s", better="higher"),
        Figure("kept", "the same into a file in shared memory", "GB/s", better="higher"),
        Figure("share", "of what iperf3 carries", "x", 0.8, better="higher"),
    ),
    (),
    measure,
    rounds=3,
)
