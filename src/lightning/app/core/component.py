"""What flows, works and structures share: a place in the tree, state, and a binding.

A component asks its *binding* what a write or a read means. Outside an app nothing is to be said; in the
runtime a write is recorded; in a work's own process it is sent. Public attributes are state and live in
``_state``; names with a leading underscore are plain Python and private to the process.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, cast

from lightning.app.core.state import State, is_there
from lightning.app.errors import ComponentError, FlowError, StateValueError, WorkError
from lightning.app.kernel.delta import DELETE, SET, apply
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.size import FIXED, LARGEST_VALUE, size_if_large
from lightning.app.kernel.values import SCHEME, pack, path_of

if TYPE_CHECKING:
    from datetime import datetime

    from lightning.app.core.flow import LightningFlow
    from lightning.app.core.work import LightningWork

_ATOMS = frozenset({type(None), bool, float, bytes})
_LOW, _HIGH = -(2**63), 2**64


class Binding(Protocol):
    """Who hears of a component's reads, writes and requests."""

    def change(self, component: Component, delta: Delta) -> None:
        """Apply ``delta`` to the component's state, and tell whoever must know."""

    def read(self, component: Component, name: str) -> None:
        """An attribute is about to be read."""

    def attach(self, parent: Component, name: str, child: Component) -> Component:
        """A component was assigned to a name. Returns the one that is there from now on."""

    def detach(self, parent: Component, name: str) -> None:
        """A component was deleted, or is about to be replaced."""

    def run(self, work: LightningWork, /, *args: Any, **kwargs: Any) -> Any: ...
    def start(self, work: LightningWork) -> None: ...
    def stop(self, work: LightningWork) -> None: ...
    def statuses(self, work: LightningWork) -> list[tuple[str, float, str, str, int]]: ...
    def counts(self, work: LightningWork) -> tuple[int, int, int]: ...
    def schedule(
        self, flow: LightningFlow, line: str, start: datetime | None, user_key: str | None
    ) -> bool: ...
    def cursor(self, flow: LightningFlow, key: str) -> int: ...
    def move_cursor(self, flow: LightningFlow, key: str, index: int) -> None: ...
    def end(self, flow: LightningFlow, code: int, message: str) -> None: ...


class Plain:
    """Outside an app: components are ordinary Python objects. Also the base of other bindings."""

    def change(self, component: Component, delta: Delta) -> None:
        if type(delta.value) not in FIXED:
            refuse_large(component, delta)
        apply(component._state, delta)

    def read(self, component: Component, name: str) -> None:
        pass

    def attach(self, parent: Component, name: str, child: Component) -> Component:
        return child

    def detach(self, parent: Component, name: str) -> None:
        pass

    def run(self, work: LightningWork, /, *args: Any, **kwargs: Any) -> Any:
        return type(work).run(work, *args, **kwargs)

    def start(self, work: LightningWork) -> None:
        pass

    def stop(self, work: LightningWork) -> None:
        pass

    def statuses(self, work: LightningWork) -> list[tuple[str, float, str, str, int]]:
        return []

    def counts(self, work: LightningWork) -> tuple[int, int, int]:
        return 0, 0, 0

    def schedule(self, flow: LightningFlow, line: str, start: datetime | None, user_key: str | None) -> bool:
        raise FlowError(
            f"{flow._where}.schedule({line!r}): only an app that runs has a clock: call it in run, and start the app "
            "with lightning run app"
        )

    def cursor(self, flow: LightningFlow, key: str) -> int:
        return 0

    def move_cursor(self, flow: LightningFlow, key: str, index: int) -> None:
        pass

    def end(self, flow: LightningFlow, code: int, message: str) -> None:
        raise FlowError(
            f"{flow._where}: only an app that runs can be stopped or fail: do it in run, and start the app with "
            "lightning run app"
        )


class Elsewhere(Plain):
    """In a work's process, every other component: it lives elsewhere, and cannot be called from here."""

    def run(self, work: LightningWork, /, *args: Any, **kwargs: Any) -> Any:
        raise WorkError(
            f"{work._path or work._where}.run was called from another work: works do not call each other; let the "
            "flow call both, and pass values from one to the other"
        )

    def start(self, work: LightningWork) -> None:
        self.run(work)

    def stop(self, work: LightningWork) -> None:
        self.run(work)


def refuse_large(component: Component, delta: Delta) -> None:
    """A value that no message could carry is refused where it is set."""
    size = size_if_large(delta.value)
    if size:
        name, *steps = delta.path
        inside = "".join(f"[{step!r}]" for step in steps)
        raise StateValueError(
            f"{component._where}.{name}{inside}: a value of {size / 1e6:.1f} MB is more than the "
            f"{LARGEST_VALUE / 1e6:.0f} MB that can be set at once; wrap it in lightning.app.storage.Payload"
        )


PLAIN = Plain()
ELSEWHERE = Elsewhere()


def send_elsewhere(root: Component) -> None:
    """Say of a whole tree that it lives in another process: what works see of the app they come from."""
    for component in root._walk():
        component._path = component.name
        component._binding = ELSEWHERE
        if component._kind == "work":
            component.__dict__["run"] = partial(ELSEWHERE.run, cast("LightningWork", component))


class Default:
    """A class attribute that is state: ``losses = []`` in the class body gives each instance its own."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.value = value

    def __get__(self, instance: Component | None, owner: type) -> Any:
        return self.value if instance is None else instance.__getattr__(self.name)


class Component:
    """Base of flows, works and structures. Not for use by itself."""

    _kind: ClassVar[str] = "component"
    _defaults: ClassVar[dict[str, Any]] = {}

    _state: State
    _binding: Binding
    _children: dict[str, Component]
    _parent: Component | None
    _name: str
    _path: str
    _origin: tuple[tuple[Any, ...], dict[str, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        maker = next(each for each in cls.__mro__ if "__getattr__" in each.__dict__)
        if maker is cls or not issubclass(maker, Component):
            cls.__getattr__ = _after_state(maker.__dict__["__getattr__"])  # type: ignore[method-assign]
        defaults = dict(cls._defaults)
        for name, value in list(cls.__dict__.items()):
            if name[0] != "_" and _is_value(value):
                if type(value) is str and value.startswith(SCHEME):
                    value = path_of(value, "")
                defaults[name] = pack(value, f"{cls.__qualname__}.{name}")
                setattr(cls, name, Default(name, value))
        cls._defaults = defaults

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        set_private = object.__setattr__
        set_private(self, "_state", State(self))
        set_private(self, "_binding", PLAIN)
        set_private(self, "_children", {})
        set_private(self, "_parent", None)
        set_private(self, "_name", "root")
        set_private(self, "_path", "")
        set_private(self, "_origin", (args, kwargs))
        for name, value in cls._defaults.items():
            apply(self._state, Delta(SET, (name,), value))
        return self

    # -- attributes -------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        # Only reached when nothing ordinary has that name: methods and children cost nothing extra.
        if name[0] != "_":
            try:
                state = self._state
                if name in state:
                    self._binding.read(self, name)
                    return state[name]
            except RecursionError:
                pass
            if isinstance(_class_attribute(type(self), name), property):
                return object.__getattribute__(self, name)  # it is there, and failed: again, to say where
        raise AttributeError(
            f"{self._where} ({type(self).__name__}) has no attribute {name!r}", name=name, obj=self
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] == "_":
            object.__setattr__(self, name, value)
        elif name in self._state and (
            (kind := type(value)) in _ATOMS
            or (kind is int and _LOW <= value < _HIGH)
            or (kind is str and value.isascii() and value[:6] != SCHEME)
        ):
            self._binding.change(self, Delta(SET, (name,), value))  # packed as it is, and no new name
        elif isinstance(value, Component):
            self._attach(name, value)
        else:
            self._set(name, value)

    def _set(self, name: str, value: Any) -> None:
        if is_there(value, self._state.get(name)):
            return
        attribute = _class_attribute(type(self), name)
        if isinstance(attribute, property) and attribute.fset is None:
            raise StateValueError(
                f"{self._where}.{name} cannot be set: {type(self).__name__}.{name} is a property without a "
                "setter; choose another name"
            )
        if hasattr(attribute, "__set__"):
            object.__setattr__(self, name, value)
            return
        if attribute is not None and not isinstance(attribute, Default):
            raise StateValueError(
                f"{self._where}.{name} cannot be set: {type(self).__name__}.{name} is a "
                f"{type(attribute).__name__} of the class; choose another name"
            )
        if type(value) is str and value[:6] == SCHEME:
            value = path_of(value, "" if self._binding is PLAIN else self._owner)
        packed = pack(value, f"{self._where}.{name}")
        if name in self._children:
            self._detach(name)
        self._binding.change(self, Delta(SET, (name,), packed))

    def __delattr__(self, name: str) -> None:
        if name[0] == "_":
            object.__delattr__(self, name)
        elif name in self._children:
            self._detach(name)
        elif name in self._state:
            self._binding.change(self, Delta(DELETE, (name,)))
        else:
            raise AttributeError(f"{self._where} ({type(self).__name__}) has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._state})

    def _change(self, delta: Delta) -> None:
        """A tracked container of this component's state wants to change."""
        self._binding.change(self, delta)

    # -- the tree ---------------------------------------------------------------------------------

    def _attach(self, name: str, child: Component) -> None:
        where = f"{self._where}.{name}"
        if "." in name:
            raise ComponentError(f"{where} = ...: the name of a component has no dot in it, paths have")
        attribute = _class_attribute(type(self), name) if self._kind != "structure" else None
        if attribute is not None and not isinstance(attribute, Default):
            raise ComponentError(
                f"{where} cannot hold a component: {type(self).__name__}.{name} is a "
                f"{type(attribute).__name__} of the class; choose another name"
            )
        old = self._children.get(name)
        if child is old:
            return
        if child._parent is not None:
            raise ComponentError(
                f"{where} = ...: this {type(child).__name__} is already at {child._where}; "
                "a component has one place, make another one"
            )
        above: Component | None = self
        while above is not None:
            if above is child:
                raise ComponentError(f"{where} = ...: a component cannot be below itself")
            above = above._parent
        kept = self._binding.attach(self, name, child)
        if kept is old:
            return
        if name in self._state:
            self._binding.change(self, Delta(DELETE, (name,)))
        self._adopt(name, kept)

    def _adopt(self, name: str, child: Component) -> None:
        """Give the child its place, without asking the binding."""
        child._parent = self
        child._name = name
        self._children[name] = child
        if self._kind != "structure":  # a member's name may be that of a method
            self.__dict__[name] = child

    def _detach(self, name: str) -> None:
        self._binding.detach(self, name)
        self._release(name)

    def _release(self, name: str) -> None:
        child = self._children.pop(name)
        self.__dict__.pop(name, None)
        child._parent = None
        child._name = name

    @property
    def name(self) -> str:
        """The path in the tree, ``root.train``."""
        names = [self._name]
        above = self._parent
        while above is not None:
            names.append(above._name)
            above = above._parent
        return ".".join(reversed(names))

    @property
    def _owner(self) -> str:
        """Whose the files are that its code makes: a work's own; all flows are in one process."""
        return self.name if self._kind == "work" else "root"

    @property
    def _where(self) -> str:
        """How error messages name this component: its path, or its class while it has no place."""
        return type(self).__name__ if self._parent is None and self._binding is PLAIN else self.name

    def _walk(self) -> Iterator[Component]:
        """This component and all below it, parents first."""
        yield self
        for child in list(self._children.values()):
            yield from child._walk()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} {self._where}>"

    # -- travelling -------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle carries: private attributes. State goes beside it, packed; the tree stays where it is."""
        kept = {name: value for name, value in self.__dict__.items() if name[0] == "_" and name not in _OWN}
        kept["_name"] = kept["_path"] = self.name
        return kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            object.__setattr__(self, name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Another component like this one and all below it, with no place in a tree yet."""
        other = type(self).__new__(type(self), *self._origin[0], **self._origin[1])
        memo[id(self)] = other
        for name, value in self.__dict__.items():
            if name[0] == "_" and name not in _OWN:
                object.__setattr__(other, name, deepcopy(value, memo))
        other._state.clear()
        for name, value in self._state.items():
            apply(other._state, Delta(SET, (name,), pack(value)))
        for name, child in self._children.items():
            other._adopt(name, deepcopy(child, memo))
        return other

    def __copy__(self) -> Self:
        return deepcopy(self)  # a part of a state has one place, so there is no shallow copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _blank, (type(self),), self.__getstate__()


_OWN = frozenset({"_state", "_binding", "_children", "_parent", "_origin", "_name", "_path"})


def _blank(cls: type[Component]) -> Component:
    """An instance as a pickle begins it: ``__init__`` has run already, in the runtime."""
    component = cls.__new__(cls)
    component._binding = ELSEWHERE
    if component._kind == "work":
        component.__dict__["run"] = partial(ELSEWHERE.run, cast("LightningWork", component))
    return component


def _after_state(own: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    """A user's ``__getattr__``, asked for what is nowhere else: state comes before it."""

    @wraps(own)
    def look_up(self: Any, name: str) -> Any:
        return Component.__getattr__(self, name) if name in self._state else own(self, name)

    return look_up


def _class_attribute(cls: type, name: str) -> Any:
    """What the class itself holds under that name; None when it has nothing."""
    for each in cls.__mro__:
        if name in each.__dict__:
            return each.__dict__[name]
    return None


def _is_value(value: Any) -> bool:
    """Whether a class attribute is data rather than code or a descriptor."""
    if isinstance(value, type | types.FunctionType | property | classmethod | staticmethod):
        return False
    if hasattr(type(value), "__get__") or isinstance(value, Component):
        return False
    try:
        pack(value)
    except StateValueError:
        return False
    return True
