from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning.app.kernel import facts as f
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.schedule import Ticks
from lightning.app.kernel.values import pack
from tests.unit.kernel import drawn

texts = st.text(max_size=5)
numbers = st.integers(0, 2**40)
times = st.floats(allow_nan=False)
packed = drawn.values.map(pack)
states = st.dictionaries(texts, packed, max_size=3)
paths = st.lists(texts | st.integers(0, 9), min_size=1, max_size=3).map(tuple)
changes = st.builds(Delta, st.integers(0, 8), paths, packed)
failures = st.builds(f.Failure, texts, texts, texts)
maybe = st.none() | st.floats(0, 1e6)
options = st.builds(f.WorkOptions, *[st.booleans()] * 3, st.integers(0, 9), maybe, texts, st.none() | texts)
KINDS: dict[type[f.Fact], Any] = {
    f.EpochBegan: (numbers,),
    f.Made: (texts, texts, texts, states, st.none() | options, st.none() | st.lists(packed, max_size=2)),
    f.Configured: (texts, options),
    f.Deleted: (texts, texts),
    f.Wrote: (texts, changes, texts),
    f.Changed: (texts, numbers, st.lists(changes, max_size=3), st.lists(numbers, max_size=2)),
    f.Called: (texts, numbers, st.binary(max_size=16), st.lists(packed, max_size=2), states, texts),
    f.Dispatched: (texts, numbers),
    f.Returned: (texts, numbers, numbers, packed),
    f.CallFailed: (texts, numbers, numbers, failures, *[st.booleans()] * 3),
    f.Placed: (texts, numbers, st.lists(numbers, max_size=2)),
    f.Up: (texts, numbers, numbers),
    f.Gone: (texts, numbers, texts),
    f.StartAsked: (texts,),
    f.StopAsked: (texts, st.booleans(), texts),
    f.Ticked: (texts, st.builds(Ticks, numbers, times, times, times), st.booleans()),
    f.PassCompleted: (
        st.lists(texts, max_size=2),
        st.none() | st.lists(st.tuples(texts, st.binary(max_size=4)), max_size=2),
        st.booleans(),
    ),
    f.CursorMoved: (texts, texts, numbers),
    f.Forgotten: (texts, numbers),
    f.Ended: (numbers, texts, texts),
    f.PassesRan: (numbers, numbers, st.booleans()),
    f.PassesIdled: (numbers, times, times),
    f.PassWentOn: (numbers, times),
    f.EndAsked: (texts, numbers, texts, texts, st.booleans()),
    f.Rebound: (texts, numbers, st.binary(max_size=16), st.lists(packed, max_size=2), states),
    f.Renamed: (texts, texts),
    f.ClockSet: (times,),
}


def test_every_kind_of_fact_is_drawn() -> None:
    assert set(KINDS) == set(f.Fact.__subclasses__())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_fact_is_read_from_the_journal_as_it_was_written(kind: type[f.Fact]) -> None:
    @given(st.builds(kind, *KINDS[kind]))
    def check(fact: f.Fact) -> None:
        row = f.encode_turn([fact, fact])
        read = f.decode_turn(row)
        assert [type(each) for each in read] == [kind, kind]
        assert f.encode_turn(read) == row  # type: ignore[arg-type]  # a list of a union of them

    check()


facts = st.one_of(*(st.builds(kind, *drawn_fields) for kind, drawn_fields in KINDS.items()))


@given(st.lists(facts, max_size=3), st.data())
def test_a_damaged_row_is_read_or_refused_by_msgspec(turn: list[f.Fact], data: Any) -> None:
    row = bytearray(f.encode_turn(turn))
    position = data.draw(st.integers(0, len(row) - 1))
    row[position] ^= data.draw(st.integers(1, 255))
    read_or_refused(bytes(row))


@given(st.binary(max_size=100))
def test_bytes_that_are_no_row_are_refused_by_msgspec(row: bytes) -> None:
    read_or_refused(row)


def read_or_refused(row: bytes) -> None:
    with suppress(msgspec.DecodeError, UnicodeDecodeError):  # the latter is how msgspec refuses a broken text
        f.decode_turn(row)
