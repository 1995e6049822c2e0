"""Tracked state: lists, dicts and sets that tell their component how they change.

They are real ``list``, ``dict`` and ``set`` subclasses. Every mutating method becomes a ``Delta`` that the
component applies; nothing is changed in any other way, so a change costs what it changes. A container knows
its parent and under which key it was put there; positions in a list drift, then it is found by identity. One
that was taken out of the state is an ordinary container again.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import index as whole
from typing import Any, Protocol, SupportsIndex

from lightning.app.errors import StateValueError
from lightning.app.kernel import delta as d
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import SCALARS, pack

_MISSING: Any = object()
_FROZEN: Any = type("Frozen", (), {"__repr__": lambda self: "<inside a tuple>"})()
_SUCCEEDED: Any = object()
"""In place of a container's key: its parent is the one that took its place."""


class Owner(Protocol):
    """The component whose state it is."""

    @property
    def _where(self) -> str: ...

    def _change(self, delta: Delta) -> None: ...


class State(dict[str, Any]):
    """A component's public attributes."""

    __slots__ = ("owner",)

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self.owner = owner

    def adopt(self, value: Any, parent: Any, key: Any) -> Any:
        """A plain container that is being put in, as a tracked one."""
        return _tracked(value, parent, key)

    def succeed(self, name: str, value: Any) -> None:
        """A plain container takes the place of one that others may hold: what they change in it, they change here."""
        old = dict.get(self, name)
        new = _tracked(value, self, name)
        dict.__setitem__(self, name, new)
        if isinstance(old, _Node) and type(old) is type(new):
            old._parent, old._key = new, _SUCCEEDED

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def _tracked(value: Any, parent: Any, key: Any) -> Any:
    kind = type(value)
    if kind is list:
        node: Any = TrackedList.__new__(TrackedList)
        if set(map(type, value)) <= SCALARS:
            list.extend(node, value)
        else:
            list.extend(node, [_tracked(each, node, position) for position, each in enumerate(value)])
    elif kind is dict:
        node = TrackedDict.__new__(TrackedDict)
        dict.update(node, {name: _tracked(each, node, name) for name, each in value.items()})
    elif kind is set:
        node = TrackedSet.__new__(TrackedSet)
        set.update(node, value)
    elif kind is tuple:
        return tuple(_tracked(each, _FROZEN, None) for each in value)
    else:
        return value
    node._parent = parent
    node._key = key
    return node


class _Place:
    """Where a tracked container is: whose state, and the path in it."""

    __slots__ = ("owner", "path", "superseded")

    def __init__(self, owner: Owner, path: tuple[Any, ...], superseded: Any) -> None:
        self.owner = owner
        self.path = path
        self.superseded = superseded  # the container itself, when another has taken its place

    def change(self, op: int, value: Any = None, *steps: Any) -> None:
        """Let the owner change the container."""
        self.owner._change(Delta(op, (*self.path, *steps) if steps else self.path, value))
        if self.superseded is not None:  # whoever holds it sees the change in it, too
            d.apply({"": self.superseded}, Delta(op, ("", *steps), value))

    def packed(self, value: Any, part: str, step: Any) -> Any:
        """``value`` for the container; ``part`` is the form in which an error names its ``step``."""
        if type(value) in _ATOMS:
            return value
        path = self.path
        try:
            return pack(value, depth=len(path))
        except StateValueError:  # once more, now with its name: that takes time
            inner = "".join(f"[{each!r}]" for each in path[1:])
            return pack(value, f"{self.owner._where}.{path[0]}{inner}{part.format(step)}", len(path))

    def packed_items(self, values: list[Any], start: int) -> list[Any]:
        """``values`` for a list, from the position ``start`` on."""
        if set(map(type, values)) <= _ATOMS:
            return values
        return [self.packed(each, "[{}]", start + offset) for offset, each in enumerate(values)]

    def packed_elements(self, values: Iterable[Any]) -> list[Any]:
        return [self.packed(each, " (its element {!r})", each) for each in values]

    def packed_key(self, key: Any) -> Any:
        return self.packed(key, " (its key {!r})", key)


_ATOMS = frozenset({type(None), bool, float, bytes})


class _Node:
    """What tracked containers share."""

    __slots__ = ()
    _parent: Any
    _key: Any

    def _place(self) -> _Place | None:
        """Where it is. None when it is not part of a state (any more): then it is an ordinary container."""
        steps: list[Any] = []
        node: Any = self
        superseded = None
        while not isinstance(node, State):
            parent = getattr(node, "_parent", None)
            if parent is None:
                return None
            if parent is _FROZEN:
                raise StateValueError(
                    "this container is inside a tuple, and tuples of a state do not change: use a list"
                )
            key = node._key
            if key is _SUCCEEDED:
                node, superseded = parent, self
                continue
            if isinstance(parent, list):
                if not (type(key) is int and key < len(parent) and list.__getitem__(parent, key) is node):
                    key = next((at for at, each in enumerate(parent) if each is node), None)
                    if key is None:
                        return None
                    node._key = key
            elif dict.get(parent, key, _MISSING) is not node:
                return None
            steps.append(pack(key))
            node = parent
        steps.reverse()
        return _Place(node.owner, tuple(steps), superseded)


def is_there(value: Any, before: Any) -> bool:
    """Whether an assignment changes nothing: ``x += ...`` assigns the container that it has just changed."""
    return value is before and isinstance(value, _Node)


class TrackedList(list[Any], _Node):
    """A list in a state."""

    __slots__ = ("_key", "_parent")

    def append(self, value: Any) -> None:
        place = self._place()
        if place is None:
            super().append(value)
        else:
            place.change(d.INSERT, [None, [place.packed(value, "[{}]", len(self))]])

    def extend(self, values: Iterable[Any]) -> None:
        self._splice(len(self), len(self), list(values))

    def insert(self, index: SupportsIndex, value: Any) -> None:
        position, place = whole(index), self._place()
        if place is None:
            super().insert(position, value)
        else:
            place.change(d.INSERT, [position, [place.packed(value, "[{}]", position)]])

    def pop(self, index: SupportsIndex = -1) -> Any:
        position = self._position(index, "pop index out of range" if self else "pop from empty list")
        value = self[position]
        self._splice(position, position + 1, [])
        return value

    def remove(self, value: Any) -> None:
        position = self.index(value)
        self._splice(position, position + 1, [])

    def clear(self) -> None:
        place = self._place()
        if place is None:
            super().clear()
        else:
            place.change(d.CLEAR)

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        keys = list(self) if key is None else [key(each) for each in self]
        self._reorder(sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse))

    def reverse(self) -> None:
        self._reorder(list(range(len(self)))[::-1])

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            values = list(value)
            if step == 1:
                self._splice(start, max(start, stop), values)
            else:
                changed = list(self)
                changed[index] = values
                self._splice(0, len(self), changed)
            return
        position = self._position(index, "list assignment index out of range")
        if is_there(value, self[position]):
            return
        place = self._place()
        if place is None:
            super().__setitem__(position, value)
        else:
            place.change(d.SET, place.packed(value, "[{}]", position), position)

    def __delitem__(self, index: Any) -> None:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                self._splice(start, max(start, stop), [])
            else:
                changed = list(self)
                del changed[index]
                self._splice(0, len(self), changed)
            return
        position = self._position(index, "list assignment index out of range")
        self._splice(position, position + 1, [])

    def __iadd__(self, values: Iterable[Any]) -> TrackedList:  # type: ignore[misc]  # list's returns Self
        self.extend(values)
        return self

    def __imul__(self, times: SupportsIndex) -> TrackedList:
        try:
            more = whole(times) - 1
        except TypeError:
            raise TypeError(f"can't multiply sequence by non-int of type {type(times).__name__!r}") from None
        if more < 0:
            self.clear()
        else:
            self.extend(list(self) * more)
        return self

    def _position(self, index: SupportsIndex, refusal: str) -> int:
        position = whole(index)
        if position < 0:
            position += len(self)
        if not 0 <= position < len(self):
            raise IndexError(refusal)
        return position

    def _splice(self, start: int, stop: int, values: list[Any]) -> None:
        if start == stop and not values:
            return
        place = self._place()
        if place is None:
            super().__setitem__(slice(start, stop), values)
        elif start == stop == len(self):  # to the end, wherever that is by then
            place.change(d.INSERT, [None, place.packed_items(values, start)])
        else:
            place.change(d.SPLICE, [start, stop, place.packed_items(values, start)])

    def _reorder(self, order: list[int]) -> None:
        place = self._place()
        if place is None:
            super().__setitem__(slice(None), [self[position] for position in order])
        elif any(position != at for at, position in enumerate(order)):
            place.change(d.REORDER, order)

    def __reduce__(self) -> Any:
        return list, (list(self),)

    def __copy__(self) -> list[Any]:
        return list(self)


class TrackedDict(dict[Any, Any], _Node):
    """A dictionary in a state."""

    __slots__ = ("_key", "_parent")

    def __setitem__(self, key: Any, value: Any) -> None:
        if is_there(value, self.get(key)):
            return
        place = self._place()
        if place is None:
            super().__setitem__(key, value)
        else:
            place.change(d.SET, place.packed(value, "[{!r}]", key), place.packed_key(key))

    def __delitem__(self, key: Any) -> None:
        if key not in self:
            raise KeyError(key)
        place = self._place()
        if place is None:
            super().__delitem__(key)
        else:
            place.change(d.DELETE, None, place.packed_key(key))

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

    def popitem(self) -> tuple[Any, Any]:
        if not self:
            raise KeyError("popitem(): dictionary is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, /, *others: Any, **more: Any) -> None:
        merged = dict(*others, **more)
        place = self._place()
        if place is None:
            super().update(merged)
        elif merged:
            pairs = [
                [place.packed_key(key), place.packed(value, "[{!r}]", key)] for key, value in merged.items()
            ]
            place.change(d.UPDATE, pairs)

    def clear(self) -> None:
        place = self._place()
        if place is None:
            super().clear()
        else:
            place.change(d.CLEAR)

    def __ior__(self, other: Any) -> TrackedDict:  # type: ignore[misc]  # dict's returns Self
        self.update(other)
        return self

    def copy(self) -> dict[Any, Any]:
        return dict(self)

    def __reduce__(self) -> Any:
        return dict, (dict(self),)

    def __copy__(self) -> dict[Any, Any]:
        return dict(self)


class TrackedSet(set[Any], _Node):
    """A set in a state."""

    __slots__ = ("_key", "_parent")

    def add(self, value: Any) -> None:
        if value not in self or isinstance(value, set):  # a set cannot be in a set: let that be said
            self._join({value})

    def discard(self, value: Any) -> None:
        if value in self:
            self._leave({frozenset(value) if isinstance(value, set) else value})

    def remove(self, value: Any) -> None:
        if value not in self:
            raise KeyError(value)
        self.discard(value)

    def pop(self) -> Any:
        if not self:
            raise KeyError("pop from an empty set")
        value = next(iter(self))
        self._leave({value})
        return value

    def clear(self) -> None:
        place = self._place()
        if place is None:
            super().clear()
        else:
            place.change(d.CLEAR)

    def update(self, *others: Iterable[Any]) -> None:
        self._join(set().union(*others) - self)

    def difference_update(self, *others: Iterable[Any]) -> None:
        self._leave(self & set().union(*others))

    def intersection_update(self, *others: Iterable[Any]) -> None:
        self._leave(set(self) - set(self).intersection(*others))

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        others = set(other)
        both = set(self) & others
        self._leave(both)
        self._join(others - both)

    def __ior__(self, other: Any) -> TrackedSet:  # type: ignore[misc]  # set's returns Self
        if not isinstance(other, set | frozenset):
            return NotImplemented
        self.update(other)
        return self

    def __isub__(self, other: Any) -> TrackedSet:  # type: ignore[misc]  # set's returns Self
        if not isinstance(other, set | frozenset):
            return NotImplemented
        self.difference_update(other)
        return self

    def __iand__(self, other: Any) -> TrackedSet:  # type: ignore[misc]  # set's returns Self
        if not isinstance(other, set | frozenset):
            return NotImplemented
        self.intersection_update(other)
        return self

    def __ixor__(self, other: Any) -> TrackedSet:  # type: ignore[misc]  # set's returns Self
        if not isinstance(other, set | frozenset):
            return NotImplemented
        self.symmetric_difference_update(other)
        return self

    def _join(self, values: set[Any]) -> None:
        place = self._place()
        if place is None:
            super().update(values)
        elif values:
            place.change(d.ADD, place.packed_elements(values))

    def _leave(self, values: set[Any]) -> None:
        place = self._place()
        if place is None:
            super().difference_update(values)
        elif values:
            place.change(d.DISCARD, place.packed_elements(values))

    def copy(self) -> set[Any]:
        return set(self)

    def __repr__(self) -> str:
        return repr(set(self))  # a subclass of set would show its name

    def __reduce__(self) -> Any:
        return set, (set(self),)

    def __copy__(self) -> set[Any]:
        return set(self)
