"""What the runtime knows of transfers: the latest of each, and not more of them than are worth knowing."""

from __future__ import annotations

from collections import deque

import pytest

from lightning.app.core.component import Component
from lightning.app.kernel.messages import Moved
from lightning.app.runtime import perform
from lightning.app.runtime.log import Log
from lightning.app.runtime.perform import Performer


def nobody(path: str) -> Component:
    raise AssertionError(f"nobody asked for {path}")


@pytest.fixture
def performer() -> Performer:
    return Performer("run", Log("info"), deque(), nobody)


def test_the_latest_word_on_each_transfer_counts(performer: Performer) -> None:
    performer.moved("root.a", Moved("lit://data", 1, 10, 0.0))
    performer.moved("root.b", Moved("lit://data", 3, 10, 0.0))
    performer.moved("root.a", Moved("lit://data", 2, 10, 0.0))
    assert {key: each.done for key, each in performer.transfers.items()} == {
        ("root.a", "lit://data"): 2,
        ("root.b", "lit://data"): 3,
    }


def test_of_those_that_are_over_the_oldest_are_forgotten(
    performer: Performer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perform, "TRANSFERS", 3)
    performer.moved("root.a", Moved("goes on", 1, None, 0.0))
    for number in range(5):
        performer.moved("root.a", Moved(f"over {number}", 1, 1, 0.0, 1.0))
    assert [what for _, what in performer.transfers] == ["goes on", "over 3", "over 4"]
    for number in range(5):
        performer.moved("root.a", Moved(f"goes on {number}", 1, None, 0.0))
    assert [what for _, what in performer.transfers] == ["goes on 2", "goes on 3", "goes on 4"]
