"""Packed values and their bytes: nothing large passes, and nothing small is refused."""

from __future__ import annotations

from typing import Any

import pytest

from lightning.app.kernel.size import size_if_large
from lightning.app.kernel.values import Pickled, encode, pack

VALUES: list[Any] = [
    None,
    7,
    2**200,
    0.5,
    "a" * 1000,
    "ä" * 1000,
    "語" * 1000,
    "\U0001f600" * 1000,
    b"x" * 1000,
    [1] * 1000,
    [2**63] * 1000,
    ["text"] * 1000,
    [["deep", [1.5] * 10]] * 30,
    {str(key): key for key in range(500)},
    {"inner": {"x" * 100: "y" * 900}},
    {(1, 2): "pairs"},
    {"a"},
    (1, "two", 3.0),
    Pickled("keyed:x", b"p" * 1000),
    [None, ["an", {"inserted": "item"}]],
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:30])
def test_the_limit_is_exact_for_every_kind(value: Any) -> None:
    packed = pack(value)
    size = len(encode(packed))
    assert size_if_large(packed, size) == 0
    assert size_if_large(packed, size - 1) == size
