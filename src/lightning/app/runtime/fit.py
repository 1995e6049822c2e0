"""Where the app's code no longer fits what a run has recorded, and how to leave behind what does not fit.

Most changes of the code between two starts are honoured without a question: new attributes and children
appear, changed defaults leave the state alone, options of works are the code's, what ``__init__`` no longer
makes is deleted. A *misfit* is what cannot be honoured without losing something that the run has: a work that
has become a flow, an attribute whose name is a method's now, a call that ``run`` no longer takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from lightning.app.core.arguments import arguments_of
from lightning.app.core.component import Component, Default
from lightning.app.core.work import LightningWork
from lightning.app.errors import CodeChangedError
from lightning.app.kernel import facts as f
from lightning.app.kernel import model as m
from lightning.app.kernel.delta import DELETE
from lightning.app.kernel.lifecycle import Phase
from lightning.app.kernel.messages import Delta
from lightning.app.kernel.values import Unresolved, unpack

_KINDS = {"flow": "a flow", "work": "a work", "structure": "a structure of components"}


class Misfit(NamedTuple):
    """One thing of the run that has no place in the code."""

    told: str
    left_behind: f.Fact | None  # what happens when it is dropped; None: nothing would be left


def refuse(found: Sequence[Misfit], *, drop: bool) -> None:
    """Raise what names them all, unless there are none, or they may be dropped."""
    hopeless = [each for each in found if each.left_behind is None]
    if hopeless or (found and not drop):
        raise CodeChangedError([each.told for each in hopeless or found], can_drop=not hopeless)


def gone(known: m.Component) -> Misfit:
    """A component that ``run`` made, of a class that is no more."""
    return Misfit(
        f"{known.path} was made by run as a {known.cls}, which the code no longer has", f.Deleted(known.path)
    )


def not_made(known: m.Component, error: Exception) -> Misfit:
    """A component that ``run`` made, with arguments that its class no longer takes."""
    assert known.origin is not None
    _, args, kwargs = known.origin
    shown = [_shown(unpack(each)) for each in args]
    shown += [f"{name}={_shown(unpack(each))}" for name, each in kwargs.items()]
    call = f"{known.cls.rpartition(':')[2]}({', '.join(shown)})"
    return Misfit(
        f"{known.path} was made by run as {call}, which now raises {type(error).__name__}: {error}",
        f.Deleted(known.path),
    )


def of_another_kind(known: m.Component, kind: str) -> Misfit:
    told = f"{known.path}: the run has {_KINDS[known.kind]} ({known.cls}), the code has {_KINDS[kind]}"
    return Misfit(told, f.Deleted(known.path) if "." in known.path else None)


def misfits(present: Mapping[str, Component], model: m.Model) -> Iterator[Misfit]:
    """Of the components that both the run and the code have."""
    passed_over = "\0"  # what goes with a component above it
    for path, component in present.items():
        known = model.components.get(path)
        if known is None or path.startswith(passed_over):
            continue
        if known.kind != component._kind:
            passed_over = f"{path}."
            yield of_another_kind(known, component._kind)
            continue
        yield from _attributes(known, component)
        if isinstance(component, LightningWork) and known.life is not None:
            for call in known.life.unfinished():
                if error := _refused(call, component):
                    told = f"{_told(path, call)} is not finished, and {error}"
                    yield Misfit(told, f.Forgotten(path, call.number))


def outdated(present: Mapping[str, Component], model: m.Model) -> Iterator[Misfit]:
    """Failed calls that would run again, were it not for their arguments: what they need was most likely the
    reason to change the code, so they are dropped without a question."""
    for path, work in present.items():
        life = model.works.get(path)
        if life is None or not isinstance(work, LightningWork) or not work._raise_exception:
            continue
        for call in life.latest.values():
            if call.phase is Phase.FAILED and (error := _refused(call, work)):
                told = f"{_told(path, call)} had failed, and {error}"
                yield Misfit(told, f.Forgotten(path, call.number))


def _attributes(known: m.Component, component: Component) -> Iterator[Misfit]:
    for name, value in known.state.items():
        left_behind = f.Wrote(known.path, Delta(DELETE, (name,)), "runtime")
        if name in component._children:
            kind = _KINDS[component._children[name]._kind]
            told = f"the run has the value {_shown(value)}, the code has {kind}"
        elif (attribute := _taken(type(component), name)) is not None:
            told = f"the run has the value {_shown(value)}, the code has a {type(attribute).__name__}"
        elif missing := sorted(set(_unresolved(value))):
            told = f"the run has a value of {', '.join(missing)}, which the code no longer has as it was"
        else:
            continue
        yield Misfit(f"{known.path}.{name}: {told}", left_behind)


def _taken(cls: type[Component], name: str) -> Any:
    """What the user's class has under the name of a state's attribute: a method, a property."""
    for each in cls.__mro__:
        if name in each.__dict__:
            found = each.__dict__[name]
            ours = each.__module__.startswith("lightning.app.core.")
            return None if ours or isinstance(found, Default) else found
    return None


def _refused(call: m.Call, work: LightningWork) -> str:
    """Why ``run`` as it is now does not take the call; empty when it does."""
    signature = arguments_of(type(work).run).signature
    try:
        signature.bind(*call.args, **call.kwargs)
    except TypeError as error:
        return f"run{signature} does not take it: {error}"
    missing = sorted(
        {name for each in [*call.args, *call.kwargs.values()] for name in _unresolved(unpack(each))}
    )
    return f"the code no longer has {', '.join(missing)} as it was" if missing else ""


def _told(path: str, call: m.Call) -> str:
    args = [_shown(unpack(each)) for each in call.args]
    args += [f"{name}={_shown(unpack(each))}" for name, each in call.kwargs.items()]
    return f"{path}.run({', '.join(args)})"


def _unresolved(value: Any) -> Iterator[str]:
    if isinstance(value, Unresolved):
        yield value.name
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _unresolved(key)
            yield from _unresolved(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _unresolved(each)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _unresolved(getattr(value, field.name))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
