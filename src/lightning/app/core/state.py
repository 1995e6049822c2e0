"""Tracked state: lists, dicts and sets that tell their component how they change.

They are real ``list``, ``dict`` and ``set`` subclasses. Every mutating method becomes a ``Delta`` that the
component applies; nothing is changed in any other way, so a change costs what it changes. A container knows
its parent and under which key it was put there; positions in a list drift, then it is found by identity. One
that was taken out of the state is an ordinary container again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, SupportsIndex

from lightning.app.errors import StateValueError
from lightning.app.kernel import delta as d
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import pack

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
        list.extend(node, (_tracked(each, node, position) for position, each in enumerate(value)))
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


class _Node:
    """What tracked containers share."""

    __slots__ = ()
    _parent: Any
    _key: Any

    def _place(self) -> tuple[Owner, tuple[Any, ...], bool] | None:
        """The owner, the path from its state to here, and whether it is this very container that is there.

        None when it is not part of a state (any more).
        """
        steps: list[Any] = []
        node: Any = self
        current = True
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
                node, current = parent, False
                continue
            if isinstance(parent, list):
                if not (type(key) is int and key < len(parent) and list.__getitem__(parent, key) is node):
                    key = next((at for at, each in enumerate(parent) if each is node), None)
                    if key is None:
                        return None
                    node._key = key
            elif dict.get(parent, key, _MISSING) is not node:
                return None
            steps.append(key if type(key) in (str, int) else pack(key))
            node = parent
        return node.owner, tuple(reversed(steps)), current

    def _tell(self, op: int, *steps: Any, value: Any = None) -> bool:
        """Let the owner change this container. False: it will not (there is none, or it has another), do it yourself."""
        place = self._place()
        if place is None:
            return False
        owner, path, current = place
        owner._change(Delta(op, (*path, *steps), value))
        return current

    def _packed(self, value: Any, at: str) -> Any:
        place = self._place()
        if place is None:
            return pack(value)
        owner, path, _ = place
        inner = "".join(f"[{step!r}]" for step in path[1:])
        return pack(value, f"{owner._where}.{path[0]}{inner}{at}")


def _key_of(key: Any) -> Any:
    return key if type(key) in (str, int) else pack(key)


class TrackedList(list[Any], _Node):
    """A list in a state."""

    __slots__ = ("_key", "_parent")

    def append(self, value: Any) -> None:
        if not self._tell(d.INSERT, value=[None, [self._packed(value, f"[{len(self)}]")]]):
            super().append(value)

    def extend(self, values: Iterable[Any]) -> None:
        items = [self._packed(each, f"[{len(self) + at}]") for at, each in enumerate(list(values))]
        if items and not self._tell(d.INSERT, value=[None, items]):
            super().extend(items)

    def insert(self, index: SupportsIndex, value: Any) -> None:
        position = index.__index__()
        if not self._tell(d.INSERT, value=[position, [self._packed(value, f"[{position}]")]]):
            super().insert(position, value)

    def pop(self, index: SupportsIndex = -1) -> Any:
        position = self._position(index, "pop index out of range" if self else "pop from empty list")
        value = self[position]
        if not self._tell(d.DELETE, position):
            super().pop(position)
        return value

    def remove(self, value: Any) -> None:
        position = self.index(value)
        if not self._tell(d.DELETE, position):
            super().__delitem__(position)

    def clear(self) -> None:
        if not self._tell(d.CLEAR):
            super().clear()

    def sort(self, *, key: Any = None, reverse: bool = False) -> None:
        self._become(sorted(self, key=key, reverse=reverse))

    def reverse(self) -> None:
        self._become(list(self)[::-1])

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            values = list(value)
            if step != 1:
                changed = list(self)
                changed[index] = values
                self._become(changed)
                return
            items = [self._packed(each, f"[{start + at}]") for at, each in enumerate(values)]
            if not self._tell(d.SPLICE, value=[start, max(start, stop), items]):
                super().__setitem__(index, values)
            return
        position = self._position(index, "list assignment index out of range")
        if not self._tell(d.SET, position, value=self._packed(value, f"[{position}]")):
            super().__setitem__(position, value)

    def __delitem__(self, index: Any) -> None:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1:
                if not self._tell(d.SPLICE, value=[start, max(start, stop), []]):
                    super().__delitem__(index)
                return
            changed = list(self)
            del changed[index]
            self._become(changed)
            return
        position = self._position(index, "list assignment index out of range")
        if not self._tell(d.DELETE, position):
            super().__delitem__(position)

    def __iadd__(self, values: Iterable[Any]) -> TrackedList:  # type: ignore[misc]
        self.extend(values)
        return self

    def __imul__(self, times: SupportsIndex) -> TrackedList:
        self._become(list(self) * times.__index__())
        return self

    def _position(self, index: SupportsIndex, refusal: str) -> int:
        try:
            position = index.__index__()
        except AttributeError:
            raise TypeError(f"list indices must be integers or slices, not {type(index).__name__}") from None
        if position < 0:
            position += len(self)
        if not 0 <= position < len(self):
            raise IndexError(refusal)
        return position

    def _become(self, values: list[Any]) -> None:
        items = [self._packed(each, f"[{at}]") for at, each in enumerate(values)]
        if not self._tell(d.SPLICE, value=[0, len(self), items]):
            super().__setitem__(slice(None), values)

    def __reduce__(self) -> Any:
        return list, (list(self),)

    def __copy__(self) -> list[Any]:
        return list(self)


class TrackedDict(dict[Any, Any], _Node):
    """A dictionary in a state."""

    __slots__ = ("_key", "_parent")

    def __setitem__(self, key: Any, value: Any) -> None:
        hash(key)
        if not self._tell(d.SET, self._checked(key), value=self._packed(value, f"[{key!r}]")):
            super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        if key not in self:
            raise KeyError(key)
        if not self._tell(d.DELETE, self._checked(key)):
            super().__delitem__(key)

    def _checked(self, key: Any) -> Any:
        return _key_of(key) if type(key) in (str, int) else self._packed(key, f" (its key {key!r})")

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

    def update(self, *others: Any, **more: Any) -> None:
        merged = dict(*others, **more)
        pairs = [[self._checked(key), self._packed(value, f"[{key!r}]")] for key, value in merged.items()]
        if pairs and not self._tell(d.UPDATE, value=pairs):
            super().update(merged)

    def clear(self) -> None:
        if not self._tell(d.CLEAR):
            super().clear()

    def __ior__(self, other: Any) -> TrackedDict:  # type: ignore[misc]
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

    def __repr__(self) -> str:
        return repr(set(self))

    def _items(self, values: Iterable[Any]) -> list[Any]:
        return [self._packed(each, f" (its element {each!r})") for each in values]

    def add(self, value: Any) -> None:
        hash(value)
        if not self._tell(d.ADD, value=self._items([value])):
            super().add(value)

    def discard(self, value: Any) -> None:
        if value in self and not self._tell(d.DISCARD, value=self._items([value])):
            super().discard(value)

    def remove(self, value: Any) -> None:
        if value not in self:
            raise KeyError(value)
        self.discard(value)

    def pop(self) -> Any:
        if not self:
            raise KeyError("pop from an empty set")
        value = next(iter(self))
        self.discard(value)
        return value

    def clear(self) -> None:
        if not self._tell(d.CLEAR):
            super().clear()

    def update(self, *others: Iterable[Any]) -> None:
        fresh = set().union(*others) - self
        if fresh and not self._tell(d.ADD, value=self._items(fresh)):
            super().update(fresh)

    def difference_update(self, *others: Iterable[Any]) -> None:
        going = self & set().union(*others)
        if going and not self._tell(d.DISCARD, value=self._items(going)):
            super().difference_update(going)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        self.difference_update(set(self) - set(self).intersection(*others))

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        others = set(other)
        both = set(self) & others
        self.difference_update(both)
        self.update(others - both)

    def __ior__(self, other: Any) -> TrackedSet:  # type: ignore[misc]
        self.update(other)
        return self

    def __isub__(self, other: Any) -> TrackedSet:  # type: ignore[misc]
        self.difference_update(other)
        return self

    def __iand__(self, other: Any) -> TrackedSet:  # type: ignore[misc]
        self.intersection_update(other)
        return self

    def __ixor__(self, other: Any) -> TrackedSet:  # type: ignore[misc]
        self.symmetric_difference_update(other)
        return self

    def copy(self) -> set[Any]:
        return set(self)

    def __reduce__(self) -> Any:
        return set, (set(self),)

    def __copy__(self) -> set[Any]:
        return set(self)
