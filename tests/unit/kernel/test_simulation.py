"""Thousands of random apps through the kernel. A failing case is replayed from its seed (``simulation.py``)."""

from __future__ import annotations

import os

import pytest

from tests.unit.kernel.simulation import simulate

SEEDS = int(os.environ.get("SIMULATIONS", "2000"))


@pytest.mark.parametrize("first", range(0, SEEDS, 100))
def test_no_random_world_breaks_a_promise(first: int) -> None:
    for seed in range(first, first + 100):
        try:
            simulate(seed, steps=120)
        except BaseException as err:
            err.add_note(f"replay it with: python -m tests.unit.kernel.simulation {seed}")
            raise
