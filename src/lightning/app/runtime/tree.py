"""The tree of live objects and the model's components: one is made from the other, in either direction.

At a start the objects are there and the model learns of them. At a resume the model knows more than the
code's ``__init__`` made: what ``run`` had created is built again from class and arguments, what it had
deleted is taken away, and the journaled state is laid over all of it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

from lightning.app.config import Config
from lightning.app.core.component import Binding, Component
from lightning.app.core.compute import resources
from lightning.app.core.structures import Structure
from lightning.app.core.work import LightningWork
from lightning.app.errors import CodeChangedError, ComponentError, LightningError, StateValueError
from lightning.app.kernel import facts as f
from lightning.app.kernel.delta import DELETE, SET, apply
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.lifecycle import Phase
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.model import Component as Known
from lightning.app.kernel.model import Model
from lightning.app.kernel.values import encode, pack, unpack
from lightning.app.runtime.fit import (
    Misfit,
    arguments,
    misfit,
    misfit_of_value,
    misfits_of_calls,
    rebound,
    refusal,
    shown,
    taken,
    taken_by_class,
)


def _refuse_unfit(component: Component) -> None:
    """Say at the start what would fail later, or would do nothing and never be noticed."""
    named, run = type(component).__name__, getattr(type(component), "run", None)
    if isinstance(component, LightningWork) and not hasattr(component, "_parallel"):
        raise ComponentError(
            f"{component.name}: {named}.__init__ does not call super().__init__(); make that its first line"
        )
    if inspect.iscoroutinefunction(run) or inspect.isasyncgenfunction(run):
        raise ComponentError(
            f"{component.name}: {named}.run is async, and nobody would await it; write a plain def run, "
            "and asyncio.run(...) inside it"
        )
    if inspect.isgeneratorfunction(run) and (component._kind == "work" or component._parent is None):
        raise ComponentError(
            f"{component.name}: {named}.run has a yield in it, and nobody would go through what it yields; "
            "set attributes or return a value instead"
        )


def options_of(work: LightningWork, config: Config) -> f.WorkOptions:
    """What the kernel's rules need to know of a work."""
    compute = work._cloud_compute
    return f.WorkOptions(
        parallel=work._parallel,
        cache_calls=work._cache_calls,
        raise_exception=work._raise_exception,
        retries=work._retries,
        timeout=work._timeout,
        on_crash=work._on_crash,
        start_method=work._start_method,
        gpus=resources(compute, config).gpus,
        idle_timeout=compute.idle_timeout,
    )


def class_name(component: Component) -> str:
    return f"{type(component).__module__}:{type(component).__qualname__}"


def resolve(name: str) -> type[Component] | None:
    """The class of that name, among the modules that the app has imported. Nothing is imported here."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Component) else None


def class_now(name: str) -> type[Component] | None:
    """The class of that name, or the one that has it in another module."""
    found = resolve(name)
    if found is not None:
        return found
    qualname = name.partition(":")[2]
    moved = {each for each in _subclasses(Component) if each.__qualname__ == qualname}
    there = [each for each in moved if resolve(f"{each.__module__}:{qualname}") is each]
    return there[0] if len(there) == 1 else None


def _subclasses(cls: type[Component]) -> Iterator[type[Component]]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)


def origin_of(component: Component, where: str) -> list[Any]:
    """Class and constructor arguments, packed: enough to make it again."""
    args, kwargs = component._origin
    if isinstance(component, Structure):
        members = [origin_of(each, where) if isinstance(each, Component) else repr(each) for each in args]
        return [class_name(component), members, {}]
    if resolve(class_name(component)) is not type(component):
        raise ComponentError(
            f"{where} = {type(component).__name__}(...): a component made in run must be of a class at the top "
            f"level of its module, so that a restart can make it again; {class_name(component)} is not"
        )
    try:
        packed = [pack(each, f"argument {position + 1}") for position, each in enumerate(args)]
        named = {name: pack(each, f"argument {name}") for name, each in kwargs.items()}
    except StateValueError as err:
        raise StateValueError(
            f"{where} = {type(component).__name__}(...): a component made in run is recorded with its arguments: {err}"
        ) from None
    return [class_name(component), packed, named]


def same_origin(old: Component, new: Component, where: str) -> bool:
    return type(old) is type(new) and encode(origin_of(old, where)) == encode(origin_of(new, where))


def made(component: Component, config: Config, origin: list[Any] | None) -> f.Made:
    """The fact of a component's arrival."""
    _refuse_unfit(component)
    _claim_paths(component)
    state = {name: pack(value, f"{component._where}.{name}") for name, value in component._state.items()}
    options = options_of(component, config) if isinstance(component, LightningWork) else None
    return f.Made(component.name, component._kind, class_name(component), state, options, origin)


def _claim_paths(component: Component) -> None:
    """Paths that ``__init__`` has set are this component's, from here on."""
    if "lightning.app.storage.path" not in sys.modules:
        return
    from lightning.app.storage.path import claiming, unclaimed

    for name, value in list(component._state.items()):
        if unclaimed(value):
            with claiming(component._owner):
                packed = pack(value)
            apply(component._state, Delta(SET, (name,), packed))


def bind(component: Component, binding: Binding, model: Model) -> None:
    """Let the model and the object share one state, and the object ask the binding."""
    path = component.name
    component._path = path
    model.components[path].state = component._state
    if isinstance(component, LightningWork):
        component._bind(binding, records=True)
    else:
        component._binding = binding


class Tree:
    """Joins an app's objects with a model, at a start or a resume."""

    def __init__(
        self, root: Component, ledger: Ledger, config: Config, binding: Binding, *, drop_unfit: bool = False
    ) -> None:
        self.root = root
        self.ledger = ledger
        self.model = ledger.model
        self.config = config
        self.binding = binding
        self.drop_unfit = drop_unfit
        self.told: list[str] = []  # what a resume changed, to be said
        self._misfits: list[Misfit] = []

    def join(self) -> None:
        """Raises ``CodeChangedError`` at a resume with code that the run no longer fits; then nothing may be recorded."""
        if not self.model.components:
            for component in self.root._walk():
                self._make(component)
            return
        try:
            self._resume()
        except CodeChangedError:
            raise
        except LightningError as err:  # the code would not start by itself either
            raise CodeChangedError([str(err)], can_drop=False) from err

    def _make(self, component: Component) -> None:
        self.ledger.enter(made(component, self.config, None))
        bind(component, self.binding, self.model)

    def _resume(self) -> None:
        self._build_again()
        self._take_away()
        self._build_again()  # in place of what was taken away
        for component in list(self.root._walk()):
            self._compare_class(component)
        present = {each.name: each for each in self.root._walk()}
        for path in sorted(set(self.model.components) - set(present)):
            if path in self.model.components:
                self.ledger.enter(f.Deleted(path, "code"))
                self.told.append(f"{path} is no longer in the code: deleted, with what it had")
        for path, component in present.items():
            if path in self.model.components:
                self._lay_over(path, component)
                bind(component, self.binding, self.model)
            else:
                self._make(component)
        if self._misfits and not (self.drop_unfit and "root" not in {each.place for each in self._misfits}):
            raise refusal(self._misfits)

    def _drop(self, unfit: Misfit, fact: f.Fact) -> None:
        """Leave it behind. Where that was not asked for, the ledger is not used any further."""
        self._misfits.append(unfit)
        self._leave_behind(unfit, fact)

    def _leave_behind(self, unfit: Misfit, fact: f.Fact) -> None:
        self.ledger.enter(fact)
        self.told.append(f"dropped: {unfit}")

    def _take_away(self) -> None:
        """What the run had deleted, or replaced by something else."""
        for component in list(self.root._walk()):
            path = component.name
            known = self.model.components.get(path)
            parent = component._parent
            if parent is None or (path not in self.model.deleted and known is None):
                continue
            if known is None or (known.origin is not None and known.origin != origin_of(component, path)):
                parent._release(component._name)

    def _build_again(self) -> None:
        """What ``run`` had made."""
        present = {each.name: each for each in self.root._walk()}
        for path, known in list(self.model.components.items()):
            above, _, name = path.rpartition(".")
            if path in present or known.origin is None or above not in present:
                continue
            if path not in self.model.components:  # it was below what was left behind
                continue
            built = self._built(path, known, present[above], name)
            if isinstance(built, Misfit):
                self._drop(built, f.Deleted(path, "code"))
                continue
            present[above]._adopt(name, built)
            for each in built._walk():
                present[each.name] = each

    def _built(self, path: str, known: Known, parent: Component, name: str) -> Component | Misfit:
        """One component that ``run`` had made, from its class and its arguments; or why there is none."""
        assert known.origin is not None
        here = taken_by_class(parent, name)
        if name in parent._state and name not in self.model.components[parent.name].initial:
            here = "an attribute of that name"
        if here:
            return misfit(path, f"a {known.kind} made by run ({known.cls})", here)
        cls = class_now(known.cls)
        if cls is None:
            return Misfit(path, f"{path} was made by run as a {known.cls}, which the code no longer has")
        if cls._kind != known.kind:
            return misfit(path, f"a {known.kind} ({known.cls})", f"a {cls._kind}")
        if issubclass(cls, Structure):
            return cls()
        _, packed, packed_named = known.origin
        args = [unpack(each) for each in packed]
        kwargs = {key: unpack(each) for key, each in packed_named.items()}
        lost = misfit_of_value(path, [args, kwargs])
        if lost is not None:
            return lost
        try:
            built = cls(*args, **kwargs)
        except Exception as err:
            call = f"{cls.__name__}({arguments(args, kwargs)})"
            told = f"{path} was made by run as {call}, which now raises {type(err).__name__}: {err}"
            return Misfit(path, told)
        if class_name(built) != known.cls:
            self._rename(path, built)
        return built

    def _compare_class(self, component: Component) -> None:
        """A class may have a new name. What is something else begins anew."""
        path, cls = component.name, type(component)
        known = self.model.components.get(path)
        if known is None or (known.kind == component._kind and known.cls == class_name(component)):
            return
        before = resolve(known.cls)
        related = before is None or issubclass(cls, before) or issubclass(before, cls)
        if known.kind != component._kind or not related:
            other = f"a {component._kind} ({class_name(component)})"
            self._drop(misfit(path, f"a {known.kind} ({known.cls})", other), f.Deleted(path, "code"))
        else:
            self._rename(path, component)

    def _rename(self, path: str, component: Component) -> None:
        before = self.model.components[path].cls
        self.ledger.enter(f.Renamed(path, class_name(component)))
        self.told.append(f"{path} was a {before} and goes on as a {class_name(component)}")

    def _lay_over(self, path: str, component: Component) -> None:
        """The journaled state goes over what ``__init__`` set; attributes that are new in the code stay."""
        _refuse_unfit(component)
        known = self.model.components[path]
        for name, value in list(known.state.items()):
            place = f"{path}.{name}"
            here = taken(component, name)
            unfit = misfit_of_value(place, value)
            if here:
                unfit = misfit(place, f"the value {shown(value)}", here)
            if unfit is not None:
                gone = Delta(DELETE, (name,))
                if name in component._state:
                    gone = Delta(SET, (name,), pack(component._state[name], place))
                self._drop(unfit, f.Wrote(path, gone, "code"))
        for name in list(component._state):
            if name not in known.state:
                if name in known.initial:
                    del component._state[name]
                else:
                    packed = pack(component._state[name], f"{path}.{name}")
                    self.ledger.enter(f.Wrote(path, Delta(SET, (name,), packed), "code"))
        for name, value in known.state.items():
            apply(component._state, Delta(SET, (name,), pack(value, f"{path}.{name}")))
        if isinstance(component, LightningWork):
            self._take_up(path, component, known)

    def _take_up(self, path: str, work: LightningWork, known: Known) -> None:
        """A work goes on with the options and the signature that the code has now."""
        life = known.life
        assert life is not None
        options = options_of(work, self.config)
        if options != life.options:
            self.ledger.enter(f.Configured(path, options))
        for unfit, call in misfits_of_calls(work, life):
            forgotten = f.Forgotten(path, call.number)
            if call.phase is Phase.FAILED:  # what it needs was most likely the reason to change the code
                self._leave_behind(unfit, forgotten)
            else:
                self._drop(unfit, forgotten)
        for fact in rebound(work, life):
            self.ledger.enter(fact)
