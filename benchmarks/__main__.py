"""``python -m benchmarks``: prepare the environments, measure in turns, print the table, write the JSON."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks import machine, network, processes
from benchmarks.bench import Bench
from benchmarks.environments import InstallFailed, prepare, versions
from benchmarks.launch import ProgramFailed
from benchmarks.measure import Row
from benchmarks.report import RESULTS, Results, notes, table, write
from benchmarks.rows import ROWS
from benchmarks.subjects import OURS, PEERS, Subject


def main() -> int:
    options = _options()
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    wanted = {peer for row in rows for peer in row.peers} if options.peers else set()
    wanted &= set(options.peer) if options.peer else wanted
    subjects = [OURS, *(peer for peer in PEERS if peer.name in wanted)]
    subjects, bins = _prepare(subjects, options.python)

    # a shell starts its background jobs with SIGINT ignored, and what is ignored is so in every child
    signal.signal(signal.SIGINT, signal.default_int_handler)
    processes.adopt_orphans()
    alone = network.leave()
    if alone:
        print(f"subjects share this machine's network: {alone}", file=sys.stderr)
    results = Results()
    results.context = {
        "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "quick": options.quick,
        "machine": machine.describe(),
        "network": alone or "loopback only",
        "load_before": machine.load(),
        "versions": {subject.name: versions(bins[subject.name] / "python") for subject in subjects},
    }
    with tempfile.TemporaryDirectory(prefix="bench") as temporary:
        bench = Bench(bins, options.quick, Path(temporary))
        results.left_behind, results.hung = bench.left_behind, bench.hung
        for row in rows:
            measure(bench, row, subjects, min(options.rounds, row.rounds), results)
    results.context["load_after"] = machine.load()

    write(results, options.output)
    print(_heading(results, options.rounds))
    print(table(results, rows, [subject.name for subject in subjects]))
    print("\n" + "\n".join(notes(results, rows)))
    faults: list[Mapping[str, object]] = [*results.failures.values(), results.left_behind, results.hung]
    return 1 if any(OURS.name in fault for fault in faults) else 0


def measure(bench: Bench, row: Row, subjects: list[Subject], rounds: int, results: Results) -> None:
    """Subjects take turns within a round, so that a busy minute of the machine falls on all of them."""
    for turn in range(rounds):
        for subject in subjects:
            if subject is not OURS and subject.name not in row.peers:
                continue
            if subject.name in results.failures[row.name]:
                continue
            print(f"{row.name} {turn + 1}/{rounds} {subject.name}", file=sys.stderr, flush=True)
            try:
                results.samples[row.name][subject.name].append(row.measure(bench, subject))
            except ProgramFailed as error:
                results.failures[row.name][subject.name] = str(error)


def _prepare(subjects: list[Subject], python: Path | None) -> tuple[list[Subject], dict[str, Path]]:
    """Environments for all; a peer that cannot be installed is left out, and that is said."""
    bins: dict[str, Path] = {}
    for subject in subjects:
        if subject is OURS and python is not None:
            bins[subject.name] = python.absolute().parent
            continue
        try:
            bins[subject.name] = prepare(subject)
        except InstallFailed as error:
            if subject is OURS:
                sys.exit(str(error))
            print(f"without {subject.name}: {error}", file=sys.stderr)
    return [subject for subject in subjects if subject.name in bins], bins


def _heading(results: Results, rounds: int) -> str:
    found = results.context["machine"]
    return (
        f"{found['processor']}, {found['cores']} cores, {found['memory_gb']} GB, Python {found['python']}; "
        f"load {results.context['load_before'][0]} before, {results.context['load_after'][0]} after.\n"
        f"Up to {rounds} rounds, in turns. Median (best); for peers, also how many times better our median is.\n"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=[row.name for row in ROWS], help="this row; repeatable"
    )
    parser.add_argument("--rounds", type=int, default=5, help="at most so many rounds a row (default 5)")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="measure this project alone")
    parser.add_argument(
        "--peer", action="append", choices=[peer.name for peer in PEERS], help="only this peer"
    )
    parser.add_argument(
        "--quick", action="store_true", help="smaller counts, shorter waits: a look, not a verdict"
    )
    parser.add_argument(
        "--python", type=Path, metavar="PATH", help="an interpreter that already has this project"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json", help="where the JSON goes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
