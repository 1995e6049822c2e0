"""Lists, dicts and sets that tell their component how they change.

They are real ``list``, ``dict`` and ``set`` subclasses. Every mutating method becomes a ``Delta`` that the
component applies; nothing is changed in any other way, so a change costs what it changes. A container knows
its parent and under which key it was put there; positions in a list drift, then it is found by identity. One
that was taken out of the state is an ordinary container again. Copies and pickles are plain containers.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import wraps
from itertools import chain
from operator import index as whole
from typing import Any, Concatenate, ParamSpec, Protocol, Self, SupportsIndex, TypeVar

import msgspec

from lightning.app.errors import StateValueError
from lightning.app.kernel import delta as d
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import pack

P = ParamSpec("P")
T = TypeVar("T")

_MISSING: Any = object()
_POSITIONAL = (d.SET, d.SPLICE, d.REORDER)


class Owner(Protocol):
    """The component whose state it is."""

    @property
    def _where(self) -> str: ...

    def _change(self, delta: Delta) -> None: ...


class Top(dict[str, Any]):
    """The dictionary of attributes, in which the paths of containers begin."""

    __slots__ = ("__weakref__", "alias", "owner", "positional")

    def __init__(self, owner: Owner) -> None:
        super().__init__()
        self.owner = owner
        self.alias: Node | None = None  # the container through which the change under way is made
        self.positional = False  # whether that change counts positions in what it has seen

    @property
    def guard(self) -> threading.RLock:
        """Held while copies take the place of containers: meanwhile no path leads anywhere."""
        return _guard


def FIXED() -> None:  # stands where a parent's reference would
    """The parent of containers inside what does not change: tuples, frozen dataclasses."""


# Two locks. A turn is held through a whole change, so it comes before any lock of the component's. The guard is
# held for a look at where a container is, so it comes after them: who puts foreign writes in place holds both.
_turn = threading.RLock()
_guard = threading.RLock()


def _new_locks() -> None:
    global _turn, _guard
    _turn = threading.RLock()
    _guard = threading.RLock()


os.register_at_fork(after_in_child=_new_locks)  # the thread that held one does not exist in the child


class Overtaken(Exception):
    """Somebody else wrote to the list between a look at its positions and the change: look again."""


def _mutation(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A mutating method: one thread at a time, from the look at what is there to the change of it."""

    @wraps(method)
    def mutate(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with _turn:
            while True:
                if self._heir is not None:
                    self._catch_up()
                self._seen = self._heir
                try:
                    return method(self, *args, **kwargs)
                except Overtaken:
                    continue

    return mutate


class _Place(msgspec.Struct, gc=False):
    """Where in whose state a container is."""

    state: Top
    path: tuple[Any, ...]

    def tell(self, node: Node, op: int, value: Any) -> None:
        self._tell(node, Delta(op, self.path, value))

    def tell_at(self, node: Node, op: int, step: Any, value: Any = None) -> None:
        self._tell(node, Delta(op, (*self.path, step), value))

    def _tell(self, node: Node, delta: Delta) -> None:
        state = self.state
        state.alias = node
        state.positional = delta.op in _POSITIONAL and type(node) is TrackedList
        try:
            state.owner._change(delta)
        finally:
            state.alias = None

    def pack(self, value: Any, *steps: Any) -> Any:
        """The packed form of what is to be put below here."""
        try:
            return pack(value, depth=len(self.path))
        except StateValueError:  # once more, now with its name: that takes time
            return pack(value, self._named(steps), len(self.path))

    def pack_key(self, key: Any) -> Any:
        return self._pack_part(key, "key")

    def pack_element(self, value: Any) -> Any:
        return self._pack_part(value, "element")

    def _pack_part(self, part: Any, role: str) -> Any:
        if type(part) is str or type(part) is int:
            return pack(part)
        packed = pack(part, f"{self._named(())} (its {role} {part!r:.60})", len(self.path))
        pack({part}, self._named(()), len(self.path) - 1)  # refuses what would not be found again
        return packed

    def _named(self, steps: tuple[Any, ...]) -> str:
        inner = "".join(f"[{step!r}]" for step in (*self.path[1:], *steps))
        return f"{self.state.owner._where}.{self.path[0]}{inner}"


class Node:
    """What tracked containers share: a place, and how it is found."""

    __slots__ = ()
    _up: Any  # a weak reference to the parent; None, or of a parent that is gone: a container by itself
    _key: Any  # under which it was put there
    _heir: Any  # the copy that took its place
    _seen: (
        Any  # the heir that this was equal to when the change under way began; None: it was itself in place
    )
    _holds: bool  # whether tracked containers have ever been put in

    def _place(self) -> _Place | None:
        """Where this container is. None when it is not part of a state (any more)."""
        with _guard:
            return self._find_place()

    def _find_place(self) -> _Place | None:
        steps: list[Any] = []
        node: Any = self if self._heir is None else self._newest()
        while True:
            up = node._up
            if up is FIXED:
                raise StateValueError(
                    "this container is inside a tuple or a frozen dataclass, and these do not change in a "
                    "state: use a list or a dict, or assign a new one"
                )
            parent = up() if up is not None else None
            if parent is None:
                return None
            key = node._key
            if isinstance(parent, list):
                if not (key < len(parent) and list.__getitem__(parent, key) is node):
                    key = _found(parent, node, key)
                    if key is None:
                        return None
                    node._key = key
            elif dict.get(parent, key, _MISSING) is not node:
                return None
            steps.append(pack(key))
            if isinstance(parent, Top):
                steps.reverse()
                return _Place(parent, tuple(steps))
            node = parent

    def _newest(self) -> Any:
        node = self
        while node._heir is not None:
            node = node._heir
        return node

    def _catch_up(self) -> None:
        """An alias is about to be changed: first let it be what its heir is."""
        with _guard:
            newest = self._newest()
            if newest._find_place() is None:  # both are out of the state, each a container by itself
                self._heir = self._up = None
                return
            self._heir = newest
            self._take(newest)

    def _give_to(self, other: Any, up: Any, key: Any) -> None:
        """Let ``other`` be what this is, with the same parts, at this place."""
        other._take(self)
        other._up = up
        other._key = key
        other._holds = self._holds
        if self._holds:
            here = weakref.ref(other)
            for at, each in other._parts():
                if isinstance(each, Node):
                    each._up = here
                    each._key = at
        self._heir = other

    def _take(self, other: Any) -> None:
        """Become equal to ``other``, quietly."""
        raise NotImplementedError

    def _parts(self) -> Iterable[tuple[Any, Any]]:
        raise NotImplementedError


def _found(parent: list[Any], node: Any, hint: int) -> int | None:
    """The position of ``node``, looked for from where it was: what drifts, drifts slowly."""
    size = len(parent)
    start = min(hint, size - 1)
    for at in chain(range(start, max(start - 8, -1), -1), range(start + 1, min(start + 9, size))):
        if list.__getitem__(parent, at) is node:
            return at
    for at, each in enumerate(parent):
        if each is node:
            return at
    return None


def is_there(value: Any, before: Any) -> bool:
    """Whether an assignment changes nothing: ``x += ...`` assigns the container that it has just changed."""
    return value is before and isinstance(value, Node)


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

    @_mutation
    def append(self, value: Any) -> None:
        place = self._place()
        if place is None:
            list.append(self, value)
        else:
            place.tell(self, d.INSERT, [None, [place.pack(value, len(self))]])

    @_mutation
    def extend(self, values: Iterable[Any]) -> None:
        place = self._place()
        if place is None:
            list.extend(self, values)
            return
        items = self._packed(place, values, len(self))
        if items:
            place.tell(self, d.INSERT, [None, items])

    @_mutation
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

    @_mutation
    def pop(self, index: SupportsIndex = -1) -> Any:
        at = self._position(index, "pop index out of range" if self else "pop from empty list")
        value = self[at]
        self._replace(at, at + 1, ())
        return value

    @_mutation
    def remove(self, value: Any) -> None:
        try:
            at = self.index(value)
        except ValueError:
            raise ValueError("list.remove(x): x not in list") from None
        self._replace(at, at + 1, ())

    @_mutation
    def clear(self) -> None:
        place = self._place()
        if place is None:
            list.clear(self)
        elif self:
            place.tell(self, d.CLEAR, None)

    @_mutation
    def sort(self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> None:
        values = self if key is None else [key(each) for each in self]
        self._arrange(sorted(range(len(self)), key=values.__getitem__, reverse=reverse))

    @_mutation
    def reverse(self) -> None:
        self._arrange(list(range(len(self)))[::-1])

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            try:
                value = list(value)  # once, however often the change must be begun
            except TypeError as err:
                raise (
                    err if hasattr(value, "__iter__") else TypeError("can only assign an iterable")
                ) from None
        self._assign(index, value)

    @_mutation
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

    @_mutation
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

    @_mutation
    def __iadd__(self, values: Iterable[Any]) -> Self:
        self.extend(values)
        return self

    @_mutation
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

    def _packed(self, place: _Place, values: Iterable[Any], start: int) -> list[Any]:
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

    @_mutation
    def __setitem__(self, key: Any, value: Any) -> None:
        place = self._place()
        if place is None:
            dict.__setitem__(self, key, value)
            return
        hash(key)
        if is_there(value, self.get(key)):
            return
        place.tell_at(self, d.SET, place.pack_key(key), place.pack(value, key))

    @_mutation
    def __delitem__(self, key: Any) -> None:
        if key not in self:
            raise KeyError(key)
        place = self._place()
        if place is None:
            dict.__delitem__(self, key)
        else:
            place.tell_at(self, d.DELETE, pack(key))

    @_mutation
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

    @_mutation
    def popitem(self) -> tuple[Any, Any]:
        if not self:
            raise KeyError("popitem(): dictionary is empty")
        key = next(reversed(self))
        return key, self.pop(key)

    @_mutation
    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    @_mutation
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

    @_mutation
    def clear(self) -> None:
        place = self._place()
        if place is None:
            dict.clear(self)
        elif self:
            place.tell(self, d.CLEAR, None)

    @_mutation
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

    @_mutation
    def add(self, value: Any) -> None:
        self._extend({value})

    @_mutation
    def discard(self, value: Any) -> None:
        if value in self:
            self._reduce({_hashed(value)})

    @_mutation
    def remove(self, value: Any) -> None:
        if value not in self:
            raise KeyError(value)
        self._reduce({_hashed(value)})

    @_mutation
    def pop(self) -> Any:
        if not self:
            raise KeyError("pop from an empty set")
        value = next(iter(self))
        self._reduce({value})
        return value

    @_mutation
    def clear(self) -> None:
        place = self._place()
        if place is None:
            set.clear(self)
        elif self:
            place.tell(self, d.CLEAR, None)

    @_mutation
    def update(self, *others: Iterable[Any]) -> None:
        self._extend(set().union(*others))

    @_mutation
    def difference_update(self, *others: Iterable[Any]) -> None:
        self._reduce(self.intersection(set().union(*others)))

    @_mutation
    def intersection_update(self, *others: Iterable[Any]) -> None:
        self._reduce(self.difference(self.intersection(*others)))

    @_mutation
    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        others = set(other)
        both = self.intersection(others)
        self._reduce(both)
        self._extend(others - both)

    @_mutation
    def __ior__(self, other: Any) -> Self:
        return self._by_operator(other, self.update)

    @_mutation
    def __isub__(self, other: Any) -> Self:
        return self._by_operator(other, self.difference_update)

    @_mutation
    def __iand__(self, other: Any) -> Self:
        return self._by_operator(other, self.intersection_update)

    @_mutation
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
