"""Lists and dictionaries of components: ``self.works = structures.List(Work(), Work())``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar, cast, overload

from lightning.app.core.component import Component
from lightning.app.errors import ComponentError

C = TypeVar("C", bound=Component)


class Structure(Component):
    """What List and Dict share. Members are components with a name of their own below the structure's."""

    _kind = "structure"

    def __len__(self) -> int:
        return len(self._children)

    def __bool__(self) -> bool:
        return bool(self._children)

    def _member(self, value: Any) -> Component:
        if not isinstance(value, Component):
            raise ComponentError(
                f"{self._where} holds flows and works, not a {type(value).__name__}; "
                "keep plain values in an ordinary list or dict"
            )
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] != "_":
            raise ComponentError(
                f"{self._where}.{name} = ...: a structure has members only, set it on the flow"
            )
        super().__setattr__(name, value)


class List(Structure, Generic[C]):
    """A list of components. A member keeps its name (``root.works.0``) when others are removed."""

    def __init__(self, *members: C) -> None:
        for member in members:
            self.append(member)

    def append(self, member: C) -> None:
        self._attach(str(self._next()), self._member(member))

    def extend(self, members: Iterable[C]) -> None:
        for member in members:
            self.append(member)

    def pop(self, index: int = -1) -> C:
        """Take a member out of the tree: its process ends."""
        member = self[index]
        self._detach(member._name)
        return member

    def clear(self) -> None:
        while self:
            self.pop()

    def _next(self) -> int:
        return 1 + max((int(name) for name in self._children), default=-1)

    def _names(self) -> list[str]:
        return sorted(self._children, key=int)

    @overload
    def __getitem__(self, index: int) -> C: ...
    @overload
    def __getitem__(self, index: slice) -> list[C]: ...
    def __getitem__(self, index: int | slice) -> C | list[C]:
        names = self._names()
        if isinstance(index, slice):
            return [cast(C, self._children[name]) for name in names[index]]
        try:
            return cast(C, self._children[names[index]])
        except IndexError:
            raise IndexError(f"{self._where}[{index}]: it has {len(names)} members") from None

    def __setitem__(self, index: int, member: C) -> None:
        self._attach(self[index]._name, self._member(member))

    def __delitem__(self, index: int) -> None:
        self.pop(index)

    def __iter__(self) -> Iterator[C]:
        return iter([cast(C, self._children[name]) for name in self._names()])

    def __contains__(self, member: object) -> bool:
        return any(member is each for each in self)


class Dict(Structure, Generic[C]):
    """A dictionary of components, by names that are texts."""

    def __init__(self, members: dict[str, C] | None = None, **more: C) -> None:
        for name, member in {**(members or {}), **more}.items():
            self[name] = member

    def __setitem__(self, name: str, member: C) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ComponentError(f"{self._where}[{name!r}]: a member's name is a text without a dot")
        self._attach(name, self._member(member))

    def __getitem__(self, name: str) -> C:
        try:
            return cast(C, self._children[name])
        except KeyError:
            raise KeyError(f"{self._where} has no member {name!r}; it has {sorted(self._children)}") from None

    def __delitem__(self, name: str) -> None:
        self.pop(name)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._children))

    def __contains__(self, name: object) -> bool:
        return name in self._children

    def get(self, name: str, default: C | None = None) -> C | None:
        return cast("C | None", self._children.get(name, default))

    def keys(self) -> list[str]:
        return list(self._children)

    def values(self) -> list[C]:
        return [cast(C, each) for each in self._children.values()]

    def items(self) -> list[tuple[str, C]]:
        return [(name, cast(C, each)) for name, each in self._children.items()]

    def update(self, members: dict[str, C]) -> None:
        for name, member in members.items():
            self[name] = member

    def pop(self, name: str) -> C:
        """Take a member out of the tree: its process ends."""
        member = self[name]
        self._detach(name)
        return member
