"""State values, and their packed form: what msgpack can carry, with everything else in tagged extensions.

Packing validates and copies. Unpacking builds fresh containers; it never imports and never unpickles: a class
that a value names is looked up among what the app has imported, and checked.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

from lightning.app.errors import ProtocolError, StateValueError

DEEPEST = 64

TUPLE, SET, FROZENSET, INTEGER, MOMENT, DAY, SPAN, MEMBER, PATH, RECORD, PAIRS, PICKLED, REGISTERED, CLOCK = (
    range(1, 15)
)

_ATOMS = frozenset({type(None), bool, float, str, bytes})
_KEYS = frozenset({str, bytes, type(None), bool, float})
_LOW, _HIGH = -(2**63), 2**64
_CODE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type, types.ModuleType)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Pickled(NamedTuple):
    """An argument that only a work may open. ``key`` is what identifies it."""

    key: str
    data: bytes


class Unresolved(NamedTuple):
    """A value of a class that this process does not have. Packs back to what it was."""

    name: str
    packed: Ext


class _Kind(NamedTuple):
    cls: type
    to_plain: Callable[[Any], Any]
    from_plain: Callable[[Any], Any]


_kinds: dict[str, _Kind] = {}
_tags: dict[type, str] = {}


def register(tag: str, cls: type, to_plain: Callable[[Any], Any], from_plain: Callable[[Any], Any]) -> None:
    """Let instances of ``cls`` be state values. ``to_plain`` gives a value that can be packed."""
    _kinds[tag] = _Kind(cls, to_plain, from_plain)
    _tags[cls] = tag


# -- packing --------------------------------------------------------------------------------------


def pack(value: Any, where: str = "value") -> Any:
    """The packed form of ``value``, or a ``StateValueError`` that names the part ``where`` it fails."""
    kind = type(value)
    if kind in _ATOMS or (kind is int and _LOW <= value < _HIGH):
        return value
    return _pack(value, where, [])


def _pack(value: Any, where: str, above: list[int]) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is int:
        return value if _LOW <= value < _HIGH else Ext(INTEGER, str(value).encode())
    packer = _PACKERS.get(kind)
    if packer is None:
        packer = _packer_for(kind, value, where)
    if kind in _LEAVES:
        return packer(value, where, above)
    if len(above) >= DEEPEST:
        raise StateValueError(
            f"{where}: nested more than {DEEPEST} levels deep; state is flat, keep trees in a Payload"
        )
    if id(value) in above:
        raise StateValueError(
            f"{where}: it contains itself; state has no cycles, refer to the part by a name"
        )
    above.append(id(value))
    try:
        return packer(value, where, above)
    finally:
        above.pop()


def _packer_for(kind: type, value: Any, where: str) -> Callable[[Any, str, list[int]], Any]:
    if kind in _tags:
        return _pack_registered
    if issubclass(kind, Enum):
        return _pack_member
    if is_dataclass(kind) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return _pack_record
    if kind.__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return lambda scalar, where, above: _pack(scalar.item(), where, above)
    for base, packer in _BASES:
        if issubclass(kind, base):
            return packer
    raise StateValueError(f"{where}: {_remedy(kind, value)}")


def _remedy(kind: type, value: Any) -> str:
    if isinstance(value, _CODE):
        return f"a {kind.__name__} is code, not state; make it a method, or keep it under a name with a leading underscore"
    if hasattr(kind, "_binding") or hasattr(kind, "_kind"):
        return (
            f"a {kind.__name__} is a component, not a value; assign it to an attribute of a flow by itself, or "
            "several of them as a lightning.app.structures.List or Dict"
        )
    if is_dataclass(kind):
        return f"the dataclass {kind.__name__} can be changed unseen; make it @dataclass(frozen=True)"
    return (
        f"a {kind.__name__} cannot be state; wrap it in lightning.app.storage.Payload, or keep it under a name "
        "with a leading underscore"
    )


def _pack_list(value: list[Any], where: str, above: list[int]) -> list[Any]:
    if set(map(type, value)) <= _ATOMS:
        return list(value)
    return [_pack(each, f"{where}[{position}]", above) for position, each in enumerate(value)]


def _pack_tuple(value: tuple[Any, ...], where: str, above: list[int]) -> Ext:
    return Ext(TUPLE, _encode(_pack_list(list(value), where, above)))


def _pack_dict(value: dict[Any, Any], where: str, above: list[int]) -> Any:
    kinds = set(map(type, value))
    if kinds <= _KEYS or (
        kinds <= _KEYS | {int} and all(_LOW <= key < _HIGH for key in value if type(key) is int)
    ):
        if set(map(type, value.values())) <= _ATOMS:
            return dict(value)
        return {key: _pack(each, f"{where}[{key!r}]", above) for key, each in value.items()}
    pairs = [
        [_pack(key, f"a key of {where}", above), _pack(each, f"{where}[{key!r}]", above)]
        for key, each in value.items()
    ]
    return Ext(PAIRS, _encode(pairs))


def _sorted(value: Any, where: str, above: list[int]) -> bytes:
    return _encode(sorted((_pack(each, f"an element of {where}", above) for each in value), key=_encode))


def _pack_set(value: set[Any], where: str, above: list[int]) -> Ext:
    return Ext(SET, _sorted(value, where, above))


def _pack_frozenset(value: frozenset[Any], where: str, above: list[int]) -> Ext:
    return Ext(FROZENSET, _sorted(value, where, above))


def _pack_moment(value: datetime, where: str, above: list[int]) -> Ext:
    zone = value.tzinfo
    if zone is None or isinstance(zone, timezone):
        return Ext(MOMENT, _encode([value.isoformat(), None, value.fold]))
    key = getattr(zone, "key", None)
    if key is None:
        raise StateValueError(f"{where}: a datetime in {zone!r}; use datetime.timezone or zoneinfo.ZoneInfo")
    return Ext(MOMENT, _encode([value.replace(tzinfo=None).isoformat(), key, value.fold]))


def _pack_member(value: Enum, where: str, above: list[int]) -> Ext:
    return Ext(MEMBER, _encode([_class_name(type(value)), value.name]))


def _pack_record(value: Any, where: str, above: list[int]) -> Ext:
    told = {
        each.name: _pack(getattr(value, each.name), f"{where}.{each.name}", above) for each in fields(value)
    }
    return Ext(RECORD, _encode([_class_name(type(value)), told]))


def _pack_path(value: PurePath, where: str, above: list[int]) -> Ext:
    kind = "path" if isinstance(value, Path) else "windows" if isinstance(value, PureWindowsPath) else "posix"
    return Ext(PATH, _encode([kind, str(value)]))


def _pack_registered(value: Any, where: str, above: list[int]) -> Ext:
    tag = _tags[type(value)]
    return Ext(REGISTERED, _encode([tag, _pack(_kinds[tag].to_plain(value), where, above)]))


def _class_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


_PACKERS: dict[type, Callable[[Any, str, list[int]], Any]] = {
    list: _pack_list,
    tuple: _pack_tuple,
    dict: _pack_dict,
    set: _pack_set,
    frozenset: _pack_frozenset,
    datetime: _pack_moment,
    date: lambda value, where, above: Ext(DAY, value.isoformat().encode()),
    time: lambda value, where, above: Ext(CLOCK, value.isoformat().encode()),
    timedelta: lambda value, where, above: Ext(
        SPAN, _encode([value.days, value.seconds, value.microseconds])
    ),
    Pickled: lambda value, where, above: Ext(PICKLED, _encode([value.key, value.data])),
    Unresolved: lambda value, where, above: value.packed,
}
_LEAVES = frozenset({datetime, date, time, timedelta, Pickled, Unresolved})
_BASES: tuple[tuple[type, Callable[[Any, str, list[int]], Any]], ...] = (
    (list, _pack_list),
    (tuple, _pack_tuple),
    (dict, _pack_dict),
    (set, _pack_set),
    (frozenset, _pack_frozenset),
    (PurePath, _pack_path),
    (str, lambda value, where, above: str.__str__(value)),
    (bytearray, lambda value, where, above: bytes(value)),
    (int, lambda value, where, above: _pack(int(value), where, above)),
    (float, lambda value, where, above: float(value)),
)


# -- unpacking ------------------------------------------------------------------------------------


def unpack(packed: Any) -> Any:
    """The value, in fresh plain containers."""
    kind = type(packed)
    if kind is list:
        return list(packed) if set(map(type, packed)) <= _ATOMS else [unpack(each) for each in packed]
    if kind is dict:
        if set(map(type, packed.values())) <= _ATOMS:
            return dict(packed)
        return {key: unpack(each) for key, each in packed.items()}
    if kind is Ext:
        try:
            return _UNPACKERS[packed.code](packed)
        except ProtocolError:
            raise
        except Exception as err:
            raise ProtocolError(f"a value of kind {packed.code} cannot be read: {err}") from err
    return packed


def _parts(packed: Ext) -> Any:
    return _decode(packed.data)


def _unpack_moment(packed: Ext) -> datetime:
    text, key, fold = _parts(packed)
    moment = datetime.fromisoformat(text).replace(fold=fold)
    return moment if key is None else moment.replace(tzinfo=ZoneInfo(key))


def _unpack_member(packed: Ext) -> Any:
    name, member = _parts(packed)
    cls = _resolve(name)
    if cls is None or not issubclass(cls, Enum) or member not in cls.__members__:
        return Unresolved(name, packed)
    return cls[member]


def _unpack_record(packed: Ext) -> Any:
    name, told = _parts(packed)
    cls = _resolve(name)
    if cls is None or not is_dataclass(cls) or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return Unresolved(name, packed)
    record = object.__new__(cls)  # as it was: neither __init__ nor __post_init__ runs again
    for each in fields(cls):
        if each.name not in told:
            return Unresolved(name, packed)
        object.__setattr__(record, each.name, unpack(told[each.name]))
    return record


def _unpack_path(packed: Ext) -> PurePath:
    kind, text = _parts(packed)
    kinds: dict[str, type[PurePath]] = {"path": Path, "windows": PureWindowsPath, "posix": PurePosixPath}
    return kinds[kind](text)


def _unpack_registered(packed: Ext) -> Any:
    tag, plain = _parts(packed)
    kind = _kinds.get(tag)
    return Unresolved(tag, packed) if kind is None else kind.from_plain(unpack(plain))


def _resolve(name: str) -> type | None:
    """A class by name, among the modules that are imported already."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and _class_name(found) == name else None


_UNPACKERS: dict[int, Callable[[Ext], Any]] = {
    TUPLE: lambda packed: tuple(unpack(each) for each in _parts(packed)),
    SET: lambda packed: {unpack(each) for each in _parts(packed)},
    FROZENSET: lambda packed: frozenset(unpack(each) for each in _parts(packed)),
    INTEGER: lambda packed: int(bytes(packed.data)),
    MOMENT: _unpack_moment,
    DAY: lambda packed: date.fromisoformat(bytes(packed.data).decode()),
    CLOCK: lambda packed: time.fromisoformat(bytes(packed.data).decode()),
    SPAN: lambda packed: timedelta(*_parts(packed)),
    MEMBER: _unpack_member,
    PATH: _unpack_path,
    RECORD: _unpack_record,
    PAIRS: lambda packed: {unpack(key): unpack(each) for key, each in _parts(packed)},
    PICKLED: lambda packed: Pickled(*_parts(packed)),
    REGISTERED: _unpack_registered,
}


# -- bytes ----------------------------------------------------------------------------------------


def encode(packed: Any) -> bytes:
    """Packed values as bytes, in the order they have."""
    return _encode(packed)


def decode(data: bytes) -> Any:
    """The packed value in ``data``; ``ProtocolError`` where there is none."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError, TypeError) as err:
        raise ProtocolError(f"these bytes are no packed value: {err}") from err


def canonical(packed: Any) -> bytes:
    """Bytes that are equal exactly for equal values of equal kinds: dictionaries are sorted.

    Not-a-number equals itself; 0.0 and -0.0 differ, as 1, 1.0 and True do. Of a ``Pickled`` only the key counts.
    """
    return _encode(_canonical(packed))


def _canonical(packed: Any) -> Any:
    kind = type(packed)
    if kind is list:
        return list(packed) if set(map(type, packed)) <= _ATOMS else [_canonical(each) for each in packed]
    if kind is dict:
        return _canonical_pairs(packed.items())
    if kind is Ext:
        if packed.code == PICKLED:
            return Ext(PICKLED, _encode(_parts(packed)[0]))
        if packed.code == PAIRS:
            return _canonical_pairs(_parts(packed))
        if packed.code in (TUPLE, SET, FROZENSET, RECORD, REGISTERED):
            return Ext(packed.code, _encode(_canonical(_parts(packed))))
    return packed


def _canonical_pairs(pairs: Any) -> Ext:
    return Ext(
        PAIRS, _encode(sorted(([_encode(_canonical(key)), _encode(_canonical(each))] for key, each in pairs)))
    )


def same(one: Any, other: Any) -> bool:
    """Whether two packed values are equal in value and kind."""
    if type(one) is not type(other):
        return False
    if type(one) in _ATOMS or type(one) is int:
        return bool(one == other or (one != one and other != other))
    return canonical(one) == canonical(other)
