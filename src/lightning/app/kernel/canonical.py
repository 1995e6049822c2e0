"""When two packed values are the same: equal in value and in kind, whatever order they came in.

By this a call is recognised, a write that changes nothing is none, and a replay compares.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import copysign
from operator import ne
from typing import Any

import msgspec
from msgspec.msgpack import Ext

from lightning.app.errors import ProtocolError
from lightning.app.kernel.values import (
    CARRIED,
    FROZENSET,
    PAIRS,
    PICKLED,
    RECORD,
    REGISTERED,
    SCALARS,
    SET,
    TUPLE,
    UNREADABLE,
)

_NAN = float("nan")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def canonical(packed: Any) -> bytes:
    """Bytes that are equal exactly for equal values of equal kinds: dictionaries and sets are sorted.

    Not-a-number equals itself; 0.0 and -0.0 differ, as 1, 1.0 and True do. Of a ``Pickled`` or
    ``Carried`` only the key counts.
    """
    try:
        return _encode(_canonical(packed))
    except UNREADABLE as err:
        raise ProtocolError(f"this is no packed value: {err}") from err


def _canonical(packed: Any) -> Any:
    kind = type(packed)
    if kind is float:
        return packed if packed == packed else _NAN  # there are many of them, and one will do
    if kind is list:
        return _canonical_list(packed)
    if kind is dict:
        return _canonical_pairs(packed.items())
    if kind is Ext:
        if packed.code in (PICKLED, CARRIED):  # however it travels, it is the same
            key, _ = _decode(packed.data)
            return Ext(PICKLED, _encode(key))
        if packed.code == PAIRS:
            return _canonical_pairs(_decode(packed.data))
        if packed.code in (SET, FROZENSET):
            return Ext(packed.code, _encode(sorted(_canonical_list(_decode(packed.data)), key=_encode)))
        if packed.code in (TUPLE, RECORD, REGISTERED):
            return Ext(packed.code, _encode(_canonical(_decode(packed.data))))
    return packed


def _canonical_list(packed: list[Any]) -> list[Any]:
    kinds = set(map(type, packed))
    if kinds <= SCALARS and not (float in kinds and any(map(ne, packed, packed))):
        return packed
    return [_canonical(each) for each in packed]


def _canonical_pairs(pairs: Iterable[Any]) -> Ext:
    sides = ([_encode(_canonical(key)), _encode(_canonical(each))] for key, each in pairs)
    return Ext(PAIRS, _encode(sorted(sides)))


def same(one: Any, other: Any) -> bool:
    """Whether two packed values are equal in value and kind, as ``canonical`` has it."""
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is float:
        return bool(one == other and (one or copysign(1.0, one) == copysign(1.0, other))) or (
            one != one and other != other
        )
    if kind in SCALARS:
        return bool(one == other)
    return canonical(one) == canonical(other)
