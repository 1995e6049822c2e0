"""State values, and their packed form: what msgpack can carry, with everything else in tagged extensions.

Packing validates and copies. Unpacking builds fresh containers; it imports nothing of the app's and never unpickles:
a class that a value names is looked up among what the app has imported, and checked.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum, Flag
from importlib import import_module
from operator import eq
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec.msgpack import Ext

from lightning.app.errors import ProtocolError, StateValueError

DEEPEST = 64
"""So many containers may be nested in one another, counted from the attribute."""

TUPLE, SET, FROZENSET, INTEGER, MOMENT, DAY, SPAN = range(1, 8)
MEMBER, PATH, RECORD, PAIRS, PICKLED, REGISTERED, CLOCK, TEXT = range(8, 16)
CARRIED = 16

_OF_PARTS = frozenset({TUPLE, SET, FROZENSET, RECORD, PAIRS, REGISTERED, CARRIED})  # packed in turn
_ATOMS = frozenset({type(None), bool, float, bytes})  # packed as they are
SCALARS = _ATOMS | {int, str}  # so are these, but for integers of more than 64 bits and lone surrogates
_LOW, _HIGH = -(2**63), 2**64
_SLACK = 4  # what wraps values on a journey, as the list of a call's arguments does
_CODE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type, types.ModuleType)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Pickled(NamedTuple):
    """An argument that only a work may open. ``key`` is what identifies it."""

    key: str
    data: bytes

    def __repr__(self) -> str:
        return f"Keyed(..., key={self.key!r})"


class Carried(NamedTuple):
    """An argument that is too large for a message: its payload, which a work opens. ``key`` identifies it."""

    key: str
    payload: Any

    def __repr__(self) -> str:
        return f"Keyed(..., key={self.key!r})"


class Unresolved(NamedTuple):
    """A value of a class that this process does not have. Packs back to what it was."""

    name: str
    packed: Ext

    def __hash__(self) -> int:
        return hash((self.name, self.packed.code, bytes(self.packed.data)))

    def __repr__(self) -> str:
        """As the app would write it, as far as that can be told without its class: ``Color.RED``."""
        told, cls = _parts(self.packed)[1], self.name.rpartition(":")[2]
        if self.packed.code == MEMBER:
            return f"{cls}.{told}" if type(told) is str else f"{cls}({unpack(told)!r})"
        if self.packed.code == RECORD:
            return f"{cls}({', '.join(f'{name}={unpack(each)!r}' for name, each in told.items())})"
        return f"{cls}({unpack(told)!r})"


class _Refused(Exception):
    """A part cannot be packed. On its way up each container says where in it the part was."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.steps: list[tuple[str, str]] = []  # what to put before and behind the container's place

    def named(self, before: str, behind: str) -> _Refused:
        self.steps.append((before, behind))
        return self

    def told(self, where: str) -> str:
        for before, behind in reversed(self.steps):
            where = f"{before}{where}{behind}"
        return f"{where}: {self.reason}"


class _Kind(NamedTuple):
    cls: type
    to_plain: Callable[[Any], Any]
    from_plain: Callable[[Any], Any]


_kinds: dict[str, _Kind] = {}
_tags: dict[type, str] = {}
_OURS = {tag: f"lightning.app.storage.{tag}" for tag in ("drive", "mount", "path", "payload")}
"""What registers a kind of ours, and is imported when the first value of it arrives."""


def register(tag: str, cls: type, to_plain: Callable[[Any], Any], from_plain: Callable[[Any], Any]) -> None:
    """Let instances of ``cls`` be state values. ``to_plain`` gives a value that can be packed."""
    _kinds[tag] = _Kind(cls, to_plain, from_plain)
    _tags[cls] = tag


SCHEME = "lit://"
"""Begins a text that stands for a path, where it is set as an attribute."""


def path_of(text: str, owner: str) -> Any:
    """The path that a text which begins with `SCHEME` stands for, in the component ``owner``."""
    return import_module(_OURS["path"]).of_text(text, owner)


# -- packing --------------------------------------------------------------------------------------


def pack(value: Any, where: str = "value", depth: int = 0) -> Any:
    """The packed form of ``value``, or a ``StateValueError`` that names the part ``where`` it fails.

    ``depth`` counts the containers that it is going to be put into.
    """
    kind = type(value)
    if kind in _ATOMS or (kind is int and _LOW <= value < _HIGH):
        return value
    try:
        return _pack(value, [0] * depth)
    except _Refused as refused:
        raise StateValueError(refused.told(where)) from None


def _pack(value: Any, above: list[int]) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    packer = _LEAVES.get(kind)
    if packer is not None:
        return packer(value, above)
    packer = _CONTAINERS.get(kind) or _packer_for(kind, value)
    if len(above) >= DEEPEST:
        raise _Refused(f"nested more than {DEEPEST} levels deep; state is flat, keep trees in a Payload")
    if id(value) in above:
        raise _Refused("it contains itself; state has no cycles, refer to the part by a name")
    above.append(id(value))
    try:
        return packer(value, above)
    finally:
        above.pop()


def _packer_for(kind: type, value: Any) -> _Packer:
    if kind in _tags:
        return _pack_registered
    if issubclass(kind, Enum):
        return _pack_member
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _pack_named_tuple
    if is_dataclass(kind) and kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return _pack_record
    if kind.__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return _pack_scalar
    for base, packer in _BASES:
        if issubclass(kind, base):
            return packer
    raise _Refused(_remedy(kind, value))


def _remedy(kind: type, value: Any) -> str:
    if isinstance(value, _CODE):
        return (
            f"a {kind.__name__} is code, not state; make it a method, or keep it under a name with a "
            "leading underscore"
        )
    if hasattr(kind, "_binding") or hasattr(kind, "_kind"):
        return (
            f"a {kind.__name__} is a component, not a value; assign it to an attribute of a flow by itself, or "
            "several of them as a lightning.app.structures.List or Dict"
        )
    if is_dataclass(kind):
        return f"the dataclass {kind.__name__} can be changed unseen; make it @dataclass(frozen=True)"
    return (
        f"a {kind.__name__} cannot be state; wrap it in lightning.app.storage.Payload, or keep it under a "
        "name with a leading underscore"
    )


def _pack_integer(value: int, above: list[int]) -> Any:
    if _LOW <= value < _HIGH:
        return value
    return Ext(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _pack_text(value: str, above: list[int]) -> Any:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:  # as names of files have that are not UTF-8
        return Ext(TEXT, value.encode("utf-8", "surrogatepass"))
    return value


def _plain(values: list[Any]) -> bool:
    """Whether all of these are packed as they are."""
    kinds = set(map(type, values))
    if kinds <= _ATOMS:
        return True
    if not kinds <= SCALARS:
        return False
    try:
        _encode(values)
    except (OverflowError, UnicodeEncodeError):
        return False
    return True


def _pack_list(value: Iterable[Any], above: list[int]) -> list[Any]:
    plain = list(value)
    if _plain(plain):
        return plain
    packed: list[Any] = []
    try:
        for each in plain:
            packed.append(_pack(each, above))
    except _Refused as refused:
        raise refused.named("", f"[{len(packed)}]") from None
    return packed


def _pack_tuple(value: tuple[Any, ...], above: list[int]) -> Ext:
    return Ext(TUPLE, _encode(_pack_list(value, above)))


def _pack_dict(value: dict[Any, Any], above: list[int]) -> Any:
    plain = dict(value)
    plain_keys = _plain(list(plain)) and all(map(eq, plain, plain))
    if plain_keys and _plain(list(plain.values())):
        return plain
    keys = list(plain) if plain_keys else [_pack_part(each, above, "a key of ") for each in plain]
    packed: list[Any] = []
    for key, each in plain.items():
        try:
            packed.append(_pack(each, above))
        except _Refused as refused:
            raise refused.named("", f"[{key!r}]") from None
    if plain_keys:
        return dict(zip(keys, packed, strict=True))
    return Ext(PAIRS, _encode(list(zip(keys, packed, strict=True))))


def _pack_part(value: Any, above: list[int], named: str) -> Any:
    """A key or an element: it is looked up by what equals it, so its own copies must."""
    try:
        packed = _pack(value, above)
        if value != (unpack(packed) if type(packed) is Ext else packed):
            raise _Refused(
                f"{value!r:.60} does not equal its own copy and would never be found again; use a name"
            )
    except _Refused as refused:
        raise refused.named(named, "") from None
    return packed


def _sorted(value: Iterable[Any], above: list[int]) -> bytes:
    return _encode(sorted((_pack_part(each, above, "an element of ") for each in value), key=_encode))


def _pack_set(value: Iterable[Any], above: list[int]) -> Ext:
    return Ext(SET, _sorted(value, above))


def _pack_frozenset(value: Iterable[Any], above: list[int]) -> Ext:
    return Ext(FROZENSET, _sorted(value, above))


def _pack_moment(value: datetime | time, code: int) -> Ext:
    zone = value.tzinfo
    if zone is None or isinstance(zone, timezone):
        return Ext(code, _encode([value.isoformat(), None, value.fold]))
    key = getattr(zone, "key", None)
    if key is None:
        raise _Refused(f"a {type(value).__name__} in {zone!r}; use datetime.timezone or zoneinfo.ZoneInfo")
    return Ext(code, _encode([value.replace(tzinfo=None).isoformat(), key, value.fold]))


def _pack_member(value: Enum, above: list[int]) -> Ext:
    cls = type(value)
    told = value._name_ if value._name_ in cls.__members__ else _pack(value._value_, above)  # combined flags
    return Ext(MEMBER, _encode([_class_name(cls), told]))


def _pack_record(value: Any, above: list[int]) -> Ext:
    return _pack_fields(value, [each.name for each in fields(value)], above)


def _pack_named_tuple(value: Any, above: list[int]) -> Ext:
    return _pack_fields(value, value._fields, above)


def _pack_fields(value: Any, names: Iterable[str], above: list[int]) -> Ext:
    cls = _class_name(type(value))
    told: dict[str, Any] = {}
    for name in names:
        try:
            told[name] = _pack(getattr(value, name), above)
        except _Refused as refused:
            raise refused.named("", f".{name}") from None
    return Ext(RECORD, _encode([cls, told]))


def _pack_path(value: PurePath, above: list[int]) -> Ext:
    kind = "path" if isinstance(value, Path) else "windows" if isinstance(value, PureWindowsPath) else "posix"
    return Ext(PATH, _encode([kind, _pack_text(str(value), above)]))


def _pack_registered(value: Any, above: list[int]) -> Ext:
    tag = _tags[type(value)]
    return Ext(REGISTERED, _encode([tag, _pack(_kinds[tag].to_plain(value), above)]))


def _pack_scalar(value: Any, above: list[int]) -> Any:
    """A number of numpy's. Those that Python has no like of are refused rather than bent."""
    kind, plain = type(value), value.item()
    dated = kind.__name__ in ("datetime64", "timedelta64")
    if type(plain).__module__ == "numpy" or (dated and not isinstance(plain, date | timedelta)):
        raise _Refused(f"Python has no number like this {kind.__name__}; convert it, as float(...) does")
    return _pack(plain, above)


def _class_name(cls: type) -> str:
    name = f"{cls.__module__}:{cls.__qualname__}"
    if "<locals>" in name:
        raise _Refused(
            f"{cls.__name__} is made inside a function, where nobody finds it again; move the class to the "
            "top level of its module"
        )
    if "." not in cls.__qualname__ and _resolve(name) is not cls:  # a nested one may be in the making
        raise _Refused(
            f"the class {cls.__name__} is not what {cls.__module__} has under this name, so nobody finds it "
            "again; define it at the top level of its module, under its own name"
        )
    return name


_Packer = Callable[[Any, list[int]], Any]

_LEAVES: dict[type, _Packer] = {
    int: _pack_integer,
    str: _pack_text,
    datetime: lambda value, above: _pack_moment(value, MOMENT),
    date: lambda value, above: Ext(DAY, value.isoformat().encode()),
    time: lambda value, above: _pack_moment(value, CLOCK),
    timedelta: lambda value, above: Ext(SPAN, _encode([value.days, value.seconds, value.microseconds])),
    Pickled: lambda value, above: Ext(PICKLED, _encode([value.key, value.data])),
    Carried: lambda value, above: Ext(CARRIED, _encode([value.key, _pack(value.payload, above)])),
    Unresolved: lambda value, above: value.packed,
}
_CONTAINERS: dict[type, _Packer] = {
    list: _pack_list,
    tuple: _pack_tuple,
    dict: _pack_dict,
    set: _pack_set,
    frozenset: _pack_frozenset,
}
_BASES: tuple[tuple[type, _Packer], ...] = (
    *_CONTAINERS.items(),
    (PurePath, _pack_path),
    (str, lambda value, above: _pack_text(str.__str__(value), above)),
    (bytearray, lambda value, above: bytes(value)),
    (bytes, lambda value, above: bytes(value)),
    (int, lambda value, above: _pack_integer(int(value), above)),
    (float, lambda value, above: float(value)),
)


# -- unpacking ------------------------------------------------------------------------------------


def unpack(packed: Any) -> Any:
    """The value, in fresh plain containers; ``ProtocolError`` where ``packed`` is not what ``pack`` gives."""
    kind = type(packed)
    if kind in SCALARS:
        return packed
    return _unpack(packed, 0)


def _unpack(packed: Any, depth: int) -> Any:
    kind = type(packed)
    if kind in SCALARS:
        return packed
    if depth > DEEPEST + _SLACK:
        raise ProtocolError(f"a value is nested more than {DEEPEST} levels deep")
    if kind is list:
        return _unpack_all(packed, depth)
    if kind is dict:
        return dict(zip(packed, _unpack_all(list(packed.values()), depth), strict=True))
    if kind is Ext:
        try:
            return _UNPACKERS[packed.code](packed, depth + 1)
        except ProtocolError:
            raise
        except Exception as err:
            raise ProtocolError(f"a value of kind {packed.code} cannot be read: {err}") from err
    raise ProtocolError(f"a {kind.__name__} is no packed value")


def _unpack_all(packed: list[Any], depth: int) -> list[Any]:
    if set(map(type, packed)) <= SCALARS:
        return list(packed)
    return [_unpack(each, depth + 1) for each in packed]


def _parts(packed: Ext) -> Any:
    return _decode(packed.data)


def _elements(packed: Ext, depth: int) -> list[Any]:
    parts = _parts(packed)
    if type(parts) is not list:
        raise ProtocolError(f"a value of kind {packed.code} holds a {type(parts).__name__}, not a list")
    return _unpack_all(parts, depth - 1)


def _in_zone(moment: Any, key: str | None, packed: Ext) -> Any:
    if key is None:
        return moment
    try:
        return moment.replace(tzinfo=ZoneInfo(key))
    except ZoneInfoNotFoundError:  # this machine has fewer of them than the one that wrote it
        return Unresolved(key, packed)


def _unpack_moment(packed: Ext, depth: int) -> Any:
    text, key, fold = _parts(packed)
    return _in_zone(datetime.fromisoformat(text).replace(fold=fold), key, packed)


def _unpack_clock(packed: Ext, depth: int) -> Any:
    text, key, fold = _parts(packed)
    return _in_zone(time.fromisoformat(text).replace(fold=fold), key, packed)


def _unpack_member(packed: Ext, depth: int) -> Any:
    name, told = _parts(packed)
    told = _unpack(told, depth)
    cls = _resolve(name)
    if cls is None or not issubclass(cls, Enum):
        return Unresolved(name, packed)
    if told in cls.__members__:
        return cls[told]
    try:
        return cls(told) if issubclass(cls, Flag) and type(told) is int else Unresolved(name, packed)
    except ValueError:  # the flag has lost one of its bits
        return Unresolved(name, packed)


def _unpack_record(packed: Ext, depth: int) -> Any:
    name, told = _parts(packed)
    if type(told) is not dict:
        raise ProtocolError(f"the fields of {name!r} are a {type(told).__name__}, not a dictionary")
    cls = _resolve(name)
    if cls is not None and issubclass(cls, tuple) and list(getattr(cls, "_fields", ())) == list(told):
        return tuple.__new__(cls, [_unpack(each, depth) for each in told.values()])
    if cls is None or not is_dataclass(cls) or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return Unresolved(name, packed)
    record = object.__new__(cls)  # as it was: neither __init__ nor __post_init__ runs again
    known = fields(cls)
    if not told.keys() <= {each.name for each in known}:
        return Unresolved(name, packed)  # the class has lost a field: without it this would be another value
    for each in known:
        if each.name in told:
            value = _unpack(told[each.name], depth)
        elif each.default is not MISSING:  # the class has a new field, and says what it is by default
            value = each.default
        elif each.default_factory is not MISSING:
            value = each.default_factory()
        else:
            return Unresolved(name, packed)
        object.__setattr__(record, each.name, value)
    return record


def _unpack_path(packed: Ext, depth: int) -> PurePath:
    kind, text = _parts(packed)
    kinds: dict[str, type[PurePath]] = {"path": Path, "windows": PureWindowsPath, "posix": PurePosixPath}
    return kinds[kind](_unpack(text, depth))


def _unpack_pairs(packed: Ext, depth: int) -> dict[Any, Any]:
    return {_unpack(key, depth): _unpack(each, depth) for key, each in _parts(packed)}


def _unpack_registered(packed: Ext, depth: int) -> Any:
    tag, plain = _parts(packed)
    if tag not in _kinds and tag in _OURS:
        import_module(_OURS[tag])
    kind = _kinds.get(tag)
    return Unresolved(tag, packed) if kind is None else kind.from_plain(_unpack(plain, depth))


def _unpack_pickled(packed: Ext, depth: int) -> Pickled:
    key, data = _parts(packed)
    if type(key) is not str or type(data) is not bytes:
        raise ProtocolError(
            "an argument that only a work may open has a text for its key and bytes for itself"
        )
    return Pickled(key, data)


def _unpack_carried(packed: Ext, depth: int) -> Carried:
    key, payload = _parts(packed)
    if type(key) is not str:
        raise ProtocolError("an argument that is carried has a text for its key")
    return Carried(key, _unpack(payload, depth))


def registered(packed: Any, tag: str) -> Iterator[Any]:
    """What ``to_plain`` gave of each value of the registered kind ``tag`` in a packed value, however deep."""
    kind = type(packed)
    if kind is list:
        for each in packed:
            yield from registered(each, tag)
    elif kind is dict:
        yield from registered(list(packed.values()), tag)
    elif kind is Ext and packed.code in _OF_PARTS:
        parts = _parts(packed)
        if packed.code == REGISTERED and parts[0] == tag:
            yield parts[1]
        else:
            yield from registered(parts, tag)


def _resolve(name: str) -> type | None:
    """A class by name, among the modules that are imported already. Nothing of theirs is run to find it."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found if isinstance(found, type) and f"{found.__module__}:{found.__qualname__}" == name else None


_UNPACKERS: dict[int, Callable[[Ext, int], Any]] = {
    TUPLE: lambda packed, depth: tuple(_elements(packed, depth)),
    SET: lambda packed, depth: set(_elements(packed, depth)),
    FROZENSET: lambda packed, depth: frozenset(_elements(packed, depth)),
    INTEGER: lambda packed, depth: int.from_bytes(packed.data, "big", signed=True),
    MOMENT: _unpack_moment,
    DAY: lambda packed, depth: date.fromisoformat(bytes(packed.data).decode()),
    CLOCK: _unpack_clock,
    SPAN: lambda packed, depth: timedelta(*_parts(packed)),
    MEMBER: _unpack_member,
    PATH: _unpack_path,
    RECORD: _unpack_record,
    PAIRS: _unpack_pairs,
    PICKLED: _unpack_pickled,
    CARRIED: _unpack_carried,
    REGISTERED: _unpack_registered,
    TEXT: lambda packed, depth: bytes(packed.data).decode("utf-8", "surrogatepass"),
}


# -- bytes ----------------------------------------------------------------------------------------

UNREADABLE = (msgspec.DecodeError, RecursionError, TypeError, ValueError, LookupError, OverflowError)


def encode(packed: Any) -> bytes:
    """Packed values as bytes, in the order they have."""
    return _encode(packed)


def decode(data: bytes) -> Any:
    """The packed value in ``data``; ``ProtocolError`` where there is none."""
    try:
        return _decode(data)
    except UNREADABLE as err:
        raise ProtocolError(f"these bytes are no packed value: {err}") from err
