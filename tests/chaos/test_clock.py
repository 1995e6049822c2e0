"""The clock is set a day on or back while an app runs: no call is late for it, no tick comes twice.

It is the runtime's clock that jumps, the one place where the product looks at the time of day: the machine's own
belongs to everybody, and a time namespace has only clocks of its own that count from the boot.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from .campaign import Case
from .extent import HOURS, ONLY, SIDE_BY_SIDE, either

DAY = 86_400.0


def _play(folder: Path, seed: int) -> int:
    folder.mkdir()
    dice = random.Random(f"clock {seed}")
    day = dice.choice([DAY, -DAY])
    jumps = [(dice.randint(1, 150), day), (dice.randint(150, 300), dice.choice([-day, day]))]
    case = Case(seed, folder, kills=False)
    try:
        with ExitStack() as terminals:
            terminal = case.start(terminals, {"kind": "clock", "jumps": jumps})
            assert case.end(terminal) == 0, str(terminal)
        case.judge()
    except AssertionError as error:
        raise AssertionError(f"CHAOS_SEED={seed} replays this case, jumps {jumps}: {error}") from error
    return case.tally.ticks


@pytest.mark.timeout(either(120, HOURS))
def test_a_clock_set_a_day_off_makes_nothing_late_and_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds = range(1, either(9, 300)) if ONLY is None else [ONLY]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ticks = sum(pool.map(lambda seed: _play(tmp_path / str(seed), seed), seeds))
    with capsys.disabled():
        print(f"\n{len(seeds)} clocks set, {ticks} ticks")
