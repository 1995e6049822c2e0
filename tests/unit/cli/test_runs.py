"""How times, spans and sizes are read and written by the commands about runs."""

from __future__ import annotations

from datetime import datetime

import pytest

from lightning.app.cli.run import without_value
from lightning.app.cli.runs import moment_of, sized, span_of, spanned, table

NOW = datetime(2026, 11, 21, 12, 0).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1.5h", 5400), ("30d", 2592000), ("2 weeks", 1209600), ("10 min ago", 600)],
)
def test_a_span_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert span_of(text) == seconds
    assert moment_of(text, NOW) == NOW - seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-3m", "soon", "2026-13-01"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert span_of(text) is None
    assert moment_of(text, NOW) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("9:05", datetime(2026, 11, 21, 9, 5)),
        ("14:30:10", datetime(2026, 11, 21, 14, 30, 10)),
        ("2026-11-20", datetime(2026, 11, 20)),
        ("2026-11-20 14:30", datetime(2026, 11, 20, 14, 30)),
        ("2026-11-20T14:30:00+00:00", datetime.fromisoformat("2026-11-20T14:30:00+00:00")),
    ],
)
def test_a_moment_is_as_people_write_it_in_the_zone_of_this_machine(text: str, meant: datetime) -> None:
    assert moment_of(text, NOW) == meant.timestamp()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.9, "9.9 s"),
        (12.4, "12 s"),
        (185, "3 m 05 s"),
        (7800, "2 h 10 m"),
        (273600, "3 d 4 h"),
    ],
)
def test_a_duration_is_as_exact_as_anybody_wants_it(seconds: float, text: str) -> None:
    assert spanned(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1200, "1.2 kB"), (64e6, "64.0 MB"), (2.5e13, "25.0 TB")]
)
def test_a_size_has_its_unit(count: float, text: str) -> None:
    assert sized(count) == text


def test_a_table_has_columns_and_no_trailing_blanks() -> None:
    assert table([["A", "B"], ["long", "x"], ["", "y"]]) == "A     B\nlong  x\n      y"


@pytest.mark.parametrize(
    ("words", "rest"),
    [
        ("app.py --like ID --port 1", "app.py --port 1"),
        ("--like=ID app.py", "app.py"),
        ("app.py --name --liken", "app.py --name --liken"),
        ("app.py --like", "app.py"),
    ],
)
def test_an_option_is_taken_out_with_its_value(words: str, rest: str) -> None:
    assert without_value(words.split(), "--like") == rest.split()
