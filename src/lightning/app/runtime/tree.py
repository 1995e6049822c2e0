"""The tree of live objects and the model's components: one is made from the other, in either direction.

At a start the objects are there and the model learns of them. At a resume the model knows more than the
code's ``__init__`` made: what ``run`` had created is built again from class and arguments, what it had
deleted is taken away, and the journaled state is laid over all of it.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

from lightning.app.config import Config
from lightning.app.core.component import Binding, Component
from lightning.app.core.compute import resources
from lightning.app.core.structures import Structure
from lightning.app.core.work import LightningWork
from lightning.app.errors import ComponentError, LightningError, StateValueError
from lightning.app.kernel import facts as f
from lightning.app.kernel.delta import SET, apply
from lightning.app.kernel.ledger import Ledger
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.model import Model
from lightning.app.kernel.values import encode, pack, unpack


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
    state = {name: pack(value, f"{component._where}.{name}") for name, value in component._state.items()}
    options = options_of(component, config) if isinstance(component, LightningWork) else None
    return f.Made(component.name, component._kind, class_name(component), state, options, origin)


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

    def __init__(self, root: Component, ledger: Ledger, config: Config, binding: Binding) -> None:
        self.root = root
        self.ledger = ledger
        self.model = ledger.model
        self.config = config
        self.binding = binding

    def join(self) -> None:
        self._build_again()
        self._take_away()
        self._build_again()  # in place of what was taken away
        known = set(self.model.components)
        present = {each.name: each for each in self.root._walk()}
        for path in sorted(known - set(present), key=len):
            if path in self.model.components:  # the code no longer makes it
                self.ledger.enter(f.Deleted(path))
        for path, component in present.items():
            if path in known:
                self._lay_over(path, component)
            else:
                self.ledger.enter(made(component, self.config, None))
            bind(component, self.binding, self.model)

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
        for path, known in self.model.components.items():
            above, _, name = path.rpartition(".")
            if path in present or known.origin is None or above not in present:
                continue
            cls = resolve(known.cls)
            if cls is None:
                raise LightningError(
                    f"{path} was made by run as a {known.cls}, which the app no longer has: bring the class back, "
                    "or start a new run (without --resume)"
                )
            if issubclass(cls, Structure):
                child: Component = cls()
            else:
                _, args, kwargs = known.origin
                child = cls(
                    *[unpack(each) for each in args], **{key: unpack(each) for key, each in kwargs.items()}
                )
            present[above]._adopt(name, child)
            for each in child._walk():
                present[each.name] = each

    def _lay_over(self, path: str, component: Component) -> None:
        """The journaled state goes over what ``__init__`` set; attributes that are new in the code stay."""
        _refuse_unfit(component)
        known = self.model.components[path]
        for name in list(component._state):
            if name not in known.state:
                if name in known.initial:
                    del component._state[name]
                else:
                    packed = pack(component._state[name], f"{path}.{name}")
                    self.ledger.enter(f.Wrote(path, Delta(SET, (name,), packed)))
        for name, value in known.state.items():
            apply(component._state, Delta(SET, (name,), pack(value, f"{path}.{name}")))
        if isinstance(component, LightningWork):
            options = options_of(component, self.config)
            assert known.life is not None
            if options != known.life.options:
                self.ledger.enter(f.Configured(path, options))
