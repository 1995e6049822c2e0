"""What arrives from elsewhere, drawn at random: no crash, no hang, no growth; by the million in the long form."""

from __future__ import annotations

import os
import random
import re
import resource
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from msgspec.msgpack import Ext

from lightning.app.kernel.delta import SET, apply
from lightning.app.kernel.messages import Delta
from lightning.app.runtime.loop import _place as place_of

from .extent import HOURS, LONG, ONLY, either
from .fuzz.targets import TARGETS

INPUTS = either(3_000, 100_000)
RUNS = 3_000_000
REPOSITORY = Path(__file__).parents[2]


def _inputs(seed: int) -> list[bytes]:
    dice = random.Random(seed)
    return [dice.randbytes(dice.choice([3, 20, 60, 200, 1000])) for _ in range(INPUTS)]


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.timeout(either(120, HOURS))
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_whatever_arrives_is_taken_or_refused_by_name(target: str) -> None:
    seed = ONLY or 1
    for position, data in enumerate(_inputs(seed)):
        try:
            TARGETS[target](data)
        except Exception as error:
            raise AssertionError(f"CHAOS_SEED={seed}, input {position} of {target}: {data!r}") from error


@pytest.mark.parametrize("path", [(), ([],), ({},), (Ext(1, b"x"), 1), (None,)])
def test_a_change_of_what_has_no_name_is_taken_in_and_changes_nothing(path: tuple[Any, ...]) -> None:
    """Found by fuzzing: a path may be of anything that msgpack can carry."""
    hash(place_of(Delta(SET, path, 1)))
    state = {"a": 1}
    assert not apply(state, Delta(SET, path, 1)).fitted
    assert state == {"a": 1}


@pytest.mark.timeout(either(120, HOURS))
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_what_was_taken_or_refused_leaves_no_memory_behind(target: str) -> None:
    inputs = _inputs(2)[:1000]
    for _ in range(2):  # until the allocator has what it keeps
        for data in inputs:
            TARGETS[target](data)
    before = _resident()
    for _ in range(3):
        for data in inputs:
            TARGETS[target](data)
    assert _resident() - before < 16 << 20


@pytest.mark.timeout(HOURS)
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_millions_of_inputs_guided_by_coverage(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not LONG:
        pytest.skip("fuzzing by the million comes with make chaos; here a few thousand inputs were drawn")
    if find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install 'lightning-apps[fuzz]'")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    words = [target, f"-runs={RUNS}", f"-artifact_prefix={tmp_path}/", str(corpus)]
    fuzzing = subprocess.run(
        [sys.executable, "-m", "tests.chaos.fuzz", *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert fuzzing.returncode == 0, fuzzing.stderr[-5000:]
    told = dict(re.findall(r"^stat::(\w+):\s*(\d+)$", fuzzing.stderr, re.MULTILINE))
    with capsys.disabled():
        print(f"\n{target}: {told}")
    assert int(told["number_of_executed_units"]) >= RUNS
