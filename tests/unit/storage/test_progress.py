"""What is said of a transfer, and what of one that takes no time: nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lightning.app.storage import progress
from lightning.app.storage.progress import Event, reported, waiting

MB = 1_000_000


class Clock:
    """A clock turned by hand, in the place of the module ``time``."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_000_000.0 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    events: list[Event] = []
    monkeypatch.setattr(progress, "listener", events.append)
    return events


def test_what_takes_less_than_a_second_is_not_spoken_of(
    clock: Clock, heard: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    with reported("lit://data") as tell:
        for done in range(100):
            clock.now += 0.0099
            tell(done, 100)
    assert capsys.readouterr() == ("", "")
    assert heard == []


def test_what_takes_longer_is_told_on_stderr_with_the_speed_and_what_is_left(
    clock: Clock, be: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    be("root.deploy")
    with reported("lit://data from root.train") as tell:
        for second in range(1, 11):
            clock.now += 1
            tell(200 * MB * second, 2000 * MB)
    assert capsys.readouterr().err.splitlines() == [
        "root.deploy: lit://data from root.train: 10 % of 2,000 MB, 200 MB/s, 9 s left",
        "root.deploy: lit://data from root.train: 30 % of 2,000 MB, 200 MB/s, 7 s left",
        "root.deploy: lit://data from root.train: 50 % of 2,000 MB, 200 MB/s, 5 s left",
        "root.deploy: lit://data from root.train: 70 % of 2,000 MB, 200 MB/s, 3 s left",
        "root.deploy: lit://data from root.train: 90 % of 2,000 MB, 200 MB/s, 1 s left",
        "root.deploy: lit://data from root.train: 2,000 MB in 10.0 s, 200 MB/s",
    ]


def test_what_takes_long_is_told_less_and_less_often(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with reported("lit://data") as tell:
        for second in range(1, 3601):
            clock.now += 1
            tell(second * MB, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "lit://data: 1.0 MB, 1.0 MB/s"
    assert lines[-1] == "lit://data: 3,600 MB in 3600.0 s, 1.0 MB/s"
    assert 100 < len(lines) < 150


def test_what_failed_is_not_said_to_have_ended_well(
    clock: Clock, heard: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        with reported("lit://data") as tell:
            clock.now = 2
            tell(1 * MB, 2 * MB)
            clock.now = 3
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fail()
    assert capsys.readouterr().err == "lit://data: 50 % of 2.0 MB, 0.5 MB/s, 2 s left\n"
    assert [event.ended for event in heard] == [None, 1_000_003.0]


def test_who_listens_hears_of_it_twice_a_second_and_of_its_end(
    clock: Clock, heard: list[Event], be: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    be("root.deploy")
    with reported("lit://data") as tell:
        for step in range(1, 21):
            clock.now += 0.125
            tell(step, 20)
    began = 1_000_000.0
    assert heard == [
        Event("root.deploy", "lit://data", 8, 20, began),
        Event("root.deploy", "lit://data", 12, 20, began),
        Event("root.deploy", "lit://data", 16, 20, began),
        Event("root.deploy", "lit://data", 20, 20, began),
        Event("root.deploy", "lit://data", 20, 20, began, began + 2.5),
    ]


def test_a_transfer_of_one_piece_is_told_when_it_is_over(
    clock: Clock, heard: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    with reported("lit://data") as tell:
        clock.now = 4
        tell(8 * MB, 8 * MB)
    assert capsys.readouterr().err == "lit://data: 8.0 MB in 4.0 s, 2.0 MB/s\n"
    assert heard[-1].ended == 1_000_004.0


def test_who_waits_says_so_once_after_a_second(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with waiting("lit://data: waiting for a") as still:
        for _ in range(9):
            clock.now += 0.1
            still()
        assert capsys.readouterr().err == ""
        for _ in range(20):
            clock.now += 0.1
            still()
    assert capsys.readouterr().err == "lit://data: waiting for a\n"
