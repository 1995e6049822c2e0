"""State values of every kind, for property tests to draw from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta, timezone
from enum import Enum, Flag, IntEnum
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from lightning.app.kernel import delta as d
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import pack


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


def is_found_again(value: Any) -> bool:
    return "nan" not in repr(value)


def _hashable_within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner.filter(is_found_again), max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Tight, inner)
    )


hashables = st.recursive(hashable_atoms, _hashable_within, max_leaves=4)


def _within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(hashables.filter(is_found_again), inner, max_size=4)
        | st.sets(hashables.filter(is_found_again), max_size=4)
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


# -- states and changes ---------------------------------------------------------------------------

small = st.integers(0, 9) | st.sampled_from(("u", True, 1.0, None))
keys = st.sampled_from(("a", "b", 1, True, (1, 2)))
nested = st.recursive(
    small,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3)
        | st.sets(small, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=5,
)
"""Values made of few parts, so that changes of them meet."""

states = st.fixed_dictionaries(
    {"l": st.lists(nested, max_size=3), "d": st.dictionaries(keys, nested, max_size=3)}
)


def containers(value: Any, path: tuple[Any, ...]) -> list[tuple[tuple[Any, ...], Any]]:
    """Every container that a delta can reach, with its path."""
    if isinstance(value, dict):
        below = [containers(each, (*path, pack(key))) for key, each in value.items()]
    elif isinstance(value, list):
        below = [containers(each, (*path, position)) for position, each in enumerate(value)]
    else:
        return [(path, value)] if isinstance(value, set) else []
    return [(path, value), *(found for each in below for found in each)]


@st.composite
def deltas(draw: Any, state: dict[str, Any]) -> Delta:
    """A change that fits the state."""
    path, node = draw(st.sampled_from([((), state), *containers(state, ())[1:]]))
    value = pack(draw(nested))
    items = [pack(each) for each in draw(st.lists(nested, max_size=2))]
    if isinstance(node, list):
        start, stop = sorted((draw(st.integers(0, len(node))), draw(st.integers(0, len(node)))))
        order = draw(st.permutations(range(len(node))))
        choices = [
            Delta(d.INSERT, path, [None, items]),
            Delta(d.INSERT, path, [start, items]),
            Delta(d.SPLICE, path, [start, stop, items]),
            Delta(d.REORDER, path, order),
            Delta(d.CLEAR, path),
            *(Delta(d.SET, (*path, position), value) for position in range(len(node))),
        ]
    elif isinstance(node, set):
        elements = [pack(each) for each in draw(st.lists(small, min_size=1, max_size=2))]
        choices = [Delta(d.ADD, path, elements), Delta(d.DISCARD, path, elements), Delta(d.CLEAR, path)]
    elif not path:
        names = st.sampled_from(("l", "d", "x"))
        choices = [Delta(d.SET, (draw(names),), value)]
        choices += [Delta(d.DELETE, (name,)) for name in state if name == "x"]
    else:
        pairs = [[pack(key), value] for key in draw(st.lists(keys, max_size=2))]
        choices = [
            Delta(d.SET, (*path, pack(draw(keys))), value),
            Delta(d.UPDATE, path, pairs),
            Delta(d.CLEAR, path),
            *(Delta(d.DELETE, (*path, pack(key))) for key in node),
        ]
    return draw(st.sampled_from(choices))
