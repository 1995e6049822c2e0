from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict, namedtuple
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from lightning.app.errors import ProtocolError, StateValueError
from lightning.app.kernel import values as v
from lightning.app.kernel.canonical import canonical, same
from lightning.app.kernel.values import Pickled, Unresolved, decode, encode, pack, unpack
from tests.unit.kernel import drawn
from tests.unit.kernel.drawn import Colour, Level, Point, Rights, alike

CODES = range(v.TUPLE, v.TEXT + 1)


def journey(value: Any) -> Any:
    return unpack(decode(encode(pack(value))))


# -- there and back -------------------------------------------------------------------------------


@given(drawn.values)
@example({1: "a", "1": "b", 1.5: "c", None: "d", b"1": "e"})
@example({(1, 2): [{"x": {1, 2}}]})
@example([2**63 - 1, 2**64 - 1, 2**64, -(2**63) - 1])
@example("a name of a file \udcff")
@example({"\udcff": 1})
@example(Rights.READ | Rights.WRITE)
def test_every_state_value_comes_back_as_it_went(value: Any) -> None:
    assert alike(journey(value), value)


@given(drawn.values)
def test_packing_again_what_came_back_gives_the_same_bytes(value: Any) -> None:
    assert canonical(pack(journey(value))) == canonical(pack(value))


@pytest.mark.parametrize("digits", [19, 20, 4299, 4301, 20_000])
def test_an_integer_of_any_length_comes_back(digits: int) -> None:
    for value in (10**digits, -(10**digits)):
        assert journey([value]) == [value]


def test_what_comes_back_shares_no_container_with_what_went() -> None:
    inner: list[int] = [1]
    value = {"a": inner}
    packed = pack(value)
    inner.append(2)
    one, other = unpack(packed), unpack(packed)
    one["a"].append(3)
    assert other == {"a": [1]}


def test_subclasses_of_containers_become_the_plain_kind() -> None:
    counted: defaultdict[str, int] = defaultdict(int, a=1)
    value = journey([OrderedDict(a=1), counted, bytearray(b"x")])
    assert alike(value, [{"a": 1}, {"a": 1}, b"x"])


class Pair(NamedTuple):
    left: int
    right: list[int]


def test_a_named_tuple_keeps_its_names() -> None:
    back = journey(Pair(1, [2]))
    assert type(back) is Pair
    assert back.right == [2]
    with pytest.raises(StateValueError, match=r"^root\.w\.x\.right\[1\]: a builtin_function"):
        pack(Pair(1, [2, print]), "root.w.x")  # type: ignore[list-item]  # what is refused


def test_a_class_that_has_another_name_is_refused() -> None:
    pair = namedtuple("pair", "x y")
    with pytest.raises(StateValueError, match=r"not what .* has under this name"):
        pack(pair(1, 2))


@dataclass(frozen=True, eq=False)
class Unequal:
    x: int


@pytest.mark.parametrize("key", [float("nan"), (float("nan"),), Unequal(1)])
def test_what_would_not_be_found_again_is_no_key_and_no_element(key: Any) -> None:
    for value in ({key: 1}, {key}, frozenset({key}), [{"k": {1: 2, key: 3}}]):
        with pytest.raises(StateValueError, match=r"of root\.w\.x.*: .* does not equal its own copy"):
            pack(value, "root.w.x")


def test_numbers_of_numpy_become_numbers_of_python() -> None:
    value = [numpy.float64(1.5), numpy.float32(0.5), numpy.int64(3), numpy.bool_(True), numpy.array(7)]
    assert alike(journey(value), [1.5, 0.5, 3, True, 7])


@pytest.mark.parametrize("value", [numpy.longdouble(1), numpy.datetime64(1, "ns"), numpy.timedelta64("NaT")])
def test_a_number_of_numpy_that_python_has_not_is_refused(value: Any) -> None:
    with pytest.raises(StateValueError, match=r"root\.w\.x: Python has no number like this"):
        pack(value, "root.w.x")


def test_a_frozen_dataclass_comes_back_without_running_its_code() -> None:
    record = _Checked(3)
    _Checked.made = 0
    assert journey(record) == record
    assert _Checked.made == 0


@dataclass(frozen=True)
class _Checked:
    size: int
    made = 0

    def __post_init__(self) -> None:
        _Checked.made += 1


class _Metres:
    def __init__(self, number: float) -> None:
        self.number = number


def test_a_registered_kind_comes_back_and_its_kin_do_not_pass_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(v, "_kinds", dict(v._kinds))
    monkeypatch.setattr(v, "_tags", dict(v._tags))
    v.register("metres", _Metres, lambda metres: [metres.number], lambda plain: _Metres(*plain))
    packed = pack({"far": _Metres(2.5)})
    assert unpack(packed)["far"].number == 2.5
    del v._kinds["metres"]
    kept = unpack(packed)["far"]
    assert kept == Unresolved("metres", packed["far"])
    assert pack(kept) == packed["far"]


# -- what a process does not have -----------------------------------------------------------------


@pytest.mark.parametrize("value", [Colour.RED, Rights.READ | Rights.RUN, Point(1, [2])])
def test_a_value_of_a_class_that_is_not_there_is_kept_as_it_is(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack(value)
    monkeypatch.delitem(sys.modules, type(value).__module__)
    kept = unpack(packed)
    assert isinstance(kept, Unresolved)
    assert pack([kept]) == [packed]
    assert {kept} == {unpack(packed)}


def test_nothing_is_imported_to_read_a_value() -> None:
    sys.modules.pop("this", None)
    assert isinstance(unpack(Ext(v.MEMBER, encode(["this:C", "A"]))), Unresolved)
    assert "this" not in sys.modules


@pytest.mark.parametrize("name", ["builtins:dict", "os:system", "sys:modules", "enum:Enum", "", "a:b:c", ":"])
def test_only_enums_and_frozen_dataclasses_are_read_by_name(name: str) -> None:
    for code, told in ((v.MEMBER, "RED"), (v.RECORD, {"x": 1})):
        assert isinstance(unpack(Ext(code, encode([name, told]))), Unresolved)


def test_a_member_or_field_that_the_class_has_lost_is_kept_as_it_is() -> None:
    where = f"{__name__}:_Checked"
    assert isinstance(unpack(Ext(v.RECORD, encode([where, {"length": 1}]))), Unresolved)
    colour = f"{Colour.__module__}:Colour"
    assert isinstance(unpack(Ext(v.MEMBER, encode([colour, "GREEN"]))), Unresolved)
    rights = f"{Rights.__module__}:Rights"
    assert isinstance(unpack(Ext(v.MEMBER, encode([rights, 64]))), Unresolved)


def test_what_is_in_a_pickled_argument_is_never_looked_at() -> None:
    packed = pack(Pickled("resnet", b"not a pickle"))
    assert unpack(packed) == Pickled("resnet", b"not a pickle")
    assert canonical(packed) == canonical(pack(Pickled("resnet", b"another")))
    assert canonical(packed) != canonical(pack(Pickled("other", b"not a pickle")))


# -- refusals -------------------------------------------------------------------------------------


class _Nowhere(tzinfo):
    def utcoffset(self, when: Any) -> timedelta:
        return timedelta(0)


@dataclass
class _Open:
    x: int = 1


def _method() -> None: ...


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (object(), r"^root.w.config: a object cannot be state; wrap it in lightning.app.storage.Payload"),
        ({"layers": [1, 2, Decimal(1)]}, r"^root.w.config\['layers'\]\[2\]: a Decimal cannot be state"),
        ((1, {"a": {2.5: object}}), r"^root.w.config\[1\]\['a'\]\[2.5\]: a type is code"),
        (Point({"k": 1j}), r"^root.w.config.x\['k'\]: a complex cannot be state"),
        ([{Decimal(1)}], r"^an element of root.w.config\[0\]: a Decimal"),
        ([{Decimal(1): 2}], r"^a key of root.w.config\[0\]: a Decimal"),
        (_method, r"a function is code, not state; make it a method, or keep it under a name"),
        ([len], r"root.w.config\[0\]: a builtin_function_or_method is code"),
        (sys, r"a module is code"),
        (_Open(), r"the dataclass _Open can be changed unseen; make it @dataclass\(frozen=True\)"),
        (datetime(2020, 1, 1, tzinfo=_Nowhere()), r"use datetime.timezone or zoneinfo.ZoneInfo"),
    ],
)
def test_a_refusal_names_the_part_and_the_remedy(value: Any, told: str) -> None:
    with pytest.raises(StateValueError, match=told):
        pack(value, "root.w.config")


def test_a_class_made_inside_a_function_is_refused() -> None:
    class Hidden(Enum):
        A = 1

    @dataclass(frozen=True)
    class Inner:
        x: int

    for value in (Hidden.A, Inner(1)):
        with pytest.raises(StateValueError, match=r"root\.w\.x\[0\]: .* top level of its module"):
            pack([value], "root.w.x")


@pytest.mark.parametrize("kind", ["list", "dict", "tuple"])
def test_a_cycle_is_named_as_such(kind: str) -> None:
    inner: list[Any] = [1]
    value: Any = {"list": [inner], "dict": {"a": inner}, "tuple": (inner,)}[kind]
    inner.append(value)
    with pytest.raises(StateValueError, match=r"root.w.x.*: it contains itself"):
        pack(value, "root.w.x")


def test_the_same_part_twice_is_no_cycle() -> None:
    part = [1]
    assert journey([part, part, {"a": part}]) == [[1], [1], {"a": [1]}]


def nested(levels: int, leaf: Any = 1) -> Any:
    for _ in range(levels):
        leaf = [leaf]
    return leaf


def test_the_deepest_nesting_comes_back_and_one_more_is_refused() -> None:
    assert journey(nested(64)) == nested(64)
    with pytest.raises(StateValueError, match="more than 64 levels"):
        pack(nested(65))
    assert pack(nested(60), "root.x", depth=4) == nested(60)
    with pytest.raises(StateValueError, match="more than 64 levels"):
        pack(nested(61), "root.x", depth=4)


# -- canonical form -------------------------------------------------------------------------------


@given(drawn.values, drawn.values)
def test_canonical_bytes_are_equal_exactly_for_alike_values(one: Any, other: Any) -> None:
    told = canonical(pack(one)) == canonical(pack(other))
    assert told == alike(one, other)
    assert same(pack(one), pack(other)) == told


@given(
    st.lists(st.tuples(drawn.hashables.filter(drawn.is_found_again), drawn.values), max_size=5),
    st.randoms(use_true_random=False),
)
def test_the_order_of_keys_does_not_count(pairs: list[tuple[Any, Any]], rng: Any) -> None:
    value = dict(pairs)
    shuffled = list(value.items())
    rng.shuffle(shuffled)
    assert canonical(pack([value])) == canonical(pack([dict(shuffled)]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (0.0, -0.0),
        ("1", b"1"),
        ((1,), [1]),
        ({1}, frozenset({1})),
        (Level.LOW, 1),
    ],
)
def test_kinds_are_told_apart_though_python_finds_them_equal(one: Any, other: Any) -> None:
    for wrap in (lambda x: x, lambda x: [x], lambda x: {"a": (x,)}):
        assert not same(pack(wrap(one)), pack(wrap(other)))


def test_every_not_a_number_is_the_same_one() -> None:
    nans = [float("nan"), -float("nan"), float("inf") - float("inf")]
    for one in nans:
        for other in nans:
            for wrap in (lambda x: x, lambda x: [1.0, x], lambda x: {"a": (x,)}):
                assert same(pack(wrap(one)), pack(wrap(other)))


# -- what no honest peer sends --------------------------------------------------------------------


packed_garbage = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=2) | st.integers(0, 3), inner, max_size=3)
        | st.builds(Ext, st.sampled_from(CODES) | st.integers(-128, 127), inner.map(encode) | st.binary())
    ),
    max_leaves=10,
)
names = st.sampled_from(
    [f"{Colour.__module__}:{name}" for name in ("Colour", "Point", "Rights", "Level", "values")]
    + ["x", "path"]
)
likely = st.builds(
    lambda code, first, rest: Ext(code, encode([first, *rest])),
    st.sampled_from(CODES),
    names | packed_garbage,
    st.lists(packed_garbage, max_size=2),
)


@given(packed_garbage | likely)
def test_garbage_is_refused_by_a_protocol_error_and_by_nothing_else(packed: Any) -> None:
    for read in (unpack, canonical):
        with suppress(ProtocolError):
            read(packed)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_value_are_refused_by_a_protocol_error(data: bytes) -> None:
    with suppress(ProtocolError):
        unpack(decode(data))


@given(drawn.values, st.data())
def test_one_byte_changed_is_read_or_refused(value: Any, data: Any) -> None:
    damaged = bytearray(encode(pack(value)))
    position = data.draw(st.integers(0, len(damaged) - 1))
    damaged[position] ^= data.draw(st.integers(1, 255))
    with suppress(ProtocolError):
        unpack(decode(bytes(damaged)))


@pytest.mark.parametrize("code", [v.TUPLE, v.SET, v.FROZENSET, v.PAIRS, v.RECORD, v.REGISTERED])
def test_a_tower_of_values_is_refused_before_it_costs_anything(code: int) -> None:
    packed: Any = None
    for _ in range(5000):
        inner: Any = [packed] if code not in (v.RECORD, v.REGISTERED) else ["x:Y", {"a": packed}]
        packed = Ext(code, encode([[packed, 1]] if code == v.PAIRS else inner))
    for read in (unpack, canonical):
        try:
            read([packed])
        except ProtocolError:
            continue
        assert code in (v.RECORD, v.REGISTERED)  # of a class that is not there: nobody looks inside


def test_a_tower_of_plain_lists_is_refused() -> None:
    with pytest.raises(ProtocolError):
        unpack(nested(200))
    with pytest.raises(ProtocolError):
        decode(b"\x91" * 100_000)


@pytest.mark.parametrize(
    "header", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]
)
def test_a_length_that_lies_reserves_no_memory(header: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(header)
    with pytest.raises(ProtocolError):
        unpack(Ext(v.TUPLE, header))


def test_what_packing_never_gives_is_refused() -> None:
    for packed in (datetime(2020, 1, 1, tzinfo=UTC), (1, 2), {1, 2}, object()):
        with pytest.raises(ProtocolError):
            unpack([packed])


def test_paths_keep_their_kind() -> None:
    assert alike(journey([Path("a/b"), PurePosixPath("c")]), [Path("a/b"), PurePosixPath("c")])
