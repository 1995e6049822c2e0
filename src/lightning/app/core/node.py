"""Where in a state a container is, and how a change of it finds its way to the component.

A container knows its parent and under which key it was put there; positions in a list drift, then it is found
by identity. One that was taken out of the state is an ordinary container again. One thread at a time looks at
what is there and changes it; foreign writes come in between only where they can be seen.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import wraps
from itertools import chain
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

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


def mutation(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
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


class Place(msgspec.Struct, gc=False):
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
        state.positional = delta.op in _POSITIONAL and isinstance(node, list)
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

    def _place(self) -> Place | None:
        """Where this container is. None when it is not part of a state (any more)."""
        with _guard:
            return self._find_place()

    def _find_place(self) -> Place | None:
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
                return Place(parent, tuple(steps))
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
