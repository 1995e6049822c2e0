"""Death at every named point: before and after each commit, dispatch and acknowledgement, and then a resume."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from .campaign import Case
from .extent import HOURS, ONLY, SIDE_BY_SIDE, either

SHAPE = 3
"""A seed whose app has a part of everything."""


def _visits(folder: Path) -> dict[str, int]:
    """How often a run that nothing happens to comes by each point."""
    folder.mkdir()
    case = Case(SHAPE, folder, kills=False, eager=True)
    with ExitStack() as terminals:
        assert case.end(case.start(terminals, {"kind": "point"})) == 0
    case.judge()
    visits: dict[str, int] = json.loads((folder / "points.json").read_text())
    return visits


def _chosen(visits: int, dice: random.Random) -> Iterable[int]:
    """Any one of them; in the long form the first, the last, and many between."""
    between = dice.sample(range(1, visits + 1), min(visits, either(1, 40)))
    return sorted({*between, *either((), (1, max(1, visits - 1)))})


def _die_at(folder: Path, point: str, visit: int) -> bool:
    """Die there, resume, and be judged; whether the run came by so often."""
    folder.mkdir()
    case = Case(SHAPE, folder, kills=False, eager=True)
    try:
        with ExitStack() as terminals:
            code = case.end(case.start(terminals, {"kind": "point", "point": point, "visit": visit}))
            died = code != 0
            assert code in (0, -9), f"exit code {code}"
            if died and not case.over():
                assert case.end(case.start(terminals)) == 0
        case.judge()
    except AssertionError as error:
        raise AssertionError(f"dead at visit {visit} of {point}, in {folder}: {error}") from error
    return died


@pytest.mark.slow
@pytest.mark.timeout(either(600, HOURS))
def test_a_run_survives_death_at_every_named_point(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visits = _visits(tmp_path / "whole")
    dice = random.Random(ONLY or 1)
    dooms = [(point, visit) for point, number in visits.items() for visit in _chosen(number, dice)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        died = list(pool.map(lambda doom: _die_at(tmp_path / "{} {}".format(*doom), *doom), dooms))
    for point in set(visits) - {point for (point, _), dead in zip(dooms, died, strict=True) if dead}:
        dooms.append((point, 1))  # no two runs are alike: that one came by less often
        died.append(_die_at(tmp_path / f"{point} again", point, 1))
    hit = {point for (point, _), dead in zip(dooms, died, strict=True) if dead}
    with capsys.disabled():
        print(f"\n{sum(died)} deaths at {len(hit)} of {len(visits)} points: {', '.join(sorted(hit))}")
    assert hit == set(visits), f"never died at {set(visits) - hit}"
