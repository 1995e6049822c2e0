"""Lists, dicts and sets that tell their component how they change.

They are real ``list``, ``dict`` and ``set`` subclasses. Every mutating method becomes a ``Delta`` that the
component applies; nothing is changed in any other way, so a change costs what it changes. Where they are in the
state, ``node.py`` finds out. Copies and pickles are plain containers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import index as whole
from typing import Any, Self, SupportsIndex

from lightning.app.core.node import Node, Place, is_there, mutation
from lightning.app.errors import StateValueError
from lightning.app.kernel import delta as d
from lightning.app.kernel.values import pack


class TrackedList(list[Any], Node):
    """A list in a state."""

    __slots__ = ("__weakref__", "_heir", "_holds", "_key", "_seen", "_up")

    def __init__(self) -> None:
        self._up = self._key = self._heir = self._seen = None
        self._holds = False

    def _take(self, other: Any) -> None:
        list.__setitem__(self, slice(None), other)

    def _parts(self) -> Iterable[tuple[Any, Any]]:
        return enumerate(self)

    @mutation
    def append(self, value: Any) -> None:
        place = self._place()
        if place is None:
            list.append(self, value)
        else:
            place.tell(self, d.INSERT, [None, [place.pack(value, len(self))]])

    @mutation
    def extend(self, values: Iterable[Any]) -> None:
        place = self._place()
        if place is None:
            list.extend(self, values)
            return
        items = self._packed(place, values, len(self))
        if items:
            place.tell(self, d.INSERT, [None, items])

    @mutation
    def insert(self, index: SupportsIndex, value: Any) -> None:
        asked = whole(index)
        at, _, _ = slice(asked, None).indices(len(self))  # what is out of range is an end
        place = self._place()
        if place is None:
            list.insert(self, at, value)
        else:
            packed = place.pack(value, asked)
            if at == len(self):
                place.tell(self, d.INSERT, [None, [packed]])
            else:
                place.tell(self, d.SPLICE, [at, at, [packed]])

    @mutation
    def pop(self, index: SupportsIndex = -1) -> Any:
        at = self._position(index, "pop index out of range" if self else "pop from empty list")
        value = self[at]
        self._replace(at, at + 1, ())
        return value

    @mutation
    def remove(self, value: Any) -> None:
        try:
            at = self.index(value)
        except ValueError:
            raise ValueError("list.remove(x): x not in list") from None
        self._replace(at, at + 1, ())

    @mutation
    def clear(self) -> None:
        place = self._place()
        if place is None:
            list.clear(self)
        elif self:
            place.tell(self, d.CLEAR, None)

    @mutation
    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        values = self if key is None else [key(each) for each in self]
        self._arrange(sorted(range(len(self)), key=values.__getitem__, reverse=reverse))

    @mutation
    def reverse(self) -> None:
        self._arrange(list(range(len(self)))[::-1])

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            index.indices(len(self))  # what is wrong with it is said before what is wrong with the value
            try:
                value = list(value)  # once, however often the change must be begun
            except TypeError as err:
                raise (
                    err if hasattr(value, "__iter__") else TypeError("can only assign an iterable")
                ) from None
        self._assign(index, value)

    @mutation
    def _assign(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                self._replace(start, max(start, stop), value)
            else:
                changed = list(self)
                changed[index] = value
                self._replace(0, len(self), changed)
            return
        at = self._position(index, "list assignment index out of range")
        if is_there(value, self[at]):
            return
        place = self._place()
        if place is None:
            list.__setitem__(self, at, value)
        else:
            place.tell_at(self, d.SET, at, place.pack(value, at))

    @mutation
    def __delitem__(self, index: Any) -> None:
        if not isinstance(index, slice):
            at = self._position(index, "list assignment index out of range")
            self._replace(at, at + 1, ())
            return
        start, stop, step = index.indices(len(self))
        if step == 1:
            self._replace(start, max(start, stop), ())
        else:
            for at in sorted(range(start, stop, step), reverse=True):
                self._replace(at, at + 1, ())

    @mutation
    def __iadd__(self, values: Iterable[Any]) -> Self:
        self.extend(values)
        return self

    @mutation
    def __imul__(self, times: SupportsIndex) -> Self:
        try:
            count = whole(times)
        except TypeError:
            raise TypeError(f"can't multiply sequence by non-int of type {type(times).__name__!r}") from None
        if count > 1:
            self.extend(list(self) * (count - 1))
        elif count < 1:
            self.clear()
        return self

    def _position(self, index: SupportsIndex, refusal: str) -> int:
        try:
            at = whole(index)
        except TypeError:
            raise TypeError(f"list indices must be integers or slices, not {type(index).__name__}") from None
        if at < 0:
            at += len(self)
        if not 0 <= at < len(self):
            raise IndexError(refusal)
        return at

    def _packed(self, place: Place, values: Iterable[Any], start: int) -> list[Any]:
        items = list(values)
        try:
            return list(pack(items, depth=len(place.path) - 1))
        except StateValueError:  # say it again, of the item
            return [place.pack(each, start + at) for at, each in enumerate(items)]

    def _replace(self, start: int, stop: int, values: Iterable[Any]) -> None:
        place = self._place()
        if place is None:
            list.__setitem__(self, slice(start, stop), values)
            return
        items = self._packed(place, values, start)
        if items or start < stop:
            place.tell(self, d.SPLICE, [start, stop, items])

    def _arrange(self, order: list[int]) -> None:
        if all(at == was for at, was in enumerate(order)):
            return
        place = self._place()
        if place is None:
            list.__setitem__(self, slice(None), [self[at] for at in order])
        else:
            place.tell(self, d.REORDER, order)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return list, (list(self),)


class TrackedDict(dict[Any, Any], Node):
    """A dictionary in a state."""

    __slots__ = ("__weakref__", "_heir", "_holds", "_key", "_seen", "_up")

    def __init__(self) -> None:
        self._up = self._key = self._heir = self._seen = None
        self._holds = False

    def _take(self, other: Any) -> None:
        dict.clear(self)
        dict.update(self, other)

    def _parts(self) -> Iterable[tuple[Any, Any]]:
        return self.items()

    @mutation
    def __setitem__(self, key: Any, value: Any) -> None:
        place = self._place()
        if place is None:
            dict.__setitem__(self, key, value)
            return
        hash(key)
        if is_there(value, self.get(key)):
            return
        place.tell_at(self, d.SET, place.pack_key(key), place.pack(value, key))

    @mutation
    def __delitem__(self, key: Any) -> None:
        if key not in self:
            raise KeyError(key)
        place = self._place()
        if place is None:
            dict.__delitem__(self, key)
        else:
            place.tell_at(self, d.DELETE, pack(key))

    @mutation
    def pop(self, key: Any, *default: Any) -> Any:
        if len(default) > 1:
            raise TypeError(f"pop expected at most 2 arguments, got {1 + len(default)}")
        if key not in self:
            if default:
                return default[0]
            raise KeyError(key)
        value = self[key]
        del self[key]
        return value

    @mutation
    def popitem(self) -> tuple[Any, Any]:
        if not self:
            raise KeyError("popitem(): dictionary is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    @mutation
    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    @mutation
    def update(self, /, *others: Any, **more: Any) -> None:
        place = self._place()
        if place is None:
            dict.update(self, *others, **more)
            return
        pairs = [
            [place.pack_key(key), place.pack(value, key)] for key, value in dict(*others, **more).items()
        ]
        if pairs:
            place.tell(self, d.UPDATE, pairs)

    @mutation
    def clear(self) -> None:
        place = self._place()
        if place is None:
            dict.clear(self)
        elif self:
            place.tell(self, d.CLEAR, None)

    @mutation
    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return dict, (dict(self),)


class TrackedSet(set[Any], Node):
    """A set in a state."""

    __slots__ = ("_heir", "_holds", "_key", "_seen", "_up")

    def __init__(self) -> None:
        self._up = self._key = self._heir = self._seen = None
        self._holds = False

    def _take(self, other: Any) -> None:
        set.clear(self)
        set.update(self, other)

    def _parts(self) -> Iterable[tuple[Any, Any]]:
        return ()

    @mutation
    def add(self, value: Any) -> None:
        self._extend({value})

    @mutation
    def discard(self, value: Any) -> None:
        if value in self:
            self._reduce({_hashed(value)})

    @mutation
    def remove(self, value: Any) -> None:
        if value not in self:
            raise KeyError(value)
        self._reduce({_hashed(value)})

    @mutation
    def pop(self) -> Any:
        if not self:
            raise KeyError("pop from an empty set")
        value = next(iter(self))
        self._reduce({value})
        return value

    @mutation
    def clear(self) -> None:
        place = self._place()
        if place is None:
            set.clear(self)
        elif self:
            place.tell(self, d.CLEAR, None)

    @mutation
    def update(self, *others: Iterable[Any]) -> None:
        self._extend(set().union(*others))

    @mutation
    def difference_update(self, *others: Iterable[Any]) -> None:
        self._reduce(self.intersection(set().union(*others)))

    @mutation
    def intersection_update(self, *others: Iterable[Any]) -> None:
        self._reduce(self.difference(self.intersection(*others)))

    @mutation
    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        others = set(other)
        both = self.intersection(others)
        self._reduce(both)
        self._extend(others - both)

    @mutation
    def __ior__(self, other: Any) -> Self:
        return self._by_operator(other, self.update)

    @mutation
    def __isub__(self, other: Any) -> Self:
        return self._by_operator(other, self.difference_update)

    @mutation
    def __iand__(self, other: Any) -> Self:
        return self._by_operator(other, self.intersection_update)

    @mutation
    def __ixor__(self, other: Any) -> Self:
        return self._by_operator(other, self.symmetric_difference_update)

    def _by_operator(self, other: Any, method: Callable[[Any], None]) -> Self:
        if not isinstance(other, (set, frozenset)):
            return NotImplemented  # type: ignore[no-any-return]  # Python's word for: not with this one
        method(other)
        return self

    def _extend(self, values: set[Any]) -> None:
        fresh = values - self
        place = self._place()
        if place is None:
            set.update(self, fresh)
        elif fresh:
            place.tell(self, d.ADD, [place.pack_element(each) for each in fresh])

    def _reduce(self, values: set[Any]) -> None:
        place = self._place()
        if place is None:
            set.difference_update(self, values)
        elif values:
            place.tell(self, d.DISCARD, [pack(each) for each in values])

    def __repr__(self) -> str:
        return repr(set(self))

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        return set, (set(self),)


def _hashed(element: Any) -> Any:
    """Sets look for a set among their elements as for a frozenset."""
    return frozenset(element) if isinstance(element, set) else element
