"""A component's state: its public attributes, with lists, dicts and sets as tracked containers.

When others write to a container, a copy takes its place, since a thread may be iterating over the old one.
Who still holds the old one holds an *alias*: its next own change brings it up to date, is a change of the
state like any other, and puts the alias in the place of its copy. So nothing written through it is lost.
"""

from __future__ import annotations

import weakref
from dataclasses import fields, is_dataclass
from typing import Any

from lightning.app.core.node import FIXED, Node, Overtaken, Owner, Top, is_there
from lightning.app.core.tracked import TrackedDict, TrackedList, TrackedSet
from lightning.app.kernel.values import SCALARS

__all__ = ["Owner", "State", "TrackedDict", "TrackedList", "TrackedSet", "is_there"]


class State(Top):
    """A component's public attributes."""

    __slots__ = ()

    def adopt(self, value: Any, parent: Any, key: Any) -> Any:
        """A container that is being put in: a tracked one as it is, a plain one as a tracked one."""
        placed = _placed(value, weakref.ref(parent), key)
        if isinstance(parent, (TrackedList, TrackedDict)):
            parent._holds = True
        return placed

    def renew(self, node: Node, parent: Any, key: Any) -> Any:
        """A copy that will take the place of ``node``, with the same parts. ``node`` becomes an alias."""
        copy = type(node)()
        node._give_to(copy, weakref.ref(parent), key)
        return copy

    def reseat(self, node: Any, parent: Any, key: Any) -> Any:
        """What is to be changed at this place: ``node``, or its alias through which the change is made."""
        alias = self.alias
        if alias is None or alias._newest() is not node:
            return node
        if self.positional and node is not (alias if alias._seen is None else alias._seen):
            raise Overtaken
        if alias is node:
            return node
        alias._heir = None
        node._give_to(alias, weakref.ref(parent), key)
        if isinstance(parent, list):
            list.__setitem__(parent, key, alias)
        else:
            dict.__setitem__(parent, key, alias)
        return alias

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def _placed(value: Any, up: Any, key: Any) -> Any:
    kind = type(value)
    if kind in SCALARS:
        return value
    node: Any
    if kind is list:
        node = TrackedList()
        if set(map(type, value)) <= SCALARS:
            list.extend(node, value)
        else:
            here = weakref.ref(node)
            node._holds = True
            list.extend(node, [_placed(each, here, position) for position, each in enumerate(value)])
    elif kind is dict:
        node = TrackedDict()
        if set(map(type, value.values())) <= SCALARS:
            dict.update(node, value)
        else:
            here = weakref.ref(node)
            node._holds = True
            dict.update(node, {name: _placed(each, here, name) for name, each in value.items()})
    elif kind is set:
        node = TrackedSet()
        set.update(node, value)
    elif isinstance(value, Node):
        node = value
    elif isinstance(value, tuple):
        return _fixed_tuple(value)
    elif is_dataclass(value):
        for each in fields(value):
            plain = getattr(value, each.name)
            placed = _placed(plain, FIXED, None)
            if placed is not plain:
                object.__setattr__(value, each.name, placed)
        return value
    else:
        return value
    node._up = up
    node._key = key
    return node


def _fixed_tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if set(map(type, value)) <= SCALARS:
        return value
    return tuple.__new__(type(value), [_placed(each, FIXED, None) for each in value])
