"""State values of every kind, for property tests to draw from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta, timezone
from enum import Enum, Flag, IntEnum
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st


class Colour(Enum):
    RED = "red"
    CRIMSON = "red"
    BLUE = (0, 0, 255)


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Rights(Flag):
    READ = 1
    WRITE = 2
    RUN = 4


@dataclass(frozen=True)
class Point:
    x: Any
    y: Any = None


@dataclass(frozen=True, slots=True)
class Tight:
    inner: Any


ZONES = (None, UTC, timezone(timedelta(hours=-3, minutes=-30)), ZoneInfo("Europe/Berlin"))

numbers = (
    st.booleans()
    | st.integers()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.sampled_from((0.0, -0.0, 1.0, 1))
)
texts = st.text() | st.text(st.characters(categories=("Cs", "Lu")), max_size=4)  # lone surrogates, too
zones = st.sampled_from(ZONES)
moments = st.datetimes(timezones=zones, allow_imaginary=False)
plain_atoms = st.none() | numbers | texts | st.binary()
hashable_atoms = (
    plain_atoms
    | moments
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.sampled_from((*Colour, *Level, *Rights, Rights.READ | Rights.RUN, Rights(0)))
    | st.builds(PurePosixPath, texts.filter(lambda text: "\0" not in text))
    | st.sampled_from((PureWindowsPath("C:\\a"), PureWindowsPath("b/c")))
)


def _hashable_within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Tight, inner)
    )


hashables = st.recursive(hashable_atoms, _hashable_within, max_leaves=4)


def _within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.sets(hashables, max_size=4)
        | st.builds(Point, inner, inner)
    )


values = st.recursive(hashables, _within, max_leaves=8)
"""Any value that may be state."""


def alike(one: Any, other: Any) -> bool:
    """Equal in value and kind all the way down, not-a-number included. Written without the kernel."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, set | frozenset):
        return _match(list(one), list(other))
    if isinstance(one, dict):
        return _match(list(one.items()), list(other.items()))
    if isinstance(one, Point):
        return alike((one.x, one.y), (other.x, other.y))
    if isinstance(one, Tight):
        return alike(one.inner, other.inner)
    if hasattr(one, "utcoffset"):
        return (one.isoformat(), one.fold, one.tzinfo) == (other.isoformat(), other.fold, other.tzinfo)
    return bool(one == other)


def _match(ours: list[Any], theirs: list[Any]) -> bool:
    for each in ours:
        found = next((at for at, other in enumerate(theirs) if alike(each, other)), None)
        if found is None:
            return False
        del theirs[found]
    return not theirs
