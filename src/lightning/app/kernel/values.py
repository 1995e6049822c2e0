"""State values, and their packed form: what msgpack can carry, with everything else in tagged extensions.

Packing validates and copies. Unpacking builds fresh containers; it never imports and never unpickles: a class
that a value names is looked up among what the app has imported, and checked. Packed values may come from
anybody: what cannot be read is a ``ProtocolError`` and never anything else.
"""

from __future__ import annotations

import sys
import types
from collections import deque
from collections.abc import Callable, Collection, Iterator, KeysView, ValuesView
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum, Flag
from operator import eq
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from reprlib import repr as short
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
from msgspec.msgpack import Ext

from lightning.app.errors import ProtocolError, StateValueError

DEEPEST = 64
"""Levels of containers in one attribute."""

ATOMS = frozenset({type(None), bool, int, float, str, bytes})
"""What is never a container, and (nearly always) packs to itself."""

# Codes of extensions. They are in journals: never give one a new meaning.
(
    TUPLE,
    SET,
    FROZENSET,
    INTEGER,
    MOMENT,
    DAY,
    SPAN,
    MEMBER,
    PATH,
    RECORD,
    PAIRS,
    PICKLED,
    REGISTERED,
    CLOCK,
    TEXT,
) = range(1, 16)

_BARE = frozenset({type(None), bool, float, bytes})
_LOW, _HIGH = -(2**63), 2**63
_CODE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type, types.ModuleType)
_SEQUENCES = (range, deque, Iterator, KeysView, ValuesView)
_SETS = (SET, FROZENSET)

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


class _Refused(Exception):
    """Some part is no state value. The steps to it are gathered on the way out, the innermost first."""

    def __init__(self, reason: str, culprit: Any = None) -> None:
        self.reason = reason
        self.culprit = culprit  # the container at which there were too many levels
        self.steps: list[str] = []


def pack(value: Any, where: str | Callable[[], str] = "value", depth: int = 0) -> Any:
    """The packed form of ``value``, or a ``StateValueError`` that names the part ``where`` it fails.

    ``depth`` is in how many containers the value will lie.

    >>> pack({"lr": 0.1, "seen": (1, 2)})
    {'lr': 0.1, 'seen': Ext(code=1, data=b'\\x92\\x01\\x02')}
    """
    if type(value) in _BARE:
        return value
    try:
        return _pack(value, DEEPEST - depth)
    except _Refused as refused:
        place = where if isinstance(where, str) else where()
        raise StateValueError(f"{place}{''.join(reversed(refused.steps))}: {refused.reason}") from None


def _pack(value: Any, room: int) -> Any:
    kind = type(value)
    if kind in _BARE:
        return value
    if kind is int:
        return value if _LOW <= value < _HIGH else _pack_integer(value)
    if kind is str:
        return value if value.isascii() or _encodable(value) else _pack_text(value)
    packer = _PACKERS.get(kind)
    if packer is not None:
        return packer(value)
    pack_container = _CONTAINER_PACKERS.get(kind) or _packer_for(kind, value)
    if room <= 0:
        raise _Refused(
            f"nested more than {DEEPEST} levels deep; state is flat, keep trees in a Payload", value
        )
    try:
        return pack_container(value, room - 1)
    except _Refused as refused:
        if refused.culprit is value:
            refused.reason = "it contains itself; state has no cycles, refer to the part by a name"
            refused.steps.clear()
        raise


def _packer_for(kind: type, value: Any) -> Callable[[Any, int], Any]:
    """For what is of no kind by its exact type."""
    if kind in _tags:
        return _pack_registered
    if issubclass(kind, Enum):
        return _pack_member
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _pack_named_tuple
    if _is_record(kind):
        return _pack_record
    if kind.__module__ == "numpy" and hasattr(value, "dtype") and kind.__name__ != "ndarray":
        number = {"b": bool, "i": int, "u": int, "f": float}.get(value.dtype.kind)
        if number is not None:
            return lambda scalar, room: _pack(number(scalar), room)
    for base, packer in _BASES:
        if issubclass(kind, base):
            return packer
    raise _Refused(_remedy(kind, value))


def _remedy(kind: type, value: Any) -> str:
    name = kind.__name__
    if isinstance(value, _CODE):
        return (
            f"a {name} is code, not state: functions are methods of the class, or kept under a name with a "
            "leading underscore"
        )
    if hasattr(kind, "_binding") or hasattr(kind, "_kind"):
        return f"a {name} is a component: a flow or work is not a value; assign it to an attribute by itself"
    if is_dataclass(kind) and not _is_frozen(kind):
        return f"the dataclass {name} can be changed unseen; make it @dataclass(frozen=True)"
    if isinstance(value, _SEQUENCES):
        return f"a {name} cannot be state; make it a list: list(...)"
    return (
        f"a {name} cannot be state; wrap it in lightning.app.storage.Payload, or keep it under a name with a "
        "leading underscore"
    )


def _is_record(cls: type) -> bool:
    """A frozen dataclass, and one of which an instance can be made without running its code."""
    return is_dataclass(cls) and cls.__new__ is object.__new__ and _is_frozen(cls)


def _is_frozen(cls: type) -> bool:
    return bool(cls.__dataclass_params__.frozen)  # type: ignore[attr-defined]  # not in typeshed


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_bare(value: Any) -> bool:
    kind = type(value)
    if kind is int:
        return bool(_LOW <= value < _HIGH)
    return kind in _BARE or (kind is str and _encodable(value))


def _all_bare(values: Collection[Any]) -> bool:
    """Whether all of them pack to themselves. Long lists of numbers are common: C looks at those."""
    kinds = set(map(type, values))
    if kinds <= _BARE:
        return True
    if not kinds <= ATOMS:
        return False
    if kinds == {int}:
        return bool(min(values) >= _LOW and max(values) < _HIGH)
    if kinds == {str}:
        return _encodable("".join(values))
    return all(map(_is_bare, values))


def _pack_integer(value: int) -> Ext:
    return Ext(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _pack_text(value: str) -> Ext:
    """Text with lone surrogates, as names of files may be."""
    return Ext(TEXT, value.encode("utf-8", "surrogatepass"))


def _pack_list(value: Collection[Any], room: int) -> list[Any]:
    items = list(value)
    if _all_bare(items):
        return items
    packed: list[Any] = []
    try:
        for each in items:
            packed.append(_pack(each, room))
    except _Refused as refused:
        refused.steps.append(f"[{len(packed)}]")
        raise
    return packed


def _pack_dict(value: dict[Any, Any], room: int) -> Any:
    entries = dict(value)
    if not _all_bare(entries) or any(key != key for key in entries):
        keys = {key: _pack_key(key, "key", room) for key in entries}
        if not all(map(_is_bare, keys.values())):
            pairs = [[packed, _pack_entry(key, entries[key], room)] for key, packed in keys.items()]
            return Ext(PAIRS, _encode(pairs))
        entries = {packed: entries[key] for key, packed in keys.items()}
    if _all_bare(entries.values()):
        return entries
    return {key: _pack_entry(key, each, room) for key, each in entries.items()}


def _pack_entry(key: Any, value: Any, room: int) -> Any:
    try:
        return _pack(value, room)
    except _Refused as refused:
        refused.steps.append(f"[{short(key)}]")
        raise


def _pack_key(key: Any, role: str, room: int) -> Any:
    """A key or an element: its copy must be found again where it is looked up."""
    try:
        packed = _pack(key, room)
        if (key != key) if type(key) is float else (type(packed) is Ext and unpack(packed) != key):
            raise _Refused(
                "it does not equal its own copy, so it would never be found again; use a name or a number"
            )
    except _Refused as refused:
        refused.steps.append(f" (its {role} {short(key)})")
        raise
    return packed


def _pack_elements(value: Collection[Any], room: int) -> bytes:
    packed = list(value)
    if not _all_bare(packed) or float in set(map(type, packed)):
        packed = [_pack_key(each, "element", room) for each in packed]
    return _encode(sorted(packed, key=_encode))


def _pack_moment(value: datetime) -> Ext:
    zone: Any = value.tzinfo
    if zone is not None:
        key = getattr(zone, "key", None)
        if isinstance(zone, timezone):
            zone = zone.utcoffset(None) // timedelta(microseconds=1)
        elif isinstance(zone, ZoneInfo) and key is not None:
            zone = key
        else:
            raise _Refused(f"a datetime in {zone!r}; use datetime.timezone or zoneinfo.ZoneInfo")
    parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond]
    return Ext(MOMENT, _encode([*parts, value.fold, zone]))


def _pack_clock(value: time) -> Ext:
    if value.tzinfo is not None:
        raise _Refused("a time with a zone means nothing without its day; use a datetime")
    return Ext(CLOCK, _encode([value.hour, value.minute, value.second, value.microsecond, value.fold]))


def _pack_member(value: Enum, room: int) -> Ext:
    # Members of a Flag can be combined, and a combination has no name.
    return Ext(
        MEMBER, _encode([_name_of(type(value)), value.value if isinstance(value, Flag) else value.name])
    )


def _pack_record(value: Any, room: int) -> Ext:
    return _pack_fields(value, [each.name for each in fields(value)], room)


def _pack_named_tuple(value: Any, room: int) -> Ext:
    return _pack_fields(value, value._fields, room)


def _pack_fields(value: Any, names: Collection[str], room: int) -> Ext:
    told = {}
    for name in names:
        try:
            told[name] = _pack(getattr(value, name), room)
        except _Refused as refused:
            refused.steps.append(f".{name}")
            raise
    return Ext(RECORD, _encode([_name_of(type(value)), told]))


def _pack_path(value: PurePath, room: int) -> Ext:
    kind = "path" if isinstance(value, Path) else "windows" if isinstance(value, PureWindowsPath) else "posix"
    return Ext(PATH, _encode([kind, _pack(str(value), room)]))


def _pack_registered(value: Any, room: int) -> Ext:
    tag = _tags[type(value)]
    return Ext(REGISTERED, _encode([tag, _pack(_kinds[tag].to_plain(value), room)]))


def _name_of(cls: type) -> str:
    name = f"{cls.__module__}:{cls.__qualname__}"
    if _resolve(name) is not cls:
        raise _Refused(
            f"the class {cls.__qualname__} cannot be found by its name; define it at a module's top level"
        )
    return name


_PACKERS: dict[type, Callable[[Any], Any]] = {
    datetime: _pack_moment,
    date: lambda value: Ext(DAY, _encode([value.year, value.month, value.day])),
    time: _pack_clock,
    timedelta: lambda value: Ext(SPAN, _encode([value.days, value.seconds, value.microseconds])),
    Pickled: lambda value: Ext(PICKLED, _encode([value.key, value.data])),
    Unresolved: lambda value: value.packed,
}
_CONTAINER_PACKERS: dict[type, Callable[[Any, int], Any]] = {
    list: _pack_list,
    tuple: lambda value, room: Ext(TUPLE, _encode(_pack_list(value, room))),
    dict: _pack_dict,
    set: lambda value, room: Ext(SET, _pack_elements(value, room)),
    frozenset: lambda value, room: Ext(FROZENSET, _pack_elements(value, room)),
}
_BASES: tuple[tuple[type, Callable[[Any, int], Any]], ...] = (
    *_CONTAINER_PACKERS.items(),
    (PurePath, _pack_path),
    (str, lambda value, room: _pack(str.__str__(value), room)),
    (bytes, lambda value, room: bytes(value)),
    (bytearray, lambda value, room: bytes(value)),
    (int, lambda value, room: _pack(int(value), room)),
    (float, lambda value, room: float(value)),
)


# -- unpacking ------------------------------------------------------------------------------------


def unpack(packed: Any, depth: int = 0) -> Any:
    """The value, in fresh plain containers. ``depth`` is in how many containers it will lie."""
    if type(packed) in ATOMS:
        return packed
    try:
        return _unpack(packed, DEEPEST - depth)
    except ProtocolError:
        raise
    except Exception as err:  # whatever a malformed value makes Python say
        raise ProtocolError(f"a packed value cannot be read: {type(err).__name__}: {err}") from err


def _unpack(packed: Any, room: int) -> Any:
    kind = type(packed)
    if kind in ATOMS:
        return packed
    if room <= 0:
        raise ProtocolError(f"a packed value is nested more than {DEEPEST} levels deep")
    if kind is list:
        if set(map(type, packed)) <= ATOMS:
            return list(packed)
        return [_unpack(each, room - 1) for each in packed]
    if kind is dict:
        if not set(map(type, packed)) <= ATOMS:
            raise ProtocolError("a packed dictionary has a key that is not packed")
        if set(map(type, packed.values())) <= ATOMS:
            return dict(packed)
        return {key: _unpack(each, room - 1) for key, each in packed.items()}
    if kind is not Ext or packed.code not in _UNPACKERS:
        raise ProtocolError(f"{short(packed)} is no packed value")
    return _UNPACKERS[packed.code](packed, room - 1)


def _parts(packed: Ext) -> Any:
    return _decode(packed.data)


def _unpack_items(packed: Ext, room: int) -> list[Any]:
    parts = _parts(packed)
    if type(parts) is not list:
        raise ProtocolError(f"{short(packed)} holds no items")
    return [_unpack(each, room) for each in parts]


def _unpack_moment(packed: Ext, room: int) -> Any:
    *parts, fold, zone = _parts(packed)
    moment = datetime(*parts, fold=fold)
    if zone is None:
        return moment
    if type(zone) is int:
        return moment.replace(tzinfo=timezone(timedelta(microseconds=zone)))
    try:
        return moment.replace(tzinfo=ZoneInfo(zone))
    except LookupError:  # a time zone that this machine does not know
        return Unresolved(zone, packed)


def _unpack_member(packed: Ext, room: int) -> Any:
    name, member = _parts(packed)
    cls = _resolve(name)
    if cls is not None and issubclass(cls, Flag) and type(member) is int:
        try:
            return cls(member)
        except ValueError:
            return Unresolved(name, packed)
    if cls is None or not issubclass(cls, Enum) or member not in cls.__members__:
        return Unresolved(name, packed)
    return cls[member]


def _unpack_record(packed: Ext, room: int) -> Any:
    name, told = _parts(packed)
    values = {field: _unpack(each, room) for field, each in told.items()}
    cls = _resolve(name)
    if cls is None:
        return Unresolved(name, packed)
    if issubclass(cls, tuple) and list(getattr(cls, "_fields", ())) == list(values):
        return tuple.__new__(cls, values.values())
    if not _is_record(cls) or {each.name for each in fields(cls)} != values.keys():
        return Unresolved(name, packed)
    record: Any = object.__new__(cls)  # as it was: neither __init__ nor __post_init__ runs again
    for field, value in values.items():
        object.__setattr__(record, field, value)
    return record


def _unpack_path(packed: Ext, room: int) -> PurePath:
    kind, text = _parts(packed)
    kinds: dict[str, type[PurePath]] = {"path": Path, "windows": PureWindowsPath, "posix": PurePosixPath}
    return kinds[kind](_unpack(text, room))


def _unpack_pickled(packed: Ext, room: int) -> Pickled:
    key, data = _parts(packed)
    if type(key) is not str or type(data) is not bytes:
        raise ProtocolError("a pickled argument is a key and bytes")
    return Pickled(key, data)


def _unpack_registered(packed: Ext, room: int) -> Any:
    tag, plain = _parts(packed)
    value = _unpack(plain, room)
    kind = _kinds.get(tag)
    return Unresolved(tag, packed) if kind is None else kind.from_plain(value)


def _resolve(name: str) -> type | None:
    """A class by name, among the modules that are imported already. Runs no code of theirs."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = found.__dict__.get(part) if isinstance(found, types.ModuleType | type) else None
    return found if isinstance(found, type) else None


_UNPACKERS: dict[int, Callable[[Ext, int], Any]] = {
    TUPLE: lambda packed, room: tuple(_unpack_items(packed, room)),
    SET: lambda packed, room: set(_unpack_items(packed, room)),
    FROZENSET: lambda packed, room: frozenset(_unpack_items(packed, room)),
    INTEGER: lambda packed, room: int.from_bytes(packed.data, "big", signed=True),
    TEXT: lambda packed, room: bytes(packed.data).decode("utf-8", "surrogatepass"),
    MOMENT: _unpack_moment,
    DAY: lambda packed, room: date(*_parts(packed)),
    CLOCK: lambda packed, room: time(*_parts(packed)[:4], fold=_parts(packed)[4]),
    SPAN: lambda packed, room: timedelta(*_parts(packed)),
    MEMBER: _unpack_member,
    PATH: _unpack_path,
    RECORD: _unpack_record,
    PAIRS: lambda packed, room: {_unpack(key, room): _unpack(each, room) for key, each in _parts(packed)},
    PICKLED: _unpack_pickled,
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
    except (msgspec.MsgspecError, RecursionError, TypeError, ValueError) as err:
        raise ProtocolError(f"these bytes are no packed value: {err}") from err


def canonical(packed: Any) -> bytes:
    """Bytes that are equal exactly for equal values of equal kinds: dictionaries are sorted.

    Not-a-number equals itself; 0.0 and -0.0 differ, as 1, 1.0 and True do. Of a ``Pickled`` the key counts.

    >>> canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})
    True
    """
    return _encode(_canonical(packed))


def _canonical(packed: Any) -> Any:
    kind = type(packed)
    if kind is list:
        if set(map(type, packed)) <= ATOMS and all(map(eq, packed, packed)):
            return packed
        return [_canonical(each) for each in packed]
    if kind is dict:
        return _canonical_pairs(packed.items())
    if kind is float and packed != packed:
        return _NAN  # there are many, by their bits
    if kind is Ext:
        if packed.code == PICKLED:
            return Ext(PICKLED, _encode(_parts(packed)[0]))
        if packed.code == PAIRS:
            return _canonical_pairs(_parts(packed))
        if packed.code in (TUPLE, SET, FROZENSET, RECORD, REGISTERED):
            parts = _canonical(_parts(packed))
            return Ext(packed.code, _encode(sorted(parts, key=_encode) if packed.code in _SETS else parts))
    return packed


def _canonical_pairs(pairs: Any) -> Ext:
    entries = [[_encode(_canonical(key)), _encode(_canonical(each))] for key, each in pairs]
    return Ext(PAIRS, _encode(sorted(entries)))


_NAN = float("nan")


def same(one: Any, other: Any) -> bool:
    """Whether two values, packed or not, are equal in value and kind, as ``canonical`` says.

    >>> same(1, True), same([float("nan")], [float("nan")])
    (False, True)
    """
    kind = type(one)
    if kind in ATOMS or type(other) in ATOMS:
        if kind is not type(other):
            return False
        if kind is float:
            return (one == other and (one != 0 or str(one) == str(other))) or (one != one and other != other)
        return bool(one == other)
    first, second = _packed(one), _packed(other)
    if kind is list and type(other) is list and len(one) != len(other):
        return False
    return _encode(first) == _encode(second) or canonical(first) == canonical(second)


def _packed(value: Any) -> Any:
    return value if type(value) is Ext else _pack_mixed(value)


def _pack_mixed(value: Any) -> Any:
    """Of containers whose parts may be packed already."""
    if isinstance(value, list):
        return value if set(map(type, value)) <= ATOMS else [_packed(each) for each in value]
    if isinstance(value, dict):
        if set(map(type, value)) <= ATOMS:
            return {key: _packed(each) for key, each in value.items()}
        return Ext(PAIRS, _encode([[pack(key), _packed(each)] for key, each in value.items()]))
    return pack(value)
