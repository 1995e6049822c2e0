"""What state values promise: they come back as they were, or are refused by name."""

from __future__ import annotations

import copy
import math
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from lightning.app.errors import ProtocolError, StateValueError
from lightning.app.kernel import values as v
from lightning.app.kernel.values import (
    Pickled,
    Unresolved,
    canonical,
    decode,
    encode,
    pack,
    register,
    same,
    unpack,
)


class Color(Enum):
    RED = "red"
    GREEN = "green"


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    HELLO = "hello"


class Access(Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: int
    tags: tuple[str, ...] = ()
    computed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "computed", self.x * 2)


@dataclass(frozen=True, slots=True)
class Slim:
    inner: Point


@dataclass
class Loose:
    x: int


class Pair(NamedTuple):
    left: int
    right: list[int]


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return hash(self.cents)


def from_cents(plain: Any) -> Money:
    if type(plain) is not int:
        raise ValueError("cents are counted")
    return Money(plain)


register("money", Money, lambda money: money.cents, from_cents)

zones = st.one_of(
    st.none(),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]).map(ZoneInfo),
)
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.binary(),
)
leaves = st.one_of(
    atoms,
    st.datetimes(timezones=zones),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.sampled_from([*Color, *Level, *Word, Access.READ, Access.READ | Access.WRITE, Access(0)]),
    st.builds(lambda text: Path(text), st.text(st.characters(exclude_characters="\0"))),
    st.builds(PurePosixPath, st.sampled_from(["a/b", "/", "."])),
    st.builds(PureWindowsPath, st.sampled_from(["C:\\x", "y"])),
    st.builds(Point, st.integers(), st.tuples(st.text())),
    st.builds(Slim, st.builds(Point, st.integers())),
    st.builds(Money, st.integers()),
)
keys = st.recursive(
    leaves.filter(lambda each: each == each),
    lambda inner: st.tuples(inner) | st.frozensets(inner, max_size=2),
    max_leaves=3,
)
state_values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.sets(keys, max_size=3),
        st.frozensets(keys, max_size=3),
        st.builds(Pair, st.integers(), st.lists(inner, max_size=2)),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(state_values)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    packed = pack(value)
    back = unpack(decode(encode(packed)))
    assert type(back) is type(value)
    assert same(back, value)
    assert encode(pack(back)) == encode(packed) or isinstance(value, (list, tuple, dict))  # kinds of NaN
    assert canonical(pack(back)) == canonical(packed)


@settings(max_examples=200, deadline=None)
@given(state_values, state_values)
def test_the_canonical_form_tells_values_apart(one: Any, other: Any) -> None:
    assert (canonical(pack(one)) == canonical(pack(other))) is same(one, other)
    if same(one, other) and "nan" not in repr(one):
        assert one == other


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(keys, leaves, max_size=5))
def test_the_order_of_keys_does_not_count(value: dict[Any, Any]) -> None:
    backwards = dict(reversed(value.items()))
    assert canonical(pack(value)) == canonical(pack(backwards))
    assert same(value, backwards)
    assert list(unpack(pack(backwards))) == list(backwards)


def test_kinds_that_python_takes_for_equal_differ() -> None:
    kinds = [1, 1.0, True, Level.LOW, "1", b"1", (1,), [1], {1}, frozenset({1}), {1: 1}, {True: 1}, {1: True}]
    for position, one in enumerate(kinds):
        for other in kinds[position + 1 :]:
            assert not same(one, other)
            assert canonical(pack(one)) != canonical(pack(other))


def test_not_a_number_equals_itself_and_zeros_have_signs() -> None:
    other_nan = np.frombuffer(b"\x01\0\0\0\0\0\xf8\x7f")[0].item()
    assert math.isnan(other_nan)
    assert same(float("nan"), other_nan)
    assert same([float("nan"), (other_nan,)], [other_nan, (float("nan"),)])
    assert not same(0.0, -0.0)
    assert not same([0.0], [-0.0])
    assert same(-0.0, -0.0)
    assert math.copysign(1, unpack(pack(-0.0))) == -1


def test_packed_and_plain_values_can_be_compared() -> None:
    value = {"a": [1, (2, 3)], (1, 2): {"x"}}
    assert same(pack(value), value)
    assert same(pack(value["a"]), value["a"])
    assert not same(pack(value), {**value, "a": [1, (2, 4)]})


def test_packing_copies() -> None:
    value: dict[str, Any] = {"a": [1, {"b": [2]}], "c": [0.5]}
    packed = pack(value)
    before = copy.deepcopy(packed)
    value["a"][1]["b"].append(3)
    value["c"].append(1.5)
    assert packed == before
    back = unpack(packed)
    back["a"][1]["b"].append(4)
    back["c"].clear()
    assert packed == before


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(list, {"a": [1]}), {"a": [1]}),
        (Counter("aab"), {"a": 2, "b": 1}),
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("text"), "text"),
        (np.bytes_(b"bytes"), b"bytes"),
        ({"lr": [np.float32(0.25)]}, {"lr": [0.25]}),
        ({np.int64(3): 1}, {3: 1}),
        (bytearray(b"ab"), b"ab"),
    ],
)
def test_kindred_types_become_the_plain_kind(value: Any, plain: Any) -> None:
    back = unpack(pack(value))
    assert type(back) is type(plain)
    assert same(back, plain)


def test_an_ordered_dict_keeps_its_order() -> None:
    value = OrderedDict(a=1, b=2)
    value.move_to_end("a")
    assert list(unpack(pack(value))) == ["b", "a"]


def test_numbers_and_texts_that_msgpack_has_not() -> None:
    for value in (2**63, -(2**63) - 1, 2**20000, -(2**64), "\ud800", "caf\u00e9\udcff"):
        for kept in (value, [value], [1, value], {"k": value}, {value: 1}):
            assert unpack(decode(encode(pack(kept)))) == kept


def test_time_zones_are_kept() -> None:
    fold = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    back = unpack(pack(fold))
    assert back.utcoffset() == fold.utcoffset() == timedelta(hours=1)
    assert back.tzinfo.key == "Europe/Berlin"
    odd = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45, microseconds=7)))
    assert unpack(pack(odd)).utcoffset() == odd.utcoffset()


def test_a_dataclass_comes_back_without_running_its_code() -> None:
    point = Point(3)
    object.__setattr__(point, "computed", -1)
    assert unpack(pack(point)).computed == -1


def test_a_named_tuple_keeps_its_names() -> None:
    back = unpack(pack(Pair(1, [2])))
    assert back.right == [2]
    assert type(back) is Pair


# -- refusals --------------------------------------------------------------------------------------


def local_classes() -> tuple[Any, Any]:
    class Hidden(Enum):
        ONE = 1

    @dataclass(frozen=True)
    class Secret:
        x: int

    return Hidden.ONE, Secret(1)


@dataclass(frozen=True, eq=False)
class Unequal:
    x: int


class Flow:
    _kind = "flow"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (object(), r"^root\.x: a object cannot be state; wrap it in lightning\.app\.storage\.Payload"),
        (lambda: 1, r"^root\.x: a function is code, not state: functions are methods .* leading underscore"),
        (print, "is code"),
        (Point, "is code"),
        (sys, "is code"),
        (Flow(), "a Flow is a component: a flow or work is not a value"),
        (Loose(1), r"make it @dataclass\(frozen=True\)"),
        (np.zeros(3), "a ndarray cannot be state; wrap it in lightning.app.storage.Payload"),
        (np.array(3), "a ndarray"),
        (np.datetime64("2026-01-01"), "a datetime64"),
        (1j, "a complex"),
        (np.complex128(1j), "a complex128"),
        (range(3), r"make it a list"),
        (deque([1]), "make it a list"),
        (iter([1]), "make it a list"),
        ({"k": 1}.keys(), "make it a list"),
        (local_classes()[0], "Hidden cannot be found by its name; define it at a module's top level"),
        (local_classes()[1], "Secret cannot be found by its name"),
        ({"layers": [1, 2, {"f": object()}]}, r"^root\.x\['layers'\]\[2\]\['f'\]: a object"),
        ((1, [Point, 2]), r"^root\.x\[1\]\[0\]: a type is code"),
        (Point(1, (object(),)), r"^root\.x\.tags\[0\]: a object"),  # type: ignore[arg-type]  # what is refused
        (Pair(1, [print]), r"^root\.x\.right\[0\]: a builtin"),  # type: ignore[list-item]  # what is refused
        ({(1, print): 2}, r"^root\.x \(its key \(1, <.*>\)\)\[1\]: a builtin"),
        ({1, print}, r"^root\.x \(its element <.*>\): a builtin"),
        ({float("nan"): 1}, r"^root\.x \(its key nan\): it does not equal its own copy"),
        ({float("nan")}, r"its element nan"),
        ({(float("nan"),): 1}, "does not equal its own copy"),
        ({Unequal(1): 1}, "does not equal its own copy"),
        (
            datetime(2026, 1, 1, tzinfo=types.new_class("Zone", (__import__("datetime").tzinfo,))()),
            "zoneinfo.ZoneInfo",
        ),
        (time(1, tzinfo=timezone.utc), "use a datetime"),  # noqa: UP017  # as users write it
        (Ext(1, b""), "a Ext"),
    ],
)
def test_a_refusal_says_what_where_and_what_to_do(value: Any, told: str) -> None:
    with pytest.raises(StateValueError, match=told):
        pack(value, "root.x")


def test_a_refusal_asks_for_the_place_only_then() -> None:
    asked = []

    def where() -> str:
        asked.append(1)
        return "root.late"

    pack([1, "a"], where)
    assert not asked
    with pytest.raises(StateValueError, match=r"^root\.late\[1\]: "):
        pack([1, object()], where)


def test_a_cycle_is_called_one() -> None:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append({"back": value["a"]})
    with pytest.raises(StateValueError, match=r"^root\.x\['a'\](\[1\])?: it contains itself"):
        pack(value, "root.x")
    bush: list[Any] = []
    bush.extend([bush, bush])
    with pytest.raises(StateValueError, match=r"^root\.x: it contains itself"):
        pack(bush, "root.x")


def nested(levels: int, kind: str = "list") -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else (value,) if kind == "tuple" else {"k": value}
    return value


@pytest.mark.parametrize("kind", ["list", "tuple", "dict"])
def test_sixty_four_levels_are_enough(kind: str) -> None:
    value = nested(64, kind)
    assert unpack(decode(encode(pack(value)))) == value
    with pytest.raises(StateValueError, match="more than 64 levels"):
        pack(nested(65, kind), "root.x")
    with pytest.raises(StateValueError, match="more than 64 levels"):
        pack(nested(64, kind), "root.x", depth=1)
    with pytest.raises(StateValueError, match="more than 64 levels"):
        pack(nested(100_000, kind), "root.x")


# -- what others send ------------------------------------------------------------------------------


def test_a_class_that_is_not_here_is_kept_as_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (Color.RED, Point(1, ("a",)), Pair(1, [2]), Access.READ, Money(5)):
        packed = pack(value)
        with monkeypatch.context() as patch:
            patch.setattr(v, "_resolve", lambda name: None)
            patch.setattr(v, "_kinds", {})
            stranger = unpack([packed])[0]
        assert isinstance(stranger, Unresolved)
        assert pack(stranger) == packed
        assert unpack(pack([stranger])) == [value]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tests.unit.kernel.test_values:Color", "BLUE"),  # a member that the code no longer has
        ("tests.unit.kernel.test_values:Point", "RED"),
        ("no.such.module:Color", "RED"),
        ("os:system", "RED"),
        ("builtins:int.real", "RED"),
        ("", ""),
    ],
)
def test_names_that_lead_nowhere_are_not_followed(name: str, told: str) -> None:
    for code, parts in ((v.MEMBER, [name, told]), (v.RECORD, [name, {"x": 1, "tags": 2, told: 3}])):
        packed = Ext(code, encode(parts))
        assert unpack(packed) == Unresolved(name, packed)


def test_looking_a_class_up_runs_no_code_and_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lazy = types.ModuleType("lazy_module")
    lazy.__getattr__ = lambda name: pytest.fail("asked")  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_module", lazy)
    before = set(sys.modules)
    for name in ("lazy_module:Anything", "antigravity:Color", "xml.sax:handler"):
        assert isinstance(unpack(Ext(v.MEMBER, encode([name, "RED"]))), Unresolved)
    assert set(sys.modules) == before


bad = [
    Ext(0, b""),
    Ext(16, b""),
    Ext(-1, b"\0" * 4),
    datetime(2026, 1, 1),
    {(1,): 2},
    *(
        Ext(code, data)
        for code in range(1, 16)
        for data in (b"\xc1", b"\x91\x01", b"\x92\xa1a\x93", b"\xff" * 9)
    ),
]


@pytest.mark.parametrize(
    "packed", [each for each in bad if type(each) is not Ext or each.code in (0, 16, -1)]
)
def test_what_is_no_packed_value_is_a_protocol_error(packed: Any) -> None:
    for value in (packed, [packed], {"k": packed}):
        with pytest.raises(ProtocolError):
            unpack(value)


junk = st.recursive(
    st.one_of(
        st.none(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(max_size=4), st.binary(max_size=4)
    )
    | st.builds(Ext, st.integers(-2, 17), st.binary(max_size=12)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=2),
        st.builds(lambda code, parts: Ext(code, encode(parts)), st.integers(1, 15), inner),
        st.builds(
            lambda code, parts: Ext(code, encode(parts)), st.integers(1, 15), st.lists(inner, max_size=9)
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=600, deadline=None)
@given(junk)
def test_reading_junk_gives_a_value_or_a_protocol_error(packed: Any) -> None:
    try:
        value = unpack(packed)
    except ProtocolError:
        return
    assert pack([value]) is not None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_decoding_junk_gives_a_value_or_a_protocol_error(data: bytes) -> None:
    with suppress(ProtocolError):
        unpack(decode(data))


@pytest.mark.parametrize("packed", bad)
def test_bad_extensions_never_raise_anything_else(packed: Any) -> None:
    with suppress(ProtocolError):
        unpack(packed)


@pytest.mark.parametrize("data", [b"\x91" * 100_000 + b"\xc0", b"\x81\x01" * 100_000 + b"\xc0", b"\x92\xc0"])
def test_bytes_that_are_too_deep_or_too_short_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


@pytest.mark.parametrize("packed", [nested(65), nested(500, "dict")])
def test_values_that_are_too_deep_are_refused(packed: Any) -> None:
    with pytest.raises(ProtocolError, match="64 levels"):
        unpack(packed)
    inner: Any = 1
    for _ in range(80):
        inner = Ext(v.TUPLE, encode([inner]))
    with pytest.raises(ProtocolError, match="64 levels"):
        unpack(inner)


def test_a_pickled_argument_is_known_by_its_key_and_never_opened() -> None:
    one, other = Pickled("keyed:model", b"not a pickle"), Pickled("keyed:model", b"another")
    assert unpack(pack(one)) == one
    assert canonical(pack([one])) == canonical(pack([other]))
    assert canonical(pack((one,))) == canonical(pack((other,)))
    assert canonical(pack(one)) != canonical(pack(Pickled("keyed:else", b"another")))


def test_sets_are_encoded_alike_however_they_were_filled() -> None:
    words = [f"word {n}" for n in range(50)]
    assert encode(pack(set(words))) == encode(pack(set(reversed(words))))


def test_dates_and_spans_at_their_limits() -> None:
    for value in (date.min, date.max, datetime.min, datetime.max, timedelta.min, timedelta.max, time.max):
        assert unpack(pack(value)) == value
