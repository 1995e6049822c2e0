"""Arguments of a call: the same ones, however written, are one key."""

from __future__ import annotations

import inspect
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lightning as L
from lightning.app.core.arguments import Arguments, Keyed, arguments_of
from lightning.app.errors import CallError
from lightning.app.kernel.values import unpack
from tests.unit.kernel.drawn import alike, values


def plain(self: Any, x: Any, y: Any = 2) -> None: ...


def wide(self: Any, first: Any, /, x: Any = 1, *rest: Any, name: Any = "n", **more: Any) -> None: ...


PLAIN, WIDE = Arguments(plain), Arguments(wide)


def key(arguments: Arguments, *args: Any, **kwargs: Any) -> bytes:
    return arguments.bind("root.w", args, kwargs)[0]


# -- one key --------------------------------------------------------------------------------------


def test_positions_names_and_defaults_come_to_the_same_key() -> None:
    keys = {key(PLAIN, 1), key(PLAIN, 1, 2), key(PLAIN, x=1), key(PLAIN, 1, y=2), key(PLAIN, y=2, x=1)}
    assert len(keys) == 1


def test_keyword_only_and_further_arguments_are_part_of_the_key() -> None:
    assert key(WIDE, 0) == key(WIDE, 0, 1) == key(WIDE, 0, x=1) == key(WIDE, 0, name="n")
    others = [
        key(WIDE, 0),
        key(WIDE, 0, 1, 2),
        key(WIDE, 0, name="m"),
        key(WIDE, 0, more=1),
        key(WIDE, 0, other=1),
    ]
    assert len(set(others)) == 5
    assert key(WIDE, 0, a=1, b=2) == key(WIDE, 0, b=2, a=1)


def test_what_python_calls_equal_may_be_other_arguments() -> None:
    assert (
        len({key(PLAIN, each) for each in (1, True, 1.0, "1", b"1", [1], (1,), {1}, 0, False, None, "")})
        == 12
    )


def test_the_order_of_sets_and_keys_does_not_matter_and_that_of_lists_does() -> None:
    assert key(PLAIN, {"a": 1, "b": {2, 3}}) == key(PLAIN, {"b": {3, 2}, "a": 1})
    assert key(PLAIN, [1, 2]) != key(PLAIN, [2, 1])


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**80, "\u00e9", "\ud800", float("nan"), -0.0])
def test_large_numbers_and_rare_texts_have_a_key_whichever_way_they_come(value: Any) -> None:
    assert key(PLAIN, value, 2) == key(PLAIN, x=value)


@given(values, values)
def test_the_key_says_what_the_arguments_are(one: Any, other: Any) -> None:
    assert (key(PLAIN, one) == key(PLAIN, other)) is alike(one, other)
    assert key(PLAIN, one, other) == key(PLAIN, y=other, x=one)


@given(st.lists(values, max_size=3))
def test_what_the_work_gets_is_what_was_passed(args: list[Any]) -> None:
    _, packed, named = WIDE.bind("root.w", (0, *args), {"name": args})
    given = [unpack(each) for each in packed]
    assert alike(given, [0, *(args or [1])])
    assert alike(unpack(named["name"]), args)


def test_few_plain_values_travel_as_they_are() -> None:
    assert PLAIN.bind("root.w", (1, "two"), {})[1:] == ([1, "two"], {})
    assert PLAIN.bind("root.w", (1,), {})[1:] == ([1, 2], {})


def test_a_call_without_arguments_has_a_key() -> None:
    nothing = Arguments(lambda self: None)
    assert nothing.bind("root.w", (), {}) == (key(nothing), [], {})
    assert key(nothing) != key(Arguments(lambda self, x=None: None))


def test_a_signature_is_read_once() -> None:
    assert arguments_of(plain) is arguments_of(plain)


# -- other objects --------------------------------------------------------------------------------


class Model:
    def __init__(self, size: int) -> None:
        self.size = size


def test_a_keyed_object_is_known_by_its_key_alone() -> None:
    assert key(PLAIN, Keyed(Model(1), key="m")) == key(PLAIN, Keyed(Model(2), key="m"))
    assert key(PLAIN, Keyed(Model(1), key="m")) != key(PLAIN, Keyed(Model(1), key="n"))
    assert key(PLAIN, Keyed(Model(1), key="m")) != key(PLAIN, "m")


def test_a_keyed_object_says_what_it_is() -> None:
    assert repr(Keyed(Model(1), key="m")) == "Keyed(Model, key='m')"


@pytest.mark.parametrize("wrong", ["", None, 3])
def test_a_key_is_a_text(wrong: Any) -> None:
    with pytest.raises(CallError, match=r"the key is a text that names the object, like 'resnet-v1'"):
        Keyed(Model(1), key=wrong)


def test_a_keyed_object_that_cannot_travel_says_which_argument_it_is() -> None:
    with pytest.raises(CallError, match=r"root\.w\.run: argument y cannot be pickled"):
        key(PLAIN, 1, Keyed(inspect.currentframe(), key="frame"))


def test_a_keyed_function_need_not_be_importable() -> None:
    assert key(PLAIN, Keyed(lambda: 3, key="f")) == key(PLAIN, Keyed(lambda: 4, key="f"))


def test_an_array_is_known_by_its_content() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert key(PLAIN, array) == key(PLAIN, array.copy()) == key(PLAIN, np.asfortranarray(array))
    others = [array, array.reshape(3, 2), array.astype(np.float32), array + 1, array.tolist()]
    assert len({key(PLAIN, each) for each in others}) == 5


# -- what is refused ------------------------------------------------------------------------------


def test_an_object_without_a_key_is_named_with_the_remedy() -> None:
    with pytest.raises(CallError, match=r"root\.w\.run: argument x.*Model.*L\.Keyed\(obj, key=\.\.\.\)"):
        key(PLAIN, Model(1))


@pytest.mark.parametrize(
    ("args", "kwargs", "name"),
    [
        ((0, 1, 2, object()), {}, r"\*args\[1\]"),
        ((object(),), {}, "first"),
        ((0, object()), {}, "x"),
        ((0,), {"name": object()}, "name"),
        ((0,), {"other": object()}, "other"),
    ],
)
def test_the_argument_at_fault_is_named(args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> None:
    with pytest.raises(CallError, match=rf"^root\.w\.run: argument {name}\W"):
        key(WIDE, *args, **kwargs)


def test_a_component_is_no_argument_and_its_attributes_are() -> None:
    with pytest.raises(CallError, match="pass the attributes it needs, not the component itself"):
        key(PLAIN, L.LightningWork())


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((), {}, "missing a required argument: 'x'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"z": 1}, "got an unexpected keyword argument 'z'"),
        ((1,), {"x": 1}, "multiple values for argument 'x'"),
    ],
)
def test_wrong_arguments_are_told_with_the_signature(
    args: tuple[Any, ...], kwargs: dict[str, Any], told: str
) -> None:
    with pytest.raises(CallError) as refused:
        key(Arguments(lambda self, x, y=2: None), *args, **kwargs)
    assert str(refused.value) == f"root.w.run(x, y=2): {told}"


def test_dates_and_the_like_are_arguments() -> None:
    assert key(PLAIN, date(2026, 1, 2)) == key(PLAIN, x=date(2026, 1, 2))


def test_wrong_arguments_are_told_with_the_signature_as_it_was_written() -> None:
    told = r"^root\.w\.run\(x: Any, y: Any = 2\) -> None: missing a required argument: 'x'$"
    with pytest.raises(CallError, match=told):
        PLAIN.bind("root.w", (), {"y": 1})
