"""Whether a run that is resumed still fits the app's code: what no longer fits, in words, and how it is told.

The rules, which ``docs/resuming.md`` tells to users: what can go on, goes on. New attributes and children appear,
attributes that the code no longer sets stay, children that it no longer makes are deleted, options are the
code's, defaults are the run's. What cannot go on is a ``Misfit``. All of them are found before anything is
recorded, so that a refused run stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from lightning.app.core.arguments import arguments_of
from lightning.app.core.component import Component, Default, _class_attribute
from lightning.app.core.work import LightningWork
from lightning.app.errors import CodeChangedError
from lightning.app.kernel.facts import Rebound
from lightning.app.kernel.lifecycle import Phase
from lightning.app.kernel.model import Call, WorkLife
from lightning.app.kernel.values import SCALARS, Unresolved, unpack

_DIGEST = 16
"""Bytes of a key that stand for the arguments; what follows is the occurrence of an uncached call."""


class Misfit(NamedTuple):
    """Something of the run for which the code has no place."""

    place: str  # "root.train.loss"
    told: str

    def __str__(self) -> str:
        return self.told


def misfit(place: str, has: str, code: str) -> Misfit:
    return Misfit(place, f"{place}: the run has {has}, the code has {code}")


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def arguments(args: list[Any], kwargs: dict[str, Any]) -> str:
    return ", ".join([*map(shown, args), *(f"{name}={shown(value)}" for name, value in kwargs.items())])


def refusal(misfits: Sequence[Misfit]) -> CodeChangedError:
    """The error that names them all. What is left of a run without its root is a new one."""
    hopeless = [each for each in misfits if each.place == "root"]
    return CodeChangedError([str(each) for each in hopeless or misfits], can_drop=not hopeless)


def unresolved(value: Any) -> Unresolved | None:
    """The first part of a value whose class the code does not have, or has otherwise."""
    if type(value) in SCALARS:
        return None
    if isinstance(value, Unresolved):
        return value
    return next((found for part in _parts(value) if (found := unresolved(part)) is not None), None)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        if not set(map(type, value)) <= SCALARS:
            yield from value
    elif is_dataclass(value):
        for each in fields(value):
            yield getattr(value, each.name)


def taken(component: Component, name: str) -> str:
    """What the code has under that name where a run would keep a value; "" when a value may be there."""
    if name in component._children:
        child = component._children[name]
        return f"a {child._kind} ({type(child).__name__})"
    return taken_by_class(component, name)


def taken_by_class(component: Component, name: str) -> str:
    """What the class has under that name and neither a value nor a child can replace."""
    if component._kind == "structure" or name in component._state:
        return ""
    found = _class_attribute(type(component), name)
    if found is None or isinstance(found, Default):
        return ""
    return f"a {type(found).__name__} of {type(component).__name__}"


def misfits_of_calls(work: LightningWork, life: WorkLife) -> Iterator[tuple[Misfit, Call]]:
    """The calls that the code can no longer run, and the results that it can no longer read."""
    for call in list(life.latest.values()):
        if call.phase is Phase.SUCCEEDED:
            if type(call.value) not in SCALARS and (lost := unresolved(unpack(call.value))) is not None:
                place = f"{work.name}.run, call {call.number}"
                yield misfit(place, f"a result with a value of {lost.name}", _lost(lost)), call
        elif _may_run(call, life):
            args, kwargs = _opened(call)
            place = f"{work.name}.run({arguments(args, kwargs)})"
            if reason := _refused(work, args, kwargs):
                stands = "had failed" if call.phase is Phase.FAILED else "is not finished"
                yield Misfit(place, f"{place} {stands}, and {reason}"), call


def _refused(work: LightningWork, args: list[Any], kwargs: dict[str, Any]) -> str:
    """Why ``run`` as it is now does not take these; "" when it does."""
    if (lost := unresolved([args, kwargs])) is not None:
        return f"the code has {_lost(lost)}"
    signature = arguments_of(type(work).run).signature
    try:
        signature.bind(*args, **kwargs)
    except TypeError as err:
        return f"run{signature} does not take it: {err}"
    return ""


def rebound(work: LightningWork, life: WorkLife) -> Iterator[Rebound]:
    """The unfinished calls that the same arguments no longer name, ``run`` having got another signature.

    Without this the flow, asking for the same call, would not know it, and it would run twice.
    """
    for call in list(life.latest.values()):
        if _may_run(call, life):
            args, kwargs = _opened(call)
            key, packed, named = arguments_of(type(work).run).bind(work.name, tuple(args), kwargs)
            key += call.key[_DIGEST:]
            if key != call.key and key not in life.latest:
                yield Rebound(work.name, call.number, key, packed, named)


def _may_run(call: Call, life: WorkLife) -> bool:
    """A resumed run takes up again what did not finish, and the failure that ended it."""
    if call.phase is Phase.FAILED:
        return life.options.raise_exception
    return call.phase in (Phase.WAITING, Phase.RUNNING)


def _opened(call: Call) -> tuple[list[Any], dict[str, Any]]:
    return [unpack(each) for each in call.args], {name: unpack(each) for name, each in call.kwargs.items()}


def _lost(value: Unresolved) -> str:
    return f"no {value.name} that could be it"


def misfit_of_value(place: str, value: Any) -> Misfit | None:
    """A value of which a part is of a class that is gone, or has lost a member or a field."""
    lost = unresolved(value)
    return None if lost is None else misfit(place, f"a value of {lost.name}", _lost(lost))
